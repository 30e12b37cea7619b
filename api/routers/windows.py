"""Windows: nodes set aside for maintenance or for tenants who have reserved them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import OperatorOnly, Principal, TenantOrStaff
from api.city import TheCity
from api.idempotency import Keyed, once
from api.problems import ProblemError
from scheduler.contract.problem import FieldError
from scheduler.contract.registry import Role
from scheduler.contract.window import WindowKind, WindowSpec, WindowView
from scheduler.domain.clock import to_micros
from scheduler.engine.fleet import NO_KIND
from scheduler.engine.pick import capable, pick
from scheduler.engine.shape import shape_of
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.window import Window
from scheduler.service.mirror import look
from scheduler.service.registry import declared_queues
from scheduler.service.windows import beneficiaries, in_force, spec_of
from scheduler.store.live import NodeKey
from scheduler.store.tables import ClusterRow, NodeRow, TenantRow, WindowRow

router = APIRouter(prefix="/v1/windows", tags=["windows"])

MAX_WINDOWS = 500
"""Windows that may be open or ahead: each is looked at for every job that waits."""

MAX_ENDED = 1_000
"""Windows that are over or cancelled, of which a listing tells, the youngest first."""

MAX_TOLD = 5
"""Nodes or windows that a refusal names."""


@router.post("", status_code=201, response_model=WindowView)
def create_window(body: WindowSpec, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    """Set nodes aside. Refused, with nothing stored, if they are not there or other windows have them for any of the time.

    Nothing is placed where it would still be when the window opens. What is there all the same is asked to stop at `start`, and
    its job is queued again at no cost of a retry.
    """
    heard_at = city.live.heard_at()

    def effect(session: Session) -> tuple[int, BaseModel]:
        now = city.clock()
        start = body.start or now
        _check(session, body, start, now)
        nodes = _nodes(session, _occupied(session, heard_at, now), body, start)
        row = WindowRow(
            id=city.make_id("win", now),
            cluster_id=body.cluster,
            starts_at=start,
            ends_at=body.end,
            nodes=nodes,
            body=body.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            created_at=now,
        )
        session.add(row)
        return 201, _view(row, now)

    return once(city, principal, keyed, effect)


@router.get("")
def list_windows(city: TheCity, principal: TenantOrStaff, ended: bool = False) -> list[WindowView]:
    """Windows that are open or ahead, the first to start first; with `ended`, after them those that are over or cancelled.

    A tenant sees maintenance and its own reservations.
    """
    now = city.clock()
    with city.database.read(principal.scope) as session:
        rows = sorted(in_force(session, now), key=lambda row: (row.starts_at, row.id))
        if ended:
            over = select(WindowRow).where((WindowRow.cancelled_at.is_not(None)) | (WindowRow.ends_at <= now))
            rows += session.scalars(over.order_by(WindowRow.starts_at.desc(), WindowRow.id).limit(MAX_ENDED))
        queues = declared_queues(session)
        return [_view(row, now) for row in rows if _may_see(principal, spec_of(row), beneficiaries(spec_of(row), queues))]


@router.post("/{window_id}/cancel", status_code=200, response_model=WindowView)
def cancel_window(
    window_id: Annotated[str, Path(max_length=128)], city: TheCity, principal: OperatorOnly, keyed: Keyed
) -> JSONResponse:
    """Give the nodes back from the next round on. Once it is over there is nothing to give back."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        now = city.clock()
        row = session.get(WindowRow, window_id, with_for_update=True)
        if row is None:
            raise ProblemError("not_found", noun="window", id=window_id)
        if row.cancelled_at is None and row.ends_at <= now:
            raise ProblemError("window_over", id=window_id)
        row.cancelled_at = row.cancelled_at or now
        return 200, _view(row, now)

    return once(city, principal, keyed, effect)


def _may_see(principal: Principal, spec: WindowSpec, tenants: frozenset[str]) -> bool:
    return principal.role is not Role.TENANT or spec.kind is WindowKind.MAINTENANCE or principal.subject in tenants


def _check(session: Session, spec: WindowSpec, start: datetime, now: datetime) -> None:
    """What can be said without looking at the network: the times, whom it names, and how many there are."""
    if start < now:
        raise _invalid("start", "may not lie in the past", "不得早于当前时间")
    if spec.end <= start:
        raise _invalid("end", "must be after start, which is now where it is left out", "须晚于开始时间(未填写时为当前时间)")
    # the cluster's row is locked, so that two windows on it are made one after the other
    if session.get(ClusterRow, spec.cluster, with_for_update=True) is None:
        raise _unknown("cluster", "cluster", spec.cluster)
    for position, tenant in enumerate(spec.tenants):
        if session.get(TenantRow, tenant) is None:
            raise _unknown(f"tenants.{position}", "tenant", tenant)
    if spec.queue is not None and spec.queue not in {queue.name for queue in declared_queues(session)}:
        raise _unknown("queue", "queue", spec.queue)
    for position, name in enumerate(spec.nodes or ()):
        if session.get(NodeRow, (spec.cluster, name)) is None:
            raise _unknown(f"nodes.{position}", f"node of {spec.cluster}", name)
    if len(in_force(session, now)) >= MAX_WINDOWS:
        raise ProblemError("too_many_windows", limit=MAX_WINDOWS)


def _occupied(session: Session, heard_at: Mapping[NodeKey, datetime], now: datetime) -> Snapshot:
    """What is there and what runs on it; who waits does not matter."""
    return look(session, heard_at, now).state.snapshot(to_micros(now))


def _nodes(session: Session, snapshot: Snapshot, spec: WindowSpec, start: datetime) -> list[str] | None:
    """The names of the nodes that are kept; None for the whole of a cluster."""
    fleet = snapshot.fleet
    cluster = fleet.clusters.index(spec.cluster) if spec.cluster in fleet.clusters else None
    if cluster is None:  # it has no node yet: maintenance of all of it waits for those that come
        if spec.hardware is not None:
            raise _never_fits(spec, 0)
        return None
    named = range(*fleet.span(NO_KIND, cluster)) if spec.nodes is None else [fleet.index[spec.cluster, name] for name in spec.nodes]
    tenants = beneficiaries(spec, declared_queues(session))
    wanted = Window("", spec.kind, to_micros(start), to_micros(spec.end), cluster, frozenset(named), tenants)
    taken = [each for each in snapshot.windows if each.start < wanted.end and wanted.start < each.end]
    if spec.hardware is None:
        _refuse_overlap([each for each in taken if each.nodes & wanted.nodes], spec)
        return None if spec.nodes is None else list(spec.nodes)
    shape = shape_of(spec.hardware)
    there = max((len(nodes) for nodes in capable(snapshot, shape, cluster)), default=0)
    chosen = pick(snapshot, shape, wanted, taken)
    if chosen is None:
        if pick(snapshot, shape, wanted, ()) is None:
            raise _never_fits(spec, there)
        _refuse_overlap([each for each in taken if each.cluster == cluster], spec)
    return sorted(fleet.nodes[node].name for node in chosen or ())


def _refuse_overlap(others: Sequence[Window], spec: WindowSpec) -> None:
    if others:
        told = ", ".join(each.id for each in others[:MAX_TOLD])
        field = "hardware.nodes" if spec.hardware else "nodes"
        error = FieldError(
            field=field,
            message=f"other windows have nodes of it in that time: {told}",
            message_zh=f"该时段内其他窗口已占用相关节点:{told}",
        )
        raise ProblemError("window_overlaps", [error], cluster=spec.cluster, windows=told)


def _never_fits(spec: WindowSpec, there: int) -> ProblemError:
    hardware = spec.hardware
    asked = 0 if hardware is None else hardware.nodes
    error = FieldError(
        field="hardware.nodes",
        message=f"at most {there} is possible in {spec.cluster}",
        message_zh=f"{spec.cluster} 中最多为 {there}",
    )
    return ProblemError("window_never_fits", [error], cluster=spec.cluster, there=there, asked=asked)


def _unknown(field: str, noun: str, id_: str) -> ProblemError:
    error = FieldError(field=field, message=f"there is no {noun} {id_}", message_zh=f"不存在 {noun} {id_}")
    return ProblemError("unknown_reference", [error], field=field, noun=noun, id=id_)


def _invalid(field: str, message: str, message_zh: str) -> ProblemError:
    return ProblemError("invalid_request", [FieldError(field=field, message=message, message_zh=message_zh)], count=1)


def _view(row: WindowRow, now: datetime) -> WindowView:
    spec = spec_of(row)
    whole = spec.model_dump(exclude={"start", "nodes"})
    return WindowView(
        **whole,
        id=row.id,
        start=row.starts_at,
        nodes=None if row.nodes is None else tuple(row.nodes),
        state=_state(row, now),
        created_at=row.created_at,
        cancelled_at=row.cancelled_at,
    )


def _state(row: WindowRow, now: datetime) -> Literal["ahead", "open", "over", "cancelled"]:
    if row.cancelled_at is not None:
        return "cancelled"
    if row.ends_at <= now:
        return "over"
    return "open" if row.starts_at <= now else "ahead"
