"""What the city keeps of what runs print: of each rank the first lines and the last, of a gang no more than of sixteen single runs.

A log is named by its attempt and its rank and counted in bytes of UTF-8 from its very beginning, kept or not. What lies between
head and tail is dropped as the tail moves on; what an agent could not read any more is left out where it is missing. Both show as
gaps between the pieces that are there. Nothing here is remembered elsewhere.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, delete, select, text, tuple_
from sqlalchemy.orm import Session

from scheduler.contract.sync import Gap, LogChunk, LogPosition
from scheduler.store.agent_tables import LogPieceRow, LogRow
from scheduler.store.tables import AttemptRow

RANK_BYTES = 2**20
"""Kept of one rank at most: a quarter of it its first bytes, the rest its last."""

ATTEMPT_BYTES = 16 * RANK_BYTES
"""Kept of all ranks of one attempt: rank 0 has its `RANK_BYTES`, the others share the rest evenly."""

LEAST_BYTES = 8 * 2**10
"""A share below this says nothing: of ranks beyond so many shares nothing is kept."""

MOST_RANKS = 1 + (ATTEMPT_BYTES - RANK_BYTES) // LEAST_BYTES

ROW_BYTES = 16 * 2**10
"""Small pieces that follow each other are put together up to here."""

_BEGIN = text(
    "INSERT INTO logs (attempt_id, rank, tenant_id, end_offset, complete) "
    "VALUES (:attempt, :rank, :tenant, 0, false) ON CONFLICT DO NOTHING"
)

_KEY = tuple_(LogRow.attempt_id, LogRow.rank)

LogKey = tuple[str, int]
"""An attempt and a rank of it."""

Mark = tuple[str | None, int, bool]
"""How a log stands: the state of its attempt, where it ends, whether it is complete. It changes when there is more to read."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many bytes of a rank are kept, of its beginning and of its end."""

    head_bytes: int
    tail_bytes: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is kept from byte `start` on without a gap, up to `end`."""

    start: int
    data: bytes

    @property
    def end(self) -> int:
        return self.start + len(self.data)


def share_of(rank: int, ranks: int) -> Share | None:
    """What is kept of a rank of so many; None where nothing is."""
    if rank >= min(ranks, MOST_RANKS):
        return None
    others = min(ranks, MOST_RANKS) - 1
    size = RANK_BYTES if rank == 0 else min(RANK_BYTES, (ATTEMPT_BYTES - RANK_BYTES) // others)
    return Share(size // 4, size - size // 4)


def append(session: Session, chunks: Sequence[LogChunk]) -> list[LogPosition]:
    """Take what some ranks printed; where each log goes on, in the order of the chunks. Taking one twice changes nothing.

    A chunk of no attempt there is in the session's scope, or of an old run of one, is answered as not wanted.
    """
    found = session.scalars(select(AttemptRow).where(AttemptRow.id.in_({chunk.attempt for chunk in chunks})))
    runs = {(attempt.id, attempt.fencing_token): attempt for attempt in found}
    of = [runs.get((chunk.attempt, chunk.fencing_token)) for chunk in chunks]
    logs = _locked(session, [(attempt, chunk.rank) for attempt, chunk in zip(of, chunks, strict=True) if attempt is not None])
    return [_append(session, attempt, logs, chunk) for attempt, chunk in zip(of, chunks, strict=True)]


def read(session: Session, key: LogKey, offset: int, most_bytes: int) -> Stretch:
    """At most so many bytes from `offset` on, or from the first one after it that is kept: whole characters, up to the next gap."""
    rows = _pieces(*key).where(LogPieceRow.start + LogPieceRow.size > offset).order_by(LogPieceRow.start)
    start, found = offset, bytearray()
    for row in session.execute(rows.with_only_columns(LogPieceRow.start, LogPieceRow.text)):
        if not found:
            start = max(offset, row.start)
        elif row.start != start + len(found):
            break
        found += row.text.encode()[max(0, start + len(found) - row.start) :]
        if len(found) > most_bytes:
            break
    begins = next((at for at, byte in enumerate(found) if not _continues(byte)), len(found))
    return Stretch(start + begins, bytes(found[begins : _boundary(found, begins + most_bytes)]))


def gaps(session: Session, key: LogKey, end: int) -> list[Gap]:
    """What is missing of a log that ends at `end`, in order."""
    pieces = session.execute(_pieces(*key).with_only_columns(LogPieceRow.start, LogPieceRow.size).order_by(LogPieceRow.start)).all()
    return list(_between([(start, start + size) for start, size in pieces], end))


def mark(session: Session, key: LogKey) -> Mark:
    return marks(session, [key])[key]


def marks(session: Session, keys: Collection[LogKey]) -> Mapping[LogKey, Mark]:
    """How some logs stand, by two queries for all of them."""
    ids = {attempt for attempt, _ in keys}
    states = {row.id: row.state for row in session.execute(select(AttemptRow.id, AttemptRow.state).where(AttemptRow.id.in_(ids)))}
    marked = select(LogRow.attempt_id, LogRow.rank, LogRow.end_offset, LogRow.complete).where(_KEY.in_(keys))
    ends = {(row.attempt_id, row.rank): (row.end_offset, row.complete) for row in session.execute(marked)}
    return {key: (states.get(key[0]), *ends.get(key, (0, False))) for key in keys}


def _locked(session: Session, wanted: Iterable[tuple[AttemptRow, int]]) -> Mapping[LogKey, LogRow]:
    """The logs' own rows, made where they are missing and locked in one order, so that two processes cannot interleave on one."""
    kept = sorted({(attempt.id, rank, attempt.tenant_id) for attempt, rank in wanted if share_of(rank, len(attempt.placements))})
    keys = [(attempt, rank) for attempt, rank, _ in kept]
    locked = select(LogRow).where(_KEY.in_(keys)).order_by(LogRow.attempt_id, LogRow.rank).with_for_update()
    found = {(row.attempt_id, row.rank): row for row in session.scalars(locked)}
    new = [{"attempt": attempt, "rank": rank, "tenant": tenant} for attempt, rank, tenant in kept if (attempt, rank) not in found]
    if new:
        session.execute(_BEGIN, new)
        found = {(row.attempt_id, row.rank): row for row in session.scalars(locked)}
    return found


def _append(session: Session, attempt: AttemptRow | None, logs: Mapping[LogKey, LogRow], chunk: LogChunk) -> LogPosition:
    named = {"attempt": chunk.attempt, "fencing_token": chunk.fencing_token, "rank": chunk.rank}
    share = None if attempt is None else share_of(chunk.rank, len(attempt.placements))
    if share is None:
        return LogPosition(**named, next_offset=chunk.offset, wanted=False)
    log = logs[chunk.attempt, chunk.rank]
    data = chunk.text.encode()
    if chunk.offset >= log.end_offset and not log.complete:
        if data:
            _store(session, log, share, chunk.offset, data)
        log.end_offset = chunk.offset + len(data)
    log.complete = log.complete or (chunk.last and chunk.offset + len(data) == log.end_offset)
    return LogPosition(
        **named,
        next_offset=log.end_offset,
        wanted=not log.complete,
        head_bytes=share.head_bytes,
        tail_bytes=share.tail_bytes,
    )


def _store(session: Session, log: LogRow, share: Share, start: int, data: bytes) -> None:
    end = start + len(data)
    in_head = _boundary(data, max(0, share.head_bytes - start))
    tail = start + _boundary(data, max(in_head, len(data) - share.tail_bytes))  # where what is kept of the rest begins
    last = session.scalars(_pieces(log.attempt_id, log.rank).order_by(LogPieceRow.start.desc()).limit(1)).first()
    most = min(ROW_BYTES, share.tail_bytes // 8)
    for at, piece in (*_cut(start, data[:in_head], most), *_cut(tail, data[tail - start :], most)):
        follows = last is not None and last.start + last.size == at
        if last is not None and follows and last.size + len(piece) <= most:
            last.text, last.size = last.text + piece.decode(), last.size + len(piece)
        else:
            last = LogPieceRow(
                attempt_id=log.attempt_id,
                rank=log.rank,
                tenant_id=log.tenant_id,
                start=at,
                size=len(piece),
                text=piece.decode(),
            )
            session.add(last)
    session.flush()
    past = LogPieceRow.start + LogPieceRow.size > share.head_bytes, LogPieceRow.start < end - share.tail_bytes
    dropped = delete(LogPieceRow).where(LogPieceRow.attempt_id == log.attempt_id, LogPieceRow.rank == log.rank, *past)
    session.execute(dropped.execution_options(synchronize_session=False))


def _pieces(attempt: str, rank: int) -> Select[LogPieceRow]:
    return select(LogPieceRow).where(LogPieceRow.attempt_id == attempt, LogPieceRow.rank == rank)


def _cut(start: int, data: bytes, most_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole characters, each with where it begins."""
    at = 0
    while at < len(data):
        end = _boundary(data, at + most_bytes)
        yield start + at, data[at:end]
        at = end


def _boundary(data: bytes | bytearray, at: int) -> int:
    """The last place at or before `at` where a character begins, or the end of the data."""
    if at >= len(data):
        return len(data)
    while at > 0 and _continues(data[at]):
        at -= 1
    return at


def _continues(byte: int) -> bool:
    """Whether it is a byte of UTF-8 that begins no character."""
    return byte & 0xC0 == 0x80


def _between(pieces: Iterable[tuple[int, int]], end: int) -> Iterator[Gap]:
    at = 0
    for first, after in pieces:
        if first > at:
            yield Gap(start=at, end=first)
        at = after
    if at < end:
        yield Gap(start=at, end=end)
