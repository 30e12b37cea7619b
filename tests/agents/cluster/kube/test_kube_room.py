"""Room on the granted nodes, as the scheduler would count it."""

from decimal import Decimal
from typing import Any

import pytest

from agents.cluster.kubernetes.room import lacking, requests


def node(name: str = "n0", *, cards: int = 8, cordoned: bool = False, pods: int = 110) -> dict[str, Any]:
    allocatable = {"cpu": "15800m", "memory": "63Gi", "nvidia.com/gpu": str(cards), "pods": str(pods)}
    return {"metadata": {"name": name}, "spec": {"unschedulable": cordoned}, "status": {"allocatable": allocatable}}


def pod(on: str | None = None, phase: str = "Running", **limits: str) -> dict[str, Any]:
    names = {name.replace("gpu", "nvidia.com/gpu"): amount for name, amount in limits.items()}
    return {
        "metadata": {},
        "spec": {"nodeName": on, "containers": [{"resources": {"limits": names}}]},
        "status": {"phase": phase},
    }


@pytest.mark.parametrize(
    ("there", "pods", "wanted", "said"),
    [
        (node(), [], {"gpu": "8", "cpu": "15"}, None),
        (node(), [], {"gpu": "9"}, "n0 lacks nvidia.com/gpu: 8 free of 9 needed"),
        (node(), [pod("n0", gpu="1")], {"gpu": "8"}, "n0 lacks nvidia.com/gpu: 7 free of 8 needed"),
        (node(), [pod("n1", gpu="1"), pod(None, gpu="8")], {"gpu": "8"}, None),
        (node(), [pod("n0", "Succeeded", gpu="8"), pod("n0", "Failed", gpu="8")], {"gpu": "8"}, None),
        (node(), [pod("n0", cpu="900m")], {"cpu": "15"}, "n0 lacks cpu: 14.9 free of 15 needed"),
        (node(), [], {"memory": "64Gi"}, "n0 lacks memory"),
        (node(pods=1), [pod("n0")], {"cpu": "1"}, "n0 lacks pods: 0 free of 1 needed"),
        (node(cordoned=True), [], {"cpu": "1"}, "n0 is cordoned"),
        (node("other"), [], {"cpu": "1"}, "n0 is no node of this cluster"),
        (node(), [], {"gpu": "1", "example.cn/x": "1"}, "n0 lacks example.cn/x: 0 free of 1 needed"),
    ],
)
def test_room_is_what_is_allocatable_less_what_is_asked_for(
    there: dict[str, Any], pods: list[dict[str, Any]], wanted: dict[str, str], said: str | None
) -> None:
    found = lacking({there["metadata"]["name"]: there}, ["n0"], pods, pod(**wanted))
    assert (found is None) if said is None else str(found).startswith(said)


def test_a_pod_asks_for_its_largest_moment_and_its_overhead() -> None:
    def asks(amount: str, **more: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": amount}}, **more}

    spec = {
        "containers": [asks("1"), asks("500m")],
        "initContainers": [asks("3"), asks("250m", restartPolicy="Always")],
        "overhead": {"cpu": "100m"},
    }
    assert requests(spec) == {"cpu": Decimal("3.1")}
    spec["initContainers"] = [asks("250m", restartPolicy="Always")]
    assert requests(spec) == {"cpu": Decimal("1.85")}
