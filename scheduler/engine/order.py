"""In which order the queue is served: priority, then who must start soon for a deadline, then weighted dominant share, then age.

An operator may put service before age (`Order`): it decides between the jobs of one tenant and of tenants that hold the same, so
that no order of the queue takes from a tenant what is its share.

The dominant share of a tenant is the largest part it holds of any resource of the network (Ghodsi et al., "Dominant Resource
Fairness", NSDI 2011); resources are the cards of each hardware class, and CPU. Where the past counts (`history`), what a tenant
has used before is added to what it holds now, as a fading mean of the same unit:

    share = max over resources of (held + past) / total, over the tenant's weight

Held for ever, h counts 2h, a grant counts h at once, and after the end of a run its share falls to h and then fades. So a burst
is seen in the round that starts it, as with Kueue's entry penalty, and who never stops gains nothing over who comes and goes.
Shares move with every grant of the round; the past is that of its beginning.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from operator import attrgetter

import numpy as np

from scheduler.contract.job import Profile
from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.reasons import Reason
from scheduler.engine.cutting import Floats
from scheduler.engine.fleet import NO_KIND, Fleet, Ints
from scheduler.engine.history import FINENESS, Past
from scheduler.engine.place import Place
from scheduler.engine.quota import Resource
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.engine.staging import Data

_CLASSES = tuple(HardwareClass)
CPU = len(_CLASSES)
RESOURCES = CPU + 1

NEAR_SECONDS = 3600
"""A job whose latest start is at most so far away goes before those of its priority that have time."""

NOT_NEAR = 2**62
"""The urgency of a job that has time, has no deadline, or can no longer keep it."""


UNKNOWN_SERVICE = 2**62
"""The service left of a job of which nobody knows how long it takes: served after those that are known, by age."""

LEVEL_SECONDS = 60
"""Up to a card-minute of service jobs count as new to `Order.LEAST_ATTAINED`; every further level is twice as much."""


class Order(StrEnum):
    """Which job goes first where priority, deadlines and shares leave it open.

    - `age`: the oldest.
    - `shortest`: the least service left, in cards × seconds (SRSF; Gu et al., "Tiresias: A GPU Cluster Manager for Distributed
      Deep Learning", NSDI 2019): the lowest mean time to completion where durations are known, or expected (`durations`).
    - `least-attained`: the least service received, in levels that double, the oldest of a level first (the same paper's
      two-dimensional LAS): for durations of which nothing is known.
    """

    AGE = "age"
    SHORTEST = "shortest"
    LEAST_ATTAINED = "least-attained"


@dataclass(frozen=True, slots=True)
class BackOff:
    """A cluster that did not start a job is not offered to it again before `until`, microseconds."""

    cluster: str
    until: int


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job that waits. `terms` names the prices that apply to it; jobs with equal shapes, terms and clusters fare alike.

    `clusters`, where given, are the only ones it may go to; `hold` is a reason not to try it at all this round. Without
    `max_runtime_seconds` a job is taken to run for ever: it is never backfilled in front of a promise it could delay. `queue`
    is whose quota it counts against; a queue without quota is unlimited. It is wanted finished by `deadline`, microseconds.
    `attained_seconds` is what earlier attempts have done of it for good; `expected_seconds`, where given, is how much longer it is
    expected to take, and else `max_runtime_seconds` says so.

    `profile` says which of the places it takes that it could have, `data` what must be brought there, `back_off` which clusters it
    is kept from for a while.

    It may stand for several `tasks` of an array, itself the first and the others next by name (`scheduler.domain.tasks`): each is
    placed as a job of its own.
    """

    id: str
    tenant: str
    priority: int
    submitted_at: int
    shapes: tuple[Shape, ...]
    terms: str = ""
    clusters: frozenset[str] | None = None
    hold: Reason | None = None
    max_runtime_seconds: int | None = None
    queue: str = ""
    deadline: int | None = None
    preemptible: bool = False
    """Whether it may be stopped once it runs."""
    min_runtime_seconds: int = 0
    """How long it is left alone once it has been granted, whoever could use its cards."""
    attained_seconds: int = 0
    expected_seconds: int | None = None
    profile: Profile = Profile.CHEAPEST_NET
    data: tuple[Data, ...] = ()
    back_off: tuple[BackOff, ...] = ()
    tasks: int = 1

    def named(self, id_: str) -> "QueuedJob":
        """One that is alike, with another id. A round makes one for every job it decides about."""
        return QueuedJob(id_, *_all_but_id(self))


_all_but_id = attrgetter(*(field.name for field in fields(QueuedJob) if field.name != "id"))

_OWN = {"id", "submitted_at", "hold", "tasks"}
_STANDING = {"tenant", "priority", "deadline", "min_runtime_seconds", "attained_seconds", "expected_seconds"}

stand_alike = attrgetter(*(field.name for field in fields(QueuedJob) if field.name not in _OWN))
"""Everything about a job but who it is and since when it waits: jobs that agree in it stand in one line."""

fares_alike = attrgetter(*(field.name for field in fields(QueuedJob) if field.name not in _OWN | _STANDING))
"""Everything that decides whether a job finds a place: where one has none, none that agrees in it and is served later has."""


def seconds_left(job: QueuedJob) -> int | None:
    """How much longer a job is expected to take, or asks for at most; None where nobody knows."""
    if job.expected_seconds is not None:
        return job.expected_seconds
    return None if job.max_runtime_seconds is None else max(0, job.max_runtime_seconds - job.attained_seconds)


def cards_asked(job: QueuedJob) -> int:
    """The cards of a job's first wish, parts of a card counted up; 1 for a job without cards."""
    shape = job.shapes[0]
    return max(1, -(-shape.nodes * shape.per_node * shape.card_milli // WHOLE_CARD_MILLI))


def service(job: QueuedJob, order: Order) -> int:
    """What an order goes by before age; the lower goes first. 0 for every job where the order is age."""
    if order is Order.AGE:
        return 0
    if order is Order.LEAST_ATTAINED:
        return (cards_asked(job) * job.attained_seconds // LEVEL_SECONDS).bit_length()
    left = seconds_left(job)
    return UNKNOWN_SERVICE if left is None else cards_asked(job) * left


def latest_start(job: QueuedJob) -> int | None:
    """The last moment at which a start keeps the job's deadline even if it takes its whole `max_runtime`; None without either."""
    if job.deadline is None or job.max_runtime_seconds is None:
        return None
    return job.deadline - job.max_runtime_seconds * MICROS_PER_SECOND


def urgency(job: QueuedJob, now: int) -> int:
    """The latest start of a job where that is near, else `NOT_NEAR`; the lower goes first."""
    start_by = latest_start(job)
    return NOT_NEAR if start_by is None or not now <= start_by <= now + NEAR_SECONDS * MICROS_PER_SECOND else start_by


@dataclass(frozen=True)
class Usage:
    """What each tenant holds of each resource: milli-cards per hardware class, and milli-cores. `past` is what it held before,
    None where only the present counts."""

    fleet: Fleet
    totals: Ints
    held: dict[str, Ints]
    past: Past | None = None

    @classmethod
    def none(cls, fleet: Fleet) -> "Usage":
        totals = np.zeros(RESOURCES, dtype=np.int64)
        for number, kind in enumerate(fleet.kinds):
            totals[_CLASSES.index(kind.hardware_class)] += int((fleet.card_kind == number).sum()) * kind.card_milli
        totals[CPU] = int(fleet.cpu_milli.sum())
        return cls(fleet, np.maximum(totals, 1), {})

    def add(self, tenant: str, place: Place, sign: int = 1) -> None:
        held = self.held.setdefault(tenant, np.zeros(RESOURCES, dtype=np.int64))
        if place.kind != NO_KIND:
            held[_CLASSES.index(self.fleet.kinds[place.kind].hardware_class)] += sign * place.card_milli()
        held[CPU] += sign * sum(part.cpu_milli for part in place.allocations)

    def dominant_share(self, tenant: str, weights: Mapping[str, int]) -> float:
        """The largest share the tenant has of any resource, divided by its weight (1 where none is given)."""
        shares = self._shares(tenant)
        return 0.0 if shares is None else float(shares.max()) / weights.get(tenant, 1)

    def dominant_resource(self, tenant: str) -> int:
        """The number of the resource of which it has the largest share, counted as the arrays are; 0 where it has nothing."""
        shares = self._shares(tenant)
        return 0 if shares is None else int(shares.argmax())

    def without_past(self) -> "Usage":
        """What counts if only the present does."""
        return replace(self.copy(), past=None)

    def copy(self) -> "Usage":
        return Usage(self.fleet, self.totals, {tenant: held.copy() for tenant, held in self.held.items()}, self.past)

    def _shares(self, tenant: str) -> Floats | None:
        held, past = self.held.get(tenant), self.past.held.get(tenant) if self.past is not None else None
        if past is not None:
            shares: Floats = (past / FINENESS + (0 if held is None else held)) / self.totals
            return shares
        return None if held is None else held / self.totals


def resource_amounts(hardware_class: HardwareClass | None, card_milli: int, cpu_milli: int) -> list[int]:
    """What a gang counts, in the order of `Usage`'s arrays."""
    amounts = [0] * RESOURCES
    if hardware_class is not None:
        amounts[_CLASSES.index(hardware_class)] = card_milli
    amounts[CPU] = cpu_milli
    return amounts


def place_amounts(fleet: Fleet, place: Place) -> list[int]:
    """What a placed gang counts, in the order of `Usage`'s arrays."""
    hardware_class = None if place.kind == NO_KIND else fleet.kinds[place.kind].hardware_class
    return resource_amounts(hardware_class, place.card_milli(), sum(part.cpu_milli for part in place.allocations))


def resource_name(resource: int) -> str:
    """`domestic`, `foreign`, `unknown` or `cpu`: the resource of a position in `Usage`'s arrays."""
    return "cpu" if resource == CPU else _CLASSES[resource].value


def needs(fleet: Fleet, shape: Shape, kind: int, nodes: int) -> dict[Resource, int]:
    """What a gang on some nodes of a kind counts against quotas: milli-cards by class and by model, milli-cores."""
    card_milli = nodes * shape.per_node * shape.card_milli
    if kind != NO_KIND:
        card_milli = card_milli * fleet.kinds[kind].card_milli // WHOLE_CARD_MILLI
    return _counted(fleet, kind, card_milli, nodes * shape.cpu_milli)


def held(fleet: Fleet, place: Place) -> dict[Resource, int]:
    """What a placed gang counts against quotas."""
    return _counted(fleet, place.kind, place.card_milli(), sum(part.cpu_milli for part in place.allocations))


def _counted(fleet: Fleet, kind: int, card_milli: int, cpu_milli: int) -> dict[Resource, int]:
    counted = {"cpu": cpu_milli} if cpu_milli else {}
    if kind != NO_KIND:
        cards = fleet.kinds[kind]
        counted |= {f"class:{cards.hardware_class}": card_milli, f"model:{cards.model}": card_milli}
    return counted


Standing = tuple[int, ...]


def by_service(order: Order) -> Callable[[QueuedJob], Standing]:
    """What a job stands by among the others of its tenant, before age."""
    return lambda job: (service(job, order),)


_by_age = by_service(Order.AGE)


def in_order(
    queue: Sequence[QueuedJob],
    usage: Usage,
    weights: Mapping[str, int],
    now: int,
    standing: Callable[[QueuedJob], Standing] = _by_age,
) -> Iterator[QueuedJob]:
    """The queue one job at a time; `usage` is read anew before each, so a grant lowers its tenant's standing at once."""
    bands: dict[int, dict[str, deque[tuple[int, Standing, int, str, QueuedJob]]]] = defaultdict(lambda: defaultdict(deque))
    for entry in sorted((urgency(job, now), standing(job), job.submitted_at, job.id, job) for job in queue):
        bands[entry[-1].priority][entry[-1].tenant].append(entry)
    for priority in sorted(bands, reverse=True):
        tenants = bands[priority]
        while tenants:
            tenant = min(tenants, key=lambda name: _turn(tenants[name][0], usage.dominant_share(name, weights)))
            yield tenants[tenant].popleft()[-1]
            if not tenants[tenant]:
                del tenants[tenant]


def _turn(first: tuple[int, Standing, int, str, QueuedJob], share: float) -> tuple[int, float, Standing, int, str]:
    urgent, standing, submitted_at, id_, _ = first
    return urgent, share, standing, submitted_at, id_
