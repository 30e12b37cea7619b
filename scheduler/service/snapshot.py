"""How what is stored looks to the engine: nodes, jobs that wait, attempts that hold cards."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.inventory import Accelerator
from scheduler.contract.job import JobSpec
from scheduler.contract.sync import Placement
from scheduler.domain.clock import MICROS_PER_SECOND, to_micros
from scheduler.domain.hardware import Health, shipped_catalogue
from scheduler.domain.reasons import Reason
from scheduler.domain.states import JobState
from scheduler.domain.versions import parse_version
from scheduler.engine.constraints import Traits
from scheduler.engine.fleet import NO_KIND, Allocation, Card, Fleet, Kind, Node
from scheduler.engine.history import Past
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.shape import GIB, shapes_of
from scheduler.engine.snapshot import ActiveRun
from scheduler.service.history import load_history
from scheduler.service.registry import Registry
from scheduler.service.tags import Terms, claim_day
from scheduler.store.tables import AttemptRow, JobRow, NodeRow

SUSPECT_AFTER = timedelta(seconds=30)
"""A cluster or node silent for longer gets no new grants."""


def is_silent(heard_at: datetime | None, now: datetime) -> bool:
    return heard_at is None or now - heard_at > SUSPECT_AFTER


def past_use(session: Session, registry: Registry, now: datetime) -> Past | None:
    """What tenants used before, where the policy lets that count."""
    half_life = registry.scheduling.half_life_seconds
    return None if half_life is None else load_history(session, timedelta(seconds=half_life), now).past(to_micros(now))


def registered_fleet(session: Session) -> Fleet:
    """Every node with all its cards, degraded ones and silent nodes included: what the size of a request is measured against."""
    return Fleet.of([node_of(row, tuple(Health), live=True) for row in session.scalars(select(NodeRow))])


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


def node_of(row: NodeRow, usable: tuple[Health, ...], *, live: bool) -> Node:
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


def active_run(fleet: Fleet, attempt: AttemptRow, job: JobRow, spec: JobSpec) -> ActiveRun:
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
