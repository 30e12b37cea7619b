"""The cards of a node from report to report: on which node each is at home, and who is told when one fails under a job.

A UUID is one card. Two nodes that report the same one (an agent that runs twice on a machine under two names, a cloned virtual
machine) would have it given out twice: so it belongs to the node that reported it first, until that one no longer does, or has been
silent for long and no job holds it there. On the other node it is degraded, and the operator reads why.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from scheduler.domain.hardware import Health
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE
from scheduler.service.lifecycle import record
from scheduler.service.tasks import task_of
from scheduler.store.live import NodeKey
from scheduler.store.tables import AttemptRow, DeviceRow, JobRow, Json

GONE_AFTER = timedelta(minutes=10)
"""A node that has been silent for so long no longer keeps its cards from another that reports them."""
MAX_WHY = 8
"""Reasons of a card's state that a job is told."""

SOUND = Health.HEALTHY.value


def homes_of(session: Session, devices: Collection[str]) -> dict[str, NodeKey]:
    """Where each of some cards is at home, of those that are anywhere. The session sees the whole city."""
    rows = session.execute(select(DeviceRow.uuid, DeviceRow.cluster_id, DeviceRow.hostname).where(DeviceRow.uuid.in_(devices)))
    return {uuid: (cluster, hostname) for uuid, cluster, hostname in rows}


def settle(session: Session, node: NodeKey, devices: Collection[str], gone: Collection[NodeKey]) -> set[str]:
    """Makes a node the home of the cards it reports, and of no others. Returns those that stay at home elsewhere.

    `gone` are nodes that keep nothing any more. The session sees the whole city. Of two nodes that do this at once, one is first.
    """
    cluster, hostname = node
    here = (DeviceRow.cluster_id == cluster) & (DeviceRow.hostname == hostname)
    session.execute(delete(DeviceRow).where(here, DeviceRow.uuid.not_in(devices)))
    for its_cluster, its_hostname in gone:
        its = (DeviceRow.cluster_id == its_cluster) & (DeviceRow.hostname == its_hostname)
        session.execute(delete(DeviceRow).where(its, DeviceRow.uuid.in_(devices)))
    if devices:
        rows = [{"uuid": uuid, "cluster_id": cluster, "hostname": hostname} for uuid in sorted(devices)]
        insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
        session.execute(insert(DeviceRow).values(rows).on_conflict_do_nothing())
    return {uuid for uuid, home in homes_of(session, devices).items() if home != node}


def has_gone(session: Session, node: NodeKey, heard_at: datetime | None, devices: Collection[str], now: datetime) -> bool:
    """Whether a node may lose cards to another that reports them: long silent, and no job holds one of them there."""
    if heard_at is not None and now - heard_at <= GONE_AFTER:
        return False
    held = (placement for attempt in _active(session, node[0]) for placement in attempt.placements)
    return not any(placement["node"] == node[1] and set(placement["devices"]) & set(devices) for placement in held)


def tell_jobs(session: Session, node: NodeKey, before: Json | None, after: Json, now: datetime) -> None:
    """Writes into the history of jobs that their cards on a node have failed or are no longer there, as its capacity changes."""
    was, is_now = _devices(before), _devices(after)
    missing = was.keys() - is_now.keys()
    failed = {device: why for device, why in is_now.items() if why is not None and was.get(device) is None}
    if not (missing or failed):
        return
    cluster, hostname = node
    for attempt in _active(session, cluster):
        its = {device for placement in attempt.placements if placement["node"] == hostname for device in placement["devices"]}
        ill = [why for device in sorted(its & failed.keys()) if (why := failed[device])]
        if its & failed.keys():
            told = ", ".join(dict.fromkeys(ill)) or "-"
            _tell(
                session, attempt, Reason("cards_degraded", {"cards": len(its & failed.keys()), "node": hostname, "why": told}), now
            )
        if its & missing:
            _tell(session, attempt, Reason("cards_missing", {"cards": len(its & missing), "node": hostname}), now)


def _devices(capacity: Json | None) -> Mapping[str, str | None]:
    """By card, and by instance of a card: why it is not healthy (perhaps nothing is told), or None where it is."""
    found: dict[str, str | None] = {}
    for card in capacity["accelerators"] if capacity else ():
        why = None if card.get("health", SOUND) == SOUND else ", ".join(card.get("health_reasons", ())[:MAX_WHY])
        found[card["uuid"]] = why
        found |= {each["uuid"]: why for each in (card.get("mig") or {}).get("instances", ())}
    return found


def _active(session: Session, cluster: str) -> list[AttemptRow]:
    query = select(AttemptRow).where(AttemptRow.cluster_id == cluster, AttemptRow.state.in_(ATTEMPT_ACTIVE))
    return list(session.scalars(query))


def _tell(session: Session, attempt: AttemptRow, reason: Reason, now: datetime) -> None:
    record(session, session.get_one(JobRow, attempt.job_id), reason, now, attempt.number, task_of(session, attempt))
