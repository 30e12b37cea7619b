"""What a gang's driver makes of Ray's errors, in the words of Ray 2.60. How it drives a gang is tested with a real Ray."""

from typing import Any

import pytest
from ray.exceptions import ActorDiedError, GetTimeoutError, OutOfMemoryError, RayTaskError, RuntimeEnvSetupError

from agents.cluster.ray.payload.gang import loss


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (
            ActorDiedError(),
            {
                "cause": "node_lost",
                "detail": "its node, or Ray on it, died: The actor died unexpectedly before finishing this task.",
            },
        ),
        (
            OutOfMemoryError(  # type: ignore[no-untyped-call]
                "1 worker(s) were killed due to the node running low on memory. Memory on the node was 8GB / 9GB"
            ),
            {"cause": "out_of_memory", "detail": "Ray killed it because its node ran out of memory"},
        ),
        (
            RuntimeEnvSetupError("404 for https://example.cn/src.zip"),
            {"cause": "launch_refused", "detail": "Ray could not prepare the node: Failed to set up runtime environment."},
        ),
        (
            RayTaskError(  # type: ignore[no-untyped-call]
                "start", "Traceback\n  somewhere\nOSError: no more processes", OSError()
            ),
            {"cause": "launch_refused", "detail": "the rank could not be run: OSError: no more processes"},
        ),
        (GetTimeoutError("late"), {"cause": "launch_refused", "detail": "the rank could not be run: late"}),
    ],
)
def test_what_it_means_that_a_rank_does_not_answer(error: Exception, ended: dict[str, Any]) -> None:
    assert loss(error) == ended
