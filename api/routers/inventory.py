"""What the network has: node reports in, cards by class, model and cluster out."""

from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import AgentOnly, Anyone, Staff
from api.city import City, TheCity
from api.gate import ThroughGate
from api.problems import ProblemError
from api.views import recorded_clusters
from scheduler.contract.inventory import (
    MAX_HEALTH_REASONS,
    Accelerator,
    CardView,
    ClassTotal,
    InstanceCount,
    Inventory,
    InventoryRow,
    NodePage,
    NodeReport,
    NodeView,
    ReportAccepted,
)
from scheduler.domain.hardware import Catalogue, HardwareClass, Health
from scheduler.domain.states import ATTEMPT_ACTIVE
from scheduler.service import cards
from scheduler.service.snapshot import is_silent
from scheduler.store.database import CITY
from scheduler.store.live import NodeKey
from scheduler.store.tables import AttemptRow, ClusterRow, Json, NodeRow

router = APIRouter(prefix="/v1", tags=["inventory"])

REPORT_SECONDS = 10
BUSY_REPORT_SECONDS = 20
"""While many report at once. A node that is not heard for 30 s gets nothing new, so it is not asked for less."""
UUID_ON_TWO_NODES = "uuid_on_two_nodes"
"""Why a card is degraded that another node reported first."""
MAX_PAGE = 200
FOREIGN_USE_AFTER = timedelta(seconds=60)
"""A reading may be some reports old, and programs need a moment to end: until then the processes of a job are still its own."""
_SENSORS = (
    *("memory_used_bytes", "utilisation_percent", "power_milliwatts", "temperature_celsius"),
    *("sm_clock_mhz", "memory_clock_mhz", "pcie_generation", "pcie_width", "processes", "process_count"),
)


@router.post("/nodes/report", status_code=202)
def report_node(gate: ThroughGate, report: NodeReport, city: TheCity, principal: AgentOnly) -> ReportAccepted:
    """Take a node's snapshot. Its readings stay in Redis; SQL is written only when what the node can do has changed.

    A card whose UUID is at home on another node is degraded here: it must not be given out twice. Where more report at once than
    this process takes, they are told when to come again (429).
    """
    node = (str(principal.subject), report.hostname)
    now = city.clock()
    if not city.live.is_stale(node, report.boot, report.sequence):
        uuids = {card.uuid for card in report.accelerators}
        with city.database.read(CITY) as session:  # a card may be at home in another cluster
            known, homes = session.get(NodeRow, node), cards.homes_of(session, uuids)
            others = set(homes.values()) - {node}
            gone = _gone(city, session, others, uuids, now) if others else set()
        elsewhere = {uuid for uuid, home in homes.items() if home != node}
        if known is None or gone or uuids - homes.keys() or known.capacity != _capacity(report, city.catalogue, elsewhere):
            _store_capacity(city, node, report, uuids, gone)
        city.live.heard(node, report.boot, report.sequence, _readings(report, now), now)
    seconds = BUSY_REPORT_SECONDS if gate.is_busy else REPORT_SECONDS
    return ReportAccepted(next_report_seconds=seconds, catalogue_version=city.catalogue.version)


@router.get("/inventory")
def get_inventory(city: TheCity, principal: Anyone) -> Inventory:  # noqa: ARG001 - any valid token may look
    """Every card of the network by cluster, vendor and model, and totals by class."""
    now = city.clock()
    heard_at = city.live.heard_at()
    rows: defaultdict[tuple[str, HardwareClass, str, str], _Tally] = defaultdict(_Tally)
    with city.database.read(CITY) as session:
        recorded = recorded_clusters(session)
        held = _held_devices(session)
        for node in session.scalars(select(NodeRow)):
            silent = is_silent(heard_at.get((node.cluster_id, node.hostname)), now)
            for card in map(Accelerator.model_validate, node.capacity["accelerators"]):
                tally = rows[node.cluster_id, card.hardware_class, card.vendor, card.model]
                tally.add(node.hostname, card, held[node.cluster_id], silent=silent)
    table = [
        tally.row(cluster, hardware_class, vendor, model, recorded=cluster in recorded)
        for (cluster, hardware_class, vendor, model), tally in sorted(rows.items())
    ]
    return Inventory(as_of=now, catalogue_version=city.catalogue.version, totals=_totals(table), rows=table)


@router.get("/nodes")
def list_nodes(
    city: TheCity,
    principal: Staff,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    after: Annotated[str | None, Query(max_length=400, pattern=r"^[A-Za-z0-9._:-]+/[A-Za-z0-9.-]+$")] = None,
) -> NodePage:
    """Nodes by cluster and name, with their last sensor readings. `after` is the `next` of the page before."""
    query = select(NodeRow).order_by(NodeRow.cluster_id, NodeRow.hostname).limit(limit)
    if after is not None:
        cluster, _, hostname = after.partition("/")
        query = query.where((NodeRow.cluster_id > cluster) | ((NodeRow.cluster_id == cluster) & (NodeRow.hostname > hostname)))
    with city.database.read(principal.scope) as session:
        nodes = session.scalars(query).all()
        held = _held_devices(session)
        lately = _held_devices(session, ended_after=city.clock() - FOREIGN_USE_AFTER)
    keys = [(node.cluster_id, node.hostname) for node in nodes]
    heard_at, sensors, now = city.live.heard_at(), city.live.sensors(keys), city.clock()
    views = []
    for node, key in zip(nodes, keys, strict=True):
        readings: Json = dict(sensors.get(key, {}))
        heard = heard_at.get(key)
        views.append(
            NodeView(
                cluster=node.cluster_id,
                hostname=node.hostname,
                heard_seconds_ago=max(0, int((now - heard).total_seconds())) if heard else None,
                cpu_cores=node.capacity["cpu_cores"],
                memory_bytes=node.capacity["memory_bytes"],
                driver_version=node.capacity.get("driver_version"),
                toolkit_version=node.capacity.get("toolkit_version"),
                labels=node.capacity["labels"],
                closed=node.capacity.get("closed", []),
                clock_ahead_seconds=readings.get("clock_ahead_seconds"),
                probe_errors=readings.get("probe_errors", {}),
                accelerators=[
                    _card_view(
                        {**card, **readings.get("cards", {}).get(card["uuid"], {})}, held[node.cluster_id], lately[node.cluster_id]
                    )
                    for card in node.capacity["accelerators"]
                ],
            )
        )
    return NodePage(nodes=views, next="/".join(keys[-1]) if len(nodes) == limit else None)


@dataclass
class _Tally:
    """Cards counted for one row of the inventory."""

    cards: int = 0
    healthy: int = 0
    allocated: int = 0
    free: int = 0
    partitioned: int = 0
    nodes: set[str] = field(default_factory=set)
    instances: defaultdict[str, "_Tally"] = field(default_factory=lambda: defaultdict(_Tally))

    def add(self, hostname: str, card: Accelerator, held: Container[str], *, silent: bool) -> None:
        """Count a card as one, or in MIG mode as cut up and its instances each for themselves."""
        healthy = card.health is Health.HEALTHY
        self.nodes.add(hostname)
        self.cards += 1
        self.healthy += healthy
        if card.mig is None:
            self._count(card.uuid in held, usable=healthy and not silent)
            return
        self.partitioned += 1
        for each in card.mig.instances:
            self.instances[each.profile].cards += 1
            self.instances[each.profile]._count(each.uuid in held, usable=healthy and not silent)

    def _count(self, held: bool, *, usable: bool) -> None:
        self.allocated += held
        self.free += usable and not held

    def row(self, cluster: str, hardware_class: HardwareClass, vendor: str, model: str, *, recorded: bool) -> InventoryRow:
        return InventoryRow(
            cluster=cluster,
            recorded=recorded,
            hardware_class=hardware_class,
            vendor=vendor,
            model=model,
            nodes=len(self.nodes),
            cards=self.cards,
            healthy=self.healthy,
            allocated=self.allocated,
            free=self.free,
            partitioned=self.partitioned,
            instances=[
                InstanceCount(profile=profile, count=each.cards, allocated=each.allocated, free=each.free)
                for profile, each in sorted(self.instances.items())
            ],
        )


def _totals(rows: list[InventoryRow]) -> list[ClassTotal]:
    return [
        ClassTotal(
            hardware_class=hardware_class,
            cards=sum(row.cards for row in found),
            healthy=sum(row.healthy for row in found),
            allocated=sum(row.allocated for row in found),
            free=sum(row.free for row in found),
            partitioned=sum(row.partitioned for row in found),
        )
        for hardware_class in HardwareClass
        if (found := [row for row in rows if row.hardware_class is hardware_class])
    ]


def _capacity(report: NodeReport, catalogue: Catalogue, elsewhere: Container[str]) -> Json:
    """What a node can do, without its readings. The class of a card decides money, so it is ours to say, not the agent's.

    Cards that are `elsewhere` at home are not this node's to be given out.
    """
    told = []
    for card in report.accelerators:
        identity = catalogue.identify(card.vendor, card.model, card.pci_vendor_id)
        known = card.model_copy(
            update={
                "vendor": identity.vendor,
                "model": identity.model,
                "hardware_class": identity.hardware_class,
                "nominal_memory_bytes": catalogue.nominal_memory_bytes(identity.vendor, identity.model),
                **dict.fromkeys(_SENSORS),
                **(_doubled(card) if card.uuid in elsewhere else {}),
            }
        )
        told.append(known.model_dump(mode="json", exclude_none=True))
    return {
        "catalogue_version": catalogue.version,
        "cpu_cores": report.cpu_cores,
        "memory_bytes": report.memory_bytes,
        "driver_version": report.driver_version,
        "toolkit_version": report.toolkit_version,
        "labels": dict(report.labels),
        "closed": list(report.closed),
        "accelerators": told,
    }


def _doubled(card: Accelerator) -> Json:
    health = Health.LOST if card.health is Health.LOST else Health.DEGRADED
    return {"health": health, "health_reasons": [UUID_ON_TWO_NODES, *card.health_reasons][:MAX_HEALTH_REASONS]}


def _gone(city: City, session: Session, nodes: set[NodeKey], uuids: set[str], now: datetime) -> set[NodeKey]:
    """Which of some nodes keep their cards no longer from another that reports them."""
    heard_at = city.live.heard_at()
    return {node for node in nodes if cards.has_gone(session, node, heard_at.get(node), uuids, now)}


def _store_capacity(city: City, node: NodeKey, report: NodeReport, uuids: set[str], gone: set[NodeKey]) -> None:
    now = city.clock()
    with city.database.write(CITY) as session:
        cluster, hostname = node
        if session.get(ClusterRow, cluster) is None:
            raise ProblemError("not_found", noun="cluster", id=cluster)
        known = session.get(NodeRow, node)
        before = known.capacity if known else None
        capacity = _capacity(report, city.catalogue, cards.settle(session, node, uuids, gone))
        if capacity != before:
            cards.tell_jobs(session, node, before, capacity, now)
            session.merge(NodeRow(cluster_id=cluster, hostname=hostname, capacity=capacity, changed_at=now))


def _readings(report: NodeReport, now: datetime) -> Json:
    """What is true of a node now and changes by itself: its sensors, what its probes could not see, how far its clock is off."""
    return {
        "cards": {
            card.uuid: card.model_dump(mode="json", include=set(_SENSORS), exclude_none=True) for card in report.accelerators
        },
        "probe_errors": {result.probe: result.error for result in report.probes if result.error},
        "clock_ahead_seconds": round((report.observed_at - now).total_seconds()),
    }


def _card_view(card: Json, held: Container[str], lately: Container[str]) -> CardView:
    devices = [card["uuid"], *(each["uuid"] for each in (card.get("mig") or {}).get("instances", ()))]
    allocated = any(device in held for device in devices)
    own = allocated or any(device in lately for device in devices)
    return CardView(**card, allocated=allocated, foreign_use=bool(card.get("processes")) and not own)


def _held_devices(session: Session, ended_after: datetime | None = None) -> defaultdict[str, set[str]]:
    """By cluster: the cards and instances that jobs hold, or those that jobs have held that ended after a moment."""
    which = AttemptRow.state.in_(ATTEMPT_ACTIVE) if ended_after is None else AttemptRow.finished_at > ended_after
    held: defaultdict[str, set[str]] = defaultdict(set)
    for attempt in session.scalars(select(AttemptRow).where(which)):
        held[attempt.cluster_id].update(device for placement in attempt.placements for device in placement["devices"])
    return held
