"""Puts one node report together: who the node is, what its host has, what the probes saw, what the catalogue calls it.

A report is the JSON of `scheduler.contract.inventory.NodeReport` as plain Python (`bounds.py` says why), without what is absent.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import psutil

from agents.node.bounds import EARLIEST, LATEST, MAX_ACCELERATORS, MAX_TEXT, bounded
from agents.node.probes.probe import PLACE, Device, Reading
from scheduler.domain.clock import rfc3339
from scheduler.domain.hardware import Catalogue, Health

MAX_NAME_CHARACTERS = 253
MAX_ERROR_CHARACTERS = 500

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """What every report of one agent's life says alike. `boot` is new with each start of the agent."""

    hostname: str
    boot: str
    agent_version: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Host:
    """The machine around the cards: logical cores, and memory in bytes."""

    cpu_cores: int
    memory_bytes: int
    memory_used_bytes: int


def read_host() -> Host:
    memory = psutil.virtual_memory()
    return Host(cpu_cores=psutil.cpu_count() or 1, memory_bytes=memory.total, memory_used_bytes=memory.total - memory.available)


def normalise_hostname(raw: str) -> str:
    """A node name the contract accepts. One that had to change gets a digest of the original, so two never become one."""
    kept = re.sub(r"[^A-Za-z0-9.-]", "-", raw).strip(".-")
    if kept == raw and 0 < len(raw) <= MAX_NAME_CHARACTERS:
        return raw
    digest = hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    room = MAX_NAME_CHARACTERS - len(digest) - 1
    return f"{kept[:room]}-{digest}" if kept else f"node-{digest}"


def collect(
    identity: NodeIdentity,
    host: Host,
    readings: Mapping[str, Reading],
    catalogue: Catalogue,
    *,
    sequence: int,
    observed_at: datetime,
) -> Json:
    """One report from readings by probe name. A card the contract would refuse is left out and named in its probe's error."""
    cards: list[Json] = []
    taken: set[str] = set()
    probes = []
    for name, reading in readings.items():
        found, problems = 0, [reading.error] if reading.error else []
        for device in reading.devices:
            try:
                if len(cards) == MAX_ACCELERATORS:
                    raise ValueError(f"a report carries at most {MAX_ACCELERATORS}")
                cards.append(_admitted(_own(device, identity.hostname), taken, catalogue))
                found += 1
            except ValueError as error:
                problems.append(f"card {device.index} is left out: {error}")
        probes.append(
            _present(
                probe=name,
                found=found,
                error="; ".join(problems)[:MAX_ERROR_CHARACTERS] or None,
                milliseconds=reading.milliseconds,
                age_seconds=reading.age_seconds,
            )
        )
    return {
        **asdict(identity),
        **asdict(host),
        "sequence": sequence,
        "observed_at": rfc3339(min(max(observed_at, EARLIEST), LATEST)),
        **_versions(list(readings.values())),
        "accelerators": cards,
        "probes": probes,
    }


def _own(device: Device, hostname: str) -> Device:
    """A card that is named by its place alone is named as this node's: devices of a cluster are told apart by their UUID."""
    if not device.uuid.startswith(PLACE):
        return device
    return replace(device, uuid=f"{device.uuid}@{hashlib.sha256(hostname.encode()).hexdigest()[:12]}")


def _present(**said: object) -> Json:
    return {name: value for name, value in said.items() if value is not None}


def _versions(readings: Sequence[Reading]) -> Json:
    """One of each, as a rule; a node with two vendors' cards names both, and is then in no range of versions."""
    drivers = [reading.driver_version for reading in readings]
    toolkits = [reading.toolkit_version for reading in readings]
    return _present(driver_version=_joined(drivers), toolkit_version=_joined(toolkits))


def _joined(versions: Iterable[str | None]) -> str | None:
    return ", ".join(version for version in versions if version)[:MAX_TEXT] or None


def _admitted(device: Device, taken: set[str], catalogue: Catalogue) -> Json:
    """Notes its names as taken. Raises ValueError for a card a report cannot carry."""
    names = [device.uuid, *(instance.uuid for instance in (device.mig.instances if device.mig else ()))]
    again = next((name for name in names if name in taken or names.count(name) > 1), None)
    if again is not None:
        raise ValueError(f"{again} is on the report already")
    card = _accelerator(device, catalogue)
    taken.update(names)
    return card


def _accelerator(device: Device, catalogue: Catalogue) -> Json:
    """Raises ValueError for a card outside the contract's bounds."""
    known = catalogue.identify(device.vendor, device.model, device.pci_vendor_id)
    described = {
        "index": device.index,
        "vendor": known.vendor,
        "model": known.model,
        "hardware_class": known.hardware_class,
        "uuid": device.uuid,
        "memory_bytes": device.memory_bytes,
        "pci_vendor_id": device.pci_vendor_id,
        "pci_address": device.pci_address,
        "link_island": device.link_island,
        "link_count": device.link_count,
        "compute_mode": device.compute_mode,
        "ecc_enabled": device.ecc_enabled,
        "mig": None if device.mig is None else asdict(device.mig),
        "health": device.health,
        "health_reasons": list(device.health_reasons),
    }
    if device.memory_bytes is None:
        # The contract needs a size. Nobody may plan with this zero: the card leaves the schedulable set and says why.
        described["memory_bytes"] = 0
        described["health"] = Health.LOST if device.health is Health.LOST else Health.DEGRADED
        described["health_reasons"] = [*device.health_reasons, "memory_size_unknown"]
    return bounded(described | asdict(device.sensors))
