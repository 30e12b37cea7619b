"""A deadline from submission to explanation: stored, checked, and said in both languages whether it can be kept."""

from typing import Any

import pytest

from tests.api.test_quotes import explain, occupy, quote, town
from tests.api.world import World, problem, spec

__all__ = ["town"]

Json = dict[str, Any]


def told(answer: Json) -> tuple[str, list[str]]:
    """What is said of a deadline, and what would keep it."""
    return answer["deadline"]["reason"]["code"], [change["code"] for change in answer["deadline"]["changes"]]


def test_a_deadline_is_stored_as_utc_and_shown(world: World) -> None:
    job = world.submit(deadline="2026-11-21T20:00:00+08:00")
    assert job["spec"]["deadline"] == "2026-11-21T12:00:00.000000Z"
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["spec"]["deadline"] == "2026-11-21T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("deadline", "code"),
    [
        ("2026-11-21T08:00:00Z", "deadline_in_past"),
        ("2001-01-01T00:00:00Z", "deadline_in_past"),
        ("2026-11-21T12:00:00", "invalid_request"),
        ("tomorrow", "invalid_request"),
        ("1999-01-01T00:00:00Z", "invalid_request"),
    ],
)
def test_a_deadline_that_has_passed_or_is_no_moment_is_refused(town: World, deadline: str, code: str) -> None:
    before = town.rows()
    for path in ("/v1/jobs", "/v1/quotes"):
        problem(town.call("POST", path, "tenant-a", json=spec(deadline=deadline)), 422, code, "deadline")
    assert town.rows() == before


def test_from_submission_to_the_end_it_is_said_whether_the_deadline_is_kept(town: World) -> None:
    """The job of another runs for an hour on the only node; ours takes two."""
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    mine = town.submit(deadline="2026-11-21T11:00:10Z")
    town.turn()
    waiting = explain(town, mine["id"])
    assert (waiting["verdict"], waiting["deadline"]["deadline"]) == ("wait", "2026-11-21T11:00:10.000000Z")
    assert told(waiting) == ("deadline_met_if_started_by", [])
    assert waiting["deadline"]["reason"]["numbers"] == {
        "deadline": "2026-11-21T11:00:10Z",
        "start_by": "2026-11-21T09:00:10Z",
        "starts": "2026-11-21T09:00:01Z",
    }
    reasons = town.get(f"/v1/jobs/{mine['id']}", "tenant-a")["reasons"]
    assert [reason["code"] for reason in reasons] == ["waiting_for_cards", "deadline_met_if_started_by"]


def test_a_deadline_at_risk_comes_with_what_would_keep_it(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    asked = quote(town, deadline="2026-11-21T10:30:00Z")
    assert told(asked) == (
        "deadline_at_risk",
        ["change_other_model", "change_runtime_for_deadline", "change_later_deadline"],
    )
    assert [change["text"] for change in asked["deadline"]["changes"]] == [
        "accept foreign H800 as well",
        "ask for a max_runtime of 1h29m59s: it then keeps its deadline",
        "a deadline of 2026-11-21T11:00:01Z can be kept",
    ]
    for better in (
        {"hardware": {"models": ["910B3", "H800"], "per_node": 8}, "deadline": "2026-11-21T10:30:00Z"},
        {"max_runtime": "1h29m59s", "deadline": "2026-11-21T10:30:00Z"},
        {"deadline": "2026-11-21T11:00:01Z"},
    ):
        assert told(quote(town, **better)) == ("deadline_met_if_started_by", [])
    chinese = quote(town, language="zh", deadline="2026-11-21T10:30:00Z")["deadline"]
    assert chinese["reason"]["text"].startswith("须在 2026-11-21T08:30:00Z 前启动才能赶上截止时间")
    assert chinese["changes"][2]["text"] == "截止时间改为 2026-11-21T11:00:01Z 即可赶上"


def test_a_deadline_shorter_than_the_runtime_is_taken_and_called_missed(town: World) -> None:
    asked = quote(town, deadline="2026-11-21T09:00:00Z")
    assert (asked["verdict"], *told(asked)) == ("fit", "deadline_missed", ["change_runtime_for_deadline", "change_later_deadline"])


def test_of_a_running_job_its_end_is_compared(town: World) -> None:
    job, run = town.start_job(deadline="2026-11-21T12:00:00Z")
    assert told(explain(town, job["id"])) == ("deadline_kept", [])
    late, _ = town.start_job(hardware={"models": ["H800"], "per_node": 8}, cluster="sz-nvidia", deadline="2026-11-21T09:00:00Z")
    assert told(explain(town, late["id"])) == ("deadline_overrun", [])
    town.finish_job(run, 60)
    assert explain(town, job["id"])["deadline"] is None, "it has ended"


def test_without_a_deadline_nothing_is_said_of_one(town: World) -> None:
    assert quote(town)["deadline"] is None
