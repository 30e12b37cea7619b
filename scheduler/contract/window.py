"""Windows: nodes an operator sets aside from a moment to a moment, for maintenance or for tenants who have reserved them."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from scheduler.contract.base import Key, Moment, Text, Wire
from scheduler.contract.inventory import NodeName
from scheduler.contract.job import MAX_NODES, Hardware


class WindowKind(StrEnum):
    """What a window is for."""

    MAINTENANCE = "maintenance"
    RESERVATION = "reservation"


class _Window(Wire):
    """What a window says, asked for or made."""

    kind: WindowKind
    cluster: Key
    nodes: Annotated[tuple[NodeName, ...], Field(min_length=1, max_length=MAX_NODES)] | None = None
    hardware: Hardware | None = None
    end: Moment
    tenants: Annotated[tuple[Key, ...], Field(max_length=256)] = ()
    queue: Key | None = None
    note: Text | None = None


class WindowSpec(_Window):
    """Nodes of one cluster from `start` (at once where it is left out) to just before `end`.

    Maintenance keeps everybody off: off the `nodes` named, or, where none are, off the whole cluster and whatever joins it. A
    reservation keeps everybody off but its beneficiaries, the `tenants` named and those of the `queue` named and of all below it;
    it is for the `nodes` named, or for as many as `hardware` asks, in the words of a job: they are chosen when it is made, are
    kept whole, and stay the same. Jobs of its beneficiaries must end by its `end` to use it.
    """

    start: Moment | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.start is not None and self.end <= self.start:
            raise ValueError("end must be after start")
        if self.nodes is not None and len(set(self.nodes)) < len(self.nodes):
            raise ValueError("nodes may name each node once")
        if self.kind is WindowKind.MAINTENANCE and (self.hardware or self.tenants or self.queue):
            raise ValueError("hardware, tenants and queue are for reservations; maintenance is of nodes, or of the whole cluster")
        if self.kind is WindowKind.RESERVATION and (self.nodes is None) == (self.hardware is None):
            raise ValueError("a reservation has either nodes or hardware")
        if self.kind is WindowKind.RESERVATION and not self.tenants and self.queue is None:
            raise ValueError("a reservation has tenants or a queue that may use it")
        if self.hardware is not None and self.hardware.min_nodes is not None:
            raise ValueError("hardware.min_nodes is not for reservations: one is kept whole or refused")
        return self


class WindowView(_Window):
    """A window as it stands. `nodes` are those that are kept; none means the whole cluster."""

    id: Key
    start: Moment
    state: Literal["ahead", "open", "over", "cancelled"]
    created_at: Moment
    cancelled_at: Moment | None = None
