"""What a node agent reports, and the inventory the city makes of it."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from scheduler.contract.base import Count, Key, Moment, Text, Wire
from scheduler.domain.hardware import HardwareClass, Health
from scheduler.domain.mig import MAX_SLICES, PROFILE

MAX_ACCELERATORS = 128
MAX_HEALTH_REASONS = 16
MAX_PROCESSES = 32
"""Told of one card."""

Percent = Annotated[int, Field(ge=0, le=100)]
NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]


MigProfile = Annotated[str, StringConstraints(pattern=PROFILE)]
"""Such as `3g.40gb`."""


class MigInstance(Wire):
    """One instance of a card in MIG mode: what a job gets."""

    uuid: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    profile: MigProfile
    memory_bytes: Count


class MigPartition(Wire):
    """How a card in MIG mode is cut: it has so many compute slices, of which instances are made. It is not given out whole."""

    slices: Annotated[int, Field(ge=1, le=MAX_SLICES)]
    instances: Annotated[list[MigInstance], Field(max_length=MAX_SLICES)] = Field(default_factory=list)


class ComputeMode(StrEnum):
    """Who may compute on a card: many processes, one at a time, or none."""

    DEFAULT = "default"
    EXCLUSIVE_PROCESS = "exclusive_process"
    PROHIBITED = "prohibited"


class Process(Wire):
    """A process that uses a card: its number on the node, what it holds of the card's memory, and the name of its program."""

    pid: Count
    memory_bytes: Count | None = None
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None


class Accelerator(Wire):
    """One schedulable card. A sensor that is missing is absent (null), never zero.

    `model` is the catalogue's canonical name where the catalogue knows the device, else the name its tool reports.
    """

    index: Count
    vendor: Text
    model: Text
    hardware_class: HardwareClass
    uuid: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    memory_bytes: Count
    nominal_memory_bytes: Count | None = None
    """What its model is sold with, as the city's catalogue says; tools report a little less."""
    health: Health = Health.HEALTHY
    health_reasons: Annotated[list[Text], Field(max_length=MAX_HEALTH_REASONS)] = Field(default_factory=list)
    link_island: Annotated[int, Field(ge=0, lt=MAX_ACCELERATORS)] | None = None
    """Cards of a node with equal numbers are joined by links (NVLink, HCCS), directly or through a switch."""
    link_count: Annotated[int, Field(ge=0, le=64)] | None = None
    """How many of its vendor's links are up."""
    mig: MigPartition | None = None
    pci_vendor_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}$")] | None = None
    pci_address: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$")] | None = None
    compute_mode: ComputeMode | None = None
    ecc_enabled: bool | None = None
    memory_used_bytes: Count | None = None
    utilisation_percent: Percent | None = None
    power_milliwatts: Count | None = None
    temperature_celsius: Annotated[int, Field(ge=-50, le=200)] | None = None
    sm_clock_mhz: Count | None = None
    memory_clock_mhz: Count | None = None
    pcie_generation: Annotated[int, Field(ge=1, le=16)] | None = None
    """Of the link as it runs now, as is `pcie_width`: many cards slow it down while they are idle."""
    pcie_width: Annotated[int, Field(ge=1, le=64)] | None = None
    processes: Annotated[list[Process], Field(max_length=MAX_PROCESSES)] | None = None
    """Null where nobody tells; else those with the most memory, of `process_count` in all."""
    process_count: Count | None = None


class ProbeResult(Wire):
    """How one vendor's probe went: absent hardware is `found: 0` without an error.

    `milliseconds` is how long it took. Where it has not answered, its cards are those of its last answer, `age_seconds` ago.
    """

    probe: Key
    found: Count
    error: Annotated[str, StringConstraints(max_length=500)] | None = None
    milliseconds: Count | None = None
    age_seconds: Count | None = None


class NodeReport(Wire):
    """A full snapshot of one node. `sequence` only grows while the agent lives; a restarted agent starts a new `boot`.

    `driver_version` is that of its accelerators, `toolkit_version` the newest CUDA its driver serves or the CANN it has.
    """

    hostname: NodeName
    boot: Key
    sequence: Count
    observed_at: Moment
    agent_version: Text
    cpu_cores: Annotated[int, Field(ge=1, le=65_536)]
    memory_bytes: Count
    memory_used_bytes: Count | None = None
    driver_version: Text | None = None
    toolkit_version: Text | None = None
    labels: Annotated[dict[Key, Text], Field(max_length=32)] = Field(default_factory=dict)
    closed: Annotated[list[Text], Field(max_length=MAX_HEALTH_REASONS)] = Field(default_factory=list)
    """Why no new work may come to the node as a whole, in codes such as `node_cordoned`. What runs there goes on."""
    accelerators: Annotated[list[Accelerator], Field(max_length=MAX_ACCELERATORS)] = Field(default_factory=list)
    probes: Annotated[list[ProbeResult], Field(max_length=32)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _cards_are_distinct(self) -> "NodeReport":
        uuids = [card.uuid for card in self.accelerators]
        uuids += [instance.uuid for card in self.accelerators if card.mig for instance in card.mig.instances]
        if len(set(uuids)) != len(uuids):
            raise ValueError("accelerators: each uuid may appear once on a node")
        return self


class ReportAccepted(Wire):
    """The answer to a report: when to send the next one, jitter included by the agent, and which catalogue named its cards."""

    next_report_seconds: Count
    catalogue_version: str


class InstanceCount(Wire):
    """Instances of one MIG profile: all, those a job holds, and those free on healthy cards of nodes that are being heard."""

    profile: str
    count: Count
    allocated: Count
    free: Count


class InventoryRow(Wire):
    """Cards of one model in one cluster. `free` are healthy cards no job holds, on nodes that are being heard.

    `partitioned` cards are in MIG mode: they are among `cards`, never among `allocated` or `free`; their `instances` are.
    """

    cluster: Key
    recorded: bool
    hardware_class: HardwareClass
    vendor: str
    model: str
    nodes: Count
    cards: Count
    healthy: Count
    allocated: Count
    free: Count
    partitioned: Count = 0
    instances: list[InstanceCount] = Field(default_factory=list)


class ClassTotal(Wire):
    hardware_class: HardwareClass
    cards: Count
    healthy: Count
    allocated: Count
    free: Count
    partitioned: Count = 0


class Inventory(Wire):
    """The network's cards: totals by class, rows by cluster, vendor and model."""

    as_of: Moment
    catalogue_version: str
    """Of the catalogue in force, by which cards are named (`GET /v1/catalogue`)."""
    totals: list[ClassTotal]
    rows: list[InventoryRow]


class CardView(Accelerator):
    """A card of a node and who uses it, for the operator: `processes` are of whoever runs there, and tenants never see them."""

    allocated: bool
    """Whether a job holds it, or an instance of it."""
    foreign_use: bool
    """Processes use it and no job of the city holds it, nor held it a minute ago: somebody else's, or left behind."""


class NodeView(Wire):
    """One node as the city knows it."""

    cluster: Key
    hostname: str
    heard_seconds_ago: Count | None
    cpu_cores: Count
    memory_bytes: Count
    driver_version: str | None = None
    toolkit_version: str | None = None
    labels: dict[str, str]
    closed: list[str] = Field(default_factory=list)
    """Why no new work comes to it though it is being heard; empty where it may."""
    clock_ahead_seconds: int | None = None
    """How far the node's clock was ahead of the city's when it last reported, below zero if behind. Nothing is reckoned by it."""
    probe_errors: dict[str, str] = Field(default_factory=dict)
    """What the node agent's probes could not see, by probe."""
    accelerators: list[CardView]


class NodePage(Wire):
    nodes: list[NodeView]
    next: str | None = None
