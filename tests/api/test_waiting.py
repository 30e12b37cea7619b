"""Requests that wait: all looked for together, woken by a change, a deadline, a hang-up or the end of the process."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import Request
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.problems import ProblemError
from api.waiting import MAX_WAITING_EACH, Waiting
from scheduler.store.database import Database

LOOK_SECONDS = 0.001
LONG_SECONDS = 30.0


@dataclass
class Store:
    """Values by key, and which keys each look asked for."""

    values: dict[str, int] = field(default_factory=lambda: {"a": 1, "b": 1})
    looks: list[frozenset[str]] = field(default_factory=list)
    error: Exception | None = None

    def look(self, _: Session, keys: Collection[str]) -> Mapping[str, int]:
        self.looks.append(frozenset(keys))
        if self.error is not None:
            raise self.error
        return {key: self.values[key] for key in keys}


def request(hang_up: asyncio.Event | None = None) -> Request:
    first = True

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await (hang_up or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    return Request({"type": "http"}, receive)


def ask(store: Store, waiting: Waiting[str, int], seconds: float = LONG_SECONDS) -> Callable[..., Coroutine[Any, Any, None]]:
    database = Database("sqlite://")

    async def until_changed(key: str, known: int = 1, who: str = "tok-1", hang_up: asyncio.Event | None = None) -> None:
        await waiting.until_changed(request(hang_up), database, who, key, known, seconds)

    return until_changed


def played(scene: Callable[[Store, Waiting[str, int]], Awaitable[None]]) -> Store:
    store = Store()
    waiting: Waiting[str, int] = Waiting(store.look, LOOK_SECONDS)

    async def play() -> None:
        await asyncio.wait_for(scene(store, waiting), 10)
        assert len(waiting) == 0

    asyncio.run(play())
    return store


def test_a_change_wakes_those_it_concerns_and_one_look_is_for_all() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        wait = ask(store, waiting)
        first = [asyncio.create_task(wait("a")) for _ in range(20)]
        other = asyncio.create_task(wait("b"))
        while not store.looks:
            await asyncio.sleep(LOOK_SECONDS)
        store.values["a"] = 2
        await asyncio.gather(*first)
        assert not other.done()
        waiting.close()
        await other

    store = played(scene)
    assert store.looks[0] == {"a", "b"}


def test_nobody_looks_while_nobody_waits() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        await ask(store, waiting, seconds=0.01)("a")
        await asyncio.sleep(LOOK_SECONDS * 3)
        before = len(store.looks)
        await asyncio.sleep(LOOK_SECONDS * 5)
        assert len(store.looks) == before
        await ask(store, waiting, seconds=0)("a")
        assert len(store.looks) == before

    played(scene)


def test_who_hangs_up_waits_no_more() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        hang_up = asyncio.Event()
        task = asyncio.create_task(ask(store, waiting)("a", hang_up=hang_up))
        while not len(waiting):
            await asyncio.sleep(0)
        hang_up.set()
        await task

    played(scene)


def test_the_end_of_the_process_is_answered_at_once_also_by_who_comes_later() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        tasks = [asyncio.create_task(ask(store, waiting)(key)) for key in "ab"]
        await asyncio.sleep(LOOK_SECONDS)
        waiting.close()
        await asyncio.gather(*tasks)
        await ask(store, waiting)("a")

    played(scene)


def test_a_store_that_does_not_answer_is_told_to_all_and_looked_at_again_by_the_next() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        store.error = OperationalError("select", {}, Exception("gone"))
        tasks = [asyncio.create_task(ask(store, waiting)(key)) for key in "ab"]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [OperationalError] * 2
        store.error = None
        store.values["a"] = 2
        await ask(store, waiting)("a")

    played(scene)


def test_only_so_many_may_wait_for_one_token() -> None:
    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        wait = ask(store, waiting)
        tasks = [asyncio.create_task(wait("a")) for _ in range(MAX_WAITING_EACH)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError) as refused:
            await wait("a")
        assert refused.value.response().headers["Retry-After"] == "5"
        another = asyncio.create_task(wait("a", who="tok-2"))
        store.values["a"] = 2
        await asyncio.gather(*tasks, another)

    played(scene)


def test_only_so_many_may_wait_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.waiting.MAX_WAITING", 3)

    async def scene(store: Store, waiting: Waiting[str, int]) -> None:
        wait = ask(store, waiting)
        tasks = [asyncio.create_task(wait("a", who=f"tok-{n}")) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError, match="too many requests wait"):
            await wait("a", who="tok-9")
        store.values["a"] = 2
        await asyncio.gather(*tasks)

    played(scene)
