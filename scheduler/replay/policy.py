"""How a trace of jobs that can be interrupted is served, and what the scheduler is told of their durations.

Enter at `parse_policy("order=shortest,told=nothing,patience=110")`.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from scheduler.engine.order import Order
from scheduler.engine.precedence import PATIENCE
from scheduler.replay.trace import TraceError

MAX_NUMBER = 10**9

USER_LIMITS_SECONDS = tuple(hours * 3600 for hours in (1, 4, 12, 24, 72, 168, 336, 720, 2160))
"""What users ask for who only know that it will be enough: the next of these at or above twice the truth."""


class Told(StrEnum):
    """What the scheduler is told of a job's duration."""

    EXACT = "exact"
    TWICE = "x2"
    TENFOLD = "x10"
    USER_LIMIT = "user-limit"
    NOTHING = "nothing"

    def of(self, seconds: int) -> int | None:
        """The `max_runtime` of a job that really takes so long."""
        if self is Told.NOTHING:
            return None
        if self is Told.USER_LIMIT:
            return next((limit for limit in USER_LIMITS_SECONDS if limit >= 2 * seconds), 2 * seconds)
        return seconds * {Told.EXACT: 1, Told.TWICE: 2, Told.TENFOLD: 10}[self]


class Discipline(StrEnum):
    """What a job that does not fit means for the others."""

    STRICT = "strict"
    """Nobody passes the first that waits, and nobody is stopped."""
    BACKFILL = "backfill"
    """The first that waits is promised a place, which those behind it must not delay; nobody is stopped (`engine.cycle`)."""
    RESCHEDULE = "reschedule"
    """Runs may be stopped (`engine.reschedule`)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How the queue is served.

    - `order`: whose turn it is. Where the shortest goes first and durations are not told, they are learned.
    - `checkpoint_seconds`: how often a run saves its work; 0 is always, so that stopping costs nothing.
    - `min_run_seconds`: no run is stopped before it has run for so long.
    - `patience`: in percent, as in `engine.precedence`.
    """

    order: Order = Order.AGE
    told: Told = Told.EXACT
    discipline: Discipline = Discipline.RESCHEDULE
    checkpoint_seconds: int = 0
    min_run_seconds: int = 0
    patience: int = PATIENCE


def parse_policy(text: str) -> Policy:
    """The policy that a list of `name=value` asks for; what it leaves out is as `Policy` has it. Raises TraceError."""
    given: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in _ALLOWED:
            raise TraceError(f"--policy {name}: is not known; {', '.join(_ALLOWED)} are")
        if name in given:
            raise TraceError(f"--policy {name}: is given twice")
        given[name] = value
    chosen: dict[str, Any] = {_FIELD[name]: _value(name, value) for name, value in given.items()}
    return Policy(**chosen)


_ALLOWED: dict[str, type[StrEnum] | None] = {
    "order": Order,
    "told": Told,
    "discipline": Discipline,
    "checkpoint": None,
    "min-run": None,
    "patience": None,
}
"""By name: the words allowed, or None for a number."""

_FIELD = dict(zip(_ALLOWED, (field.name for field in fields(Policy)), strict=True))


def _value(name: str, value: str) -> StrEnum | int:
    words = _ALLOWED[name]
    if words is not None:
        if value not in list(words):
            raise TraceError(f"--policy {name}={value} is not allowed; {', '.join(words)} are")
        return words(value)
    if not (value.isascii() and value.isdigit() and int(value[:11]) <= MAX_NUMBER):
        raise TraceError(f"--policy {name}={value} is not allowed; a whole number from 0 to {MAX_NUMBER} is")
    return int(value)
