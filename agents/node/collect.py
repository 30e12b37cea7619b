"""Puts one node report together: who the node is, what its host has, what the probes saw, what the catalogue calls it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Annotated

import psutil
from pydantic import Field, ValidationError

from agents.node.probes.probe import PLACE, Device, Reading
from scheduler.contract.base import Key, Text, Wire
from scheduler.contract.inventory import MAX_ACCELERATORS, Accelerator, NodeName, NodeReport, ProbeResult
from scheduler.domain.hardware import Catalogue, Health

MAX_NAME_CHARACTERS = 253
MAX_ERROR_CHARACTERS = 500


class NodeIdentity(Wire):
    """What every report of one agent's life says alike. `boot` is new with each start of the agent."""

    hostname: NodeName
    boot: Key
    agent_version: Text
    labels: Annotated[dict[Key, Text], Field(max_length=32)] = Field(default_factory=dict)


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
) -> NodeReport:
    """One report from readings by probe name. A card the contract would refuse is left out and named in its probe's error."""
    cards: dict[str, Accelerator] = {}
    probes = []
    for name, reading in readings.items():
        found, problems = 0, [reading.error] if reading.error else []
        for device in reading.devices:
            try:
                card = _admitted(_own(device, identity.hostname), cards, catalogue)
                cards[card.uuid] = card
                found += 1
            except ValueError as error:
                problems.append(f"card {device.index} is left out: {_first_line(error)}")
        probes.append(ProbeResult(probe=name, found=found, error="; ".join(problems)[:MAX_ERROR_CHARACTERS] or None))
    return NodeReport(
        **identity.model_dump(),
        **asdict(host),
        sequence=sequence,
        observed_at=observed_at,
        driver_version=_joined(reading.driver_version for reading in readings.values()),
        toolkit_version=_joined(reading.toolkit_version for reading in readings.values()),
        accelerators=list(cards.values()),
        probes=probes,
    )


def _own(device: Device, hostname: str) -> Device:
    """A card that is named by its place alone is named as this node's: devices of a cluster are told apart by their UUID."""
    if not device.uuid.startswith(PLACE):
        return device
    return replace(device, uuid=f"{device.uuid}@{hashlib.sha256(hostname.encode()).hexdigest()[:12]}")


def _joined(versions: Iterable[str | None]) -> str | None:
    """One version, as a rule; a node with two vendors' cards names both, and is then in no range of versions."""
    return ", ".join(version for version in versions if version) or None


def _admitted(device: Device, cards: Mapping[str, Accelerator], catalogue: Catalogue) -> Accelerator:
    """Raises ValueError for a card a report cannot carry."""
    if device.uuid in cards:
        raise ValueError(f"{device.uuid} is on the report already")
    if len(cards) == MAX_ACCELERATORS:
        raise ValueError(f"a report carries at most {MAX_ACCELERATORS}")
    return _accelerator(device, catalogue)


def _accelerator(device: Device, catalogue: Catalogue) -> Accelerator:
    """A sensor outside the contract's bounds is as good as missing; anything else outside them raises ValidationError."""
    known = catalogue.identify(device.vendor, device.model, device.pci_vendor_id)
    described = {
        "index": device.index,
        "vendor": known.vendor,
        "model": known.model,
        "hardware_class": known.hardware_class,
        "uuid": device.uuid,
        "memory_bytes": device.memory_bytes,
        "pci_vendor_id": device.pci_vendor_id,
        "link_island": device.link_island,
        "mig": None if device.mig is None else asdict(device.mig),
        "health": device.health,
        "health_reasons": list(device.health_reasons),
    }
    if device.memory_bytes is None:
        # The contract needs a size. Nobody may plan with this zero: the card leaves the schedulable set and says why.
        described["memory_bytes"] = 0
        described["health"] = Health.LOST if device.health is Health.LOST else Health.DEGRADED
        described["health_reasons"] = [*device.health_reasons, "memory_size_unknown"]
    sensors = asdict(device.sensors)
    try:
        return Accelerator.model_validate(described | sensors)
    except ValidationError as error:
        absurd = {str(problem["loc"][0]) for problem in error.errors()}
        if not absurd <= sensors.keys():
            raise
        return Accelerator.model_validate(described | sensors | dict.fromkeys(absurd))


def _first_line(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{problem['loc'][0]}: {problem['msg']}"
    return str(error)
