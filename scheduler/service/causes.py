"""What follows from why a run failed: how its attempt ends, whose count a retry is taken from, and whether to try there again.

An attempt that ends as `failed` is retried as often as `retries.failed` allows, one that ends as `lost` as `retries.node_lost`
allows, and what a lost one computed since its last checkpoint is free of charge (ADR 0018). Where neither the program nor a node
is to blame, a retry costs nothing; the job is then kept from that cluster for a while, so that the two do not do it all day.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scheduler.contract.sync import Cause
from scheduler.domain.states import AttemptState


@dataclass(frozen=True, slots=True)
class Consequence:
    """`reason`: the code under which it is told. `costs_retry`: whether one of the job's retries is used up. `keeps_away`: whether
    the job is kept from the cluster for a while."""

    end: AttemptState
    reason: str
    costs_retry: bool = True
    keeps_away: bool = False


CONSEQUENCES: Mapping[Cause, Consequence] = {
    Cause.LAUNCH_REFUSED: Consequence(AttemptState.FAILED, "launch_failed", keeps_away=True),
    Cause.IMAGE_PULL: Consequence(AttemptState.FAILED, "image_pull_failed", keeps_away=True),
    Cause.NOT_PLACED: Consequence(AttemptState.LOST, "not_placed", costs_retry=False, keeps_away=True),
    Cause.OUT_OF_MEMORY: Consequence(AttemptState.FAILED, "out_of_memory"),
    Cause.EVICTED: Consequence(AttemptState.LOST, "evicted"),
    Cause.PREEMPTED: Consequence(AttemptState.LOST, "preempted_by_cluster", costs_retry=False, keeps_away=True),
    Cause.NODE_LOST: Consequence(AttemptState.LOST, "node_gone"),
}

COSTLESS = frozenset({"grant_expired", *(each.reason for each in CONSEQUENCES.values() if not each.costs_retry)})
"""Reasons after which a lost attempt is tried again at no cost of a retry."""

REFUSALS = frozenset({"grant_expired", *(each.reason for each in CONSEQUENCES.values() if each.keeps_away)})
"""Reasons after which a job is kept from the cluster for a while, twice as long each time it happens in a row."""
