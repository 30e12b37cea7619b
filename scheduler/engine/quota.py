"""Quotas of hierarchical queues, with borrowing and lending, in the terms and with the meaning of Kueue's cohorts.

Every queue may have a parent; a tree of queues is a cohort, and what one of them does not use the others may borrow. For one
resource and one queue `q`, with `used` 0 at first:

    local(q)     = max(0, quota(q) - lending_limit(q)), 0 where it lends all: what q keeps for itself whatever others want
    quota(q)     = nominal(q) + sum of (quota(c) - local(c)) over its children c
    used(q)      = what runs in q itself + sum of max(0, used(c) - local(c)) over its children c
    available(q) = quota(q) - used(q)                                                    without a parent; with one:
                   max(0, local(q) - used(q)) + min(limit, available(parent))
    limit        = quota(q) - local(q) - max(0, used(q) - local(q)) + borrowing_limit(q), infinite where that is absent

So a unit lent by one queue is counted as used where both meet, and cannot be lent twice. A queue without a borrowing limit takes
whatever the tree above has left. A resource is limited for a queue only if the queue or one above it gives a nominal for it
(0 counts, and means: only borrowed); what a queue beside or below it declares does not limit it.

The first job of a cohort that waits for quota, though it would fit if nothing ran, may `keep` what it needs: who is served after it
has only what is left beside that, or large jobs would wait for ever behind small ones. Who stays within the quota of its own queue
need not stand back for one that waits to borrow.

Resources are names such as `class:domestic`, `model:910B3` or `cpu`; their units are milli-cards and milli-cores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from scheduler.engine.shape import WHOLE_CARD_MILLI

Resource = str

RUNNING: Resource = "running"
"""The resource a shortfall names where `max_running` is reached; its unit is jobs."""

_UNLIMITED = 1 << 80


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue as an operator declares it. `parent` names the queue above it.

    `nominal` is its own, `borrowing_limit` the most it may use beyond that (absent: whatever others leave), `lending_limit` the
    most of its quota that others may use (absent: all). `reclaims`: whether it takes back what it lent by stopping who borrows, or
    waits for their ends. `weight` divides its share when queues that borrow are compared. `max_running` limits the jobs that run in
    it and below it, `max_pending` those that may wait in it. Its runs are left alone for `min_runtime_seconds` (absent: as the
    queue above says).
    """

    name: str
    parent: str | None = None
    nominal: Mapping[Resource, int] = field(default_factory=dict)
    borrowing_limit: Mapping[Resource, int] = field(default_factory=dict)
    lending_limit: Mapping[Resource, int] = field(default_factory=dict)
    weight: int = 1
    max_running: int | None = None
    max_pending: int | None = None
    min_runtime_seconds: int | None = None
    reclaims: bool = True


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Why a queue may not start something now: of `resource` it needs more than is available to it, borrowing included.

    `queue` is the one that asked, or the one at or above it whose `max_running` is reached; `nominal` and `used` are its own.
    """

    queue: str
    resource: Resource
    needed: int
    available: int
    nominal: int
    used: int

    def in_units(self) -> dict[str, str | int]:
        """The same numbers in cards, cores or jobs."""
        unit = 1 if self.resource == RUNNING else WHOLE_CARD_MILLI
        numbers = {name: f"{getattr(self, name) / unit:g}" for name in ("needed", "available", "nominal", "used")}
        return {"queue": self.queue, "resource": self.resource, **numbers}


@dataclass(frozen=True, slots=True)
class _Level:
    """One queue's part in one resource. `slot` is where its use is counted; the other numbers never change."""

    slot: int
    nominal: int
    quota: int
    local: int
    most: int
    """Quota plus borrowing limit: the most it may use in all."""
    lendable: int
    """The most anybody below could use if nothing ran: what shares of those who borrow are measured in."""


_Levels = tuple[_Level, ...]
"""Of one resource, from the queue itself up to the root."""


class Quotas:
    """What every queue uses, and what it still may. Changes with every `use`; copies are independent and cheap."""

    __slots__ = ("_chains", "_kept", "_limits", "_own", "_running", "_used")

    def __init__(
        self,
        chains: Mapping[str, Sequence[tuple[int, Queue]]],
        limits: Mapping[str, Mapping[Resource, _Levels]],
        own: Mapping[str, Mapping[Resource, _Level]],
        used: list[int],
        running: list[int],
    ) -> None:
        """Use `Quotas.of`."""
        self._chains = chains
        self._limits = limits
        self._own = own
        self._used = used
        self._running = running
        self._kept: dict[str, tuple[str, Mapping[Resource, int]]] = {}
        """By cohort: for which queue something is kept, and what. It counts as used."""

    @classmethod
    def of(cls, queues: Iterable[Queue]) -> "Quotas":
        """Empty queues. Raises ValueError naming the queue and its field: unknown parent, cycle, duplicate, negative."""
        by_name: dict[str, Queue] = {}
        for queue in queues:
            if queue.name in by_name:
                raise ValueError(f"queue {queue.name}, name: is given twice; each must be unique")
            _check_numbers(queue)
            by_name[queue.name] = queue
        number = {name: position for position, name in enumerate(by_name)}
        ancestors = {name: _ancestors(by_name, name) for name in by_name}
        chains = {name: [(number[above.name], above) for above in chain] for name, chain in ancestors.items()}
        table = _Table.of(ancestors)
        return cls(chains, table.limits, table.own, [0] * table.slots, [0] * len(by_name))

    def shortfall(self, queue: str, need: Mapping[Resource, int]) -> Shortfall | None:
        """What keeps one more job that needs this from starting; None where it fits, borrowing if need be, beside what is kept.

        A queue that is not known is unlimited.
        """
        short = self._short(queue, need)
        if short is None or not self._kept:
            return short
        kept = self._kept.get(self._chains[queue][-1][1].name)
        return None if kept is not None and self._passes_by(queue, need, *kept) else short

    def keep(self, queue: str, need: Mapping[Resource, int]) -> None:
        """Keep what a job of a known queue waits for, unless something is kept in its cohort already, or it could never have it."""
        cohort = self._chains[queue][-1][1].name
        if cohort in self._kept:
            return
        empty = Quotas(self._chains, self._limits, self._own, [0] * len(self._used), [0] * len(self._running))
        if empty._short(queue, need) is None:
            self._kept[cohort] = queue, need
            self.use(queue, need)

    def keep_nothing(self) -> None:
        """What was kept is there for everybody again."""
        for queue, need in self._kept.values():
            self.use(queue, need, sign=-1)
        self._kept.clear()

    def _passes_by(self, queue: str, need: Mapping[Resource, int], first: str, kept: Mapping[Resource, int]) -> bool:
        """Whether a job may start in front of the one that something is kept for, as it takes nothing but its own queue's."""
        if queue == first or self.would_borrow(queue, need):
            return False
        self.use(first, kept, sign=-1)
        passes = self.would_borrow(first, kept) and self._short(queue, need) is None
        self.use(first, kept)
        return passes

    def _short(self, queue: str, need: Mapping[Resource, int]) -> Shortfall | None:
        limits = self._limits.get(queue)
        if limits is None:
            return None
        for position, above in self._chains[queue]:
            if above.max_running is not None and self._running[position] >= above.max_running:
                return Shortfall(above.name, RUNNING, 1, 0, above.max_running, self._running[position])
        for resource, amount in need.items():
            chain = limits.get(resource)
            if chain is not None and amount > 0:
                available = self._available(chain)
                if amount > available:
                    own = chain[0]
                    return Shortfall(queue, resource, amount, max(0, available), own.nominal, self._used[own.slot])
        return None

    def use(self, queue: str, need: Mapping[Resource, int], sign: int = 1) -> None:
        """Count one job as running (`sign` -1: as ended), whether or not it fits. Raises ValueError if more ends than ran."""
        limits = self._limits.get(queue)
        if limits is None:
            return
        for position, above in self._chains[queue]:
            if self._running[position] + sign < 0:
                raise ValueError(f"queue {above.name}, {RUNNING}: more has ended than was running")
            self._running[position] += sign
        used = self._used
        for resource, amount in need.items():
            change = sign * amount
            for level in limits.get(resource, ()):
                before = used[level.slot]
                after = before + change
                if after < 0:
                    raise ValueError(f"queue {queue}, {resource}: more has ended than was running")
                used[level.slot] = after
                # only what goes beyond a queue's own part is seen above it
                change = max(0, after - level.local) - max(0, before - level.local)
                if change == 0:
                    break

    def used(self, queue: str, resource: Resource) -> int:
        """What runs in a queue, and what its children use beyond what they keep to themselves. 0 where it is not limited."""
        own = self._level(queue, resource)
        return 0 if own is None else self._used[own.slot]

    def borrowed(self, queue: str, resource: Resource) -> int:
        """Its usage above its own quota: its nominal, and what its children lend."""
        own = self._level(queue, resource)
        return 0 if own is None else max(0, self._used[own.slot] - own.quota)

    def would_borrow(self, queue: str, need: Mapping[Resource, int]) -> bool:
        """Whether one more job that needs this would use more than the queue's own quota."""
        return any(
            amount > 0 and (own := self._level(queue, resource)) is not None and self._used[own.slot] + amount > own.quota
            for resource, amount in need.items()
        )

    def knows(self, queue: str) -> bool:
        """Whether a queue was declared: one that was not is unlimited."""
        return queue in self._limits

    def reclaims(self, queue: str) -> bool:
        """Whether a queue stops those who borrow what it lent."""
        return queue in self._chains and self._chains[queue][0][1].reclaims

    def cohort(self, queue: str) -> str | None:
        """The root of the tree a queue is in; None for one that is not known."""
        chain = self._chains.get(queue)
        return None if chain is None else chain[-1][1].name

    def running(self, queue: str) -> int:
        """How many jobs run in a queue and below it."""
        chain = self._chains.get(queue)
        return 0 if chain is None else self._running[chain[0][0]]

    def dominant_share(self, queue: str) -> Fraction:
        """The largest part a queue borrows of what its cohort could lend, over all resources, divided by its weight.

        As Kueue's fair sharing compares queues: 0 for a queue within its own quota, and for one without a parent.
        """
        share = Fraction(0)
        for resource, own in self._own.get(queue, {}).items():
            borrowed = self._used[own.slot] - own.quota
            _, declared = self._chains[queue][0]
            if borrowed > 0 and declared.parent is not None:
                # what is borrowed was lent by somebody, so this is never 0 unless a quota was lowered while it was in use
                lendable = self._own[declared.parent][resource].lendable
                share = max(share, Fraction(borrowed, max(1, lendable) * declared.weight))
        return share

    def copy(self) -> "Quotas":
        """The same queues and usage, to go on with independently."""
        copy = Quotas(self._chains, self._limits, self._own, self._used.copy(), self._running.copy())
        copy._kept = dict(self._kept)
        return copy

    def _level(self, queue: str, resource: Resource) -> _Level | None:
        return self._own.get(queue, {}).get(resource)

    def _available(self, chain: _Levels) -> int:
        used = self._used
        root = chain[-1]
        available = root.quota - used[root.slot]
        for level in chain[-2::-1]:
            kept = level.local - used[level.slot]
            # of what it may use in all, its own part is either still kept for it or used up
            limit = level.most - level.local + min(0, kept)
            available = max(0, kept) + min(limit, available)
        return available


def _check_numbers(queue: Queue) -> None:
    for name in ("nominal", "borrowing_limit", "lending_limit"):
        for resource, amount in getattr(queue, name).items():
            if amount < 0:
                raise ValueError(f"queue {queue.name}, {name}.{resource}: {amount} is not allowed; 0 or more is")
    for name, least in (("weight", 1), ("max_running", 0), ("max_pending", 0)):
        number = getattr(queue, name)
        if number is not None and number < least:
            raise ValueError(f"queue {queue.name}, {name}: {number} is not allowed; {least} or more is")


def _ancestors(queues: Mapping[str, Queue], name: str) -> list[Queue]:
    """The queue itself and those above it, up to the root."""
    chain = [queues[name]]
    seen = {name}
    while (parent := chain[-1].parent) is not None:
        if parent not in queues:
            raise ValueError(f"queue {chain[-1].name}, parent: there is no queue {parent}")
        if parent in seen:
            raise ValueError(f"queue {chain[-1].name}, parent: {parent} is below it, which makes a cycle")
        seen.add(parent)
        chain.append(queues[parent])
    return chain


@dataclass(frozen=True, slots=True)
class _Table:
    """`limits`: for every queue, the levels of each resource that is limited for it; `own`: its level of each that is counted."""

    limits: Mapping[str, Mapping[Resource, _Levels]]
    own: Mapping[str, Mapping[Resource, _Level]]
    slots: int

    @classmethod
    def of(cls, ancestors: Mapping[str, Sequence[Queue]]) -> "_Table":
        top_first = sorted(ancestors, key=lambda name: len(ancestors[name]))
        limited = {name: {resource for above in chain for resource in above.nominal} for name, chain in ancestors.items()}
        counted = {name: set(resources) for name, resources in limited.items()}
        quota = {name: dict(chain[0].nominal) for name, chain in ancestors.items()}
        local: dict[str, dict[Resource, int]] = {name: {} for name in ancestors}
        for name in reversed(top_first):
            queue = ancestors[name][0]
            for resource in counted[name]:
                own = quota[name].setdefault(resource, 0)
                lent = min(own, queue.lending_limit.get(resource, own))
                local[name][resource] = own - lent
                if queue.parent is not None:
                    counted[queue.parent].add(resource)
                    quota[queue.parent][resource] = quota[queue.parent].get(resource, 0) + lent
        levels: dict[str, dict[Resource, _Levels]] = {}
        slots = 0
        for name in top_first:
            queue, levels[name] = ancestors[name][0], {}
            for resource in sorted(counted[name]):
                upper = levels[queue.parent][resource] if queue.parent is not None else ()
                own, kept = quota[name][resource], local[name][resource]
                most = own + queue.borrowing_limit.get(resource, _UNLIMITED)
                lendable = min(most, kept + upper[0].lendable) if upper else own
                level = _Level(slots, queue.nominal.get(resource, 0), own, kept, most, lendable)
                levels[name][resource] = (level, *upper)
                slots += 1
        return cls(
            limits={name: {resource: levels[name][resource] for resource in limited[name]} for name in levels},
            own={name: {resource: chain[0] for resource, chain in levels[name].items()} for name in levels},
            slots=slots,
        )
