"""Hands the runs' logs over to the city, rank by rank in pieces, each from the byte that the city answered last.

A round reads and sends only so much, first of those served longest ago; half of its reads are for first ranks, which people look
at, whatever the size of gangs. A log that grows faster than that is not sent whole: the city keeps its beginning and its end and
says how much of each, so what lies between is skipped.

The city counts bytes of UTF-8 text and a program may print anything, so what is sent has exactly as many bytes as what was
read: an invalid byte becomes one `?`, and a character cut by the end of a piece is held back for the next one.
"""

import codecs
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from agents.cluster.launcher import Launcher, LogPiece
from agents.cluster.reconcile import RunKey
from scheduler.contract.sync import (
    MAX_LOG_CHUNK,
    MAX_LOG_CHUNKS,
    RUN_FINAL,
    LogChunk,
    LogChunks,
    LogPosition,
    LogPositions,
    ObservedRun,
)

READS_PER_ROUND = 64
BYTES_PER_ROUND = 2**20
"""How much is read and sent in one round: what remains waits for the next, so that a talkative run delays no sync."""

BYTES_PER_REQUEST = 192 * 2**10
"""With the piece that reaches it, and every byte of it escaped in JSON, still below what the city takes of any request."""


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

    def append_logs(self, cluster: str, chunks: LogChunks) -> LogPositions:
        """Raises CityUnavailableError or CityRefusedError."""


@dataclass(slots=True)
class _Cursor:
    """Where one rank's log stands. `has_more`: the last piece was as long as one may be."""

    key: RunKey
    rank: int
    final: bool = False
    next_offset: int = 0
    served: int = 0
    complete: bool = False
    has_more: bool = False
    head_bytes: int = 0
    tail_bytes: int = 0

    def settle(self, position: LogPosition) -> None:
        self.next_offset, self.complete = position.next_offset, not position.wanted
        self.head_bytes, self.tail_bytes = position.head_bytes, position.tail_bytes

    def skip_to(self, end: int) -> bool:
        """Pass over what the city would drop of a log that ends at `end`; whether there was anything."""
        worth = end - self.tail_bytes
        if not self.tail_bytes or self.next_offset < self.head_bytes or worth <= self.next_offset:
            return False
        self.next_offset = worth
        return True


class LogUpload:
    """Where the logs stand. After a restart each starts at zero again, and the city's first answer moves it on."""

    def __init__(self, city: LogSink, cluster: str, launcher: Launcher) -> None:
        self._city = city
        self._cluster = cluster
        self._launcher = launcher
        self._cursors: dict[tuple[RunKey, int], _Cursor] = {}
        self._ranks: dict[RunKey, int] = {}
        self._round = 0

    def push(self, observed: Iterable[ObservedRun]) -> None:
        """One bounded round over the ranks of the runs. Raises CityUnavailableError or CityRefusedError."""
        self._round += 1
        self._follow(observed)
        queue, reads, sent = self._turn(), 0, 0
        while queue and reads < READS_PER_ROUND and sent < BYTES_PER_ROUND:
            gathered: list[tuple[_Cursor, LogChunk]] = []
            size = 0
            while queue and reads < READS_PER_ROUND and size < BYTES_PER_REQUEST and len(gathered) < MAX_LOG_CHUNKS:
                cursor = queue.popleft()
                reads += 1
                chunk = self._next_chunk(cursor)
                if chunk is not None:
                    gathered.append((cursor, chunk))
                    size += len(chunk.text.encode())
            if gathered:
                self._send(gathered)
                sent += size
                queue.extend(cursor for cursor, _ in gathered if cursor.has_more and not cursor.complete)

    def is_complete(self, key: RunKey) -> bool:
        """Whether the city has all it wants of a finished run's logs."""
        ranks = self._ranks.get(key)
        return ranks is not None and all(self._cursors[key, rank].complete for rank in range(ranks))

    def _follow(self, observed: Iterable[ObservedRun]) -> None:
        before, self._cursors, self._ranks = self._cursors, {}, {}
        for run in observed:
            key = (run.attempt, run.fencing_token)
            self._ranks[key] = run.ranks
            for rank in range(run.ranks):
                cursor = self._cursors[key, rank] = before.get((key, rank)) or _Cursor(key, rank)
                cursor.final = run.state in RUN_FINAL

    def _turn(self) -> deque[_Cursor]:
        """Those to be read in this round, in order: half of them first ranks, if there are so many."""
        waiting = sorted(
            (cursor for cursor in self._cursors.values() if not cursor.complete),
            key=lambda cursor: (cursor.served, cursor.rank, cursor.key),
        )
        first = [cursor for cursor in waiting if cursor.rank == 0][: READS_PER_ROUND // 2]
        others = [cursor for cursor in waiting if cursor.rank > 0][: READS_PER_ROUND - len(first)]
        return deque([*first, *others])

    def _next_chunk(self, cursor: _Cursor) -> LogChunk | None:
        """What is to be sent of a log now; None where there is nothing new."""
        cursor.served = self._round
        piece = self._read(cursor)
        if piece.end is not None and cursor.skip_to(piece.end):
            piece = self._read(cursor)
        cursor.has_more = len(piece.data) == MAX_LOG_CHUNK
        final = cursor.final and not piece.waits
        text = decode_piece(piece.data, last=final and not cursor.has_more)
        if not text and not final:
            return None
        return LogChunk(
            attempt=cursor.key[0],
            fencing_token=cursor.key[1],
            rank=cursor.rank,
            offset=piece.start,
            text=text,
            last=final and not text,
        )

    def _read(self, cursor: _Cursor) -> LogPiece:
        return self._launcher.read_log(*cursor.key, rank=cursor.rank, offset=cursor.next_offset, max_bytes=MAX_LOG_CHUNK)

    def _send(self, gathered: list[tuple[_Cursor, LogChunk]]) -> None:
        chunks = LogChunks(chunks=[chunk for _, chunk in gathered])
        positions = self._city.append_logs(self._cluster, chunks).positions
        for (cursor, _), position in zip(gathered, positions, strict=True):
            cursor.settle(position)
