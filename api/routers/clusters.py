"""Clusters: how they stand, and the calls their agents make."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.auth import AgentOnly, Principal, Staff
from api.city import TheCity
from api.problems import ProblemError
from scheduler.contract.registry import Cluster, ClusterView, Launcher
from scheduler.contract.sync import (
    MAX_WATCH_SECONDS,
    LogChunks,
    LogPositions,
    Revision,
    SyncRequest,
    SyncResponse,
    Watched,
)
from scheduler.domain.states import ATTEMPT_ACTIVE
from scheduler.service.logs import append
from scheduler.service.snapshot import is_silent
from scheduler.service.sync import ClusterTakenError, desired, observe, revision_of, revisions
from scheduler.store.tables import AttemptRow, ClusterRow, NodeRow

router = APIRouter(prefix="/v1/clusters", tags=["clusters"])

SYNC_MILLISECONDS = 5_000
"""How often a quiet cluster is heard: six times before it counts as silent."""

WatchSeconds = Annotated[int, Query(ge=0, le=MAX_WATCH_SECONDS, description="How long to wait for a change.")]


@router.get("")
def list_clusters(city: TheCity, principal: Staff) -> list[ClusterView]:
    """Every cluster, how long ago its agent was heard, and what runs there."""
    now = city.clock()
    with city.database.read(principal.scope) as session:
        cards: dict[str, int] = {}
        nodes: dict[str, int] = {}
        for node in session.scalars(select(NodeRow)):
            cards[node.cluster_id] = cards.get(node.cluster_id, 0) + len(node.capacity["accelerators"])
            nodes[node.cluster_id] = nodes.get(node.cluster_id, 0) + 1
        running = _running(session)
        rows = session.scalars(select(ClusterRow).order_by(ClusterRow.id)).all()
    return [
        ClusterView(
            **row.body,
            recorded=row.body["launcher"] == Launcher.RECORDED,
            state=_standing(row.heard_at, now),
            heard_seconds_ago=max(0, int((now - row.heard_at).total_seconds())) if row.heard_at else None,
            nodes=nodes.get(row.id, 0),
            cards=cards.get(row.id, 0),
            running=running.get(row.id, 0),
        )
        for row in rows
    ]


@router.get("/{cluster_id}")
def get_cluster(cluster_id: str, city: TheCity, principal: Staff) -> Cluster:
    with city.database.read(principal.scope) as session:
        return Cluster.model_validate(_find(session, cluster_id).body)


@router.post("/{cluster_id}/sync")
def sync_cluster(cluster_id: str, body: SyncRequest, city: TheCity, principal: AgentOnly) -> SyncResponse:
    """Take what the cluster observes, answer what it must run."""
    _own(principal, cluster_id)
    with city.database.write(principal.scope) as session:
        cluster, now = _find(session, cluster_id), city.clock()
        try:
            observe(session, cluster, body, now)
        except ClusterTakenError as taken:
            refusal = ProblemError("cluster_taken", cluster=cluster_id, agent=taken.agent, seconds=taken.seconds)
            raise refusal.after(taken.seconds) from None
        session.flush()
        if body.revision is not None and body.revision == revisions(session, [cluster_id])[cluster_id]:
            return SyncResponse(desired=None, revision=body.revision, next_sync_milliseconds=SYNC_MILLISECONDS)
        runs = desired(session, cluster)
        return SyncResponse(desired=runs, revision=revision_of(runs), next_sync_milliseconds=SYNC_MILLISECONDS)


@router.get("/{cluster_id}/watch")
async def watch_cluster(
    cluster_id: str,
    revision: Annotated[Revision, Query(description="That of the last sync's answer.")],
    request: Request,
    city: TheCity,
    principal: AgentOnly,
    wait_seconds: WatchSeconds = 20,
) -> Watched:
    """Wait until what the cluster must run has another revision than the one named, or until `wait_seconds` are over."""
    _own(principal, cluster_id)

    def look() -> str:
        with city.database.read(principal.scope) as session:
            return revisions(session, [cluster_id])[cluster_id]

    found = await run_in_threadpool(look)
    if found == revision and wait_seconds > 0:
        await city.watches.until_changed(request, city.database, principal.token, cluster_id, revision, wait_seconds)
        found = await run_in_threadpool(look)
    return Watched(revision=found)


@router.post("/{cluster_id}/logs")
def append_logs(cluster_id: str, body: LogChunks, city: TheCity, principal: AgentOnly) -> LogPositions:
    """Take what runs have printed. A piece that begins before its log ends is not taken: the answer says where to go on."""
    _own(principal, cluster_id)
    with city.database.write(principal.scope) as session:
        return LogPositions(positions=append(session, body.chunks))


def _own(principal: Principal, cluster_id: str) -> None:
    """An agent's token is for one cluster; another cluster is as absent as one that never was."""
    if principal.subject != cluster_id:
        raise ProblemError("not_found", noun="cluster", id=cluster_id[:128])


def _find(session: Session, cluster_id: str) -> ClusterRow:
    cluster = session.get(ClusterRow, cluster_id)
    if cluster is None:
        raise ProblemError("not_found", noun="cluster", id=cluster_id[:128])
    return cluster


def _running(session: Session) -> dict[str, int]:
    query = select(AttemptRow.cluster_id, func.count()).where(AttemptRow.state.in_(ATTEMPT_ACTIVE)).group_by(AttemptRow.cluster_id)
    return {cluster: int(count) for cluster, count in session.execute(query)}


def _standing(heard_at: datetime | None, now: datetime) -> Literal["never_heard", "live", "suspect"]:
    if heard_at is None:
        return "never_heard"
    return "suspect" if is_silent(heard_at, now) else "live"
