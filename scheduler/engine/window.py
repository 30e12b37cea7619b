"""Windows: nodes that are spoken for from a start to an end, for maintenance or for somebody who has reserved them.

A window binds a job that would be on its nodes within [start, end). In maintenance that is every job. A reservation does not bind
its beneficiaries as long as they end by its end: before it starts they run into it as they like, while it is open they are tried
there first, and past its end they are as bound as anybody, so that what follows it finds the nodes free. Whoever ends by the start
may use the nodes until then: they drain by end time, and nothing idles that could be used.

What is still there when a window opens is asked to stop at its very start (`drain`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scheduler.contract.window import WindowKind
from scheduler.domain.clock import from_micros, rfc3339_seconds
from scheduler.domain.reasons import Numbers, Reason
from scheduler.engine.fleet import Fleet, Free


@dataclass(frozen=True, slots=True)
class Window:
    """`nodes` (numbers of the fleet, all of one cluster) from `start` to just before `end`, microseconds. `tenants` are the
    beneficiaries of a reservation."""

    id: str
    kind: WindowKind
    start: int
    end: int
    cluster: int
    nodes: frozenset[int]
    tenants: frozenset[str] = frozenset()

    def binds(self, tenant: str, start: int, end: int) -> bool:
        """Whether a job of the tenant may not be on the nodes from `start` to `end`."""
        return start < self.end and self.start < end and not (tenant in self.tenants and end <= self.end)

    def is_kept_for(self, tenant: str, start: int, end: int) -> bool:
        """Whether it is open to the tenant from `start` to `end`, and to hardly anybody else."""
        return self.start <= start and end <= self.end and tenant in self.tenants

    def numbers(self) -> Numbers:
        """What it is for, from when to when, as a reason says it."""
        start, end = (rfc3339_seconds(from_micros(each)) for each in (self.start, self.end))
        return {"kind": self.kind.value, "start": start, "end": end}

    def reason(self, cluster: str) -> Reason:
        """Why a job that it binds waits."""
        return Reason("waiting_for_window", {"cluster": cluster, **self.numbers()})


def binding(windows: Iterable[Window], tenant: str, start: int, end: int) -> tuple[Window, ...]:
    """The windows that bind a job of the tenant from `start` to `end`, in the order in which they start."""
    found = [each for each in windows if each.binds(tenant, start, end)]
    return tuple(sorted(found, key=lambda each: (each.start, each.id)))


def left_outside(fleet: Fleet, windows: Sequence[Window]) -> Free:
    """All of the fleet as if nothing ran, but nothing of the nodes of some windows."""
    left = fleet.all_free()
    left.close([node for each in windows for node in each.nodes])
    return left


def left_inside(fleet: Fleet, windows: Sequence[Window]) -> Free:
    """The nodes of some windows as if nothing ran, and nothing of the others."""
    left = fleet.all_free()
    inside = frozenset().union(*(each.nodes for each in windows))
    left.close([node for node in range(len(fleet.nodes)) if node not in inside])
    return left
