"""Requests that wait for something in the store to change, holding no thread, no transaction and no connection to it meanwhile.

However many wait in a process, one short query every `LOOK_SECONDS` looks for all of them together, and none while nobody waits.
Nothing is remembered: what a request knows it says itself, so any process can answer it, before and after a restart.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.problems import ProblemError
from scheduler.store.database import CITY, Database

LOOK_SECONDS = 0.2
"""A change is seen after this long at the latest, and half of it on average."""

MAX_WAITING = 2_000
"""Requests that wait in one process; each holds a connection and a few kilobytes."""

MAX_WAITING_EACH = 64
"""Requests that wait in one process for one token."""

RETRY_AFTER_SECONDS = 5

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Look = Callable[[Session, Collection[Key]], Mapping[Key, Value]]


@dataclass(eq=False, slots=True)
class _Waiter(Generic[Key, Value]):
    """One request. `changed` is done when the value of its key is another than it knows, or nobody will look any more."""

    key: Key
    known: Value
    changed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def wake(self, error: Exception | None = None) -> None:
        if self.changed.done():
            return
        if error is None:
            self.changed.set_result(None)
        else:
            self.changed.set_exception(error)


class Waiting(Generic[Key, Value]):
    """Those who wait for values of one kind. `look` gives the values of some keys, by one cheap query. For one event loop."""

    def __init__(self, look: "Look[Key, Value]", look_seconds: float = LOOK_SECONDS) -> None:
        self._look = look
        self._look_seconds = look_seconds
        self._waiters: set[_Waiter[Key, Value]] = set()
        self._each: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def until_changed(
        self, request: Request, database: Database, who: str, key: Key, known: Value, wait_seconds: float
    ) -> None:
        """Returns when the value of `key` is not `known` any more, after `wait_seconds`, when the caller has hung up, and at once
        when the process is asked to end. `who`: the token that asks.

        Raises ProblemError where too many wait already, and whatever the store raises when it does not answer.
        """
        if self._closed or wait_seconds <= 0:
            return
        if len(self._waiters) >= MAX_WAITING or self._each[who] >= MAX_WAITING_EACH:
            raise ProblemError("too_many_waiting").after(RETRY_AFTER_SECONDS)
        waiter = _Waiter(key, known)
        self._waiters.add(waiter)
        self._each[who] += 1
        hung_up = asyncio.ensure_future(_hung_up(request))
        try:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.ensure_future(self._keep_looking(database))
            await asyncio.wait((waiter.changed, hung_up), timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiter.changed.done():
                waiter.changed.result()
        finally:
            hung_up.cancel()
            waiter.changed.cancel()
            self._waiters.discard(waiter)
            self._each[who] -= 1
            if not self._each[who]:
                del self._each[who]

    def close(self) -> None:
        """Answer everybody now: the process is asked to end."""
        self._closed = True
        for waiter in self._waiters:
            waiter.wake()

    def __len__(self) -> int:
        return len(self._waiters)

    async def _keep_looking(self, database: Database) -> None:
        while self._waiters:
            await asyncio.sleep(self._look_seconds)
            waiters = tuple(self._waiters)
            try:
                values = await run_in_threadpool(self._values, database, {waiter.key for waiter in waiters})
            except Exception as error:  # it is each waiting request's to answer
                for waiter in self._waiters:
                    waiter.wake(error)
                return
            for waiter in waiters:
                if values[waiter.key] != waiter.known:
                    waiter.wake()

    def _values(self, database: Database, keys: Collection[Key]) -> Mapping[Key, Value]:
        if not keys:
            return {}
        with database.read(CITY) as session:
            return self._look(session, keys)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue
