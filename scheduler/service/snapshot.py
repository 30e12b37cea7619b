"""How what is stored looks to the engine: nodes, jobs that wait, attempts that hold cards."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.inventory import Accelerator
from scheduler.contract.job import JobSpec
from scheduler.contract.sync import Placement
from scheduler.domain.clock import MICROS_PER_SECOND, to_micros
from scheduler.domain.hardware import Health, shipped_catalogue
from scheduler.domain.mig import card_milli, memory_gb
from scheduler.domain.reasons import Reason
from scheduler.domain.states import JobState
from scheduler.domain.versions import parse_version
from scheduler.engine.constraints import Traits
from scheduler.engine.fleet import NO_KIND, Allocation, Card, Fleet, Kind, Node
from scheduler.engine.history import Past
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.shape import GIB, WHOLE_CARD_MILLI, shapes_of
from scheduler.engine.snapshot import ActiveRun
from scheduler.engine.staging import data_of
from scheduler.service.history import load_history
from scheduler.service.registry import Registry
from scheduler.service.tags import Terms, claim_day
from scheduler.service.tasks import run_name
from scheduler.store.tables import AttemptRow, JobRow, Json, NodeRow

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
        min_runtime_seconds=registry.min_runtime_seconds(tenant),
        profile=registry.profile_of(tenant, spec),
        data=data_of((dataset.cluster, dataset.size_gib) for dataset in spec.data),
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
        cards=tuple(device for card in capacity["accelerators"] for device in _devices(Accelerator.model_validate(card), usable)),
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


def _devices(card: Accelerator, usable: tuple[Health, ...]) -> Iterator[Card]:
    """The card itself or, in MIG mode, its instances. Links do not reach between instances."""
    nominal = card.nominal_memory_bytes or shipped_catalogue().nominal_memory_bytes(card.vendor, card.model)
    whole = Kind(card.vendor, card.model, card.hardware_class, nominal or card.memory_bytes)
    healthy = card.health in usable
    if card.mig is None:
        yield Card(card.uuid, whole if healthy else None, card.link_island)
        return
    for each in card.mig.instances:
        milli = card_milli(each.profile, card.mig.slices)
        kind = replace(whole, memory_bytes=memory_gb(each.profile) * GIB, mig=each.profile, card_milli=milli)
        yield Card(each.uuid, kind if healthy else None)


def active_run(registry: Registry, fleet: Fleet, attempt: AttemptRow, job: JobRow, spec: JobSpec) -> ActiveRun:
    """An attempt that holds cards as the engine sees it."""
    began, protected_seconds = to_micros(attempt.started_at or attempt.granted_at), registry.min_runtime_seconds(job.tenant_id)
    safe_at = max(filter(None, (attempt.started_at, attempt.checkpoint_at)), default=None)
    return ActiveRun(
        attempt=attempt.id,
        job=run_name(attempt),
        tenant=job.tenant_id,
        priority=spec.priority_value,
        preemptible=spec.preemptible,
        place=place_of(fleet, attempt, attempt.placements),
        safe_at=to_micros(safe_at) if safe_at else None,
        releasing=attempt.stop_as is not None,
        queue=job.tenant_id,
        ends_at=began + spec.max_runtime_seconds * MICROS_PER_SECOND,
        protected_until=began + protected_seconds * MICROS_PER_SECOND if protected_seconds else 0,
    )


def place_of(fleet: Fleet, attempt: AttemptRow, stored: Sequence[Json]) -> Place:
    """Where an attempt sits, or its job goes on. Nodes and devices that are no longer reported have nothing to deduct from."""
    placements = [Placement.model_validate(placement) for placement in stored]
    allocations = [
        _allocation(fleet, fleet.index[attempt.cluster_id, placement.node], placement)
        for placement in placements
        if (attempt.cluster_id, placement.node) in fleet.index
    ]
    cluster = fleet.clusters.index(attempt.cluster_id) if attempt.cluster_id in fleet.clusters else 0
    like = (attempt.vendor, attempt.model, attempt.mig or "")
    kind = next((n for n, kind in enumerate(fleet.kinds) if (kind.vendor, kind.model, kind.mig) == like), NO_KIND)
    slot_milli = WHOLE_CARD_MILLI if kind == NO_KIND else fleet.kinds[kind].card_milli
    return Place(cluster, kind, tuple(allocations), 0.0, slot_milli=slot_milli)


def _allocation(fleet: Fleet, node: int, placement: Placement) -> Allocation:
    slots = tuple(slot for slot, card in enumerate(fleet.nodes[node].cards) if card.device in placement.devices and card.kind)
    taken = WHOLE_CARD_MILLI if placement.mig else placement.card_milli
    return Allocation(node, slots, taken, placement.cpus * 1000, placement.host_memory_gib * GIB)
