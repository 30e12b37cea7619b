"""What crosses between a cluster agent and the city: bounded, and never naive about time."""

from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.contract.sync import MAX_RUNS, RUN_FINAL, ObservedRun, RunState, SyncRequest
from tests.builders import NOW

RUN = {"attempt": "att-1", "fencing_token": 1, "state": "running", "started_at": NOW}


def test_an_observation_is_read() -> None:
    assert ObservedRun.model_validate(RUN).state is RunState.RUNNING
    assert RunState.RUNNING not in RUN_FINAL


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": "2026-03-01T00:00:00"},
        {"fencing_token": -1},
        {"state": "sleeping"},
        {"exit_code": 256},
        {"detail": "x" * 501},
        {"attempt": "att 1"},
        {"pid": 1},
    ],
)
def test_a_senseless_observation_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ObservedRun.model_validate({**RUN, **changes})


def test_a_cluster_reports_a_limited_number_of_runs() -> None:
    with pytest.raises(ValidationError, match="too_long"):
        SyncRequest.model_validate({"agent": "a", "observed": [RUN] * (MAX_RUNS + 1)})
