"""`suanwang logs`: what the ranks of a job printed, and what they print next, until the run ends."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import typer

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, JobId, Output, city_of
from api.client import ApiProblemError, ApiUnreachableError, Client
from scheduler.contract.sync import MAX_LOG_READ_BYTES, LogView
from scheduler.domain.reasons import Language
from scheduler.domain.states import ATTEMPT_FINAL, JOB_FINAL

FOLLOW_SECONDS = 20
"""How long one request waits for the next line."""

LAST_LINES_SECONDS = 3
"""How long the last lines of a run that has ended are waited for, where its agent has not said that it was all."""

MANY_RANKS_SECONDS = 1
"""The same where other ranks are to be looked at meanwhile."""

RECONNECT_SECONDS = 2.0
GIVE_UP_SECONDS = 300.0
"""For how long a city that does not answer is asked again."""

_WORDS = {
    "gap": {"en": "… {bytes} bytes are not kept …", "zh": "…… 有 {bytes} 字节未保留 ……"},
    "no_rank": {"en": "… nothing of rank {rank} is kept: there are too many …", "zh": "…… rank 过多,rank {rank} 的日志未保留 ……"},
    "away": {"en": "… the city does not answer, trying again …", "zh": "…… 服务无应答,正在重试 ……"},
    "no_attempt": {"en": "… the job has not been started yet, waiting …", "zh": "…… 作业尚未启动,等待中 ……"},
}

Ask = Callable[[int, int, int], LogView]
"""A stretch of the log of a rank, from an offset, waiting for so many seconds where there is nothing yet."""


def logs(
    job_id: JobId,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt; by default the latest.")] = None,
    task: Annotated[int | None, typer.Option(min=0, help="Which task of an array, by its index.")] = None,
    rank: Annotated[int, typer.Option(min=0, help="Which node of the gang, in the order placed.")] = 0,
    all_ranks: Annotated[bool, typer.Option("--all-ranks", help="Every rank, each line with its rank before it.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    tail: Annotated[int | None, typer.Option(min=0, help="Only so many of the last lines of each rank.")] = None,
    output: Output = "table",
) -> None:
    """Print a job's log. With `-o json` one line for each stretch, exactly as the API answers it."""
    with city_of(data, url, token_file, as_, language) as city:
        patient = _Patient(city, job_id, attempt, task, language if output == "table" else None, follow)
        first = patient.ask(rank, 0, 0)
        ranks = range(first.ranks) if all_ranks else [rank]
        # the attempt is the one begun with, also where a later one is granted meanwhile
        patient.attempt = first.number
        readers = [Reader(patient.ask, each) for each in ranks]
        printed: Printed = Answers() if output == "json" else TextByRank(language) if all_ranks else Text(language)
        for reader in readers:
            _all_there_is(reader, printed, tail)
        if follow:
            _follow(readers, printed)
        _write(printed.close())


@dataclass(slots=True)
class Reader:
    """One rank's log and how far it has been read."""

    ask: Ask
    rank: int
    offset: int = 0
    ended: bool = False

    def step(self, wait_seconds: int) -> tuple[LogView, int]:
        """The next stretch, and how many bytes before it are not kept."""
        view = self.ask(self.rank, self.offset, wait_seconds)
        lost = view.start - self.offset
        self.offset = view.next_offset
        caught_up = self.offset >= view.end
        last_lines_waited_for = wait_seconds > 0 and view.state in ATTEMPT_FINAL and not view.text
        self.ended = caught_up and (view.complete or not view.kept or last_lines_waited_for)
        return view, lost


class Printed(Protocol):
    """What is written of stretches, in pieces."""

    def show(self, view: LogView, lost: int) -> Iterator[str]: ...

    def close(self) -> Iterator[str]:
        """What is still held back, at the end."""


def _all_there_is(reader: Reader, printed: Printed, tail: int | None) -> None:
    """Write what is there now; of it only the last lines where so many are named."""
    pieces: list[str] = []
    while True:
        view, lost = reader.step(0)
        pieces += printed.show(view, lost)
        if tail is None:
            pieces = _write(pieces)
        if reader.offset >= view.end:
            break
    if tail:
        _write("".join(pieces).splitlines(keepends=True)[-tail:])


def _follow(readers: Sequence[Reader], printed: Printed) -> None:
    """Write what comes, until every rank has ended. Of many ranks one waits while the others are looked at in between."""
    while waiting := [reader for reader in readers if not reader.ended]:
        came = [piece for reader in waiting[1:] for piece in printed.show(*reader.step(0))]
        _write(came)
        seconds = FOLLOW_SECONDS if len(waiting) == 1 else 0 if came else MANY_RANKS_SECONDS
        view, lost = waiting[0].step(seconds)
        _write(printed.show(view, lost))
        if view.state in ATTEMPT_FINAL and not view.text:
            for reader in waiting:
                if not reader.ended:
                    _write(printed.show(*reader.step(LAST_LINES_SECONDS)))


def _write(pieces: Iterable[str]) -> list[str]:
    """Write them all; none is left."""
    for piece in pieces:
        typer.echo(piece, nl=False)
    return []


class Answers:
    """Each stretch as the API answers it, on a line of its own."""

    def show(self, view: LogView, lost: int) -> Iterator[str]:
        if view.text or lost:
            yield view.model_dump_json(by_alias=True) + "\n"

    def close(self) -> Iterator[str]:
        return iter(())


class Text:
    """What one rank printed, as it was printed; what is missing as a dim line of its own."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._in_line = False

    def show(self, view: LogView, lost: int) -> Iterator[str]:
        for note in _notes(view, lost, self._language):
            yield "\n" + note if self._in_line else note
            self._in_line = False
        if view.text:
            yield view.text
            self._in_line = not view.text.endswith("\n")

    def close(self) -> Iterator[str]:
        return iter(())


class TextByRank:
    """Whole lines of several ranks, each with its rank before it: a line that is not at its end yet waits for it."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._begun: dict[int, str] = {}

    def show(self, view: LogView, lost: int) -> Iterator[str]:
        before, begun = _rank(view.rank), self._begun.pop(view.rank, "")
        for note in _notes(view, lost, self._language):
            if begun:
                yield f"{before}{begun}\n"
                begun = ""
            yield before + note
        lines = (begun + view.text).splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            self._begun[view.rank] = lines.pop()
        yield from (before + line for line in lines)

    def close(self) -> Iterator[str]:
        yield from (f"{_rank(rank)}{line}\n" for rank, line in self._begun.items())


def _rank(rank: int) -> str:
    return f"[rank {rank}] "


def _notes(view: LogView, lost: int, language: Language) -> Iterator[str]:
    if not view.kept:
        yield _dim("no_rank", language, rank=view.rank) + "\n"
    if lost:
        yield _dim("gap", language, bytes=f"{lost:,}") + "\n"


def _dim(word: str, language: Language, **numbers: str | int) -> str:
    return typer.style(_WORDS[word][language].format(**numbers), dim=True)


@dataclass(slots=True)
class _Patient:
    """Asks a city, and where one follows, asks again while it is away or the job has not been started."""

    city: Client
    job_id: str
    attempt: int | None
    task: int | None
    language: Language | None
    """In which to say what one waits for; None to say nothing."""
    follow: bool

    def ask(self, rank: int, offset: int, wait_seconds: int) -> LogView:
        waited, said = 0.0, ""
        while True:
            try:
                return self.city.log(
                    self.job_id,
                    self.attempt,
                    self.task,
                    rank=rank,
                    offset=offset,
                    limit=MAX_LOG_READ_BYTES,
                    wait_seconds=wait_seconds,
                )
            except ApiUnreachableError:
                if not self.follow or waited >= GIVE_UP_SECONDS:
                    raise
                waited, why = waited + RECONNECT_SECONDS, "away"
            except ApiProblemError as error:
                if not self.follow or not self._may_change(error):
                    raise
                why = "away" if error.problem.status == 503 else "no_attempt"
            if self.language is not None and why != said:
                typer.echo(_dim(why, self.language), err=True)
            said = why
            time.sleep(RECONNECT_SECONDS)

    def _may_change(self, error: ApiProblemError) -> bool:
        """Whether asking again may be answered: by a store that is back, or a job that has been started."""
        if error.problem.status == 503:
            return True
        return self.attempt is None and error.problem.code == "not_found" and self.city.job(self.job_id).state not in JOB_FINAL
