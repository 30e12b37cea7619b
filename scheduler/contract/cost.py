"""What the voucher ledger consumes: immutable, exact, hash-chained cost records with their eligibility tags."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from scheduler.contract.base import Count, Key, Moment, Money, Wire
from scheduler.contract.job import Activity
from scheduler.contract.registry import PricedItem
from scheduler.domain.hardware import HardwareClass


class TagStatus(StrEnum):
    """From weakest to strongest claim on money: missing evidence is `needs_review`, never `eligible`, never `ineligible`."""

    NOT_IN_SCOPE = "not_in_scope"
    INELIGIBLE = "ineligible"
    NEEDS_REVIEW = "needs_review"
    ELIGIBLE = "eligible"


class Tag(Wire):
    """One programme's answer to one line. Amounts are estimates of ours: the ledger decides.

    `capped` is `uncapped` cut at the applicant's cap; `cap_remaining_before` and `pool_remaining_before` are as known when
    the line was posted (None: the programme names no such limit, or it is not known).
    """

    programme: Key
    version: Key
    status: TagStatus
    reason_codes: list[Key]
    missing: list[str] = Field(default_factory=list)
    base: Money
    rate: str
    uncapped: Money
    capped: Money
    cap_remaining_before: Money | None = None
    pool_remaining_before: Money | None = None
    selected: bool


class CostRecord(Wire):
    """One immutable charge: one attempt × hardware class × item × period. Nothing is edited; a correction is a new record.

    `unit_seconds` is what is priced: card-seconds of accelerators, core-seconds of CPUs. `hash` is the SHA-256 of the
    canonical JSON (sorted keys, no spaces, UTF-8) of every other field, `previous_hash` among them.
    """

    id: Key
    sequence: Count
    previous_hash: str
    hash: str
    posted_at: Moment
    tenant: Key
    provider: Key
    contract: Key | None
    job: Key
    attempt: Key
    attempt_number: Count
    cluster: Key
    recorded: bool
    nodes: list[str]
    devices: list[str]
    hardware_class: HardwareClass | None
    vendor: str | None
    model: str | None
    catalogue_version: str
    item: PricedItem
    activity: Activity
    period_start: Moment
    period_end: Moment
    unit_seconds: Count
    card_seconds: Count
    list_price: Money
    contracted_price: Money
    price_version: Key
    list_amount: Money
    contracted_amount: Money
    preempted_seconds: Count = 0
    retried_seconds: Count = 0
    gap_seconds: Count = 0
    voucher_application: Key | None = None
    eligibility: list[Tag]


class CostRecordPage(Wire):
    """Records after a cursor, in order of sequence. `next` is where to read on: it is given even when the page is empty."""

    records: list[CostRecord]
    next: Count
    head_sequence: Count
    head_hash: str


class JobCosts(Wire):
    """Every posted line of one job and their sum."""

    job: Key
    state: Literal["open", "final"]
    list_amount: Money
    contracted_amount: Money
    voucher_estimate: Money
    net_amount: Money
    records: list[CostRecord]
