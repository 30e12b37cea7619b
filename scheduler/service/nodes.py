"""The nodes of the city as a fleet, kept from look to look: only nodes that have changed are read again."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from sqlalchemy import BigInteger, select, tuple_, type_coerce
from sqlalchemy.orm import Session

from scheduler.domain.hardware import Health
from scheduler.engine.fleet import Fleet, Node
from scheduler.service.snapshot import is_silent, node_of
from scheduler.store.live import NodeKey
from scheduler.store.tables import NodeRow

CHUNK = 500
"""Nodes asked for in one query."""


class Nodes:
    """Every node as its capacity was last reported; `live` where node and cluster are being heard and the node is not closed."""

    def __init__(self) -> None:
        self.fleet = Fleet.of([])
        self._read: dict[NodeKey, tuple[int, Node]] = {}
        self._live: set[NodeKey] = set()

    def refresh(
        self,
        session: Session,
        clusters_heard_at: Mapping[str, datetime | None],
        heard_at: Mapping[NodeKey, datetime],
        now: datetime,
    ) -> bool:
        """Whether there is another fleet now: nodes have come, gone or changed, or fallen silent, or speak again."""
        stamps = select(NodeRow.cluster_id, NodeRow.hostname, type_coerce(NodeRow.changed_at, BigInteger))
        stamped = {(cluster, hostname): changed_at for cluster, hostname, changed_at in session.execute(stamps)}
        changed = [key for key, stamp in stamped.items() if key not in self._read or self._read[key][0] != stamp]
        gone = self._read.keys() - stamped.keys()
        for key in gone:
            del self._read[key]
        for start in range(0, len(changed), CHUNK):
            chunk = changed[start : start + CHUNK]
            for row in session.scalars(select(NodeRow).where(tuple_(NodeRow.cluster_id, NodeRow.hostname).in_(chunk))):
                key = row.cluster_id, row.hostname
                self._read[key] = stamped[key], node_of(row, (Health.HEALTHY,), live=not row.capacity.get("closed"))
        silent_clusters = {cluster for cluster, heard in clusters_heard_at.items() if is_silent(heard, now)}
        live = {key for key in stamped if key[0] not in silent_clusters and not is_silent(heard_at.get(key), now)}
        if not (changed or gone or live != self._live):
            return False
        self._live = live
        self.fleet = Fleet.of([replace(node, live=node.live and key in live) for key, (_, node) in self._read.items()])
        return True
