"""What a round looks at and what it decides. A snapshot is never changed; a driver applies the decisions it accepts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from scheduler.domain.reasons import Reason
from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.order import Order, QueuedJob, Usage
from scheduler.engine.packing import Packing
from scheduler.engine.place import Place
from scheduler.engine.quota import Quotas
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.staging import Links
from scheduler.engine.window import Window


@dataclass(frozen=True, slots=True)
class Quote:
    """Micro-CNY per card-hour (per core-hour for a job without cards): as published, as contracted, after voucher."""

    list_price: int
    contracted_price: int
    net_price: int


FOREVER = 2**62
"""When a run ends that never said how long it takes at most."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """Grants that a cluster has not taken up yet, and how many of them it may have at a time."""

    grants: int
    limit: int


class Backfill(StrEnum):
    """Who is promised a place: the first blocked job of each pool of cards, or every blocked job."""

    EASY = "easy"
    CONSERVATIVE = "conservative"


Prices = Mapping[tuple[str, str, str | None], Quote]
"""By (terms of the job, cluster, model); the model is None for a job without cards."""


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """An attempt that holds cards. Stopping it now loses the card-seconds since `safe_at`, its start or last checkpoint.

    `safe_at` is None while the attempt has not started: nothing is lost. `releasing`: it has been asked to stop already.
    It ends at `ends_at` at the latest, `FOREVER` where nobody knows. Until `protected_until` it is stopped for no job, only for a
    window. `again`: its job, where it may be moved (`consolidate`).
    """

    attempt: str
    job: str
    tenant: str
    priority: int
    preemptible: bool
    place: Place
    safe_at: int | None = None
    releasing: bool = False
    ends_at: int = FOREVER
    queue: str = ""
    protected_until: int = 0
    again: QueuedJob | None = None

    def may_be_stopped(self, at: int) -> bool:
        """Whether it may be asked to stop for a job at some moment, as far as it is concerned."""
        return self.preemptible and not self.releasing and self.protected_until <= at

    def lost_card_seconds(self, now: int) -> int:
        if self.safe_at is None:
            return 0
        return max(0, now - self.safe_at) // 1_000_000 * (self.place.card_milli() or WHOLE_CARD_MILLI) // WHOLE_CARD_MILLI


@dataclass(frozen=True, slots=True)
class Move:
    """A run that was asked to stop so that its job goes on in `place`, which is kept for it. `by`: for whom; `lost_card_seconds`:
    what that costs."""

    job: QueuedJob
    place: Place
    by: str
    lost_card_seconds: int


@dataclass(frozen=True)
class Snapshot:
    """One moment of the network. `free` has every active run deducted; `usage` has them added.

    `prices` of None means nothing is priced (a trace). `prices` given means a place without a price is not offered.
    """

    now: int
    fleet: Fleet
    free: Free
    usage: Usage
    queue: Sequence[QueuedJob]
    runs: Collection[ActiveRun] = ()
    prices: Prices | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    backfill: Backfill = Backfill.EASY
    quotas: Quotas = field(default_factory=lambda: Quotas.of(()))
    """What queues may use and do use, the active runs among it."""
    packing: Packing | None = None
    """The demand that nodes are chosen by; without one the fullest nodes are taken."""
    windows: Sequence[Window] = ()
    """Maintenance and reservations that have not ended."""
    restart_seconds: int | None = None
    """How long a moved run takes to be where it was; None: nothing is moved."""
    moves: Sequence[Move] = ()
    """What was moved before and has not started again: those still stopping, and those that wait for their place."""
    order: Order = Order.AGE
    links: Links = field(default_factory=dict)
    throughput: Mapping[str, int] = field(default_factory=dict)
    """GFLOPS (dense FP16) of one card by model, where that is known for certain."""
    in_flight: Mapping[str, InFlight] = field(default_factory=dict)
    """By cluster; one that is not named takes any number of grants at a time."""
    kept: Mapping[str, tuple[str, Place]] = field(default_factory=dict)
    """By job that waits for a release since an earlier round: its queue, and the place it waits for. As much of the queue's own
    quota is lent to nobody meanwhile, or who was stopped for it would take it again."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A job goes there. `alternative` is the position of the shape that was placed; `spread` says how far apart the gang lies,
    where it asked to be near."""

    job: str
    place: Place
    alternative: int
    reason: Reason
    spread: Reason | None = None

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return (self.reason,) if self.spread is None else (self.reason, self.spread)


@dataclass(frozen=True, slots=True)
class Preemption:
    """An attempt is asked to stop: so that a job, `by`, can have its cards, one of higher priority or, with a `move`, one for which
    it goes on elsewhere; or because a window has opened."""

    attempt: str
    by: str | None
    priority: int
    window: Window | None = None
    move: Move | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a job got nothing this round. `never`: not on the network as it is registered today, however long it waits."""

    kind: Literal["wait", "never"]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class CutShort:
    """What the limits on searching kept a round from trying: jobs for which it did not find out whom to stop, blocked jobs for
    which it did not look for a promise, and those for which it found no moves and had not tried all."""

    preemptions: int = 0
    promises: int = 0
    moves: int = 0


NOTHING_CUT = CutShort()


@dataclass(frozen=True)
class Decisions:
    """The outcome of a round: every queued job has either a grant or a verdict."""

    grants: tuple[Grant, ...]
    preemptions: tuple[Preemption, ...]
    verdicts: Mapping[str, Verdict]
    promised_at: Mapping[str, int] = field(default_factory=dict)
    """For each job that was promised a place: when it starts at the latest, in microseconds."""
    cut_short: CutShort = NOTHING_CUT
