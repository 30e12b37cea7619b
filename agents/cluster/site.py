"""A recorded site, as its file describes it: which nodes and cards it has, and how long the runs played back there take."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scheduler.contract.base import Key, Name, Text
from scheduler.contract.inventory import (
    MAX_ACCELERATORS,
    Accelerator,
    MigInstance,
    MigPartition,
    MigProfile,
    NodeReport,
    ProbeResult,
)
from scheduler.domain.hardware import Catalogue
from scheduler.domain.mig import MAX_SLICES, memory_gb

GIB = 2**30
MAX_SITE_NODES = 2_000
MAX_FILE_BYTES = 1_048_576


class _SiteModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cards(_SiteModel):
    """The accelerators of one node: `count` cards of one model as the catalogue names it, each cut into `mig` instances if any are
    named."""

    vendor: Text
    model: Text
    count: Annotated[int, Field(ge=1, le=MAX_ACCELERATORS)]
    memory_gib: Annotated[int, Field(ge=1, le=4096)]
    mig: Annotated[tuple[MigProfile, ...], Field(max_length=MAX_SLICES)] = ()
    mig_slices: Annotated[int, Field(ge=1, le=MAX_SLICES)] = 7


class NodeGroup(_SiteModel):
    """`count` equal nodes called `prefix-01`, `prefix-02`, …, in racks of `nodes_per_rack`, with any further `labels`."""

    prefix: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")]
    count: Annotated[int, Field(ge=1, le=MAX_SITE_NODES)]
    cpu_cores: Annotated[int, Field(ge=1, le=65_536)]
    memory_gib: Annotated[int, Field(ge=1, le=65_536)]
    nodes_per_rack: Annotated[int, Field(ge=1, le=MAX_SITE_NODES)]
    driver_version: Text | None = None
    toolkit_version: Text | None = None
    labels: Annotated[dict[Key, Text], Field(max_length=16)] = Field(default_factory=dict)
    cards: Cards


class Description(_SiteModel):
    zh: Text
    en: Text


class Playback(_SiteModel):
    """How a run goes: `seconds` after it started its program ends with `exit_code`."""

    seconds: Annotated[float, Field(gt=0, le=86_400 * 90)]
    exit_code: Annotated[int, Field(ge=-255, le=255)] = 0


class Runs(_SiteModel):
    """Durations of runs in seconds, by the job's name or by default; each starts `starting_seconds` after its grant arrived."""

    default_seconds: Annotated[float, Field(gt=0, le=86_400 * 90)]
    starting_seconds: Annotated[float, Field(ge=0, le=3_600)] = 0.5
    by_name: dict[Name, Playback] = Field(default_factory=dict)

    def playback(self, name: str) -> Playback:
        return self.by_name.get(name) or Playback(seconds=self.default_seconds)


class SiteFile(_SiteModel):
    """A recorded site."""

    cluster: Key
    description: Description
    nodes: Annotated[list[NodeGroup], Field(min_length=1, max_length=64)]
    runs: Runs

    @model_validator(mode="after")
    def _nodes_are_distinct_and_few(self) -> Self:
        prefixes = [group.prefix for group in self.nodes]
        if len(set(prefixes)) != len(prefixes):
            raise ValueError("nodes: each prefix may appear once")
        if sum(group.count for group in self.nodes) > MAX_SITE_NODES:
            raise ValueError(f"nodes: a site may have at most {MAX_SITE_NODES} nodes")
        return self


def read_site(path: Path) -> SiteFile:
    """Raises ValueError naming the file, the field and what is allowed, OSError when it cannot be read."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{path}: a site file may have at most {MAX_FILE_BYTES} bytes")
    try:
        return SiteFile.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ValueError(f"{path}: {field}: {first['msg']}") from error


class RecordedNodes:
    """The reports of a site's nodes. Device ids are made of the cluster, the node and an index, so they never change."""

    def __init__(
        self, site: SiteFile, catalogue: Catalogue, *, boot: str, agent_version: str, clock: Callable[[], datetime]
    ) -> None:
        self._site = site
        self._catalogue = catalogue
        self._boot = boot
        self._agent_version = agent_version
        self._clock = clock
        self._nodes = {
            f"{group.prefix}-{number + 1:02d}": (group, f"{group.prefix}-rack-{number // group.nodes_per_rack + 1:02d}")
            for group in site.nodes
            for number in range(group.count)
        }
        self._sequence = dict.fromkeys(self._nodes, 0)

    def hostnames(self) -> list[str]:
        return list(self._nodes)

    def report(self, hostname: str) -> NodeReport:
        """The node as the site file describes it, with the next sequence number. Raises KeyError for an unknown node."""
        group, rack = self._nodes[hostname]
        self._sequence[hostname] += 1
        return NodeReport(
            hostname=hostname,
            boot=self._boot,
            sequence=self._sequence[hostname],
            observed_at=self._clock(),
            agent_version=self._agent_version,
            cpu_cores=group.cpu_cores,
            memory_bytes=group.memory_gib * GIB,
            driver_version=group.driver_version,
            toolkit_version=group.toolkit_version,
            labels={"rack": rack, **group.labels},
            accelerators=[self._card(hostname, group.cards, index) for index in range(group.cards.count)],
            probes=[ProbeResult(probe="recorded", found=group.cards.count)],
        )

    def _card(self, hostname: str, cards: Cards, index: int) -> Accelerator:
        identity = self._catalogue.identify(cards.vendor, cards.model)
        uuid = f"recorded-{self._site.cluster}-{hostname}-{index}"
        instances = [
            MigInstance(uuid=f"{uuid}-{number}", profile=profile, memory_bytes=memory_gb(profile) * GIB)
            for number, profile in enumerate(cards.mig)
        ]
        return Accelerator(
            index=index,
            vendor=identity.vendor,
            model=identity.model,
            hardware_class=identity.hardware_class,
            uuid=uuid,
            memory_bytes=cards.memory_gib * GIB,
            mig=MigPartition(slices=cards.mig_slices, instances=instances) if instances else None,
        )
