"""`suanwang logs` against logs in memory: what is written, what is waited for, and when it ends."""

import json
from dataclasses import dataclass, field

import pytest
import typer
from typer.testing import CliRunner

from api.cli import logs as command
from api.client import ApiProblemError, ApiUnreachableError
from api.problems import ProblemError
from scheduler.contract.sync import Gap, LogView
from scheduler.domain.states import AttemptState, JobState

app = typer.Typer()
app.command()(command.logs)


@dataclass
class Log:
    """What is kept of one rank: pieces by offset. `last`: nothing comes any more."""

    pieces: dict[int, str] = field(default_factory=dict)
    last: bool = True

    @property
    def end(self) -> int:
        return max((start + len(text.encode()) for start, text in self.pieces.items()), default=0)


@dataclass
class MemoryCity:
    """A city that has the logs of one attempt. `script`: what happens at each later request, in order."""

    ranks: list[Log]
    state: AttemptState = AttemptState.SUCCEEDED
    script: list[object] = field(default_factory=list)
    asked: list[tuple[int, int, int]] = field(default_factory=list)

    def __enter__(self) -> "MemoryCity":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def job(self, _: str) -> object:
        return type("Job", (), {"state": JobState.QUEUED})

    def log(
        self, job_id: str, attempt: int | None, task: int | None, *, rank: int, offset: int, limit: int, wait_seconds: int
    ) -> LogView:
        self.asked.append((rank, offset, wait_seconds))
        if self.script and (wait_seconds or attempt is None):
            step = self.script.pop(0)
            if isinstance(step, Exception):
                raise step
            if callable(step):
                step()
        log = self.ranks[rank]
        start, text = next(
            (
                (max(offset, at), piece.encode()[max(0, offset - at) :])
                for at, piece in sorted(log.pieces.items())
                if at + len(piece) > offset
            ),
            (log.end, b""),
        )
        return LogView(
            attempt="att-1",
            number=1,
            state=self.state,
            rank=rank,
            ranks=len(self.ranks),
            start=start,
            text=text.decode(),
            next_offset=start + len(text),
            end=log.end,
            gaps=[Gap(start=1, end=2)],
            complete=log.last,
        )


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.cli.logs.time.sleep", lambda _: None)


def run(monkeypatch: pytest.MonkeyPatch, city: MemoryCity, *arguments: str) -> str:
    monkeypatch.setattr("api.cli.jobs.connect", lambda *_: city)
    result = CliRunner().invoke(app, ["job-1", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_all_of_it_is_printed_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    city = MemoryCity([Log({0: "first\nsecond", 1_000_012: "later\n"})])
    assert run(monkeypatch, city) == "first\nsecond\n… 1,000,000 bytes are not kept …\nlater\n"
    assert run(monkeypatch, city, "--lang", "zh").splitlines()[2] == "…… 有 1,000,000 字节未保留 ……"


@pytest.mark.parametrize(("tail", "expected"), [(0, ""), (1, "d\n"), (3, "… 96 bytes are not kept …\nc\nd\n"), (99, None)])
def test_only_the_last_lines(monkeypatch: pytest.MonkeyPatch, tail: int, expected: str | None) -> None:
    city = MemoryCity([Log({0: "a\nb\n", 100: "c\nd\n"})])
    assert run(monkeypatch, city, "--tail", str(tail)) == (run(monkeypatch, city) if expected is None else expected)


def test_ranks_are_told_apart_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    city = MemoryCity([Log({0: "a0\n"}), Log({0: "a1\nb1"}), Log({10: "a2\n"})])
    assert run(monkeypatch, city, "--all-ranks") == (
        "[rank 0] a0\n[rank 1] a1\n[rank 2] … 10 bytes are not kept …\n[rank 2] a2\n[rank 1] b1\n"
    )
    assert run(monkeypatch, city, "--rank", "1") == "a1\nb1"


def test_following_ends_with_the_run_and_prints_what_came_once(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log({0: "one\n"}, last=False)
    city = MemoryCity([log], AttemptState.RUNNING)

    def more() -> None:
        log.pieces[4] = "two\n"

    def end() -> None:
        city.state, log.last = AttemptState.SUCCEEDED, True

    city.script = [None, more, None, end]
    assert run(monkeypatch, city, "--follow") == "one\ntwo\n"
    assert {wait for _, _, wait in city.asked} == {0, command.FOLLOW_SECONDS}


def test_following_an_attempt_that_was_lost_ends_though_nobody_says_that_its_log_is_complete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    city = MemoryCity([Log({0: "one\n"}, last=False)], AttemptState.LOST)
    assert run(monkeypatch, city, "--follow") == "one\n"


def test_following_survives_a_city_that_is_away_and_a_job_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = ApiProblemError(ProblemError("not_found", noun="attempt of job", id="job-1").problem)
    busy = ApiProblemError(ProblemError("store_unavailable").problem)
    city = MemoryCity([Log({0: "one\n"})], script=[waits, waits, ApiUnreachableError("gone"), busy])
    assert run(monkeypatch, city, "--follow") == "one\n"
    result = CliRunner().invoke(app, ["job-1"])
    assert result.exit_code == 0
    city.script = [waits]
    assert CliRunner().invoke(app, ["job-1"]).exit_code != 0, "without --follow nothing is waited for"


def test_all_ranks_are_followed_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Log({}, last=False), Log({}, last=False)
    city = MemoryCity([first, second], AttemptState.RUNNING)

    def more() -> None:
        first.pieces[0] = "a0\n"
        second.pieces[0] = "a1 not yet at its"

    def end() -> None:
        second.pieces[17] = " end\n"
        first.last = second.last = True

    city.script = [None, more, end]
    printed = run(monkeypatch, city, "--follow", "--all-ranks")
    assert sorted(printed.splitlines()) == ["[rank 0] a0", "[rank 1] a1 not yet at its end"]


def test_as_json_every_line_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    city = MemoryCity([Log({0: "first\n", 100: "later\n"})])
    views = [json.loads(line) for line in run(monkeypatch, city, "-o", "json").splitlines()]
    assert [(view["start"], view["text"]) for view in views] == [(0, "first\n"), (100, "later\n")]
    assert LogView.model_validate(views[0]).gaps
