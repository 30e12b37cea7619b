"""How a city schedules, where that is the operator's choice and no single job's or queue's."""

from typing import Literal

from scheduler.contract.base import Wire


class SchedulingPolicy(Wire):
    """What the operator has chosen for the whole city; what is left out is as it was shipped.

    `backfill`: `easy` promises a place to the first blocked job of each pool of cards, `conservative` to every blocked job: fewer
    jobs go in front, and more of those that wait know when they start at the latest.
    """

    backfill: Literal["easy", "conservative"] = "easy"
