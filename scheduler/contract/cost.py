"""What the voucher ledger consumes: immutable, exact, hash-chained cost records with their eligibility tags."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from scheduler.contract.base import Count, Key, Moment, Money, Text, Wire
from scheduler.contract.job import Activity
from scheduler.contract.price import PriceTier
from scheduler.domain.hardware import HardwareClass

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

Units = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""Seconds of something; below zero only where a record is taken back."""


class Item(StrEnum):
    """What a cost line is for."""

    ACCELERATOR = "accelerator"
    CPU = "cpu"
    MEMORY = "memory"
    STORAGE = "storage"
    NETWORK = "network"
    SECURITY = "security"
    SUPPORT = "support"
    CORPUS = "corpus"
    MODEL_SERVICE = "model_service"


class RecordKind(StrEnum):
    """What a record says: time that is charged, time that is held but not charged (`reason` says why), something bought beside the
    machines, or that an earlier record is taken back (every number of it negated)."""

    USAGE = "usage"
    UNBILLED = "unbilled"
    PURCHASE = "purchase"
    REVERSAL = "reversal"


class TagStatus(StrEnum):
    """From weakest to strongest claim on money: missing evidence is `needs_review`, never `eligible`, never `ineligible`."""

    NOT_IN_SCOPE = "not_in_scope"
    INELIGIBLE = "ineligible"
    NEEDS_REVIEW = "needs_review"
    ELIGIBLE = "eligible"


class Tag(Wire):
    """One programme's answer to one line. Amounts are estimates of ours: the ledger decides.

    `base` is the amount cut at what was left of the contract's, `capped` is `uncapped` cut at what may still be paid: on this
    claim, to this applicant in the year, from the pool. What was left of each before the line is as known when it was posted
    (None: there is no such limit, or it is not known). With these a tag can be computed again from the record.
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
    contract_remaining_before: Money | None = None
    claim_remaining_before: Money | None = None
    cap_remaining_before: Money | None = None
    pool_remaining_before: Money | None = None
    selected: bool


class CostRecord(Wire):
    """One immutable charge: one attempt × hardware class × item × period. Nothing is edited: a correction is a reversal of the
    whole record (`reverses`) and, where something is due after all, a new record (`replaces`).

    `unit_seconds` is what is priced: card-seconds of accelerators, core-seconds of CPUs, GiB-seconds of memory. What was bought
    beside the machines (`purchase`) has none and no price, and need not belong to a job: it has a `description` and, if it was
    given, the SHA-256 of the evidence. `price_tier` says what was paid in place of the
    published price, `price_reasons` why. `context` is the SHA-256 of the facts that decided the tags.
    `voucher_programme` and `voucher_estimate` repeat the selected tag. `hash` is the SHA-256 of the canonical JSON (RFC 8785:
    sorted keys, no spaces, UTF-8) of every other field, `previous_hash` among them.
    """

    id: Key
    sequence: Count
    previous_hash: Sha256
    hash: Sha256
    posted_at: Moment
    kind: RecordKind
    tenant: Key
    provider: Key
    contract: Key | None
    job: Key | None
    attempt: Key | None
    attempt_number: Count | None
    cluster: Key | None
    recorded: bool
    nodes: list[str]
    devices: list[str]
    hardware_class: HardwareClass | None
    vendor: str | None
    model: str | None
    catalogue_version: str | None
    item: Item
    activity: Activity | None
    period_start: Moment
    period_end: Moment
    unit_seconds: Units
    card_seconds: Units
    list_price: Money
    contracted_price: Money
    price_version: Key | None
    price_tier: PriceTier | None = None
    price_reasons: list[Key] = Field(default_factory=list)
    list_amount: Money
    contracted_amount: Money
    preempted_seconds: Units = 0
    retried_seconds: Units = 0
    gap_seconds: Units = 0
    reason: Key | None
    reverses: Key | None
    replaces: Key | None
    description: Text | None = None
    evidence_sha256: Sha256 | None = None
    voucher_application: Key | None
    voucher_programme: Key | None
    voucher_estimate: Money
    context: Sha256
    eligibility: list[Tag]


class CostRecordPage(Wire):
    """Records after a cursor, in order of sequence. `next` is where to read on: it is given even when the page is empty."""

    records: list[CostRecord]
    next: Count
    head_sequence: Count
    head_hash: str


class JobCosts(Wire):
    """Every posted line of one job and their sum. `voucher_settled` is what the ledger has decided to pay for them so far, under
    whatever programme; absent while it has decided nothing."""

    job: Key
    state: Literal["open", "final"]
    list_amount: Money
    contracted_amount: Money
    voucher_estimate: Money
    voucher_settled: Money | None = None
    net_amount: Money
    records: list[CostRecord]
