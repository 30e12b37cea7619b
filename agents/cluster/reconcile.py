"""What to do so that the cluster runs what the city desires: the rules of `scheduler.contract.sync` as one pure function."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun

RunKey = tuple[str, int]
"""An attempt and its fencing token: what names a run."""


@dataclass(frozen=True, slots=True)
class Actions:
    """What to do next. Repeating an action that was already taken changes nothing."""

    launch: tuple[DesiredRun, ...] = ()
    stop: tuple[RunKey, ...] = ()
    forget: tuple[RunKey, ...] = ()


def plan(desired: Iterable[DesiredRun], observed: Iterable[ObservedRun]) -> Actions:
    """Stop what is not desired under its very token, forget it once it has ended, launch what is missing.

    An attempt is not launched while a run of it with another token is still alive, or one that it replaces: the two would hold
    the same cards and write the same checkpoint. If an attempt is desired twice, the greatest token counts, since tokens only grow.
    """
    wanted: dict[str, DesiredRun] = {}
    for run in sorted(desired, key=lambda run: run.fencing_token):
        wanted[run.attempt] = run
    there = {(run.attempt, run.fencing_token): run for run in observed}
    undesired = {key: run for key, run in there.items() if key[0] not in wanted or wanted[key[0]].fencing_token != key[1]}
    stop = tuple(key for key, run in undesired.items() if run.state not in RUN_FINAL)
    occupied = {attempt for attempt, _ in stop}
    return Actions(
        launch=tuple(
            run
            for run in wanted.values()
            if (run.attempt, run.fencing_token) not in there and occupied.isdisjoint((run.attempt, *run.replaces))
        ),
        stop=stop,
        forget=tuple(key for key, run in undesired.items() if run.state in RUN_FINAL),
    )
