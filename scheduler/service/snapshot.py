"""The moment the engine decides on, read from the store in one short transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.inventory import Accelerator
from scheduler.contract.job import JobSpec
from scheduler.contract.sync import Placement
from scheduler.domain.clock import MICROS_PER_SECOND, to_micros
from scheduler.domain.hardware import Health, shipped_catalogue
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, JobState
from scheduler.domain.versions import parse_version
from scheduler.engine.constraints import Traits
from scheduler.engine.drain import ending_by
from scheduler.engine.fleet import NO_KIND, Allocation, Card, Fleet, Kind, Node
from scheduler.engine.history import Past
from scheduler.engine.order import QueuedJob, Usage, held
from scheduler.engine.place import Place
from scheduler.engine.quota import Quotas
from scheduler.engine.shape import GIB, shapes_of
from scheduler.engine.snapshot import ActiveRun, Backfill, Snapshot
from scheduler.engine.window import Window
from scheduler.service.history import load_history
from scheduler.service.offers import prices
from scheduler.service.registry import Registry, load_registry
from scheduler.service.tags import Terms, claim_day
from scheduler.service.windows import load_windows
from scheduler.store.live import NodeKey
from scheduler.store.tables import AttemptRow, JobRow, NodeRow

SUSPECT_AFTER = timedelta(seconds=30)
"""A cluster or node silent for longer gets no new grants."""

MAX_QUEUE = 50_000
"""Jobs one round looks at, in order of submission; the rest wait for the next."""


@dataclass(frozen=True)
class Round:
    """A snapshot with what is needed to carry its decisions out."""

    snapshot: Snapshot
    registry: Registry
    specs: Mapping[str, JobSpec]
    tenants: Mapping[str, str]


def is_silent(heard_at: datetime | None, now: datetime) -> bool:
    return heard_at is None or now - heard_at > SUSPECT_AFTER


def load_round(session: Session, heard_at: Mapping[NodeKey, datetime], now: datetime) -> Round:
    """Everything a round needs. `heard_at` says when each node last reported."""
    registry = load_registry(session)
    fleet = load_fleet(session, registry, heard_at, now)
    queue = session.scalars(
        select(JobRow).where(JobRow.state.in_((JobState.QUEUED, JobState.HELD))).order_by(JobRow.submitted_at).limit(MAX_QUEUE)
    ).all()
    specs = {job.id: JobSpec.model_validate(job.spec) for job in queue}
    windows = load_windows(session, fleet, now)
    runs = load_runs(session, fleet, windows, now)
    free, usage = fleet.all_free(), replace(Usage.none(fleet), past=_past(session, registry, now))
    quotas = Quotas.of(registry.queues)
    for run in runs:
        free.take(run.place.allocations)
        usage.add(run.tenant, run.place)
        quotas.use(run.queue, held(fleet, run.place))
    finished = dependency_states(session, [specs[job.id] for job in queue])
    snapshot = Snapshot(
        now=to_micros(now),
        fleet=fleet,
        free=free,
        usage=usage,
        queue=[queued_job(registry, job.id, job.tenant_id, job.submitted_at, specs[job.id], finished, now) for job in queue],
        runs=runs,
        prices=prices(registry, fleet, (Terms.of(job.tenant_id, specs[job.id]) for job in queue), now),
        weights={queue.name: queue.weight for queue in registry.queues},
        backfill=Backfill(registry.scheduling.backfill),
        windows=windows,
        quotas=quotas,
    )
    return Round(snapshot, registry, specs, {job.id: job.tenant_id for job in queue})


def _past(session: Session, registry: Registry, now: datetime) -> Past | None:
    """What tenants used before, where the policy lets that count."""
    half_life = registry.scheduling.half_life_seconds
    return None if half_life is None else load_history(session, timedelta(seconds=half_life), now).past(to_micros(now))


def load_runs(session: Session, fleet: Fleet, windows: Sequence[Window], now: datetime) -> list[ActiveRun]:
    """Everything that holds cards; it ends when it will be stopped for a window, if that is sooner than it said."""
    rows = session.execute(select(AttemptRow, JobRow).join(JobRow).where(AttemptRow.state.in_(ATTEMPT_ACTIVE)))
    runs = (_run(fleet, attempt, job, JobSpec.model_validate(job.spec)) for attempt, job in rows)
    return [ending_by(windows, run, to_micros(now)) for run in runs]


def load_fleet(session: Session, registry: Registry, heard_at: Mapping[NodeKey, datetime], now: datetime) -> Fleet:
    """Every node as its capacity was last reported; `live` where both the node and its cluster are being heard."""
    nodes = []
    for row in session.scalars(select(NodeRow)):
        silent = is_silent(registry.heard_at[row.cluster_id], now) or is_silent(heard_at.get((row.cluster_id, row.hostname)), now)
        nodes.append(_node(row, (Health.HEALTHY,), live=not silent))
    return Fleet.of(nodes)


def registered_fleet(session: Session) -> Fleet:
    """Every node with all its cards, degraded ones and silent nodes included: what the size of a request is measured against."""
    return Fleet.of([_node(row, tuple(Health), live=True) for row in session.scalars(select(NodeRow))])


def queued_job(
    registry: Registry, job_id: str, tenant: str, submitted_at: datetime, spec: JobSpec, finished: Mapping[str, str], now: datetime
) -> QueuedJob:
    """A job as the engine sees it."""
    return QueuedJob(
        id=job_id,
        tenant=tenant,
        priority=spec.priority_value,
        submitted_at=to_micros(submitted_at),
        shapes=shapes_of(spec),
        terms=Terms.of(tenant, spec).key(),
        clusters=_allowed_clusters(registry, spec),
        hold=_hold(registry, spec, finished, now),
        max_runtime_seconds=spec.max_runtime_seconds,
        queue=tenant,
        deadline=None if spec.deadline is None else to_micros(spec.deadline),
        preemptible=spec.preemptible,
    )


def _allowed_clusters(registry: Registry, spec: JobSpec) -> frozenset[str] | None:
    """A job that names a contract goes where that contract is with the provider."""
    if spec.contract is None:
        return None
    provider = registry.contracts[spec.contract].provider
    return frozenset(cluster.id for cluster in registry.clusters.values() if cluster.provider == provider)


def _hold(registry: Registry, spec: JobSpec, finished: Mapping[str, str], now: datetime) -> Reason | None:
    for job in spec.depends_on:
        if finished.get(job) in (JobState.FAILED, JobState.CANCELLED):
            return Reason("dependency_failed", {"job": job, "state": finished[job]})
    waiting_for = [job for job in spec.depends_on if finished.get(job) != JobState.SUCCEEDED]
    if waiting_for:
        return Reason("waiting_for_dependency", {"jobs": ", ".join(waiting_for)})
    if spec.contract is not None:
        contract = registry.contracts[spec.contract]
        if not contract.start <= claim_day(now) <= contract.end:
            dates = {"start": contract.start.isoformat(), "end": contract.end.isoformat()}
            return Reason("waiting_for_contract", {"contract": contract.id, **dates})
    return None


def dependency_states(session: Session, specs: Sequence[JobSpec]) -> dict[str, str]:
    """The state of every job that some jobs depend on, by id."""
    named = {job for spec in specs for job in spec.depends_on}
    return {row.id: row.state for row in session.scalars(select(JobRow).where(JobRow.id.in_(named)))} if named else {}


def _node(row: NodeRow, usable: tuple[Health, ...], *, live: bool) -> Node:
    capacity = row.capacity
    return Node(
        cluster=row.cluster_id,
        name=row.hostname,
        cpu_milli=capacity["cpu_cores"] * 1000,
        memory_bytes=capacity["memory_bytes"],
        cards=tuple(_card(Accelerator.model_validate(card), usable) for card in capacity["accelerators"]),
        link_domain=capacity["labels"].get("link_domain"),
        rack=capacity["labels"].get("rack"),
        spine=capacity["labels"].get("spine"),
        live=live,
        traits=Traits(
            labels=frozenset(capacity["labels"].items()),
            driver=parse_version(capacity.get("driver_version") or ""),
            toolkit=parse_version(capacity.get("toolkit_version") or ""),
        ),
    )


def _card(card: Accelerator, usable: tuple[Health, ...]) -> Card:
    nominal = shipped_catalogue().nominal_memory_bytes(card.vendor, card.model)
    kind = Kind(card.vendor, card.model, card.hardware_class, nominal or card.memory_bytes)
    return Card(card.uuid, kind if card.health in usable else None, card.link_island)


def _run(fleet: Fleet, attempt: AttemptRow, job: JobRow, spec: JobSpec) -> ActiveRun:
    safe_at = max(filter(None, (attempt.started_at, attempt.checkpoint_at)), default=None)
    return ActiveRun(
        attempt=attempt.id,
        job=job.id,
        tenant=job.tenant_id,
        priority=spec.priority_value,
        preemptible=spec.preemptible,
        place=_place(fleet, attempt),
        safe_at=to_micros(safe_at) if safe_at else None,
        releasing=attempt.stop_as is not None,
        queue=job.tenant_id,
        ends_at=to_micros(attempt.started_at or attempt.granted_at) + spec.max_runtime_seconds * MICROS_PER_SECOND,
    )


def _place(fleet: Fleet, attempt: AttemptRow) -> Place:
    """Where an attempt sits. Nodes and devices that are no longer reported have nothing to deduct from."""
    placements = [Placement.model_validate(placement) for placement in attempt.placements]
    allocations = [
        _allocation(fleet, fleet.index[attempt.cluster_id, placement.node], placement)
        for placement in placements
        if (attempt.cluster_id, placement.node) in fleet.index
    ]
    cluster = fleet.clusters.index(attempt.cluster_id) if attempt.cluster_id in fleet.clusters else 0
    kind = next((n for n, kind in enumerate(fleet.kinds) if (kind.vendor, kind.model) == (attempt.vendor, attempt.model)), NO_KIND)
    return Place(cluster, kind, tuple(allocations), 0.0)


def _allocation(fleet: Fleet, node: int, placement: Placement) -> Allocation:
    slots = tuple(slot for slot, card in enumerate(fleet.nodes[node].cards) if card.device in placement.devices and card.kind)
    return Allocation(node, slots, placement.card_milli, placement.cpus * 1000, placement.host_memory_gib * GIB)
