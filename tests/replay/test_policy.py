"""Policies of a replay as they are written on a command line."""

import pytest

from scheduler.engine.order import Order
from scheduler.replay.policy import Discipline, Policy, Told, parse_policy
from scheduler.replay.trace import TraceError


def test_what_is_left_out_is_as_shipped() -> None:
    assert parse_policy("") == Policy()
    assert parse_policy("order=shortest,told=x10,discipline=backfill,checkpoint=1800,min-run=3600,patience=110") == Policy(
        Order.SHORTEST, Told.TENFOLD, Discipline.BACKFILL, 1800, 3600, 110
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("order=longest", "--policy order=longest is not allowed; age, shortest, least-attained are"),
        ("speed=1", "--policy speed: is not known; order, told, discipline, checkpoint, min-run, patience are"),
        ("patience=-1", "--policy patience=-1 is not allowed; a whole number from 0 to 1000000000 is"),
        ("patience=99999999999999", "is not allowed"),
        ("min-run=1,min-run=2", "--policy min-run: is given twice"),
    ],
)
def test_what_is_not_a_policy_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        parse_policy(text)
    assert message in str(error.value)
