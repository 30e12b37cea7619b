"""What a sync says of the runs a cluster has: all of them while one message has room, else the news first and the rest by name.

A run that is left out of a message would be taken for gone. So those without room are named by their fencing tokens, which says
that they are there, and those of them that the city has not heard of yet are described in the next message.
"""

from collections.abc import Iterable, Sequence

from agents.cluster.reconcile import RunKey
from scheduler.contract.sync import MAX_OTHERS, MAX_RUNS, ObservedRun

MAX_BYTES = 1_200_000
"""Of the descriptions in one message: with the tokens of all others it stays below what the city takes of any request."""


class TooManyRunsError(Exception):
    """The cluster has more runs than can be told at all."""


class Telling:
    """What the city has been told, of every run that is there. For one loop."""

    def __init__(self) -> None:
        self._told: dict[RunKey, ObservedRun] = {}

    def is_news(self, observed: Iterable[ObservedRun]) -> bool:
        """Whether the city does not know all of this yet."""
        return _by_key(observed) != self._told

    def known(self, observed: Iterable[ObservedRun]) -> list[ObservedRun]:
        """Those of the runs that the city has been told of as they are."""
        return [run for run in observed if self._told.get((run.attempt, run.fencing_token)) == run]

    def message(self, observed: Sequence[ObservedRun]) -> tuple[list[ObservedRun], list[int]]:
        """The runs to describe, news first, and the fencing tokens of the others. Raises TooManyRunsError."""
        described: list[ObservedRun] = []
        size = 0
        ordered = sorted(observed, key=lambda run: self._told.get((run.attempt, run.fencing_token)) == run)
        for run in ordered[:MAX_RUNS]:
            size += len(run.model_dump_json().encode())
            if size > MAX_BYTES:
                break
            described.append(run)
        others = [run.fencing_token for run in ordered[len(described) :]]
        if len(others) > MAX_OTHERS:
            raise TooManyRunsError(f"{len(observed)} runs are more than one cluster may have ({MAX_RUNS + MAX_OTHERS})")
        return described, others

    def told(self, observed: Iterable[ObservedRun], described: Iterable[ObservedRun]) -> None:
        """The city has taken a message of these runs."""
        there = _by_key(observed)
        self._told = {key: run for key, run in (self._told | _by_key(described)).items() if key in there}


def _by_key(runs: Iterable[ObservedRun]) -> dict[RunKey, ObservedRun]:
    return {(run.attempt, run.fencing_token): run for run in runs}
