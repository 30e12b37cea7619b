"""What all wire models share: strictness, and the constrained types used across them."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic_core import PydanticCustomError
from stdnum.cn import uscc
from stdnum.exceptions import InvalidChecksum
from stdnum.exceptions import ValidationError as InvalidUscc

from scheduler.domain.clock import parse_duration_seconds, rfc3339
from scheduler.domain.faults import Fault
from scheduler.domain.money import format_cny, parse_cny

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


class Wire(BaseModel):
    """A frozen model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _duration(text: str) -> str:
    if parse_duration_seconds(text) <= 0:
        raise ValueError("a duration must be longer than zero")
    return text


def _bordered(fault: Fault) -> PydanticCustomError:
    """A fault with its code as pydantic's type of the error, and itself beside it for who shows it in zh."""
    return PydanticCustomError(fault.code, "{what}", {"what": str(fault), "error": fault})


def _money(text: str) -> str:
    try:
        return format_cny(parse_cny(text))
    except Fault as fault:
        raise _bordered(fault) from None


def _not_negative(text: str) -> str:
    if text.startswith("-"):
        raise _bordered(Fault("amount_negative", value=text))
    return text


def _uscc(text: str) -> str:
    try:
        if uscc.validate(text) != text:  # it also takes what is written with spaces or in small letters
            raise Fault("uscc_malformed")
    except InvalidChecksum:
        raise Fault("uscc_check_digit") from None
    except InvalidUscc:
        raise Fault("uscc_malformed") from None
    return text


def _plausible(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise ValueError("a time between the years 2000 and 2200 is allowed")
    return moment


Duration = Annotated[str, StringConstraints(max_length=20), AfterValidator(_duration)]
"""A span such as `24h`; read it with `parse_duration_seconds`."""

Money = Annotated[str, StringConstraints(max_length=24), AfterValidator(_money)]
"""CNY as a decimal string, normalised to six places."""

Price = Annotated[str, StringConstraints(max_length=24), AfterValidator(_money), AfterValidator(_not_negative)]
"""CNY that cannot be negative."""

Uscc = Annotated[str, AfterValidator(_uscc)]
"""Unified social credit code (GB 32100-2015), check digit verified."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""A DNS label: lower-case letters, digits and inner hyphens, at most 63."""

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""An identifier given by an operator or made by us."""

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]

Moment = Annotated[AwareDatetime, AfterValidator(_plausible), PlainSerializer(rfc3339, return_type=str)]
"""RFC 3339 with a zone in, UTC out; between the years 2000 and 2200, which every store and time zone can hold."""

Count = Annotated[int, Field(ge=0, le=2**53)]


class Page(Wire):
    """The part of every listing that pages it: `next` is the cursor of the following page, absent on the last."""

    next: str | None = None


class ReasonView(Wire):
    """A reason as people and programs read it."""

    code: str
    numbers: dict[str, str | int] = Field(default_factory=dict)
    text: str


class EventView(Wire):
    """One thing that happened to a job, or to a task of an array."""

    at: Moment
    state: str
    attempt: int | None = None
    task: int | None = None
    reason: ReasonView
