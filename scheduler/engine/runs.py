"""The runs of the network, found by what a round asks of them: who is in a cluster, who ends when, whom somebody may stop.

Kept from round to round. A round works on a fork, which shares everything that neither side changes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from scheduler.engine.fleet import Free, Ints
from scheduler.engine.snapshot import FOREVER, ActiveRun


@dataclass(frozen=True, slots=True)
class Ends:
    """The runs of one cluster of which it is known when they end at the latest, soonest first, and what each gives back.

    `at`: by run, microseconds. `first_part`, `first_card`: by run, where its parts and cards begin in the arrays below, and one
    more for the end of the last.
    """

    at: Ints
    first_part: Ints
    node: Ints
    cpu_milli: Ints
    memory_bytes: Ints
    first_card: Ints
    card: Ints
    """Node and slot as one number, as `card_milli` is laid out."""
    card_milli: Ints

    @classmethod
    def of(cls, runs: Iterable[ActiveRun], slots: int) -> "Ends":
        """`slots`: how many card slots a node has in the fleet's arrays."""
        ending = sorted((run for run in runs if run.ends_at < FOREVER), key=lambda run: (run.ends_at, run.attempt))
        parts = [part for run in ending for part in run.place.allocations]
        return cls(
            at=_ints(run.ends_at for run in ending),
            first_part=_ints(accumulate((run.place.nodes for run in ending), initial=0)),
            node=_ints(part.node for part in parts),
            cpu_milli=_ints(part.cpu_milli for part in parts),
            memory_bytes=_ints(part.memory_bytes for part in parts),
            first_card=_ints(accumulate((run.place.cards() for run in ending), initial=0)),
            card=_ints(part.node * slots + slot for part in parts for slot in part.slots),
            card_milli=_ints(part.card_milli for part in parts for _ in part.slots),
        )

    def give(self, free: Free, first: int, last: int) -> None:
        """Give back what the runs number `first` up to `last` (without it) hold; where `last` is before `first`, take it again."""
        sign, (low, high) = (1, (first, last)) if first <= last else (-1, (last, first))
        parts = slice(int(self.first_part[low]), int(self.first_part[high]))
        cards = slice(int(self.first_card[low]), int(self.first_card[high]))
        np.add.at(free.cpu_milli, self.node[parts], sign * self.cpu_milli[parts])
        np.add.at(free.memory_bytes, self.node[parts], sign * self.memory_bytes[parts])
        np.add.at(free.card_milli.reshape(-1), self.card[cards], sign * self.card_milli[cards])


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


class Runs(Collection[ActiveRun]):
    """Every run that holds cards. `releasing`: those that have been asked to stop, by attempt; only the others are found below."""

    __slots__ = ("_by_cluster", "_ending", "_ends", "_own", "_preemptible", "fresh", "protected_until", "releasing")

    def __init__(self) -> None:
        self.releasing: dict[str, ActiveRun] = {}
        self.fresh: set[str] = set()
        """Attempts granted since the fork was made: in the round that starts them nobody can be asked to stop them."""
        self._by_cluster: dict[int, dict[str, ActiveRun]] = {}
        self._own: set[int] = set()
        """Clusters whose dictionary no fork shares."""
        self._preemptible: Counter[int] = Counter()
        """How many preemptible runs there are of each priority."""
        self._ending = 0
        self.protected_until = 0
        """After this no run is protected; it may be later than the last that is."""
        self._ends: dict[int, Ends] = {}

    @classmethod
    def of(cls, runs: Iterable[ActiveRun]) -> "Runs":
        """Any runs; a fork where they are `Runs` already."""
        if isinstance(runs, Runs):
            return runs._fork()
        found = cls()
        for run in runs:
            found.add(run)
        return found

    def add(self, run: ActiveRun) -> None:
        if run.releasing:
            self.releasing[run.attempt] = run
            return
        self._own_cluster(run.place.cluster)[run.attempt] = run
        self._preemptible[run.priority] += run.preemptible
        self._ending += run.ends_at < FOREVER
        self.protected_until = max(self.protected_until, run.protected_until)

    def remove(self, run: ActiveRun) -> None:
        """Raises KeyError if it is not there as it is given."""
        if run.releasing:
            del self.releasing[run.attempt]
            return
        del self._own_cluster(run.place.cluster)[run.attempt]
        self._preemptible[run.priority] -= run.preemptible
        self._ending -= run.ends_at < FOREVER

    def in_cluster(self, cluster: int) -> Collection[ActiveRun]:
        return self._by_cluster.get(cluster, {}).values()

    def some_end(self) -> bool:
        """Whether it is known of any run when it ends at the latest."""
        return self._ending > 0

    def ends(self, cluster: int, slots: int) -> Ends:
        """When the runs of a cluster end, and what they give back."""
        if cluster not in self._ends:
            self._ends[cluster] = Ends.of(self.in_cluster(cluster), slots)
        return self._ends[cluster]

    def lowest_preemptible(self) -> int | None:
        """The lowest priority of a preemptible run; None without one."""
        return min((priority for priority, count in self._preemptible.items() if count), default=None)

    def occupants(self) -> Iterator[ActiveRun]:
        """Every run that has not been asked to stop."""
        for runs in self._by_cluster.values():
            yield from runs.values()

    def holds(self, run: ActiveRun) -> bool:
        """Whether a run is there and has not been asked to stop."""
        return run.attempt in self._by_cluster.get(run.place.cluster, {})

    def __iter__(self) -> Iterator[ActiveRun]:
        yield from self.releasing.values()
        yield from self.occupants()

    def __len__(self) -> int:
        return len(self.releasing) + sum(map(len, self._by_cluster.values()))

    def __contains__(self, run: object) -> bool:
        return isinstance(run, ActiveRun) and (self.holds(run) or run.attempt in self.releasing)

    def _fork(self) -> "Runs":
        fork = Runs()
        fork.releasing = dict(self.releasing)
        fork._by_cluster = dict(self._by_cluster)
        fork._preemptible = self._preemptible.copy()
        fork._ending = self._ending
        fork.protected_until = self.protected_until
        fork._ends = dict(self._ends)
        self._own.clear()
        return fork

    def _own_cluster(self, cluster: int) -> dict[str, ActiveRun]:
        self._ends.pop(cluster, None)
        if cluster not in self._own:
            self._by_cluster[cluster] = dict(self._by_cluster.get(cluster, {}))
            self._own.add(cluster)
        return self._by_cluster[cluster]
