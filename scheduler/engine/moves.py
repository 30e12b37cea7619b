"""Moves in a round: found for a blocked head (`consolidate`), and kept until the moved run has started again.

Between the stop of a moved run and its new start its place is nobody else's, whatever has arrived since: it was running, and is
only on its way. A place that is no longer there, because a node has gone or fallen silent or has been set aside, is kept no longer,
and the job waits like any other that was preempted. The gang's own place is kept as any that is being freed: in the order of the
queue.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from scheduler.domain.reasons import Reason
from scheduler.engine.backlog import Backlog
from scheduler.engine.consolidate import Rearrangement, could_ever, rearrange, shape_again
from scheduler.engine.fleet import Bools, Fleet, Free
from scheduler.engine.order import QueuedJob, held
from scheduler.engine.place import Place
from scheduler.engine.round import Round
from scheduler.engine.snapshot import Move, Verdict

MOVE = "waiting_for_move"


def find_moves(round_: Round, job: QueuedJob) -> Rearrangement | None:
    """The moves that make a blocked job fit, if the policy has any: for the first blocked job of each pool of cards only."""
    if round_.snapshot.restart_seconds is None:
        return None
    pool = {kind for shape in job.shapes for kind in round_.snapshot.fleet.kinds_for(shape)}
    if pool & round_.headed or not could_ever(round_.snapshot, job):
        return None
    round_.headed |= pool
    reach = partial(_reach, round_)
    search = rearrange(round_.snapshot, round_.soon.free, reach, job, round_.runs, round_.soon_quotas)
    if search.given_up:
        round_.cut_short = replace(round_.cut_short, moves=round_.cut_short.moves + 1)
    return search.best


def keep_place(round_: Round, move: Move) -> None:
    """Nobody may take the place of a moved run, now or soon; it counts against its queue as it did."""
    nodes = [part.node for part in move.place.allocations]
    round_.soon.take(move.place.allocations)
    round_.soon_quotas.use(move.job.queue, held(round_.snapshot.fleet, move.place))
    round_.now.set_to_least([round_.now.free, round_.soon.free], nodes)
    round_.changed(move.place, round_.end_of(move.job, soon=True))


def arrivals(round_: Round, backlog: Backlog) -> tuple[list[tuple[Move, int]], list[Move]]:
    """Keep what was moved before its place. Returns those that can start there now, with the alternative that is, and those that
    wait for it to be freed; all of them stand in the backlog."""
    fleet = round_.snapshot.fleet
    stopping = {run.job for run in round_.runs.releasing.values()}
    arrived, waiting = [], []
    for move in sorted(round_.snapshot.moves, key=lambda move: move.job.id):
        waits, alternative = backlog.holds(move.job), _alternative(fleet, move)
        if not (waits or move.job.id in stopping) or alternative is None or not _is_there(round_, move):
            continue
        if waits and _is_free(fleet, round_.now.free, move.place):
            arrived.append((move, alternative))
            continue
        keep_place(round_, move)
        if waits:
            round_.quotas.use(move.job.queue, held(fleet, move.place))
            waiting.append(move)
    return arrived, waiting


def count_as_waiting(round_: Round, moves: list[Move]) -> None:
    """The round is over, in which nobody could have the quota of those that wait for their place: they do not use it yet."""
    for move in moves:
        round_.quotas.use(move.job.queue, held(round_.snapshot.fleet, move.place), sign=-1)


def in_flight(round_: Round, job: QueuedJob) -> list[Move]:
    """The moves made for a job that are not over."""
    return [move for move in round_.snapshot.moves if move.by == job.id]


def waits_for_move(round_: Round, cluster: int, moves: Sequence[Move]) -> Verdict:
    """What the gang is told as long as these are under way for it."""
    where, lost = round_.snapshot.fleet.clusters[cluster], sum(move.lost_card_seconds for move in moves)
    return Verdict("wait", (Reason(MOVE, {"cluster": where, "runs": len(moves), "card_seconds": lost}),))


def _alternative(fleet: Fleet, move: Move) -> int | None:
    alone = (shape_again(fleet, QueuedJob("", "", 0, 0, (shape,)), move.place) for shape in move.job.shapes)
    return next((number for number, shape in enumerate(alone) if shape is not None), None)


def _is_there(round_: Round, move: Move) -> bool:
    nodes = [part.node for part in move.place.allocations]
    return bool(_reach(round_, move.job)[nodes].all()) and _is_free(round_.snapshot.fleet, round_.soon.free, move.place)


def _is_free(fleet: Fleet, free: Free, place: Place) -> bool:
    return all(
        fleet.live[part.node]
        and free.cpu_milli[part.node] >= part.cpu_milli
        and free.memory_bytes[part.node] >= part.memory_bytes
        and all(free.card_milli[part.node, slot] >= part.card_milli for slot in part.slots)
        for part in place.allocations
    )


def _reach(round_: Round, job: QueuedJob) -> Bools:
    """The nodes of which nothing is promised to anybody, or set aside, while the job could be there."""
    fleet = round_.snapshot.fleet
    found = np.ones(len(fleet.nodes), dtype=np.bool_)
    for left in round_.bounds(job, soon=True).lefts(fleet):
        found &= _untouched(fleet, left)
    return found


def _untouched(fleet: Fleet, left: Free) -> Bools:
    beside: Bools = (left.cpu_milli == fleet.cpu_milli) & (left.memory_bytes == fleet.memory_bytes)
    beside &= (left.card_milli == fleet.empty.card_milli).all(axis=1)
    return beside
