"""The facts a voucher rule may ask for: one case as its author writes it, and the closed table of facts by name.

The dataclasses are plain and unchecked where the city builds them itself; `parse_case` checks a document from outside against
the same definitions. None means unknown, for every fact. Money is micro-CNY; days are Asia/Shanghai.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, StrictBool, TypeAdapter, WithJsonSchema

from scheduler.contract.base import Key, Uscc
from scheduler.contract.cost import Item
from scheduler.contract.job import Activity
from scheduler.contract.registry import Registration, TenantType
from scheduler.domain.clock import CHINA
from scheduler.domain.faults import Fault
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import format_cny, parse_cny

MAX_LINES = 10_000
ALL_PROGRAMMES = "all"

_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_CLOSED: ConfigDict = ConfigDict(extra="forbid")


def read_micros(raw: object) -> int:
    """Micro-CNY of a decimal string that is not negative. Raises Fault saying what is allowed."""
    if not isinstance(raw, str):
        raise Fault("amount_not_text")
    micros = parse_cny(raw)
    if micros < 0:
        raise Fault("amount_negative", value=raw)
    return micros


def read_day(raw: object) -> date:
    """A day from YAML (already a date) or JSON (a string). Raises Fault saying what is allowed."""
    if isinstance(raw, date) and not isinstance(raw, datetime):
        return raw
    try:
        if isinstance(raw, str) and _ISO_DAY.fullmatch(raw):
            return date.fromisoformat(raw)
    except ValueError:
        pass
    raise Fault("day_malformed")


def read_count(raw: object) -> int:
    """A whole number of zero or more. Raises Fault saying what is allowed."""
    if not isinstance(raw, int) or isinstance(raw, bool) or raw < 0:
        raise Fault("count_malformed")
    return raw


def _moment(raw: object) -> datetime:
    try:
        moment = datetime.fromisoformat(raw) if isinstance(raw, str) else raw
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise Fault("time_malformed")
    return moment if moment.tzinfo else moment.replace(tzinfo=CHINA)


AMOUNT_SCHEMA = {"type": "string", "pattern": r"^(0|[1-9]\d{0,9})(\.\d{1,6})?$", "description": "CNY, in quotes"}
DAY_SCHEMA = {"type": "string", "format": "date"}
COUNT_SCHEMA = {"type": "integer", "minimum": 0}

Micros = Annotated[int, BeforeValidator(read_micros), PlainSerializer(format_cny, return_type=str), WithJsonSchema(AMOUNT_SCHEMA)]
Day = Annotated[date, BeforeValidator(read_day), WithJsonSchema(DAY_SCHEMA)]
_Count = Annotated[int, BeforeValidator(read_count), WithJsonSchema(COUNT_SCHEMA)]
_Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
_ABSENT = BeforeValidator(lambda raw: {} if raw is None else raw)
"""A section left empty is one of which nothing is known."""


def _in_order(start: date | None, end: date | None) -> None:
    if start is not None and end is not None and end < start:
        raise Fault("dates_reversed", first="start", last="end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Who claims. Startup and SME status are as asserted and accepted, not verified here."""

    uscc: Uscc | None = None
    type: TenantType | None = None
    city: Key | None = None
    industry: Literal["software", "manufacturing", "other"] | None = None
    established_on: Day | None = None
    startup: StrictBool | None = None
    sme: StrictBool | None = None
    private: StrictBool | None = None
    registered_provider: StrictBool | None = None
    dishonest_record: StrictBool | None = None
    multimodal_base_model: StrictBool | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFacts:
    """Who is paid. `registrations` None is unknown, empty is known to be on no list."""

    uscc: Uscc | None = None
    city: Key | None = None
    affiliated: StrictBool | None = None
    capacity_pflops: _Count | None = None
    facility_domestic: StrictBool | None = None
    registrations: tuple[Registration, ...] | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractFacts:
    """What the voucher subsidises. Raises Fault when it ends before it starts."""

    id: Key | None = None
    signed_on: Day | None = None
    start: Day | None = None
    end: Day | None = None
    amount: Micros | None = None
    service_item: Key | None = None
    ordered_on_platform: StrictBool | None = None
    paid: StrictBool | None = None
    other_public_funds: Micros | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    def __post_init__(self) -> None:
        _in_order(self.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model that is used: whether it is filed with the CAC (备案), and multimodal."""

    registered: StrictBool | None = None
    multimodal: StrictBool | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What the claim year's cap and pool have paid before this claim, micro-CNY, and how often this contract was claimed."""

    applicant_year: Micros | None = None
    pool_year: Micros | None = None
    claims_on_contract: _Count | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What is spent on, without the amount: all that a rate depends on. `end` is exclusive."""

    item: Item
    hardware_class: HardwareClass | None = None
    activity: Activity | None = None
    start: _Moment | None = None
    end: _Moment | None = None
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    def __post_init__(self) -> None:
        _in_order(self.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Spend):
    """A spend and what it cost under the contract, micro-CNY."""

    amount: Micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything known around a spend."""

    applicant: Annotated[Applicant, _ABSENT] = Applicant()
    provider: Annotated[ProviderFacts, _ABSENT] = ProviderFacts()
    contract: Annotated[ContractFacts, _ABSENT] = ContractFacts()
    model: Annotated[ModelFacts, _ABSENT] = ModelFacts()
    used: Annotated[Used, _ABSENT] = Used()
    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(Facts):
    """One claim to judge: its facts, the programme (or `all`) and version, the day it is judged on, and its lines in order."""

    programme: Key
    version: Key | None = None
    on: Day
    lines: Annotated[tuple[Line, ...], Field(min_length=1, max_length=MAX_LINES)]

    def __post_init__(self) -> None:
        if self.version is not None and self.programme == ALL_PROGRAMMES:
            raise Fault("version_of_all")


_CASE = TypeAdapter(Case)
_FACTS = TypeAdapter(Facts)


def parse_case(document: object) -> Case:
    """A case from its YAML or JSON document. Raises pydantic.ValidationError naming each field and what is allowed."""
    return _CASE.validate_python(document)


def facts_document(facts: Facts) -> dict[str, Any]:
    """Facts as JSON can say them: what `parse_facts` reads back, years later, as they were."""
    return cast(dict[str, Any], _FACTS.dump_python(facts, mode="json"))


def parse_facts(document: object) -> Facts:
    """Facts from their document. Raises pydantic.ValidationError naming each field and what is allowed."""
    return _FACTS.validate_python(document)


@dataclass(frozen=True, slots=True)
class Unknown:
    """In place of a value: the names of the facts that would have to be known."""

    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a rule of `programme` looks at."""

    programme: str
    facts: Facts
    line: Spend


class Kind(StrEnum):
    """What a rule may say of a fact: `is` of a flag, `in` of a choice, `at_least` and `at_most` of the others."""

    FLAG = "flag"
    CHOICE = "choice"
    MONEY = "money"
    COUNT = "count"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact by name. `choices` are its possible values where they are a closed list; `read` gives its value or Unknown."""

    kind: Kind
    read: Callable[[Situation], Any]
    choices: frozenset[str] | None = None


def _given(path: str) -> Callable[[Situation], Any]:
    value_of = attrgetter(path if path.startswith("line.") else f"facts.{path}")
    unknown = Unknown((path,))

    def read(situation: Situation) -> Any:
        value = value_of(situation)
        return unknown if value is None else value

    return read


def _hardware_class(situation: Situation) -> HardwareClass | Unknown:
    """A card is of the catalogue's class, never guessed; CPUs and the rest of a machine are of the facility's."""
    known = situation.line.hardware_class
    if known is not None and known is not HardwareClass.UNKNOWN:
        return known
    if situation.line.item is Item.ACCELERATOR:
        return Unknown(("line.hardware_class",))
    domestic = situation.facts.provider.facility_domestic
    if domestic is None:
        return Unknown(("provider.facility_domestic",))
    return HardwareClass.DOMESTIC if domestic else HardwareClass.FOREIGN


def _listings(situation: Situation) -> list[date] | Unknown:
    """When the provider was listed under this programme for the contract's service item."""
    registrations = situation.facts.provider.registrations
    if registrations is None:
        return Unknown(("provider.registrations",))
    here = [registration for registration in registrations if registration.programme == situation.programme]
    service_item = situation.facts.contract.service_item
    if here and service_item is None:
        return Unknown(("contract.service_item",))
    return [registration.listed_on for registration in here if registration.service_item == service_item]


def _registered(situation: Situation) -> bool | Unknown:
    listings = _listings(situation)
    return listings if isinstance(listings, Unknown) else bool(listings)


def _listed_late(situation: Situation) -> bool | Unknown:
    """Whether every listing came after the contract was signed; a provider on no list is not late but unregistered."""
    listings = _listings(situation)
    if isinstance(listings, Unknown) or not listings:
        return listings if isinstance(listings, Unknown) else False
    signed_on = situation.facts.contract.signed_on
    return Unknown(("contract.signed_on",)) if signed_on is None else min(listings) > signed_on


def _outside_contract(situation: Situation) -> bool | Unknown:
    """Whether any of the spend lies before the contract's first day or after its last."""
    line, contract = situation.line, situation.facts.contract
    first = line.start and line.start.astimezone(CHINA).date()
    last = line.end and (line.end - timedelta(microseconds=1)).astimezone(CHINA).date()
    if (first and contract.start and first < contract.start) or (last and contract.end and last > contract.end):
        return True
    needed = {"line.start": first, "contract.start": contract.start, "line.end": last, "contract.end": contract.end}
    missing = tuple(name for name, value in needed.items() if value is None)
    return Unknown(missing) if missing else False


def _term_months(situation: Situation) -> int | Unknown:
    """The term of the contract in months, one that has begun counting whole: a year is 12, a year and a day 13.

    The first day is not counted, so a term ends on the day that corresponds to its first, or on the last of a month that has no
    such day (Civil Code of the PRC, articles 201 and 202); one that ends a day earlier, as contracts mostly say it, is no longer.
    """
    start, end = situation.facts.contract.start, situation.facts.contract.end
    missing = tuple(name for name, day in (("contract.start", start), ("contract.end", end)) if day is None)
    if start is None or end is None:
        return Unknown(missing)
    months = (end.year - start.year) * 12 + end.month - start.month
    corresponding = min(start.day, monthrange(end.year, end.month)[1])
    return months + 1 if end.day > corresponding else max(1, months)


def _table() -> dict[str, Fact]:
    kinds = {
        Kind.FLAG: (
            *(f"applicant.{name}" for name in ("startup", "sme", "private", "registered_provider", "dishonest_record")),
            *("applicant.multimodal_base_model", "provider.affiliated", "provider.facility_domestic"),
            *("contract.ordered_on_platform", "contract.paid", "model.registered", "model.multimodal"),
        ),
        Kind.CHOICE: ("applicant.city", "provider.city", "contract.service_item"),
        Kind.MONEY: ("contract.amount", "contract.other_public_funds", "used.applicant_year", "used.pool_year"),
        Kind.COUNT: ("provider.capacity_pflops", "used.claims_on_contract"),
        Kind.DAY: ("applicant.established_on", "contract.signed_on", "contract.start", "contract.end"),
    }
    closed = {
        "applicant.type": frozenset(TenantType),
        "applicant.industry": frozenset({"software", "manufacturing", "other"}),
        "line.item": frozenset(Item),
        "line.activity": frozenset(Activity),
    }
    derived = {"provider.registered": _registered, "provider.listed_late": _listed_late, "line.outside_contract": _outside_contract}
    classes = frozenset({HardwareClass.DOMESTIC, HardwareClass.FOREIGN})
    return {
        **{path: Fact(kind, _given(path)) for kind, paths in kinds.items() for path in paths},
        **{path: Fact(Kind.CHOICE, _given(path), choices) for path, choices in closed.items()},
        **{path: Fact(Kind.FLAG, read) for path, read in derived.items()},
        "line.hardware_class": Fact(Kind.CHOICE, _hardware_class, classes),
        "contract.term_months": Fact(Kind.COUNT, _term_months),
    }


FACTS: Mapping[str, Fact] = _table()
"""Every fact a policy may name. The derived ones are computed from the others, and say which of those they lack."""
