"""A programme as data: dated, immutable policy versions, read from YAML and checked before anything relies on them.

The rule language is a list of conditions on named facts (`facts.FACTS`), nothing that has to be computed: a `Rule` says what
must hold and what it means where it does not, a `Rate` says where it applies. Every rule, rate and limit carries the words it
rests on, their source and our confidence in them. Rates and limits are ceilings ("not exceeding").

Store the document a version was read from, not this model: amounts in here are micro-CNY.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, ValidationInfo, field_validator, model_validator

from scheduler.contract.base import Key, Text, Wire
from scheduler.contract.cost import TagStatus
from scheduler.subsidy.document import load_document
from scheduler.subsidy.facts import FACTS, Day, Kind, Micros, Situation, Unknown, read_count, read_day, read_micros
from scheduler.subsidy.reasons import TEXTS

_RATE = re.compile(r"0(\.\d{1,4})?|1(\.0{1,4})?")
_COMPARABLE = {Kind.MONEY: read_micros, Kind.COUNT: read_count, Kind.DAY: read_day}

Confidence = Literal["high", "medium", "low"]
"""high: official text read; medium: a careful transcription, or usual practice; low: our inference where the text is silent."""


def _rate(raw: object) -> Decimal:
    if not isinstance(raw, str) or not _RATE.fullmatch(raw):
        raise ValueError("a rate is a decimal string in quotes from '0' to '1' with at most 4 places, such as '0.50'")
    return Decimal(raw)


def _reason_code(code: str) -> str:
    if code not in TEXTS:
        raise ValueError(f"{code!r} is not a registered reason code; these are: {', '.join(TEXTS)}")
    return code


ReasonCode = Annotated[Key, AfterValidator(_reason_code)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether something holds: True, False, or None where it depends on facts that are missing."""

    holds: bool | None
    missing: tuple[str, ...] = ()


class Source(Wire):
    """A document a policy rests on, and where its text was read."""

    title: Text
    issued_on: Day | None = None
    found_at: Annotated[tuple[Text, ...], Field(min_length=1, max_length=16)]


class Evidence(Wire):
    """What a rule rests on: the words, the document (a key of the version's `sources`), and our confidence."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]
    source: Key
    confidence: Confidence


class Condition(Wire):
    """One test of one fact: exactly one of `is`, `in`, `at_least` and `at_most`, as its kind allows."""

    fact: str
    is_: StrictBool | None = Field(default=None, alias="is")
    any_of: Annotated[tuple[Key, ...], Field(min_length=1, max_length=64)] | None = Field(default=None, alias="in")
    at_least: int | date | None = None
    at_most: int | date | None = None

    @field_validator("fact")
    @classmethod
    def _known_fact(cls, name: str) -> str:
        if name not in FACTS:
            raise ValueError(f"{name!r} is not a fact a rule may ask for; these are: {', '.join(sorted(FACTS))}")
        return name

    @field_validator("at_least", "at_most", mode="before")
    @classmethod
    def _comparable(cls, raw: object, info: ValidationInfo) -> object:
        fact = FACTS.get(info.data.get("fact", ""))
        read = _COMPARABLE.get(fact.kind) if fact and raw is not None else None
        return read(raw) if read else raw

    @model_validator(mode="after")
    def _fits_fact(self) -> Self:
        fact = FACTS[self.fact]
        wanted = {Kind.FLAG: {"is_"}, Kind.CHOICE: {"any_of"}}.get(fact.kind, {"at_least", "at_most"})
        given = {name for name in ("is_", "any_of", "at_least", "at_most") if getattr(self, name) is not None}
        if len(given) != 1 or not given <= wanted:
            allowed = {"is_": "is", "any_of": "in"}
            raise ValueError(f"{self.fact} needs exactly one of: {', '.join(allowed.get(name, name) for name in sorted(wanted))}")
        if fact.choices is not None and (unheard := set(self.any_of or ()) - fact.choices):
            raise ValueError(f"{self.fact} is never {', '.join(sorted(unheard))}; it is one of: {', '.join(sorted(fact.choices))}")
        return self

    def check(self, situation: Situation) -> Verdict:
        value = FACTS[self.fact].read(situation)
        if isinstance(value, Unknown):
            return Verdict(None, value.facts)
        if self.is_ is not None:
            return Verdict(value is self.is_)
        if self.any_of is not None:
            return Verdict(value in self.any_of)
        return Verdict(value >= self.at_least if self.at_least is not None else value <= self.at_most)


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16)]


def all_hold(conditions: Iterable[Condition], situation: Situation) -> Verdict:
    """False as soon as one fails, whatever is missing; unknown while any of the rest is; True otherwise, and for none at all."""
    verdicts = [condition.check(situation) for condition in conditions]
    if any(verdict.holds is False for verdict in verdicts):
        return Verdict(False)
    missing = tuple(name for verdict in verdicts for name in verdict.missing)
    return Verdict(None, missing) if missing else Verdict(True)


class Rule(Condition, Evidence):
    """What must hold. Where it does not, the line is `otherwise`, for the reason `code`.

    `needs_review` is for what the policy's text leaves open: it is not ours to refuse, nor to grant.
    """

    code: ReasonCode
    otherwise: Annotated[
        Literal[TagStatus.NOT_IN_SCOPE, TagStatus.INELIGIBLE, TagStatus.NEEDS_REVIEW], BeforeValidator(TagStatus)
    ] = TagStatus.INELIGIBLE


class Rate(Evidence):
    """A ceiling on the share that is paid. The first that applies decides; the last applies to whatever is left.

    A `disputed` rate is one the text gives beside the next that applies, without saying which wins: both stay possible.
    """

    code: ReasonCode
    rate: Annotated[Decimal, BeforeValidator(_rate)]
    when: Conditions = ()
    disputed: StrictBool = False


class Limit(Evidence):
    """The most that is paid in a calendar year, micro-CNY."""

    amount: Micros


class Cap(Limit):
    """A limit per applicant. Beyond it nothing is paid; where `relaxed_when` holds, somebody has to decide about the rest."""

    relaxed_when: Conditions = ()


class ProgrammeName(Wire):
    zh: Text
    en: Text


class PolicyVersion(Wire):
    """One version of a programme, in force from `valid_from` to `valid_until`, both inclusive (None: no end is known).

    A version that is not `adopted` rests on evidence too weak to decide by itself: it is used only where a case names it.
    """

    programme: Key
    version: Key
    name: ProgrammeName
    adopted: StrictBool
    confidence: Confidence
    valid_from: Day
    valid_until: Day | None
    claim: Literal["after_the_fact", "claim_then_redeem", "not_stated"]
    sources: Annotated[dict[Key, Source], Field(min_length=1)]
    requires: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=64)]
    rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=16)]
    cap: Cap | None
    pool: Limit | None
    notes: Annotated[str, Field(max_length=4000)] = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise ValueError("valid_until may not be before valid_from")
        if self.rates[-1].when or self.rates[-1].disputed:
            raise ValueError("the last of rates must apply to everything left: no when, not disputed")
        evidence: tuple[Evidence | None, ...] = (*self.requires, *self.rates, self.cap, self.pool)
        unknown = {item.source for item in evidence if item is not None} - set(self.sources)
        if unknown:
            raise ValueError(f"source {', '.join(sorted(unknown))} is not among sources: {', '.join(sorted(self.sources))}")
        return self

    def in_force(self, on: date) -> bool:
        return self.valid_from <= on and (self.valid_until is None or on <= self.valid_until)


def parse_policy(document: Mapping[str, Any]) -> PolicyVersion:
    """A version from its document. Raises pydantic.ValidationError naming each field and what is allowed."""
    return PolicyVersion.model_validate(document)


def shipped_documents() -> list[dict[str, Any]]:
    """The documents of the versions this release ships, as their authors wrote them."""
    folder = files("scheduler.subsidy").joinpath("programmes")
    found = [file for programme in folder.iterdir() if programme.is_dir() for file in programme.iterdir()]
    return [load_document(file.read_bytes()) for file in found if file.name.endswith(".yaml")]


@cache
def shipped_policies() -> tuple[PolicyVersion, ...]:
    """The versions this release ships, by programme and version."""
    versions = (parse_policy(document) for document in shipped_documents())
    return tuple(sorted(versions, key=lambda version: (version.programme, version.version)))


def applicable(policies: Sequence[PolicyVersion], on: date) -> tuple[PolicyVersion, ...]:
    """One version per programme, by programme: of those adopted, the one that began last on or before the day, else the first.

    A programme with nothing in force still gets its nearest version, whose ruling then says `policy_not_in_force`.
    """
    chosen: dict[str, PolicyVersion] = {}
    for version in sorted((version for version in policies if version.adopted), key=lambda version: version.valid_from):
        if version.valid_from <= on or version.programme not in chosen:
            chosen[version.programme] = version
    return tuple(chosen[programme] for programme in sorted(chosen))
