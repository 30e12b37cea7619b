"""A month's records added up to a statement: by contract, and there by day, job and what was used, to the micro-CNY.

It adds nothing that is not in a record and leaves no record out, so its totals are the sums of the records it names.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from scheduler.billing.months import Month, MonthOfAccount
from scheduler.contract.cost import Item, RecordKind, TagStatus
from scheduler.contract.registry import Contract
from scheduler.contract.statement import (
    AccountStatement,
    Detail,
    JournalExtent,
    LineKind,
    Party,
    StatementLine,
    Totals,
    VoucherSum,
)
from scheduler.domain.clock import CHINA
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import format_cny, parse_cny

MAX_LINES = 50_000
"""Lines of one statement: a thousand printed pages. A provider of a large city asks by model, or for one tenant."""


NOTHING_SETTLED: Mapping[str, int] = MappingProxyType({})


class TooManyLinesError(Exception):
    """A statement would have more than `MAX_LINES` lines."""


class AccountKey(NamedTuple):
    """Who owes whom under which contract."""

    tenant: str
    provider: str
    contract: str | None


class _LineKey(NamedTuple):
    """What records of one line have in common, in the order in which lines are shown: adjustments of earlier months last."""

    adjusts: str
    day: date
    job: str
    cluster: str
    item: str
    model: str
    hardware_class: str
    kind: str
    reason: str


class _VoucherKey(NamedTuple):
    programme: str
    version: str
    status: str


@dataclass(slots=True)
class _Sums:
    records: int = 0
    unit_seconds: int = 0
    card_seconds: int = 0
    unbilled_card_seconds: int = 0
    list_micros: int = 0
    contracted_micros: int = 0
    adjustment_micros: int = 0
    voucher_micros: int = 0


@dataclass(slots=True)
class _Voucher:
    estimate_micros: int = 0
    settled_micros: int | None = None


@dataclass
class _Account:
    lines: dict[_LineKey, _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    vouchers: dict[_VoucherKey, _Voucher] = field(default_factory=lambda: defaultdict(_Voucher))
    totals: _Sums = field(default_factory=_Sums)


@dataclass(frozen=True, slots=True)
class Register:
    """Whom and what a statement names, by id."""

    tenants: Mapping[str, Party]
    providers: Mapping[str, Party]
    contracts: Mapping[str, Contract]
    jobs: Mapping[str, str]
    """What tenants call their jobs."""
    programmes: Mapping[tuple[str, str], tuple[str, str]]
    """By programme and version: its name in zh and in en."""


class StatementBooks:
    """A statement in the making."""

    def __init__(self, month: Month, detail: Detail) -> None:
        self._month = MonthOfAccount(month)
        self._detail = detail
        self._accounts: dict[AccountKey, _Account] = defaultdict(_Account)
        self._digest = sha256()
        self._first: int | None = None
        self._last: int | None = None
        self._lines = 0

    def add(self, record: Mapping[str, Any], settled: Mapping[str, int] = NOTHING_SETTLED) -> None:
        """Count a record of the month's, in order of sequence, and what the ledger has settled for it, micro-CNY by programme.

        Raises TooManyLinesError.
        """
        account = self._accounts[AccountKey(record["tenant"], record["provider"], record["contract"])]
        key = self._line_key(record)
        if key not in account.lines:
            self._lines += 1
            if self._lines > MAX_LINES:
                raise TooManyLinesError
        for sums in (account.lines[key], account.totals):
            _count(sums, record, adjusts=bool(key.adjusts))
        _count_vouchers(account, record, settled)
        self._digest.update(record["hash"].encode())
        self._first = self._first if self._first is not None else record["sequence"]
        self._last = record["sequence"]

    def jobs(self) -> set[str]:
        """The jobs that are named in it."""
        return {key.job for account in self._accounts.values() for key in account.lines if key.job}

    def accounts(self, register: Register) -> list[AccountStatement]:
        """What was counted, by tenant, provider and contract."""
        order = sorted(self._accounts, key=lambda key: (key.tenant, key.provider, key.contract or ""))
        return [_account(key, self._accounts[key], register) for key in order]

    def vouchers(self, register: Register) -> list[VoucherSum]:
        """The vouchers of all accounts."""
        return _vouchers(self._together(), register)

    def totals(self) -> Totals:
        """The sums of all accounts."""
        return _totals(self._together())

    def extent(self, read_until: int, head_hash: str) -> JournalExtent:
        """Which records were counted, of a journal that was read up to a sequence."""
        return JournalExtent(
            first_sequence=self._first,
            last_sequence=self._last,
            records=sum(account.totals.records for account in self._accounts.values()),
            records_sha256=self._digest.hexdigest(),
            read_until=read_until,
            head_hash=head_hash,
        )

    def _together(self) -> _Account:
        together = _Account()
        for account in self._accounts.values():
            for name in _Sums.__slots__:
                setattr(together.totals, name, getattr(together.totals, name) + getattr(account.totals, name))
            for key, voucher in account.vouchers.items():
                _add_voucher(together.vouchers[key], voucher.estimate_micros, voucher.settled_micros)
        return together

    def _line_key(self, record: Mapping[str, Any]) -> _LineKey:
        adjusts = self._month.adjusts(record)
        return _LineKey(
            adjusts=str(adjusts) if adjusts else "",
            day=datetime.fromisoformat(record["period_start"]).astimezone(CHINA).date(),
            job=(record["job"] or "") if self._detail is Detail.JOB else "",
            cluster=record["cluster"] or "",
            item=record["item"],
            model=record["model"] or "",
            hardware_class=record["hardware_class"] or "",
            kind=LineKind.REPLACEMENT if record["replaces"] and record["kind"] == RecordKind.USAGE else record["kind"],
            reason=record["reason"] or "",
        )


def _count(sums: _Sums, record: Mapping[str, Any], *, adjusts: bool) -> None:
    contracted = parse_cny(record["contracted_amount"])
    sums.records += 1
    sums.unit_seconds += record["unit_seconds"]
    if record["kind"] == RecordKind.UNBILLED:
        sums.unbilled_card_seconds += record["card_seconds"]
    else:
        sums.card_seconds += record["card_seconds"]
    sums.list_micros += parse_cny(record["list_amount"])
    sums.contracted_micros += contracted
    sums.adjustment_micros += contracted if adjusts else 0
    sums.voucher_micros += parse_cny(record["voucher_estimate"])


def _count_vouchers(account: _Account, record: Mapping[str, Any], settled: Mapping[str, int]) -> None:
    """The estimate of the selected programme, and what was settled under whichever of those that answered."""
    for tag in record["eligibility"]:
        decided = settled.get(tag["programme"])
        if tag["selected"] or decided is not None:
            voucher = account.vouchers[_VoucherKey(tag["programme"], tag["version"], tag["status"])]
            _add_voucher(voucher, parse_cny(tag["capped"]) if tag["selected"] else 0, decided)


def _add_voucher(voucher: _Voucher, estimate: int, settled: int | None) -> None:
    voucher.estimate_micros += estimate
    voucher.settled_micros = _plus(voucher.settled_micros, settled)


def _plus(one: int | None, other: int | None) -> int | None:
    return one if other is None else other + (one or 0)


def _account(key: AccountKey, account: _Account, register: Register) -> AccountStatement:
    return AccountStatement(
        tenant=register.tenants[key.tenant],
        provider=register.providers[key.provider],
        contract=register.contracts[key.contract] if key.contract else None,
        lines=[_line(line, account.lines[line], register.jobs) for line in sorted(account.lines)],
        vouchers=_vouchers(account, register),
        totals=_totals(account),
    )


def _line(key: _LineKey, sums: _Sums, jobs: Mapping[str, str]) -> StatementLine:
    return StatementLine(
        adjusts=key.adjusts or None,
        day=key.day,
        kind=LineKind(key.kind),
        reason=key.reason or None,
        job=key.job or None,
        job_name=jobs.get(key.job),
        cluster=key.cluster or None,
        item=Item(key.item),
        model=key.model or None,
        hardware_class=HardwareClass(key.hardware_class) if key.hardware_class else None,
        records=sums.records,
        unit_seconds=sums.unit_seconds,
        card_seconds=sums.card_seconds + sums.unbilled_card_seconds,
        list_amount=format_cny(sums.list_micros),
        contracted_amount=format_cny(sums.contracted_micros),
        voucher_estimate=format_cny(sums.voucher_micros),
    )


def _vouchers(account: _Account, register: Register) -> list[VoucherSum]:
    return [
        VoucherSum(
            programme=key.programme,
            version=key.version,
            name_zh=register.programmes[key.programme, key.version][0],
            name_en=register.programmes[key.programme, key.version][1],
            status=TagStatus(key.status),
            estimate=format_cny(voucher.estimate_micros),
            settled=_format(voucher.settled_micros),
        )
        for key, voucher in sorted(account.vouchers.items())
    ]


def _totals(account: _Account) -> Totals:
    sums = account.totals
    return Totals(
        records=sums.records,
        card_seconds=sums.card_seconds,
        unbilled_card_seconds=sums.unbilled_card_seconds,
        list_amount=format_cny(sums.list_micros),
        contracted_amount=format_cny(sums.contracted_micros),
        adjustment_amount=format_cny(sums.adjustment_micros),
        voucher_estimate=format_cny(sums.voucher_micros),
        voucher_settled=_format(_all(voucher.settled_micros for voucher in account.vouchers.values())),
    )


def _all(amounts: Iterable[int | None]) -> int | None:
    total: int | None = None
    for amount in amounts:
        total = _plus(total, amount)
    return total


def _format(micros: int | None) -> str | None:
    return None if micros is None else format_cny(micros)
