"""A network and its queue kept from round to round, so that a round costs what has changed and not what there is.

A line that got nothing sleeps. What wakes it is capacity that could help: for every cluster in which something was given back, a
small table says how many nodes have at least so many free cards of each kind, and how much CPU and memory the roomiest of them
has; all sleeping lines are compared with it at once. The comparison may wake too many, never too few: between two rounds the
decisions are those that serving every line again would have taken.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scheduler.engine.backlog import NOBODY, Backlog
from scheduler.engine.cycle import OVER_QUOTA, Served, serve
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Free, Ints
from scheduler.engine.order import QueuedJob, Usage, held
from scheduler.engine.packing import Packing
from scheduler.engine.place import Place
from scheduler.engine.quota import Quotas
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.snapshot import Prices, Snapshot, Verdict


@dataclass(slots=True)
class _Needs:
    """What sleeping lines ask, one row for each line × shape × kind of card it accepts."""

    line: Ints
    kind: Ints
    per_node: Ints
    min_nodes: Ints
    cpu_milli: Ints
    memory_bytes: Ints


class State:
    """One city in memory. Everything that happens to it goes through a method; `round` then decides.

    Runs are not preempted here and end when they are released: nobody waits for a release, and nothing is promised.
    """

    def __init__(self, fleet: Fleet, prices: Prices | None = None, quotas: Quotas | None = None) -> None:
        self.fleet = fleet
        self.free = fleet.all_free()
        self.usage = Usage.none(fleet)
        self.backlog = Backlog()
        self.prices = prices
        self.quotas = quotas or Quotas.of(())
        self.packing: Packing | None = None
        """The demand that nodes are chosen by; may be set anew at any time."""
        self.verdicts: dict[int, Verdict] = {}
        self._awake: set[int] = set()
        self._touched: set[int] = set()
        self._needs = _Needs(*(np.zeros(0, dtype=np.int64) for _ in range(6)))
        self._known_lines = 0

    def submit(self, jobs: Iterable[QueuedJob]) -> None:
        """Let jobs join the queue. A line that sleeps goes on sleeping: who joins it asks for the same."""
        begun = self.backlog.put(jobs)
        self._awake.update(begun)
        for number in begun:
            self.verdicts.pop(number, None)
        self._learn_needs()

    def withdraw(self, job: QueuedJob) -> Verdict:
        """A job leaves the queue, after a round and without a place. Returns why it had none."""
        return self.verdicts[self.backlog.remove(job)]

    def release(self, job: QueuedJob, place: Place) -> None:
        """A run of a job has ended: what it held is free, and its queue may use it again."""
        self.free.give(place.allocations)
        self.usage.add(job.tenant, place, sign=-1)
        self._touched.add(place.cluster)
        if self.quotas.running(job.queue):
            self.quotas.use(job.queue, held(self.fleet, place), sign=-1)
            self._awake.update(number for number, verdict in self.verdicts.items() if verdict.reasons[0].code == OVER_QUOTA)

    def round(self, now: int) -> Served:
        """Serve whoever could be helped by what has changed since the last round."""
        snapshot = Snapshot(now, self.fleet, self.free, self.usage, (), (), self.prices, quotas=self.quotas, packing=self.packing)
        touched = sorted(self._touched) if self._somebody_sleeps() else []
        candidates = self._possible(self.free, touched)
        awake = np.zeros_like(candidates)
        awake[list(self._awake)] = True
        served = serve(snapshot, self.backlog, candidates | awake, lambda room: awake | self._possible(room.free, touched))
        self._settle(served)
        return served

    def _somebody_sleeps(self) -> bool:
        sleeping = list(self.verdicts)
        return bool((self.backlog.head_at[sleeping] != NOBODY).any())

    def _settle(self, served: Served) -> None:
        """Take what was granted, remember why the rest sleeps, and let nobody be awake."""
        for grant in served.grants:
            self.free.take(grant.place.allocations)
        self.usage, self.quotas = served.usage, served.quotas
        self.verdicts.update(served.of_line)
        self._awake.clear()
        self._touched.clear()

    def _learn_needs(self) -> None:
        """Rows for the lines that are new since the last time."""
        new = [
            (
                number,
                kind,
                shape.per_node if shape.card_milli == WHOLE_CARD_MILLI else 0,
                shape.min_nodes,
                shape.cpu_milli,
                shape.memory_bytes,
            )
            for number in range(self._known_lines, len(self.backlog.lines))
            for shape in self.backlog.lines[number].example.shapes
            if shape.per_node <= self.fleet.card_kind.shape[1]  # else no node could ever hold a member
            for kind in self.fleet.kinds_for(shape)
        ]
        self._known_lines = len(self.backlog.lines)
        if new:
            rows = np.array(new, dtype=np.int64).T
            columns = (getattr(self._needs, name) for name in _Needs.__slots__)
            self._needs = _Needs(*(np.concatenate(pair) for pair in zip(columns, rows, strict=True)))

    def _possible(self, free: Free, clusters: Iterable[int]) -> Bools:
        """Which lines might fit into one of some clusters now: never fewer than do."""
        possible = np.zeros(len(self.backlog.lines), dtype=np.bool_)
        needs = self._needs
        for cluster in clusters:
            nodes, cpu_milli, memory_bytes = _roominess(self.fleet, free, cluster)
            fits = (
                (nodes[needs.kind, needs.per_node] >= needs.min_nodes)
                & (cpu_milli[needs.kind, needs.per_node] >= needs.cpu_milli)
                & (memory_bytes[needs.kind, needs.per_node] >= needs.memory_bytes)
            )
            possible[needs.line[fits]] = True
        return possible


def _roominess(fleet: Fleet, free: Free, cluster: int) -> tuple[Ints, Ints, Ints]:
    """By kind (the last row is `NO_KIND`) and number of cards: the live nodes of a cluster with at least so many whole free cards
    (0: that have the kind at all), and the most free CPU and memory among them."""
    start, end = fleet.span(NO_KIND, cluster)
    rows = np.arange(start, end)[fleet.live[start:end]]
    slots = fleet.card_kind.shape[1]
    shape = (len(fleet.kinds) + 1, slots + 1)
    nodes, cpu_milli, memory_bytes = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    whole = free.card_milli[rows] == WHOLE_CARD_MILLI
    for kind in (*np.unique(fleet.card_kind[rows]).tolist(), NO_KIND):
        of_kind = fleet.card_kind[rows] == kind
        has = of_kind.any(axis=1) if kind != NO_KIND else np.ones(len(rows), dtype=np.bool_)
        cards = (of_kind & whole).sum(axis=1) if kind != NO_KIND else np.zeros(len(rows), dtype=np.int64)
        for at_least in range(int(cards.max(initial=0)) + 1):
            enough = rows[has & (cards >= at_least)]
            if enough.size:
                nodes[kind, at_least] = enough.size
                cpu_milli[kind, at_least] = free.cpu_milli[enough].max()
                memory_bytes[kind, at_least] = free.memory_bytes[enough].max()
    return nodes, cpu_milli, memory_bytes
