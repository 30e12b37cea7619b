"""Accelerators and their class: what a node agent reports, and the catalogue that says what it is.

The class decides money (Hangzhou pays more for domestic chips), so it is never guessed: it comes from the catalogue by
vendor and model, by PCI vendor id as a fallback, and is `unknown` otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from scheduler.domain.faults import Fault


class HardwareClass(StrEnum):
    DOMESTIC = "domestic"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


class Health(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    LOST = "lost"


class ResourceUnit(StrEnum):
    """What one of an extended resource of Kubernetes is. Only cards, dies and instances may be counted as hardware."""

    CARD = "card"
    DIE = "die"
    INSTANCE = "instance"
    TOKEN = "token"  # noqa: S105 -- a share that a plugin sells, no secret
    SHARE = "share"


_WHOLE = frozenset({ResourceUnit.CARD, ResourceUnit.DIE})


@dataclass(frozen=True, slots=True)
class KubernetesResource:
    """An extended resource by its name, in which `*` stands for anything. `unit` is None where its plugin decides."""

    name: str
    vendor: str
    unit: ResourceUnit | None
    source: str


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One schedulable device as its vendor's tool names it. `tflops_fp16` is informative only: money never depends on it.

    `link` is how such cards of a node are joined, `link_gigabytes_per_second` the sum of both directions; `verified_on` is when the
    row was last compared with its source.
    """

    model: str
    vendor: str
    hardware_class: HardwareClass
    memory_bytes: int
    aliases: tuple[str, ...]
    tflops_fp16: float | None
    source: str
    confidence: str
    link: str | None = None
    link_gigabytes_per_second: int | None = None
    verified_on: date | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the catalogue says of a reported device: its canonical vendor and model, and its class."""

    vendor: str
    model: str
    hardware_class: HardwareClass


@dataclass(frozen=True)
class Catalogue:
    """Canonical models by every name a tool may report (case-insensitive), and classes by PCI vendor id."""

    version: str
    entries: tuple[CatalogueEntry, ...]
    by_name: Mapping[tuple[str, str], CatalogueEntry]
    vendor_by_pci: Mapping[str, tuple[str, HardwareClass]]
    kubernetes_resources: tuple[KubernetesResource, ...] = ()
    ray_resources: Mapping[str, str] = field(default_factory=dict)
    """What Ray calls each vendor's cards."""

    def identify(self, vendor: str, reported_model: str, pci_vendor_id: str | None = None) -> Identity:
        """The class of a device: by vendor and model, else by PCI vendor id, else `unknown`."""
        entry = self.by_name.get((vendor.casefold(), reported_model.casefold()))
        if entry is not None:
            return Identity(entry.vendor, entry.model, entry.hardware_class)
        known = self.vendor_by_pci.get((pci_vendor_id or "").casefold())
        if known is not None:
            return Identity(known[0], reported_model, known[1])
        return Identity(vendor, reported_model, HardwareClass.UNKNOWN)

    def kubernetes_resource(self, name: str) -> KubernetesResource | None:
        """The first row that fits the name of an extended resource; None where it is nobody's that the catalogue knows."""
        return next((row for row in self.kubernetes_resources if fnmatchcase(name, row.name)), None)

    def card_resource(self, vendor: str, model: str) -> KubernetesResource | None:
        """The resource by which a cluster counts whole cards of a model (or dies, where a die is what is scheduled): the one named
        after the model as `Ascend910` after an Ascend910B3, else its vendor's first. None where no name is known for certain."""
        rows = [row for row in self.kubernetes_resources if row.vendor == vendor and row.unit in _WHOLE and "*" not in row.name]
        entry = self.by_name.get((vendor.casefold(), model.casefold()))
        names = [] if entry is None else [name.replace(" ", "") for name in (entry.model, *entry.aliases)]
        named = [row for row in rows if any(name.startswith(row.name.rpartition("/")[2]) for name in names)]
        return max(named, key=lambda row: len(row.name)) if named else next(iter(rows), None)

    def instance_resource(self, vendor: str, profile: str) -> KubernetesResource | None:
        """The resource by which a cluster counts instances of that MIG profile. None where the vendor's plugin has none."""
        rows = [row for row in self.kubernetes_resources if row.vendor == vendor and row.unit is ResourceUnit.INSTANCE]
        wanted = next((row for row in rows if row.name.endswith("mig-*")), None)
        return None if wanted is None else replace(wanted, name=wanted.name.replace("*", profile.replace("+", ".")))

    def nominal_memory_bytes(self, vendor: str, model: str) -> int | None:
        """What a model is sold with; tools report a little less. None for a model that is not in the catalogue."""
        entry = self.by_name.get((vendor.casefold(), model.casefold()))
        return None if entry is None else entry.memory_bytes

    def throughput_gflops(self) -> Mapping[str, int]:
        """Dense FP16 of a card by model, where sources agree on it (`confidence: high`); what is disputed is not known."""
        sure = (entry for entry in self.entries if entry.confidence == "high" and entry.tflops_fp16 is not None)
        return {entry.model: int((entry.tflops_fp16 or 0) * 1000) for entry in sure}


def parse_catalogue(document: Mapping[str, Any]) -> Catalogue:
    """A catalogue from its YAML document. Raises Fault when two entries of one vendor claim the same name."""
    entries = tuple(_entry(row, document.get("verified_on")) for row in document["models"])
    return Catalogue(
        version=str(document["version"]),
        entries=entries,
        by_name=_index(entries),
        vendor_by_pci={str(pci): (row["vendor"], HardwareClass(row["class"])) for pci, row in document["pci_vendors"].items()},
        kubernetes_resources=tuple(map(_resource, document.get("kubernetes_resources", ()))),
        ray_resources={row["vendor"]: row["name"] for row in document.get("ray_resources", ())},
    )


def extended(base: Catalogue, own: Catalogue) -> Catalogue:
    """`base` with the rows of `own`, which take the place of those of the same vendor and model, PCI id or name.

    Raises Fault where a name that a row of `base` has for itself is claimed by another one of `own`.
    """
    told = {(entry.vendor.casefold(), entry.model.casefold()) for entry in own.entries}
    kept = tuple(entry for entry in base.entries if (entry.vendor.casefold(), entry.model.casefold()) not in told)
    entries = (*kept, *own.entries)
    names = {row.name for row in own.kubernetes_resources}
    return Catalogue(
        version=f"{base.version}+{own.version}",
        entries=entries,
        by_name=_index(entries, first=-len(kept)),
        vendor_by_pci={**base.vendor_by_pci, **own.vendor_by_pci},
        kubernetes_resources=(*own.kubernetes_resources, *(row for row in base.kubernetes_resources if row.name not in names)),
        ray_resources={**base.ray_resources, **own.ray_resources},
    )


@cache
def shipped_catalogue() -> Catalogue:
    """The catalogue this release ships, `scheduler/domain/catalogue.yaml`."""
    from importlib.resources import files  # here, since who needs only the words (a probe's child) shall not carry YAML

    import yaml

    return parse_catalogue(yaml.safe_load(files("scheduler.domain").joinpath("catalogue.yaml").read_text("utf-8")))


def _resource(row: Mapping[str, Any]) -> KubernetesResource:
    unit = row["unit"]
    return KubernetesResource(row["name"], row["vendor"], None if unit is None else ResourceUnit(unit), row["source"])


def _entry(row: Mapping[str, Any], verified_on: date | None) -> CatalogueEntry:
    return CatalogueEntry(
        model=row["model"],
        vendor=row["vendor"],
        hardware_class=HardwareClass(row["class"]),
        memory_bytes=int(row["memory_gib"]) * 2**30,
        aliases=tuple(row.get("aliases", ())),
        tflops_fp16=row.get("tflops_fp16"),
        source=row["source"],
        confidence=row["confidence"],
        link=row.get("link"),
        link_gigabytes_per_second=row.get("link_gigabytes_per_second"),
        verified_on=row.get("verified_on") or verified_on,
    )


def _index(entries: Iterable[CatalogueEntry], first: int = 0) -> dict[tuple[str, str], CatalogueEntry]:
    """By vendor and name. `first` is the number of the first row, as an error tells it."""
    index: dict[tuple[str, str], CatalogueEntry] = {}
    for number, entry in enumerate(entries, first):
        for name in (entry.model, *entry.aliases):
            key = (entry.vendor.casefold(), name.casefold())
            if index.setdefault(key, entry) is not entry:
                known = index[key].model
                raise Fault("catalogue_name_claimed", field=f"models[{number}]", vendor=entry.vendor, name=name, model=known)
    return index
