"""What a vendor's probe is asked, and what it answers."""

from dataclasses import dataclass, field
from typing import Protocol

from scheduler.domain.hardware import Health

PLACE = "pci-"
"""How the `uuid` of a card begins that its tool has no identity for: it is named by where it sits, which other nodes have too.
The report makes it the node's own."""


MAX_NAME = 64
MAX_PROCESSES = 32
"""Told of one card, those with the most memory first; `process_count` counts them all."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that uses a card, by its number on the node; its memory on the card where that is known, and its program's name."""

    pid: int
    memory_bytes: int | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Sensors:
    """What a card measures now. A sensor that is missing or failed is None, never zero.

    The PCIe link is told as it runs: many cards slow it down while they are idle. `processes` are None where their vendor does
    not tell them, and empty where there are none.
    """

    memory_used_bytes: int | None = None
    utilisation_percent: int | None = None
    power_milliwatts: int | None = None
    temperature_celsius: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    pcie_generation: int | None = None
    pcie_width: int | None = None
    processes: tuple[Process, ...] | None = None
    process_count: int | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a card in MIG mode; `profile` is its vendor's name for its size, such as `3g.40gb`."""

    uuid: str
    profile: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Partition:
    """How a card in MIG mode is cut: `slices` are the compute slices it has, `instances` what has been made of them."""

    slices: int
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Device:
    """One card in its vendor's own words: `model` is not yet canonical, `index` is the vendor's numbering.

    `pci_vendor_id` is four lower-case hexadecimal digits, `pci_address` as the kernel writes it (`0000:c1:00.0`).
    `link_count` is how many of its vendor's links are up, `compute_mode` one of `default`, `exclusive_process` and `prohibited`.
    `health_reasons` are stable codes such as `reset_required`; a healthy card may have some, which are told. Devices of equal
    `link_island` are joined by the vendor's links, directly or through a switch.
    """

    index: int
    vendor: str
    model: str
    uuid: str
    memory_bytes: int | None = None
    pci_vendor_id: str | None = None
    pci_address: str | None = None
    link_island: int | None = None
    link_count: int | None = None
    compute_mode: str | None = None
    ecc_enabled: bool | None = None
    mig: Partition | None = None
    sensors: Sensors = field(default_factory=Sensors)
    health: Health = Health.HEALTHY
    health_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one probe saw. Absent hardware is an empty reading; `error` says what could not be seen, beside what could.

    `toolkit_version` is the newest version of the vendor's toolkit (CUDA, CANN) that programs on this node can use.
    `milliseconds` is how long the probe took, and `age_seconds` how long ago, where the probe has not answered since; both are
    the watch's to say.
    """

    devices: tuple[Device, ...] = ()
    driver_version: str | None = None
    toolkit_version: str | None = None
    error: str | None = None
    milliseconds: int | None = field(default=None, compare=False)
    age_seconds: int | None = None


class Probe(Protocol):
    """One vendor's interface to its cards: `probe` finds them, describes them and samples their sensors, in one call.

    `probe` is called every few seconds from a thread of its own, never twice at once, and may keep state between calls.
    No library, no driver or no card is an empty reading. Whatever it raises is reported as this probe's error and stops
    nothing else; a call that outlives its deadline is reported too, and not repeated before it returns.
    """

    @property
    def name(self) -> str: ...

    def probe(self) -> Reading: ...
