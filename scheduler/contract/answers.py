"""What the city says of a job before and while it waits: places with prices, position, start, and what change would help."""

from typing import Literal

from pydantic import Field

from scheduler.contract.base import Count, Key, Moment, Money, ReasonView, Wire
from scheduler.contract.cost import TagStatus
from scheduler.contract.job import AtRisk
from scheduler.contract.price import PriceTier
from scheduler.contract.registry import PricedItem
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.states import JobState


class CostEstimate(Wire):
    """One amount three times, CNY: as published, as contracted, and after the voucher where that is `eligible`."""

    list_amount: Money
    contracted_amount: Money
    net_amount: Money


class VoucherEstimate(Wire):
    """The voucher programme that answers best to the whole run at this place. `counted`: the estimate lowers the net amount.

    The ledger decides; limits of the year are as known now.
    """

    programme: Key
    version: Key
    status: TagStatus
    estimate: Money
    counted: bool
    reasons: list[ReasonView]


class StagingEstimate(Wire):
    """What it takes to bring the job's data to a place over the links, beside other transfers, which are not counted.

    `seconds` is absent where for `unknown_gib` of it no link is known, or not where it lies. `cost` is what the links charge: it is
    in no other amount, and absent where one of them has no price.
    """

    seconds: Count | None
    unknown_gib: Count
    cost: Money | None


class PriceShare(Wire):
    """What of a run is charged for one item at one price: `unit_seconds` of cards, cores or GiB. `reasons` say why at this tier,
    and what would make it cheaper if it were established. Prices are per unit-hour."""

    item: PricedItem
    price_version: Key
    tier: PriceTier
    off_peak: bool
    list_price: Money
    contracted_price: Money
    unit_seconds: Count
    list_amount: Money
    contracted_amount: Money
    reasons: list[ReasonView]


class PlacementOption(Wire):
    """One place for the whole gang. `now`: it is free now; otherwise it would do once others have left.

    `cards` are cards, or instances of the profile `mig`; `card_milli` is what they count as and cost, in thousandths of a card.
    `alternative` counts the job's alternatives from 0. `per_hour` is what the scheduler compares: the average price over about as
    long as the job runs at most, from now on. `whole_run` is for the whole `max_runtime` from `starts_at` on (or from now), at the
    prices that hold then, of an array for all its tasks side by side; `prices` say which. `spans` says over how many link domains,
    racks and spines it lies, as far as its nodes name theirs. `starts_at` is the latest start there, absent where nothing tells.
    """

    cluster: Key
    recorded: bool
    hardware_class: HardwareClass | None
    model: str | None
    mig: str | None = None
    alternative: Count
    nodes: Count
    cards: Count
    card_milli: Count
    cores: Count
    spans: dict[str, Count] = Field(default_factory=dict)
    now: bool
    starts_at: Moment | None
    staging: StagingEstimate
    per_hour: CostEstimate
    whole_run: CostEstimate
    prices: list[PriceShare]
    voucher: VoucherEstimate | None


class PlaceRefusal(Wire):
    """Why the job cannot start in one cluster now."""

    cluster: Key
    reasons: list[ReasonView]


class QueuePosition(Wire):
    """How many jobs are served before it, and how many of those want cards it could take. `past_use`: where some of them go first
    because of what its tenant has used before."""

    ahead: Count
    competing: Count
    text: str
    past_use: ReasonView | None = None


class StartEstimate(Wire):
    """When the job starts: a range and how it was found; absent ends are not known."""

    earliest: Moment | None
    latest: Moment | None
    method: Literal["now", "promised", "simulated to max_runtime", "unknown"]
    text: str


class HelpfulChange(Wire):
    """One change with which the engine would start the job now in `cluster`, or would ask `stops` running jobs to make room."""

    reason: ReasonView
    cluster: Key
    stops: Count
    per_hour: CostEstimate | None


class DeadlineProspect(Wire):
    """Whether the job's deadline can be kept, and where that is not sure what would make it so: each change alone."""

    deadline: Moment
    reason: ReasonView
    changes: list[ReasonView] = Field(default_factory=list)


class Situation(Wire):
    """What can be said of a job at one moment. Options are in the order the engine would choose.

    `limited`: the queue is so long that not everything was tried.
    """

    as_of: Moment
    reasons: list[ReasonView]
    position: QueuePosition | None = None
    start: StartEstimate | None = None
    options: list[PlacementOption] = Field(default_factory=list)
    elsewhere: list[PlaceRefusal] = Field(default_factory=list)
    changes: list[HelpfulChange] = Field(default_factory=list)
    limited: bool = False
    deadline: DeadlineProspect | None = None


class Quote(Situation):
    """The answer to a job that was not submitted: nothing is stored, nothing is kept for it."""

    verdict: Literal["fit", "wait", "never"]


class Whereabouts(Wire):
    """Where the latest attempt of a job is, or was."""

    cluster: Key
    recorded: bool
    hardware_class: HardwareClass | None
    model: str | None
    mig: str | None = None
    nodes: list[str]
    cards: Count
    card_milli: Count
    since: Moment


class Explanation(Situation):
    """The answer for a submitted job. While it has a place, `reasons` say why it went there and `options` compare the places
    there would be today, its own counted as free; a job that has ended has neither. For an array the
    first of its tasks that wait is answered for, or else the one that started last."""

    job: Key
    state: JobState
    verdict: Literal["fit", "wait", "never"] | None
    placed: Whereabouts | None = None
    at_risk: AtRisk | None = None
