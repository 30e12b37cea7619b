"""One scheduling round: `cycle(snapshot) -> Decisions`, pure and deterministic.

Who is served when is decided here; what becomes of each of them in `decide`.

Two pictures of what is free are kept: `now`, and `soon`, which adds the cards of attempts already asked to stop. A job that
fits only soon is not granted, but its place is kept for it: nobody behind it may take what it waits for. A job that fits only
once others have ended may be promised a place at that time (`reserve`), which those behind it must not delay. Promises and windows
are what binds a job in time (`bounds`): it sees each picture only as far as those leave it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.domain.reasons import Reason
from scheduler.engine.backlog import Backlog
from scheduler.engine.deadline import noted
from scheduler.engine.decide import (
    OF_ITS_OWN,
    decide,
    released,
    releasing_in,
    take,
)
from scheduler.engine.moves import arrivals, count_as_waiting
from scheduler.engine.order import Usage
from scheduler.engine.place import Place
from scheduler.engine.promises import promised_start
from scheduler.engine.quota import Quotas
from scheduler.engine.reserve import Promise
from scheduler.engine.round import Round, begin
from scheduler.engine.runs import Runs
from scheduler.engine.sleepers import Everybody, Sleepers
from scheduler.engine.snapshot import ActiveRun, CutShort, Decisions, Grant, Move, Preemption, Snapshot, Verdict
from scheduler.engine.turns import Turns


@dataclass(frozen=True)
class Served:
    """What became of a backlog in a round: grants, stops, and why the rest got nothing, by line and for single jobs."""

    grants: tuple[Grant, ...]
    preemptions: tuple[Preemption, ...]
    of_line: dict[int, Verdict]
    of_job: dict[str, Verdict]
    """Jobs that wait for a release, or for what each of them was promised; their lines may hold others."""
    decided: tuple[tuple[int, str], ...]
    """Line and job of everybody who was served, in order."""
    promises: tuple[Promise, ...]
    kept: Mapping[str, Place]
    """The places that jobs of `of_job` wait for to be released."""
    started: tuple[ActiveRun, ...]
    stopping: tuple[ActiveRun, ...]
    runs: Runs
    """What runs after the round: those that started and those asked to stop among it."""
    usage: Usage
    """What every tenant holds then."""
    quotas: Quotas
    """What every queue uses then."""
    cut_short: CutShort


def cycle(snapshot: Snapshot) -> Decisions:
    """Decide one round. Every queued job gets a grant or a verdict; the snapshot is left as it was."""
    backlog = Backlog((job for job in snapshot.queue if job.hold is None), snapshot.order)
    return decisions_of(snapshot, backlog, serve(snapshot, backlog, Everybody(len(backlog.lines))))


def decisions_of(snapshot: Snapshot, backlog: Backlog, served: Served) -> Decisions:
    """What a round in which nobody slept has decided about every job of the queue."""
    verdicts = {job.id: Verdict("wait", (job.hold,)) for job in snapshot.queue if job.hold is not None}
    for number, verdict in served.of_line.items():
        verdicts.update(dict.fromkeys(backlog.rest(number), verdict))
    promised_at = {each.job: each.at for each in served.promises}
    return Decisions(served.grants, served.preemptions, {**verdicts, **served.of_job}, promised_at, served.cut_short)


def serve(snapshot: Snapshot, backlog: Backlog, sleepers: Sleepers) -> Served:
    """Serve the lines of a backlog that do not sleep, in order, taking out the jobs that are granted."""
    round_ = begin(snapshot)
    on_the_way, decided, taken_out = _go_on(round_, backlog)
    shares = backlog.shares(round_.usage, snapshot.weights)
    turns = Turns(backlog, shares, backlog.urgencies(snapshot.now))
    hopeless: dict[object, Verdict] = {}
    of_line: dict[int, Verdict] = {}
    of_job = {each.job.id: released(round_, each.place.cluster, releasing_in(round_, each.place.cluster)) for each in on_the_way}
    while (number := turns.next(sleepers.candidates(round_, shares, decided))) is not None:
        head, example = backlog.next_of(number), backlog.head_job(number)
        likeness = backlog.likeness(number), round_.reserved_for(example.tenant)
        round_.claim(head[1])
        verdict = hopeless.get(likeness) or decide(round_, example)
        decided.append((number, head[1]))
        if verdict is None:
            backlog.take(number)
            shares.refresh(example.tenant)
        elif verdict.reasons[0].code in OF_ITS_OWN or round_.promises_each(head[1]):
            backlog.take(number)
            taken_out.append((number, head))
            of_job[head[1]] = noted(verdict, example, snapshot.now, promised_start(round_, head[1]))
        else:
            hopeless[likeness] = verdict
            of_line[number] = noted(verdict, example, snapshot.now, promised_start(round_, head[1]))
        turns.served(number, again=number not in of_line)
    for number, head in taken_out:
        backlog.put_back(number, head)
    round_.quotas.keep_nothing()
    count_as_waiting(round_, on_the_way)
    for job in list(round_.claims):
        round_.claim(job)
    return Served(
        grants=tuple(round_.grants),
        preemptions=tuple(round_.preemptions),
        of_line=of_line,
        of_job=of_job,
        decided=tuple(decided),
        promises=tuple(round_.promises),
        kept=round_.kept,
        started=tuple(round_.started),
        stopping=tuple(round_.stopping),
        runs=round_.runs,
        usage=round_.usage,
        quotas=round_.quotas,
        cut_short=round_.cut_short,
    )


def _go_on(round_: Round, backlog: Backlog) -> tuple[list[Move], list[tuple[int, str]], list[tuple[int, tuple[int, str]]]]:
    """Those that were moved come before everybody: they start where their place is free, and wait for it where it is not yet.

    Returns the moves of those that wait, who was served, and who waits with their age; all of them are out of the backlog."""
    arrived, waiting = arrivals(round_, backlog) if round_.snapshot.moves else ([], [])
    for move, alternative in arrived:
        take(round_, move.job, alternative, move.job.shapes[alternative], move.place, Reason("placed_moved"))
    started = [(backlog.remove(move.job), move.job.id) for move, _ in arrived]
    kept = [(backlog.remove(move.job), (move.job.submitted_at, move.job.id)) for move in waiting]
    return waiting, [*started, *((number, head[1]) for number, head in kept)], kept
