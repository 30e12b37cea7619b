"""Logs through HTTP: what an agent appends, and what people read and follow."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from scheduler.contract.sync import MAX_LOG_CHUNK, MAX_LOG_CHUNKS
from tests.api.world import Json, World, observed, problem

APPEND = "/v1/clusters/sz-ascend/logs"
GANG = {"models": ["910B3"], "nodes": 1, "per_node": 8}

Append = Callable[..., Json]


@pytest.fixture
def run(world: World) -> Json:
    """A running job's run; `path` is where its log is read."""
    job, found = world.start_job()
    return {**found, "path": f"/v1/jobs/{job['id']}/logs"}


@pytest.fixture
def append(world: World, run: Json) -> Append:
    """Appends a piece of its log; what is answered of it."""

    def send(offset: int, piece: str, **changes: Any) -> Json:
        chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": offset, "text": piece, **changes}
        position: Json = world.post(APPEND, {"chunks": [chunk]}, "agent-ascend", 200)["positions"][0]
        return position

    return send


def test_a_log_grows_by_bytes_and_a_piece_sent_twice_is_kept_once(world: World, run: Json, append: Append) -> None:
    first, second = "损失 0.5\n", "🐼 done\n"
    end = len(first.encode())
    for text in (first, first, "something else\n"):
        assert append(0, text)["next_offset"] == end
    assert append(end, second)["next_offset"] == end + len(second.encode())
    log = world.get(run["path"], "tenant-a")
    assert (log["text"], log["start"], log["next_offset"]) == (first + second, 0, end + len(second.encode()))
    assert (log["rank"], log["ranks"], log["state"], log["gaps"], log["complete"]) == (0, 1, "running", [], False)


def test_lost_bytes_are_a_gap_and_never_made_up(world: World, run: Json, append: Append) -> None:
    append(0, "first\n")
    append(1000, "later\n")
    log = world.get(run["path"], "tenant-a")
    assert (log["text"], log["next_offset"], log["end"], log["gaps"]) == ("first\n", 6, 1006, [{"start": 6, "end": 1000}])
    rest = world.get(run["path"], "tenant-a", offset=6)
    assert (rest["start"], rest["text"], rest["next_offset"]) == (1000, "later\n", 1006)


@pytest.mark.parametrize(
    ("query", "text", "start", "next_offset"),
    [
        ({"offset": 2}, "的一\nb\n", 3, 12),  # into a character: from the next one on
        ({"offset": 3, "limit": 7}, "的一\n", 3, 10),
        ({"offset": 3, "limit": 4}, "的", 3, 6),
        ({"offset": -2}, "b\n", 10, 12),
        ({"offset": -4}, "\nb\n", 9, 12),
        ({"offset": -500}, "我的一\nb\n", 0, 12),
        ({"offset": 12}, "", 12, 12),
        ({"offset": 2**50}, "", 12, 12),
    ],
)
def test_any_part_can_be_read_in_whole_characters(
    world: World, run: Json, append: Append, query: Json, text: str, start: int, next_offset: int
) -> None:
    append(0, "我的一\nb\n")
    log = world.get(run["path"], "tenant-a", **query)
    assert (log["text"], log["start"], log["next_offset"], log["end"]) == (text, start, next_offset, 12)


def test_the_last_piece_makes_it_complete(world: World, run: Json, append: Append) -> None:
    append(0, "all\n")
    assert append(4, "", last=True)["wanted"] is False
    assert append(4, "more\n") == append(4, "", last=True)
    log = world.get(run["path"], "tenant-a", wait_seconds=20, offset=4)
    assert (log["text"], log["complete"]) == ("", True)


def test_what_is_not_of_an_attempt_there_is_not_wanted_and_spoils_nothing(world: World, run: Json) -> None:
    mine = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "mine\n"}
    old, unknown = {**mine, "fencing_token": 999, "text": "old"}, {**mine, "attempt": "att-none", "text": "unknown"}
    beyond = {**mine, "rank": 1, "text": "no such rank"}
    answer = world.post(APPEND, {"chunks": [old, unknown, mine, beyond]}, "agent-ascend", 200)
    assert [each["wanted"] for each in answer["positions"]] == [False, False, True, False]
    assert world.get(run["path"], "tenant-a")["text"] == "mine\n"
    other = {"chunks": [mine]}
    assert world.post("/v1/clusters/sz-nvidia/logs", other, "agent-nvidia", 200)["positions"][0]["wanted"] is False
    problem(world.call("POST", APPEND, "agent-nvidia", json=other), 404, "not_found")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text": "x" * (MAX_LOG_CHUNK + 1)}, "chunks.0.text"),
        ({"text": None}, "chunks.0.text"),
        ({"offset": -1}, "chunks.0.offset"),
        ({"offset": 2**41}, "chunks.0.offset"),
        ({"rank": -1}, "chunks.0.rank"),
        ({"rank": 10_000}, "chunks.0.rank"),
    ],
)
def test_a_piece_that_is_not_as_allowed_is_refused(world: World, run: Json, changes: Any, field: str) -> None:
    chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "x", **changes}
    problem(world.call("POST", APPEND, "agent-ascend", json={"chunks": [chunk]}), 422, "invalid_request", field)
    assert world.get(run["path"], "tenant-a")["text"] == ""


@pytest.mark.parametrize("count", [0, MAX_LOG_CHUNKS + 1])
def test_a_request_has_some_pieces_and_not_too_many(world: World, run: Json, count: int) -> None:
    chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "x"}
    problem(world.call("POST", APPEND, "agent-ascend", json={"chunks": [chunk] * count}), 422, "invalid_request", "chunks")


@pytest.mark.parametrize(
    ("query", "field"), [("rank=-1", "rank"), ("limit=3", "limit"), ("wait_seconds=31", "wait_seconds"), ("offset=x", "offset")]
)
def test_what_cannot_be_asked_for_is_refused_by_name(world: World, run: Json, query: str, field: str) -> None:
    problem(world.call("GET", f"{run['path']}?{query}", "tenant-a"), 422, "invalid_request", field)
    problem(world.call("GET", f"{run['path']}?rank=1", "tenant-a"), 404, "not_found")
    problem(world.call("GET", f"{run['path']}?attempt=2", "tenant-a"), 404, "not_found")
    problem(world.call("GET", run["path"], "tenant-b"), 404, "not_found")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", ["more", "end"])
def test_a_follower_waits_for_what_comes_next(world: World, run: Json, append: Append, what: str) -> None:
    append(0, "first\n")
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(world.get, run["path"], "tenant-a", offset=6, wait_seconds=20)
        while not len(world.city.logs):
            assert not following.done()
            time.sleep(0.001)
        if what == "more":
            append(6, "second\n")
        else:
            world.sync("sz-ascend", observed(run, "failed", exit_code=1))
        found = following.result(10)
    assert (found["text"], found["state"]) == (("second\n", "running") if what == "more" else ("", "failed"))
