"""Windows between the store and the engine: which are in force, whose they are, and what they keep."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.registry import QueueSpec
from scheduler.contract.window import WindowSpec
from scheduler.domain.clock import to_micros
from scheduler.engine.fleet import NO_KIND, Fleet
from scheduler.engine.window import Window
from scheduler.service.registry import declared_queues
from scheduler.store.tables import WindowRow


def in_force(session: Session, now: datetime) -> list[WindowRow]:
    """The windows that are open or ahead, oldest first."""
    rows = select(WindowRow).where(WindowRow.cancelled_at.is_(None), WindowRow.ends_at > now).order_by(WindowRow.id)
    return list(session.scalars(rows))


def load_windows(session: Session, fleet: Fleet, now: datetime) -> tuple[Window, ...]:
    """The windows in force as the engine sees them. Nodes that are no longer reported are not there to keep."""
    rows = in_force(session, now)
    if not rows:
        return ()
    queues = declared_queues(session)
    found = (engine_window(row, beneficiaries(spec_of(row), queues), fleet) for row in rows)
    return tuple(window for window in found if window.nodes)


def engine_window(row: WindowRow, tenants: frozenset[str], fleet: Fleet) -> Window:
    """A stored window in the engine's terms."""
    return Window(
        id=row.id,
        kind=spec_of(row).kind,
        start=to_micros(row.starts_at),
        end=to_micros(row.ends_at),
        cluster=fleet.clusters.index(row.cluster_id) if row.cluster_id in fleet.clusters else 0,
        nodes=_numbers(fleet, row.cluster_id, row.nodes),
        tenants=tenants,
    )


def spec_of(row: WindowRow) -> WindowSpec:
    return WindowSpec.model_validate(row.body)


def beneficiaries(spec: WindowSpec, queues: Iterable[QueueSpec]) -> frozenset[str]:
    """Whom a reservation is for: the tenants it names, and those whose queue is the one it names or below that."""
    if spec.queue is None:
        return frozenset(spec.tenants)
    parents = {queue.name: queue.parent for queue in queues}
    return frozenset(spec.tenants) | {name for name in (*parents, spec.queue) if spec.queue in _line(parents, name)}


def _line(parents: Mapping[str, str | None], name: str) -> list[str]:
    """A queue and those above it; declared queues form trees, so it ends."""
    line = [name]
    while (above := parents.get(line[-1])) is not None:
        line.append(above)
    return line


def _numbers(fleet: Fleet, cluster: str, names: list[str] | None) -> frozenset[int]:
    if names is None:
        return frozenset(range(*fleet.span(NO_KIND, fleet.clusters.index(cluster)))) if cluster in fleet.clusters else frozenset()
    return frozenset(fleet.index[cluster, name] for name in names if (cluster, name) in fleet.index)
