"""Which of the places where a job fits it takes: a profile is an order of criteria, kept as data.

Places are compared by one criterion after the other, less is better; what is equal in all of them is left to how tightly it
packs (`offers`). A criterion is computed the same way for one place and for an array of kinds of card × clusters.

- `cheapest-net`: the net price; nearness to the data where that is equal.
- `fastest`: when the job could be done at the latest, its data brought and its `max_runtime` over. It waits for a place that will
  be free at a known time where it is done sooner there than in any that is free now (`cycle`).
- `domestic-first`: domestic cards alone, if any place with such cards could ever hold the job; else as `cheapest-net`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.reasons import Numbers, Reason
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Ints
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, capacity
from scheduler.engine.round import NO_PRICE, Round
from scheduler.engine.shape import Shape
from scheduler.engine.staging import MAX_STAGING_SECONDS, staging, staging_text


class Criterion(StrEnum):
    """What places are compared by."""

    NOT_DOMESTIC = "cards that are not domestic"
    NET_PRICE = "net price per unit"
    MISSING_NODES = "nodes less than asked for"
    UNKNOWN_GIB = "GiB of data of which nobody knows how long they take"
    STAGING_SECONDS = "seconds to bring the other data"
    DONE_SECONDS = "seconds to bring them and to run"


ORDERS: Mapping[Profile, tuple[Criterion, ...]] = {
    Profile.CHEAPEST_NET: (
        Criterion.NET_PRICE,
        Criterion.MISSING_NODES,
        Criterion.UNKNOWN_GIB,
        Criterion.STAGING_SECONDS,
    ),
    Profile.FASTEST: (
        Criterion.UNKNOWN_GIB,
        Criterion.DONE_SECONDS,
        Criterion.MISSING_NODES,
        Criterion.NET_PRICE,
    ),
    Profile.DOMESTIC_FIRST: (
        Criterion.NOT_DOMESTIC,
        Criterion.NET_PRICE,
        Criterion.MISSING_NODES,
        Criterion.UNKNOWN_GIB,
        Criterion.STAGING_SECONDS,
    ),
}

CLOSED = np.iinfo(np.int64).max
"""What a place that is not open has, by any criterion."""

_OF_DATA = frozenset({Criterion.UNKNOWN_GIB, Criterion.STAGING_SECONDS})

_TELLING = {
    (profile, data, priced): [
        each for each in order if (data or each not in _OF_DATA) and (priced or each is not Criterion.NET_PRICE)
    ]
    for profile, order in ORDERS.items()
    for data in (False, True)
    for priced in (False, True)
}
"""The criteria that can tell places apart, by profile, whether there is data to bring and whether anything is priced."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Places for one alternative of a job: an array over `kinds` of card × `clusters`, with the net price (absent where nothing is
    priced) and the number of nodes in each."""

    shape: Shape
    kinds: Sequence[int]
    clusters: Sequence[int] | slice
    prices: Ints | None
    nodes: Ints


def best_of(round_: Round, job: QueuedJob, found: Candidates, open_: Bools) -> Bools:
    """Of the places that are open, at least one, those to which none is preferred."""
    for each in _telling(round_, job):
        values = np.where(open_, _values(round_, job, found, each), CLOSED)
        open_ = values == values.min()
    return open_


def rank(round_: Round, job: QueuedJob, shape: Shape, kind: int, cluster: int, price: int, nodes: int) -> tuple[int, ...]:
    """How one place stands, on so many nodes: of two the lesser is taken."""
    if job.profile is Profile.CHEAPEST_NET and not job.data:
        return price, -nodes
    found = Candidates(shape, (kind,), (cluster,), np.array([[price]]), np.array([[nodes]]))
    return tuple(int(_values(round_, job, found, each).item()) for each in _telling(round_, job))


def lag(round_: Round, job: QueuedJob, shape: Shape, kind: int, cluster: int) -> tuple[int, int]:
    """What a start in a place costs a job that wants to be done early: GiB whose way is unknown, and seconds until it is done."""
    if job.profile is not Profile.FASTEST:
        return 0, 0
    seconds, unknown_gib = _staging(round_, job)
    return int(unknown_gib[cluster]), int(seconds[cluster] + _run_seconds(round_, job)[shape][kind])


def narrowed(round_: Round, job: QueuedJob) -> tuple[QueuedJob, Sequence[int]]:
    """The job with no choice but what its profile lets it take, and which of its alternatives those are.

    Only `domestic-first` leaves any out: where some place with domestic cards, answering or not, could ever hold the job, it takes
    no other cards. A place without a price is none.
    """
    every = range(len(job.shapes))
    if job.profile is not Profile.DOMESTIC_FIRST:
        return job, every
    key = (job.shapes, job.terms, job.clusters)
    if key not in round_.domestic:
        kept = [number for number in every if job.shapes[number].hardware_class in (None, HardwareClass.DOMESTIC)]
        domestic = tuple(_domestic(job.shapes[number]) for number in kept)
        could = any(_could_hold(round_, job, shape) for shape in domestic if shape.per_node)
        round_.domestic[key] = (domestic, kept) if could else (job.shapes, every)
    shapes, alternatives = round_.domestic[key]
    return replace(job, shapes=shapes), alternatives


def least_lag_seconds(round_: Round, job: QueuedJob) -> int:
    """In how many seconds a job that wants to be done early would be in the best of all clusters, were it free now; else 0."""
    if job.profile is not Profile.FASTEST:
        return 0
    fleet, (staged, unknown_gib) = round_.snapshot.fleet, _staging(round_, job)
    known = staged[(unknown_gib == 0) & round_.allowed(job.clusters)]
    runs = [int(_run_seconds(round_, job)[shape][kind]) for shape in job.shapes for kind in fleet.kinds_for(shape)]
    return int(known.min(initial=MAX_STAGING_SECONDS)) + min(runs, default=0)


def ground(round_: Round, job: QueuedJob, place: Place, places: int, numbers: Numbers) -> Reason:
    """Why a job goes to a place, one of so many that it could take now. `numbers` are how many, and its price."""
    fleet = round_.snapshot.fleet
    told = numbers
    if job.data or job.profile is Profile.FASTEST:
        brought = staging(round_.snapshot.links, job.data, fleet.clusters[place.cluster])
        told = {**numbers, "staging": staging_text(brought)}
    if job.profile is Profile.DOMESTIC_FIRST and place.kind != NO_KIND:
        domestic = fleet.kinds[place.kind].hardware_class is HardwareClass.DOMESTIC
        return Reason("placed_domestic_first" if domestic else "placed_no_domestic", told)
    if places == 1:
        return Reason("placed_only_fit", told)
    if job.profile is Profile.FASTEST:
        return Reason("placed_fastest", told)
    return Reason("placed_cheapest_net", told)


def _telling(round_: Round, job: QueuedJob) -> Sequence[Criterion]:
    return _TELLING[job.profile, bool(job.data), round_.snapshot.prices is not None]


def _values(round_: Round, job: QueuedJob, found: Candidates, criterion: Criterion) -> Ints:
    """Places by one criterion, as a column of kinds, a row of clusters or the whole array."""
    match criterion:
        case Criterion.NET_PRICE:
            return np.zeros((1, 1), dtype=np.int64) if found.prices is None else found.prices
        case Criterion.MISSING_NODES:
            return found.shape.nodes - found.nodes
        case Criterion.NOT_DOMESTIC:
            return _not_domestic(round_.snapshot.fleet)[list(found.kinds), np.newaxis]
        case Criterion.UNKNOWN_GIB:
            return _staging(round_, job)[1][np.newaxis, found.clusters]
        case Criterion.STAGING_SECONDS:
            return _staging(round_, job)[0][np.newaxis, found.clusters]
        case Criterion.DONE_SECONDS:
            run_seconds = _run_seconds(round_, job)[found.shape][list(found.kinds), np.newaxis]
            return _staging(round_, job)[0][np.newaxis, found.clusters] + run_seconds


def _domestic(shape: Shape) -> Shape:
    """A shape without cards stays as it is: nothing of it is foreign."""
    return replace(shape, hardware_class=HardwareClass.DOMESTIC) if shape.per_node else shape


def _could_hold(round_: Round, job: QueuedJob, shape: Shape) -> bool:
    fleet, allowed = round_.snapshot.fleet, round_.allowed(job.clusters)
    return any(
        bool(((capacity(fleet, shape, kind) >= shape.min_nodes) & allowed & (round_.net_prices(job.terms, kind) != NO_PRICE)).any())
        for kind in fleet.kinds_for(shape)
    )


def _not_domestic(fleet: Fleet) -> Ints:
    """By kind, and last for no card at all: 1 for cards that are not domestic."""
    classes = [kind.hardware_class is not HardwareClass.DOMESTIC for kind in fleet.kinds]
    return np.array([*classes, False], dtype=np.int64)


def _staging(round_: Round, job: QueuedJob) -> tuple[Ints, Ints]:
    """By cluster: the seconds that bringing the job's data takes, and the GiB of which nobody knows."""
    if job.data not in round_.stagings:
        links, clusters = round_.snapshot.links, round_.snapshot.fleet.clusters
        found = [staging(links, job.data, cluster) for cluster in clusters]
        seconds = np.array([each.seconds for each in found], dtype=np.int64)
        round_.stagings[job.data] = seconds, np.array([each.unknown_gib for each in found], dtype=np.int64)
    return round_.stagings[job.data]


def _run_seconds(round_: Round, job: QueuedJob) -> Mapping[Shape, Ints]:
    """For each alternative by kind, and last for no card: how long the job runs at most.

    `max_runtime` must do on the slowest cards the job accepts; faster ones need less in proportion to the throughput of the whole
    gang. If of any card it accepts the throughput is not known, nothing is guessed and it runs equally long on all.
    """
    key = (job.shapes, job.max_runtime_seconds)
    if key not in round_.run_seconds:
        fleet, known = round_.snapshot.fleet, round_.snapshot.throughput
        longest = job.max_runtime_seconds or 0
        speeds = {
            (shape, kind): shape.nodes * shape.per_node * shape.card_milli * _throughput(fleet, known, kind)
            for shape in job.shapes
            for kind in fleet.kinds_for(shape)
        }
        slowest = min(speeds.values(), default=0)
        seconds = {shape: np.full(len(fleet.kinds) + 1, longest, dtype=np.int64) for shape in job.shapes}
        for (shape, kind), speed in speeds.items():
            if slowest:
                seconds[shape][kind] = -(-longest * slowest // speed)
        round_.run_seconds[key] = seconds
    return round_.run_seconds[key]


def _throughput(fleet: Fleet, known: Mapping[str, int], kind: int) -> int:
    """Of one card, or as its part of one; 0 where that is not known."""
    if kind == NO_KIND:
        return 0
    return known.get(fleet.kinds[kind].model, 0) * fleet.kinds[kind].card_milli
