"""Node reports: distinct cards, sizes within limits, and a missing sensor is absent."""

from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.contract.inventory import MAX_ACCELERATORS, NodeReport
from tests.builders import NOW, ascend, cards


def report(**changes: Any) -> NodeReport:
    document = {
        "hostname": "s1",
        "boot": "b-1",
        "sequence": 1,
        "observed_at": NOW,
        "agent_version": "0.1",
        "cpu_cores": 64,
        "memory_bytes": 2**39,
        "accelerators": ascend("s1"),
        **changes,
    }
    return NodeReport.model_validate(document)


def test_a_missing_sensor_is_absent_and_not_zero() -> None:
    card = report().accelerators[0]
    assert (card.utilisation_percent, card.power_milliwatts, card.temperature_celsius) == (None, None, None)


def test_a_card_may_appear_once() -> None:
    card = ascend("s1")[0]
    with pytest.raises(ValidationError, match="each uuid may appear once"):
        report(accelerators=[card, {**card, "index": 1}])


@pytest.mark.parametrize(
    "changes",
    [
        {"hostname": "s1/../s2"},
        {"hostname": ""},
        {"hostname": "a" * 254},
        {"observed_at": "2026-03-01T00:00:00"},
        {"cpu_cores": 0},
        {"memory_bytes": -1},
        {"memory_bytes": 2**60},
        {"sequence": -1},
        {"labels": {str(number): "x" for number in range(33)}},
        {"accelerators": cards("s1", MAX_ACCELERATORS + 1, "910B3", "huawei", "domestic")},
        {"accelerators": ascend("s1", utilisation_percent=101)},
        {"accelerators": ascend("s1", health="fine")},
        {"accelerators": ascend("s1", link_island=-1)},
        {"accelerators": ascend("s1", mig={"slices": 0})},
        {"accelerators": ascend("s1", mig={"slices": 7, "instances": [{"uuid": "m", "profile": "half", "memory_bytes": 1}]})},
        {"accelerators": ascend("s1", mig={"slices": 7, "instances": [{"uuid": "m", "profile": "3g.40gb", "memory_bytes": 1}]})},
        {"accelerators": ascend("s1", pci_vendor_id="10DE")},
        {"gpu": 8},
    ],
)
def test_an_absurd_report_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        report(**changes)
