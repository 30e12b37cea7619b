"""A monthly statement (对账单) as it is served, and as pages and sheets are made of it."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import StringConstraints

from scheduler.contract.base import Count, Key, Moment, Text, Uscc, Wire
from scheduler.contract.cost import Item, Sha256, TagStatus, Units
from scheduler.contract.registry import Contract
from scheduler.domain.hardware import HardwareClass

MonthText = Annotated[str, StringConstraints(pattern=r"^2[01]\d{2}-(0[1-9]|1[0-2])$")]
"""A month in Asia/Shanghai, such as `2026-11`."""

Total = Annotated[str, StringConstraints(pattern=r"^-?\d{1,18}\.\d{6}$")]
"""CNY with six places: a sum may be more than one amount may be."""


class Detail(StrEnum):
    """What a line of a statement is for: a job's day on one model, or all jobs' days on one."""

    JOB = "job"
    MODEL = "model"


class LineKind(StrEnum):
    """What a line adds up: `replacement` is what stays due of a record that was taken back."""

    USAGE = "usage"
    UNBILLED = "unbilled"
    PURCHASE = "purchase"
    REVERSAL = "reversal"
    REPLACEMENT = "replacement"


class Party(Wire):
    """Somebody who pays or is paid."""

    id: Key
    name: Text
    uscc: Uscc


class StatementLine(Wire):
    """The sum of alike records. `adjusts` is the month they are for where that is an earlier one, whose books were closed."""

    adjusts: MonthText | None
    day: date
    kind: LineKind
    reason: Key | None
    job: Key | None
    job_name: str | None
    cluster: Key | None
    item: Item
    model: str | None
    hardware_class: HardwareClass | None
    records: Count
    unit_seconds: Units
    card_seconds: Units
    list_amount: Total
    contracted_amount: Total
    voucher_estimate: Total


class VoucherSum(Wire):
    """What government may pay the tenant afterwards for lines selected under one programme: an estimate of ours, and what the
    ledger has settled of it (None: it has said nothing of any)."""

    programme: Key
    version: Key
    name_zh: str
    name_en: str
    status: TagStatus
    estimate: Total
    settled: Total | None


class Totals(Wire):
    """Sums of lines. What is to be paid to the provider is `contracted_amount`: no voucher lowers it. `adjustment_amount` is that
    part of it that is for earlier months; `card_seconds` are those that are charged, less those taken back."""

    records: Count
    card_seconds: Units
    unbilled_card_seconds: Units
    list_amount: Total
    contracted_amount: Total
    adjustment_amount: Total
    voucher_estimate: Total
    voucher_settled: Total | None


class AccountStatement(Wire):
    """What one tenant owes one provider under one contract, or (None) under none."""

    tenant: Party
    provider: Party
    contract: Contract | None
    lines: list[StatementLine]
    vouchers: list[VoucherSum]
    totals: Totals


class JournalExtent(Wire):
    """Which records a statement adds up, so that anybody who reads the feed can add them up again.

    `records_sha256` is the SHA-256 of the hashes of these records, one after the other, in order of sequence. The journal was
    read up to `read_until`, whose hash is `head_hash`.
    """

    first_sequence: Count | None
    last_sequence: Count | None
    records: Count
    records_sha256: Sha256
    read_until: Count
    head_hash: Sha256


class Statement(Wire):
    """A month's statement of a tenant, of a provider, or of one with the other. From `closes_at` on no record is added to it."""

    month: MonthText
    state: Literal["open", "closed"]
    starts_at: Moment
    ends_at: Moment
    closes_at: Moment
    tenant: Party | None
    provider: Party | None
    detail: Detail
    accounts: list[AccountStatement]
    vouchers: list[VoucherSum]
    totals: Totals
    journal: JournalExtent
