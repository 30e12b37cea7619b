"""The contract's bounds on a card (`scheduler.contract.inventory.Accelerator`), in plain Python.

The agent's process carries no pydantic, which would be a third of what it may weigh. That these bounds and the contract's
are the same is held by a property test: what is refused here is refused there, and what passes here passes there.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agents.node.probes.probe import MAX_NAME, MAX_PROCESSES
from scheduler.domain.hardware import HardwareClass, Health
from scheduler.domain.mig import MAX_SLICES, is_profile

MAX_ACCELERATORS = 128
MAX_HEALTH_REASONS = 16
MAX_TEXT = 200
MAX_UUID = 128
MAX_COUNT = 2**53
MAX_LINKS = 64

EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)
"""Of `observed_at`. A clock that says another time is told as the nearest: better a node with a wrong clock than none."""

Json = dict[str, Any]


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and least <= value <= most


def _text(most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and 0 < len(value) <= most


def _reasons(value: Any) -> bool:
    return len(value) <= MAX_HEALTH_REASONS and all(map(_text(MAX_TEXT), value))


def _partition(value: Any) -> bool:
    instances = value["instances"]
    return (
        _whole(1, MAX_SLICES)(value["slices"])
        and len(instances) <= MAX_SLICES
        and all(
            _text(MAX_UUID)(each["uuid"]) and is_profile(each["profile"]) and _whole(0, MAX_COUNT)(each["memory_bytes"])
            for each in instances
        )
    )


def _matching(pattern: str) -> Callable[[Any], bool]:
    return lambda value: re.fullmatch(pattern, value) is not None


def _processes(value: Any) -> bool:
    return len(value) <= MAX_PROCESSES and all(
        _whole(0, MAX_COUNT)(each["pid"])
        and (each["memory_bytes"] is None or _whole(0, MAX_COUNT)(each["memory_bytes"]))
        and (each["name"] is None or _text(MAX_NAME)(each["name"]))
        for each in value
    )


SENSORS: Mapping[str, Callable[[Any], bool]] = {
    "memory_used_bytes": _whole(0, MAX_COUNT),
    "utilisation_percent": _whole(0, 100),
    "power_milliwatts": _whole(0, MAX_COUNT),
    "temperature_celsius": _whole(-50, 200),
    "sm_clock_mhz": _whole(0, MAX_COUNT),
    "memory_clock_mhz": _whole(0, MAX_COUNT),
    "pcie_generation": _whole(1, 16),
    "pcie_width": _whole(1, 64),
    "processes": _processes,
    "process_count": _whole(0, MAX_COUNT),
}
"""A reading outside these is as good as missing."""

IDENTITY: Mapping[str, Callable[[Any], bool]] = {
    "index": _whole(0, MAX_COUNT),
    "vendor": _text(MAX_TEXT),
    "model": _text(MAX_TEXT),
    "hardware_class": lambda value: value in set(HardwareClass),
    "uuid": _text(MAX_UUID),
    "memory_bytes": _whole(0, MAX_COUNT),
    "health": lambda value: value in set(Health),
    "health_reasons": _reasons,
    "link_island": _whole(0, MAX_ACCELERATORS - 1),
    "link_count": _whole(0, MAX_LINKS),
    "mig": _partition,
    "pci_vendor_id": _matching(r"[0-9a-f]{4}"),
    "pci_address": _matching(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"),
    "compute_mode": _matching("default|exclusive_process|prohibited"),
}
"""A card with anything outside these is no card that can be reported."""


def bounded(card: Json) -> Json:
    """The card without what is absent and without absurd readings. Raises ValueError naming another field that is refused."""
    told = {
        field: value for field, value in card.items() if value is not None and not (field in SENSORS and not SENSORS[field](value))
    }
    for field, allowed in IDENTITY.items():
        if field in told and not allowed(told[field]):
            raise ValueError(f"{field}: {str(told[field])[:80]!r} is not what a report can carry")
    return told
