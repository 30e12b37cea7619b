"""What is kept of logs: the beginning and the end of each rank, within a bound for all of them, and never a byte of another's."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from scheduler.contract.sync import MAX_LOG_CHUNK, LogChunk, LogPosition
from scheduler.service import logs
from scheduler.service.logs import ATTEMPT_BYTES, LEAST_BYTES, MOST_RANKS, RANK_BYTES, append, gaps, mark, read, share_of
from scheduler.store.agent_tables import LogPieceRow
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import AttemptRow
from tests.builders import add_attempt, add_job

MIB = 2**20


def attempt_of(city: Database, ranks: int = 1) -> AttemptRow:
    with city.write(CITY) as session:
        row = add_attempt(session, add_job(session))
        row.placements = [{**row.placements[0], "node": f"n{rank}"} for rank in range(ranks)]
        return row


def piece(attempt: AttemptRow, offset: int, text: str, rank: int = 0, last: bool = False) -> LogChunk:
    return LogChunk(attempt=attempt.id, fencing_token=attempt.fencing_token, rank=rank, offset=offset, text=text, last=last)


def send(city: Database, *chunks: LogChunk) -> list[LogPosition]:
    with city.write(Scope(cluster="sz")) as session:
        return append(session, chunks)


def kept_bytes(city: Database) -> int:
    with city.read(CITY) as session:
        return int(session.scalar(select(func.coalesce(func.sum(LogPieceRow.size), 0))) or 0)


@pytest.mark.parametrize("ranks", [1, 2, 16, 17, 100, 1000, MOST_RANKS, 10_000])
def test_all_ranks_together_have_no_more_than_the_bound(ranks: int) -> None:
    shares = [share for rank in range(ranks) if (share := share_of(rank, ranks)) is not None]
    sizes = [share.head_bytes + share.tail_bytes for share in shares]
    assert sum(sizes) <= ATTEMPT_BYTES
    assert sizes[0] == RANK_BYTES
    assert min(sizes) >= LEAST_BYTES
    assert len(shares) == min(ranks, MOST_RANKS)
    assert share_of(ranks, ranks) is None


def test_of_a_log_of_10_gb_the_first_and_the_last_lines_are_kept(city: Database) -> None:
    attempt = attempt_of(city)
    line = "x" * (MAX_LOG_CHUNK - 1) + "\n"
    for number in range(12):
        send(city, piece(attempt, number * MAX_LOG_CHUNK, line))
    far = 10 * 10**9 // MAX_LOG_CHUNK * MAX_LOG_CHUNK
    for number in range(24):
        [position] = send(city, piece(attempt, far + number * MAX_LOG_CHUNK, line))
    end = far + 24 * MAX_LOG_CHUNK
    assert (position.next_offset, position.head_bytes, position.tail_bytes) == (end, MIB // 4, 3 * MIB // 4)
    assert kept_bytes(city) == MIB
    with city.read(CITY) as session:
        [gap] = gaps(session, (attempt.id, 0), end)
        assert (gap.start, gap.end) == (MIB // 4, end - 3 * MIB // 4)
        assert read(session, (attempt.id, 0), 0, 10 * MIB).data == line.encode() * 4
        assert read(session, (attempt.id, 0), gap.start, 10 * MIB).start == gap.end


def test_a_line_a_second_does_not_make_a_row_a_second(city: Database) -> None:
    attempt = attempt_of(city)
    for number in range(1000):
        send(city, piece(attempt, number * 10, "012345678\n"))
    with city.read(CITY) as session:
        assert session.scalar(select(func.count()).select_from(LogPieceRow)) == 1
        assert read(session, (attempt.id, 0), 0, MIB).data == b"012345678\n" * 1000


TEXTS = st.text(alphabet=st.sampled_from("ab\n算🙂"), max_size=200)
STEPS = st.lists(st.tuples(TEXTS, st.sampled_from((0, 0, 0, 0, 7, 400)), st.sampled_from(("once", "twice", "stale"))), max_size=25)


@given(STEPS, st.integers(0, 3000), st.integers(4, 500))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_kept_is_what_was_printed_where_it_was_printed(
    city: Database, steps: list[tuple[str, int, str]], offset: int, most_bytes: int
) -> None:
    """Against a model that keeps everything, with bounds so small that most is dropped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "RANK_BYTES", 1024)
        printed: dict[int, int] = {}
        attempt, end = attempt_of(city), 0
        for text, lost, how in steps:
            end += lost
            for at, byte in enumerate(text.encode(), end):
                printed[at] = byte
            send(city, piece(attempt, end, text))
            end += len(text.encode())
            if how == "twice":
                send(city, piece(attempt, end - len(text.encode()), text))
            if how == "stale" and end > 0:
                send(city, piece(attempt, end - 1, "never"))
        key = (attempt.id, 0)
        with city.read(CITY) as session:
            found: dict[int, int] = {}
            at = 0
            while (stretch := read(session, key, at, most_bytes)).data:
                assert stretch.start >= at
                assert len(stretch.data) <= most_bytes
                stretch.data.decode()
                found |= dict(enumerate(stretch.data, stretch.start))
                at = stretch.end
            assert found.items() <= printed.items()
            assert len(found) <= 1024
            missing = gaps(session, key, end)
            assert all(one.end < other.start for one, other in pairwise(missing))
            assert {at for gap in missing for at in range(gap.start, gap.end)} == set(range(end)) - found.keys()
            assert {at for at in printed if at < 256 - 4} <= found.keys(), "the beginning"
            assert {at for at in printed if at >= end - 768 * 3 // 4} <= found.keys(), "the end"
            part = read(session, key, offset, most_bytes)
            assert all(found.get(at) == byte for at, byte in enumerate(part.data, part.start))
            assert mark(session, key) == (attempt.state, end, False)


def test_the_ranks_of_a_gang_are_kept_apart_and_within_their_shares(city: Database) -> None:
    attempt = attempt_of(city, ranks=1000)
    text = "y" * 40_000
    positions = send(city, *(piece(attempt, 0, text, rank) for rank in range(20)))
    assert {position.next_offset for position in positions} == {40_000}
    others = share_of(1, 1000)
    assert others is not None
    kept = others.head_bytes + others.tail_bytes
    assert 40_000 + 19 * kept * 7 // 8 <= kept_bytes(city) <= 40_000 + 19 * kept


def test_of_ranks_beyond_the_bound_nothing_is_wanted(city: Database) -> None:
    attempt = attempt_of(city, ranks=MOST_RANKS + 5)
    wanted, unwanted = send(city, piece(attempt, 0, "a", MOST_RANKS - 1), piece(attempt, 0, "a", MOST_RANKS))
    assert (wanted.wanted, unwanted.wanted) == (True, False)
