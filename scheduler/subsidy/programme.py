"""A programme as data: dated, immutable policy versions, read from YAML and checked before anything relies on them.

The rule language is a list of conditions on named facts (`facts.FACTS`), nothing that has to be computed: a `Rule` says what
must hold and what it means where it does not, a `Rate` says where it applies. Every rule, rate and limit carries the words it
rests on, their source and our confidence in them. Rates and limits are ceilings ("not exceeding").

Store the document a version was read from, not this model: amounts in here are micro-CNY.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from scheduler.contract.base import Key, Text, Wire
from scheduler.contract.cost import TagStatus
from scheduler.domain.faults import Fault
from scheduler.subsidy.document import load_document
from scheduler.subsidy.facts import FACTS, Day, Kind, Micros, Situation, Unknown, read_count, read_day, read_micros
from scheduler.subsidy.reasons import TEXTS

RATE_PATTERN = r"0(\.\d{1,4})?|1(\.0{1,4})?"
_RATE = re.compile(RATE_PATTERN, re.ASCII)
_OTHER_RATE = re.compile(r"(-?)\d{1,4}(\.\d{1,4})?", re.ASCII)
_COMPARABLE = {Kind.MONEY: read_micros, Kind.COUNT: read_count, Kind.DAY: read_day}

Confidence = Literal["high", "medium", "low"]
"""high: official text read; medium: a careful transcription, or usual practice; low: our inference where the text is silent."""


def _rate(raw: object) -> Decimal:
    if isinstance(raw, str) and _RATE.fullmatch(raw):
        return Decimal(raw)
    other = _OTHER_RATE.fullmatch(raw) if isinstance(raw, str) else None
    if other is None:
        raise Fault("rate_malformed")
    raise Fault("rate_below_zero" if other[1] else "rate_above_one", value=other[0])


def _rate_or_none(raw: object) -> Decimal | None:
    return None if raw is None else _rate(raw)


def _reason_code(code: str) -> str:
    if code not in TEXTS:
        raise Fault("reason_code_unknown", value=code, allowed=", ".join(TEXTS))
    return code


_RATE_SCHEMA = {"type": "string", "pattern": f"^({RATE_PATTERN})$"}
_RATE_OR_NULL_SCHEMA = {"type": ["string", "null"], "pattern": f"^({RATE_PATTERN})$"}

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
            raise Fault("fact_unknown", value=name, allowed=", ".join(sorted(FACTS)))
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
            names = ", ".join(allowed.get(name, name) for name in sorted(wanted))
            raise Fault("test_misfits_fact", fact=self.fact, allowed=names)
        if fact.choices is not None and (unheard := set(self.any_of or ()) - fact.choices):
            known = ", ".join(sorted(fact.choices))
            raise Fault("choice_unknown", fact=self.fact, value=", ".join(sorted(unheard)), allowed=known)
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

    A `disputed` rate is one that is possible beside the next that applies, and nothing known of a case decides between them: both
    stay possible. A rate of None is one nobody could find out; whatever it might pay is for a person to say.
    """

    code: ReasonCode
    rate: Annotated[Decimal | None, BeforeValidator(_rate_or_none), WithJsonSchema(_RATE_OR_NULL_SCHEMA)]
    when: Conditions = ()
    disputed: StrictBool = False


class Limit(Evidence):
    """The most that is paid, micro-CNY: in a calendar year, or on one claim."""

    amount: Micros


class Cap(Limit):
    """A limit per applicant and year. Beyond it nothing is paid; where `relaxed_when` holds, somebody has to decide about the rest.

    `usual` is what is paid without further ado; what goes beyond it, up to the cap, somebody has to decide about too.
    """

    relaxed_when: Conditions = ()
    usual: Limit | None = None

    @model_validator(mode="after")
    def _usual_within(self) -> Self:
        if self.usual is not None and self.usual.amount > self.amount:
            raise Fault("usual_above_cap")
        return self


class FundsCeiling(Evidence):
    """With other public money for the same spend, all of it together is at most this share of the contract's amount.

    What that leaves is the most this programme pays on the contract. Without other money the rate alone bounds it.
    """

    share: Annotated[Decimal, BeforeValidator(_rate), WithJsonSchema(_RATE_SCHEMA)]


class ProgrammeName(Wire):
    zh: Text
    en: Text


class PolicyVersion(Wire):
    """One version of a programme, in force from `valid_from` to `valid_until`, both inclusive (None: until the next).

    A version that is not `adopted` rests on evidence too weak to decide by itself: it is used only where a case names it. One that
    `supersedes` another takes its place from its own first day on, whatever end the other states. `sole_on_contract` is the clause
    by which no other programme may pay for a contract this one pays for.
    """

    programme: Key
    version: Key
    supersedes: Key | None = None
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
    claim_cap: Limit | None = None
    funds_ceiling: FundsCeiling | None = None
    sole_on_contract: Evidence | None = None
    notes: Annotated[str, Field(max_length=4000)] = ""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Everything in it that rests on words of a source."""
        usual = self.cap.usual if self.cap else None
        limits = (self.cap, usual, self.pool, self.claim_cap, self.funds_ceiling, self.sole_on_contract)
        return (*self.requires, *self.rates, *(limit for limit in limits if limit is not None))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.valid_until is not None and self.valid_until < self.valid_from:
            raise Fault("dates_reversed", first="valid_from", last="valid_until")
        if self.rates[-1].when or self.rates[-1].disputed:
            raise Fault("last_rate_conditional")
        unknown = {part.source for part in self.evidence} - set(self.sources)
        if unknown:
            raise Fault("source_unknown", value=", ".join(sorted(unknown)), allowed=", ".join(sorted(self.sources)))
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


def check_versions(policies: Iterable[PolicyVersion]) -> None:
    """That on no day two adopted versions of one programme would decide. Raises Fault naming the first two that would.

    A version without a stated end ends where the next begins, and so does one that the next supersedes by name. An end that is
    stated and reaches into the next version is a contradiction between two documents, which somebody has to resolve.
    """
    adopted = (policy for policy in policies if policy.adopted)
    timeline = sorted(adopted, key=lambda policy: (policy.programme, policy.valid_from, policy.version))
    for earlier, later in itertools.pairwise(timeline):
        if earlier.programme == later.programme and _overlap(earlier, later):
            names = {"programme": later.programme, "one": earlier.version, "other": later.version}
            raise Fault("versions_overlap", field="valid_from", day=later.valid_from.isoformat(), **names)


def _overlap(earlier: PolicyVersion, later: PolicyVersion) -> bool:
    if earlier.valid_from == later.valid_from:
        return True
    return earlier.valid_until is not None and later.valid_from <= earlier.valid_until and later.supersedes != earlier.version
