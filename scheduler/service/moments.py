"""The city as it is, for those who ask in the threads of one process: one mirror is kept up, and each has a moment of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

from sqlalchemy import func, select

from scheduler.domain.hardware import Catalogue
from scheduler.engine.fleet import Fleet
from scheduler.engine.runs import Runs
from scheduler.engine.snapshot import Snapshot
from scheduler.service.mirror import Mirror
from scheduler.service.registry import Registry, Version, load_registry, registry_version
from scheduler.service.snapshot import registered_fleet
from scheduler.store.database import CITY, Database
from scheduler.store.live import NodeKey
from scheduler.store.tables import NodeRow


@dataclass(frozen=True, slots=True)
class Moment:
    """What was there at one time; nobody changes it any more."""

    registry: Registry
    snapshot: Snapshot


class Moments:
    """Safe to be shared between threads."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        """`catalogue` instead of the shipped one."""
        self._lock = Lock()
        self._mirror = Mirror(catalogue)
        self._sizes: tuple[object, Fleet] | None = None
        self._registry: tuple[Version, Registry] | None = None

    def look(self, database: Database, heard_at: Mapping[NodeKey, datetime], now: datetime) -> Moment:
        """The city as it is. One thread at a time reads what has changed, so that none sees it go back."""
        with self._lock, database.read(CITY) as session:
            try:
                self._mirror.refresh(session, heard_at, now)
            except BaseException:
                self._mirror.forget()
                raise
            snapshot = self._mirror.snapshot(now)
            return Moment(
                self._mirror.registry,
                replace(
                    snapshot,
                    free=snapshot.free.copy(),
                    usage=snapshot.usage.copy(),
                    quotas=snapshot.quotas.copy(),
                    runs=Runs.of(snapshot.runs),
                ),
            )

    def sizes(self, database: Database) -> Fleet:
        """Every registered node with all its cards, whether or not it answers: what the size of a request is measured against."""
        with database.read(CITY) as session:  # never the caller's, which sees only what is its own
            stamp = tuple(session.execute(select(func.count(), func.max(NodeRow.changed_at)).select_from(NodeRow)).one())
            kept = self._sizes
            if kept is None or kept[0] != stamp:
                kept = self._sizes = stamp, registered_fleet(session)
            return kept[1]

    def registry(self, database: Database) -> Registry:
        """Who takes part. Who was heard when, and what has been used, may be as it was when somebody joined last."""
        with database.read(CITY) as session:
            version, kept = registry_version(session), self._registry
            if kept is None or kept[0] != version:
                kept = self._registry = version, load_registry(session)
            return kept[1]
