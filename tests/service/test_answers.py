"""What an answer costs: the voucher on the whole run, what is left of the year's limits, and what counts."""

from typing import Any

import pytest

from scheduler.domain.states import AttemptState
from scheduler.service.answers import Amounts, Answered, PricedOption, answer_job, answer_spec
from scheduler.service.moments import Moments
from scheduler.store.database import CITY, Database
from scheduler.store.tables import SubsidyUseRow
from tests.builders import NOW, add_attempt, add_job, spec

HEARD = dict.fromkeys((("hz", "h1"), ("sz", "s1"), ("sz", "s2")), NOW)


def ask(city: Database, tenant: str = "acme", **changes: Any) -> Answered:
    moment = Moments().look(city, HEARD, NOW)
    with city.read(CITY) as session:
        return answer_spec(session, moment, tenant, spec(**changes), NOW)


def first(answered: Answered) -> PricedOption:
    return answered.options[0]


def test_an_eligible_voucher_counts_on_the_hour_and_on_the_whole_run(city: Database) -> None:
    option = first(ask(city, max_runtime="90m"))
    assert option.per_hour == Amounts(96_000_000, 80_000_056, 80_000_056 - 8 * 5_000_003)
    assert option.whole_run == Amounts(144_000_000, 120_000_084, 60_000_042)
    assert option.estimate.tag is not None
    assert (option.estimate.tag.programme, option.estimate.tag.status, option.estimate.tag.selected) == (
        "shenzhen-training",
        "eligible",
        True,
    )


def test_a_cap_that_is_nearly_used_up_cuts_the_whole_run(city: Database) -> None:
    with city.write(CITY) as session:
        session.add(SubsidyUseRow(programme="shenzhen-training", year=2026, tenant_id="acme", used_micros=10**13 - 10**7))
    option = first(ask(city, max_runtime="90m"))
    assert option.whole_run.net == 120_000_084 - 10_000_000
    assert option.estimate.tag is not None
    assert (option.estimate.tag.capped, "cap_reached" in option.estimate.tag.reason_codes) == ("10.000000", True)


@pytest.mark.parametrize("changes", [{"voucher": {"programme": "none"}}, {"tenant": "uni"}])
def test_what_is_declined_or_not_eligible_is_told_and_does_not_count(city: Database, changes: dict[str, Any]) -> None:
    option = first(ask(city, **changes))
    assert option.whole_run.net == option.whole_run.contracted
    assert option.estimate.tag is None or not option.estimate.tag.selected


def test_a_job_with_a_place_is_compared_with_its_own_cards_free(city: Database) -> None:
    with city.write(CITY) as session:
        running = add_job(session)
        add_attempt(session, running, AttemptState.RUNNING)
        add_job(session, "uni")
    moment = Moments().look(city, HEARD, NOW)
    with city.read(CITY) as session:
        answered = answer_job(session, moment, running, NOW)
    assert (answered.answer.verdict, answered.answer.position.ahead) == ("fit", 0)
    assert [option.cluster for option in answered.options if option.option.now] == ["sz"]
