"""Every fault says in both languages what is allowed, and pydantic carries it with its field."""

import re
import string
from typing import Annotated

import pytest
from pydantic import AfterValidator, TypeAdapter, ValidationError

from scheduler.domain.faults import TEXTS, Fault


@pytest.mark.parametrize("code", TEXTS)
def test_texts_are_in_both_languages_and_speak_of_the_same(code: str) -> None:
    placeholders = {
        language: {name for _, name, _, _ in string.Formatter().parse(text) if name} for language, text in TEXTS[code].items()
    }
    assert placeholders["en"] >= placeholders["zh"]
    assert re.search("[\u4e00-\u9fff]", TEXTS[code]["zh"])
    assert not re.search("[\u4e00-\u9fff]", TEXTS[code]["en"])


def test_a_code_that_is_not_registered_is_a_bug() -> None:
    with pytest.raises(KeyError):
        Fault("no_such_code")


def test_pydantic_carries_it() -> None:
    def refuse(_: str) -> str:
        raise Fault("dates_reversed", first="start", last="end")

    with pytest.raises(ValidationError) as caught:
        TypeAdapter(dict[str, Annotated[str, AfterValidator(refuse)]]).validate_python({"when": "x"})
    (error,) = caught.value.errors()
    assert error["loc"] == ("when",)
    assert error["ctx"]["error"].text("zh") == "end 不得早于 start"
