"""Hands the runs' logs over to the city, in pieces, from the byte the city answered last.

The city counts bytes of UTF-8 text and a program may print anything, so what is sent has exactly as many bytes as what was
read: an invalid byte becomes one `?`, and a character cut by the end of a piece is held back for the next one.
"""

import codecs
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from agents.cluster.launcher import Launcher
from agents.cluster.reconcile import RunKey
from agents.terms import CityRefusedError
from scheduler.contract.sync import MAX_LOG_CHUNK, RUN_FINAL, LogChunk, LogPosition, ObservedRun

PIECES_PER_RUN = 4
PIECES_PER_ROUND = 64
"""How much is read in one round: what remains waits for the next, so that a talkative run delays no sync."""


def _one_for_one(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "?" * (error.end - error.start), error.end


codecs.register_error("suanwang.one_for_one", _one_for_one)


def decode_piece(data: bytes, last: bool) -> str:
    """Text of the same number of UTF-8 bytes as `data`, less an incomplete character at its end unless it is the `last`.

    A NUL becomes a space, because no database keeps it in text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("suanwang.one_for_one")
    return decoder.decode(data, last).replace("\0", " ")


class LogSink(Protocol):
    """The part of the city that takes logs."""

    def append_log(self, cluster: str, chunk: LogChunk) -> LogPosition:
        """Raises CityUnavailableError or CityRefusedError."""


@dataclass(slots=True)
class _Cursor:
    next_offset: int = 0
    round: int = 0
    complete: bool = False


class LogUpload:
    """Where the logs stand. After a restart each starts at zero again, and the city's first answer moves it on."""

    def __init__(self, city: LogSink, cluster: str, launcher: Launcher) -> None:
        self._city = city
        self._cluster = cluster
        self._launcher = launcher
        self._cursors: dict[RunKey, _Cursor] = {}
        self._round = 0

    def push(self, observed: Iterable[ObservedRun]) -> None:
        """One bounded round over the runs, those served longest ago first. Raises CityUnavailableError."""
        self._round += 1
        final = {(run.attempt, run.fencing_token): run.state in RUN_FINAL for run in observed}
        self._cursors = {key: self._cursors.get(key) or _Cursor() for key in final}
        pending = sorted((cursor.round, key) for key, cursor in self._cursors.items() if not cursor.complete)
        budget = PIECES_PER_ROUND
        for _, key in pending:
            if budget <= 0:
                return
            self._cursors[key].round = self._round
            budget -= self._push_one(key, self._cursors[key], final[key])

    def is_complete(self, key: RunKey) -> bool:
        """Whether the city has all it wants of a finished run's log."""
        cursor = self._cursors.get(key)
        return cursor is not None and cursor.complete

    def _push_one(self, key: RunKey, cursor: _Cursor, final: bool) -> int:
        """How many pieces were read."""
        for pieces in range(1, PIECES_PER_RUN + 1):
            data = self._launcher.read_log(*key, rank=0, offset=cursor.next_offset, max_bytes=MAX_LOG_CHUNK).data
            text = decode_piece(data, last=final and len(data) < MAX_LOG_CHUNK)
            if not text:
                cursor.complete = final
                return pieces
            chunk = LogChunk(attempt=key[0], fencing_token=key[1], offset=cursor.next_offset, text=text)
            try:
                position = self._city.append_log(self._cluster, chunk)
            except CityRefusedError:
                # An attempt the city does not know, or has fenced off: nobody will ever read this log there.
                cursor.complete = True
                return pieces
            stuck = position.next_offset == cursor.next_offset
            cursor.next_offset = position.next_offset
            cursor.complete = position.full
            if position.full or stuck:
                return pieces
        return PIECES_PER_RUN
