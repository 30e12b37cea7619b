"""How a city schedules, where that is the operator's choice and no single job's or queue's."""

from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from scheduler.contract.base import Duration, Wire
from scheduler.contract.job import Profile
from scheduler.domain.clock import format_duration, parse_duration_seconds

MIN_HALF_LIFE_SECONDS = 3600
MAX_HALF_LIFE_SECONDS = 90 * 86_400
MAX_MIN_RUNTIME_SECONDS = 7 * 86_400
MAX_RESTART_SECONDS = 86_400


def _half_life(text: str) -> str:
    if not MIN_HALF_LIFE_SECONDS <= parse_duration_seconds(text) <= MAX_HALF_LIFE_SECONDS:
        least, most = map(format_duration, (MIN_HALF_LIFE_SECONDS, MAX_HALF_LIFE_SECONDS))
        raise ValueError(f"a half-life from {least} to {most} is allowed, or null for none")
    return text


def _min_runtime(text: str) -> str:
    if parse_duration_seconds(text) > MAX_MIN_RUNTIME_SECONDS:
        raise ValueError(f"at most {format_duration(MAX_MIN_RUNTIME_SECONDS)} is allowed, or 0s for none")
    return text


MinRuntime = Annotated[str, StringConstraints(max_length=20), AfterValidator(_min_runtime)]
"""How long an attempt is left alone, such as `10m`, or `0s`."""


def _restart(text: str) -> str:
    if parse_duration_seconds(text) > MAX_RESTART_SECONDS:
        raise ValueError(f"at most {format_duration(MAX_RESTART_SECONDS)} is allowed")
    return text


HalfLife = Annotated[Duration, AfterValidator(_half_life)]


class Consolidation(Wire):
    """Runs with a checkpoint may be moved within their cluster, so that the first blocked job of a pool of cards fits on cards that
    are free but scattered. `restart`: how long a run takes until it is where it was, which counts as lost with what it did since
    its last checkpoint."""

    restart: Annotated[Duration, AfterValidator(_restart)] = "5m"


class SchedulingPolicy(Wire):
    """What the operator has chosen for the whole city; what is left out is as it was shipped.

    `backfill`: `easy` promises a place to the first blocked job of each pool of cards, `conservative` to every blocked job: fewer
    jobs go in front, and more of those that wait know when they start at the latest.
    `half_life`: what a tenant has used counts against it beside what it holds now, and half as much with every half-life that
    has passed since; null lets only the present count.
    `profile`: how a job chooses among the places where it fits, if neither it nor its queue says so.
    `min_runtime`: an attempt is stopped for no other job, and moved nowhere, before it has had its cards for so long, whatever
    its priority and whoever lent them; as shipped nobody is protected. A queue may have its own.
    `consolidation`: whether runs are moved for a job that is blocked; null: never.
    """

    backfill: Literal["easy", "conservative"] = "easy"
    half_life: HalfLife | None = "7d"
    profile: Profile = Profile.CHEAPEST_NET
    consolidation: Consolidation | None = None
    min_runtime: MinRuntime = "0s"

    @property
    def half_life_seconds(self) -> int | None:
        return None if self.half_life is None else parse_duration_seconds(self.half_life)

    @property
    def restart_seconds(self) -> int | None:
        return None if self.consolidation is None else parse_duration_seconds(self.consolidation.restart)
