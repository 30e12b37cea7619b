"""More node reports at once than one process takes: the others are told when to come again, and nobody else waits for them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from agents.terms import RETRY_AFTER_SPREAD, retry_after_seconds
from api.gate import MAX_REPORTS, RETRY_SECONDS, Gate
from scheduler.service.snapshot import SUSPECT_AFTER
from tests.api.world import World, card, problem


@pytest.fixture
def narrow(world: World) -> Iterator[None]:
    """The application, which tests share, takes two at a time."""
    state = world.http.app.state  # type: ignore[attr-defined]
    before, state.report_gate = state.report_gate, Gate(2)
    yield
    state.report_gate = before


@pytest.mark.usefixtures("narrow")
def test_reports_beyond_the_limit_are_refused_with_when_to_come_again_and_others_are_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = [Event(), Event()], Event()
    arrivals = iter(inside)

    def held(*_: object) -> bool:
        next(arrivals).set()
        assert go_on.wait(20)
        return False

    monkeypatch.setattr(type(world.city.live), "is_stale", held)
    with ThreadPoolExecutor(2) as agents:
        taken = [agents.submit(world.report, "sz-ascend", f"n{n}", [card(n)]) for n in range(2)]
        assert all(event.wait(20) for event in inside)
        refused = world.report("sz-ascend", "n3", [card(3)])
        problem(refused, 429, "too_many_reports")
        assert retry_after_seconds(refused.headers["Retry-After"]) == RETRY_SECONDS
        assert world.get("/v1/inventory", "tenant-a")["rows"] == []
        go_on.set()
        answers = [answer.result(20) for answer in taken]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["next_report_seconds"] in (10, 20)
    monkeypatch.undo()
    assert world.report("sz-ascend", "n3", [card(3)]).status_code == 202


@pytest.mark.parametrize(
    ("inside", "seconds"), [(0, 10), (MAX_REPORTS // 2 - 1, 10), (MAX_REPORTS // 2, 20), (MAX_REPORTS - 1, 20)]
)
def test_while_many_report_the_next_reports_are_asked_for_later(world: World, inside: int, seconds: int) -> None:
    gate: Gate = world.http.app.state.report_gate  # type: ignore[attr-defined]
    for _ in range(inside):
        assert gate.enter()
    assert world.report("sz-ascend", "n1", [card(0)]).json()["next_report_seconds"] == seconds
    for _ in range(inside):
        gate.leave()


def test_a_report_that_fails_leaves_its_place(world: World) -> None:
    for _ in range(MAX_REPORTS + 1):
        problem(world.report("sz-ascend", "n1", [], cpu_cores=0), 422, "invalid_request")
        problem(world.call("POST", "/v1/nodes/report", "tenant-a", json={}), 403, "forbidden")
    assert world.report("sz-ascend", "n1", [card(0)]).status_code == 202


def test_a_node_that_is_turned_away_once_is_still_heard_in_time() -> None:
    longest = 10 * 1.1 + RETRY_SECONDS * RETRY_AFTER_SPREAD
    assert longest < SUSPECT_AFTER.total_seconds()
