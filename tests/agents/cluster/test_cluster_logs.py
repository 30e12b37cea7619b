"""Logs on their way to the city: bytes as they were, bounded rounds, everybody's turn, and what is skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.launcher import LogPiece
from agents.cluster.logs import BYTES_PER_REQUEST, BYTES_PER_ROUND, READS_PER_ROUND, LogUpload, decode_piece
from agents.terms import CityUnavailableError
from scheduler.contract.sync import MAX_LOG_CHUNK, LogChunk, LogChunks, ObservedRun, RunState
from tests.agents.cluster.doubles import MemoryCity, MemoryLauncher, desired

KEY = ("att-1", 1)


def run(number: int = 1, state: RunState = RunState.RUNNING, ranks: int = 1) -> ObservedRun:
    return ObservedRun(attempt=f"att-{number}", fencing_token=number, state=state, ranks=ranks)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_pieces_have_the_bytes_that_were_read(data: bytes, size: int) -> None:
    offset, text = 0, ""
    while offset < len(data):
        last = offset + size >= len(data)
        piece = decode_piece(data[offset : offset + size], last)
        if not piece:  # a character longer than a piece: no real piece is that small
            size += 4
            continue
        text += piece
        offset += len(piece.encode())
    assert offset == len(data)
    try:
        assert text == data.decode().replace("\0", " ")
    except UnicodeDecodeError:
        assert "?" in text


def test_long_multibyte_logs_arrive_whole_in_bounded_rounds() -> None:
    text = "x" + "算力网络🙂" * 200_000
    city, cluster = MemoryCity(), MemoryLauncher(logs={KEY: text.encode()})
    cluster.launch(desired())
    cluster.end(KEY, RunState.SUCCEEDED)
    upload = LogUpload(city, "c1", cluster)
    rounds = 0
    while not upload.is_complete(KEY):
        before = len(city.texts.get(KEY, b""))
        upload.push(cluster.observe())
        assert len(city.texts[KEY]) - before <= BYTES_PER_ROUND + BYTES_PER_REQUEST
        rounds += 1
    assert rounds > 2
    assert city.texts[KEY].decode() == text


def test_a_log_nobody_wants_is_complete() -> None:
    cluster = MemoryLauncher(logs={KEY: b"x" * 1000})
    upload = LogUpload(MemoryCity(wants_logs=False), "c1", cluster)
    assert not upload.is_complete(KEY)
    upload.push([run()])
    assert upload.is_complete(KEY)
    assert cluster.reads == 1
    upload.push([run()])
    assert cluster.reads == 1


def test_many_talkative_runs_all_get_their_turn() -> None:
    cluster = MemoryLauncher(logs={(f"att-{number}", number): b"x" * (6 * MAX_LOG_CHUNK) for number in range(100)})
    city = MemoryCity()
    upload = LogUpload(city, "c1", cluster)
    for _ in range(7):
        upload.push([run(number) for number in range(100)])
    assert len(city.texts) == 100


def test_all_ranks_of_a_gang_arrive_and_the_last_one_makes_it_complete() -> None:
    others = {(KEY, rank): f"rank {rank}\n".encode() for rank in range(1, 300)}
    city, cluster = MemoryCity(), MemoryLauncher(logs={KEY: b"rank 0\n"}, by_rank=others)
    upload = LogUpload(city, "c1", cluster)
    rounds = 0
    while not upload.is_complete(KEY):
        before = cluster.reads
        upload.push([run(state=RunState.SUCCEEDED, ranks=300)])
        assert cluster.reads - before <= READS_PER_ROUND
        rounds += 1
    assert rounds <= 1 + 2 * 300 // (READS_PER_ROUND // 2)
    assert city.logs == {(KEY, 0): b"rank 0\n"} | others
    assert city.complete == city.logs.keys()
    assert len(city.batches) <= 2 * rounds


def test_the_first_rank_of_every_run_is_read_beside_the_ranks_of_a_large_gang() -> None:
    by_rank = {(("att-0", 0), rank): b"x" * 100 for rank in range(1, 1000)}
    firsts = {(f"att-{number}", number): b"first\n" for number in range(20)}
    city, cluster = MemoryCity(), MemoryLauncher(logs=firsts, by_rank=by_rank)
    upload = LogUpload(city, "c1", cluster)
    upload.push([run(0, ranks=1000), *(run(number) for number in range(1, 20))])
    assert city.texts == firsts


def test_what_the_launcher_has_lost_is_left_out() -> None:
    city, cluster = MemoryCity(), MemoryLauncher(logs={KEY: b"0123456789"})
    upload = LogUpload(city, "c1", cluster)
    upload.push([run()])
    cluster.logs[KEY] += b"lost:kept\n"
    cluster.kept_from = 15
    upload.push([run()])
    assert city.texts[KEY] == b"0123456789.....kept\n"


class TenGigabytes(MemoryLauncher):
    """A program that has printed 10 GB, of which nothing is held in memory."""

    size = 10 * 10**9

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        self.reads += 1
        return LogPiece(offset, b"y" * max(0, min(max_bytes, self.size - offset)), self.size)


class Sink(MemoryCity):
    """Counts, and keeps what the city would."""

    taken: int = 0

    def _append(self, chunk: LogChunk):  # type: ignore[no-untyped-def]
        self.taken += len(chunk.text)
        log = (chunk.attempt, chunk.fencing_token), chunk.rank
        self.ends = getattr(self, "ends", {})
        self.ends[log] = max(self.ends.get(log, 0), chunk.offset + len(chunk.text))
        self.logs[log] = b""
        position = super()._append(chunk.model_copy(update={"offset": 0, "text": ""}))
        return position.model_copy(update={"next_offset": self.ends[log], "wanted": not chunk.last})


def test_of_a_log_of_10_gb_one_megabyte_is_sent_in_bounded_rounds() -> None:
    city, cluster = Sink(head_bytes=262_144, tail_bytes=786_432), TenGigabytes()
    upload = LogUpload(city, "c1", cluster)
    rounds = 0
    while not upload.is_complete(KEY):
        before = cluster.reads, city.taken
        upload.push([run(state=RunState.SUCCEEDED)])
        assert cluster.reads - before[0] <= READS_PER_ROUND
        assert city.taken - before[1] <= BYTES_PER_ROUND + BYTES_PER_REQUEST
        rounds += 1
    assert city.taken == 2**20
    assert rounds <= 3


def test_a_program_that_prints_faster_than_can_be_sent_is_followed_at_its_end() -> None:
    city, cluster = Sink(head_bytes=262_144, tail_bytes=786_432), TenGigabytes()
    upload = LogUpload(city, "c1", cluster)
    for _ in range(5):
        upload.push([run()])
        cluster.size += 10**9
    upload.push([run()])
    assert city.ends[KEY, 0] > cluster.size - 786_432
    assert city.taken < 6 * (BYTES_PER_ROUND + BYTES_PER_REQUEST)


def test_every_request_is_one_the_city_takes_whatever_is_printed() -> None:
    city, cluster = MemoryCity(), MemoryLauncher(logs={(f"att-{n}", n): b"\x1b" * 10**6 for n in range(70)})
    upload = LogUpload(city, "c1", cluster)
    for _ in range(3):
        upload.push([run(n) for n in range(70)])
    assert max(len(batch.model_dump_json().encode()) for batch in city.batches) < 2_097_152
    assert all(LogChunks.model_validate_json(batch.model_dump_json()) == batch for batch in city.batches)


def test_a_lost_answer_sends_nothing_twice_into_the_log() -> None:
    city, cluster = MemoryCity(lose_answers=True), MemoryLauncher(logs={KEY: b"a" * 1000})
    upload = LogUpload(city, "c1", cluster)
    with pytest.raises(CityUnavailableError):
        upload.push([run()])
    city.lose_answers = False
    cluster.logs[KEY] += b"b" * 1000
    for _ in range(3):
        upload.push([run(state=RunState.SUCCEEDED)])
    assert upload.is_complete(KEY)
    assert city.texts[KEY] == b"a" * 1000 + b"b" * 1000
