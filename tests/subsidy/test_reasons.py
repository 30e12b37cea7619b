"""Every code a tag can carry has a text in both languages."""

import inspect
import re

import pytest

from scheduler.subsidy import elsewhere, tagging
from scheduler.subsidy.programme import shipped_policies
from scheduler.subsidy.reasons import TEXTS, texts


def produced_codes() -> set[str]:
    """Codes of shipped rules and rates, and every code written out in the tagging itself."""
    rules = {rule.code for version in shipped_policies() for rule in version.requires}
    rates = {rate.code for version in shipped_policies() for rate in version.rates}
    source = "".join(inspect.getsource(module) for module in (tagging, elsewhere))
    quoted = set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', source))
    return rules | rates | (quoted - {"reason_codes"})


def test_every_code_that_can_be_produced_is_registered_and_every_registered_code_can_be_produced() -> None:
    assert produced_codes() == set(TEXTS)


@pytest.mark.parametrize("code", TEXTS)
def test_texts_are_in_both_languages(code: str) -> None:
    assert re.search("[\u4e00-\u9fff]", texts(code, "zh"))
    assert not re.search("[\u4e00-\u9fff]", texts(code))
