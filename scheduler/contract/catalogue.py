"""The hardware catalogue as a document: what an operator writes, and what the city shows of the one in force.

A file replaces the shipped catalogue, or extends it (`extends: shipped`): then its rows take the place of shipped ones of the same
vendor and model, and the others stay. What is said of a class decides money, so nothing is taken that says two things of it.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from scheduler.contract.base import Text, Wire
from scheduler.contract.job import Model
from scheduler.domain.faults import Fault
from scheduler.domain.hardware import Catalogue, HardwareClass, ResourceUnit, extended, parse_catalogue, shipped_catalogue

MAX_MODELS = 2000
MAX_ALIASES = 32

KnownClass = Literal["domestic", "foreign"]
"""What a row may say. Whatever is not known is not in the catalogue."""

Source = Annotated[str, StringConstraints(min_length=1, max_length=500)]
PciVendorId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{4}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class PciVendor(Wire):
    """Whose devices a PCI vendor id is, and of which class those are whose model nobody knows."""

    vendor: Text
    hardware_class: KnownClass = Field(alias="class")


class ResourceRow(Wire):
    """An extended resource of Kubernetes by its name, in which `*` stands for anything; no unit where its plugin decides it."""

    name: Text
    vendor: Text
    unit: ResourceUnit | None
    source: Source


class RayResource(Wire):
    """What Ray calls a vendor's cards."""

    vendor: Text
    name: Text
    source: Source | None = None


class ModelRow(Wire):
    """One schedulable device. `tflops_fp16` is dense FP16 or BF16, for information: money never depends on it.

    `memory_gib` is what it is sold with. `link` is how cards of a node are joined, `link_gigabytes_per_second` the sum of both
    directions as its vendor gives it; null where no trustworthy figure was found. `verified_on` is when the row was last compared
    with its source.
    """

    vendor: Text
    model: Model
    hardware_class: KnownClass = Field(alias="class")
    memory_gib: Annotated[int, Field(ge=1, le=4096)]
    aliases: Annotated[list[Text], Field(max_length=MAX_ALIASES)] = Field(default_factory=list)
    tflops_fp16: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    link: Text | None = None
    link_gigabytes_per_second: Annotated[int, Field(ge=1, le=100_000)] | None = None
    source: Source
    confidence: Literal["high", "medium", "low"]
    verified_on: date | None = None


class CatalogueFile(Wire):
    """What an operator writes. `version` is the operator's own, new with every change; `verified_on` is of rows that say none."""

    version: Version
    extends: Literal["shipped"] | None = None
    verified_on: date
    pci_vendors: Annotated[dict[PciVendorId, PciVendor], Field(max_length=256)] = Field(default_factory=dict)
    kubernetes_resources: Annotated[list[ResourceRow], Field(max_length=1000)] = Field(default_factory=list)
    ray_resources: Annotated[list[RayResource], Field(max_length=256)] = Field(default_factory=list)
    models: Annotated[list[ModelRow], Field(max_length=MAX_MODELS)] = Field(default_factory=list)


class CatalogueView(Wire):
    """The catalogue in force. `version` is that of the shipped one, `+` and that of the file which extends it, where one does."""

    version: str
    pci_vendors: dict[str, PciVendor]
    kubernetes_resources: list[ResourceRow]
    ray_resources: list[RayResource]
    models: list[ModelRow]


def read_catalogue(document: Any) -> Catalogue:
    """An operator's catalogue from its document, with what it extends. Raises ValidationError or Fault with the field."""
    written = CatalogueFile.model_validate(document)
    own = parse_catalogue(written.model_dump(by_alias=True))
    _one_class_a_vendor(own, {})
    if written.extends is None:
        return own
    shipped = shipped_catalogue()
    _one_class_a_vendor(own, _classes(shipped))
    return extended(shipped, own)


def catalogue_view(catalogue: Catalogue) -> CatalogueView:
    """What is shown of a catalogue."""
    return CatalogueView(
        version=catalogue.version,
        pci_vendors={
            pci: PciVendor.model_validate({"vendor": vendor, "class": hardware_class.value})
            for pci, (vendor, hardware_class) in catalogue.vendor_by_pci.items()
        },
        kubernetes_resources=[
            ResourceRow(name=row.name, vendor=row.vendor, unit=row.unit, source=row.source)
            for row in catalogue.kubernetes_resources
        ],
        ray_resources=[RayResource(vendor=vendor, name=name) for vendor, name in catalogue.ray_resources.items()],
        models=[
            ModelRow.model_validate(
                {
                    "vendor": entry.vendor,
                    "model": entry.model,
                    "class": entry.hardware_class.value,
                    "memory_gib": entry.memory_bytes // 2**30,
                    "aliases": list(entry.aliases),
                    "tflops_fp16": entry.tflops_fp16,
                    "link": entry.link,
                    "link_gigabytes_per_second": entry.link_gigabytes_per_second,
                    "source": entry.source,
                    "confidence": entry.confidence,
                    "verified_on": entry.verified_on,
                }
            )
            for entry in catalogue.entries
        ],
    )


def _classes(catalogue: Catalogue) -> dict[str, HardwareClass]:
    return {vendor.casefold(): hardware_class for vendor, hardware_class in catalogue.vendor_by_pci.values()} | {
        entry.vendor.casefold(): entry.hardware_class for entry in catalogue.entries
    }


def _one_class_a_vendor(own: Catalogue, known: Mapping[str, HardwareClass]) -> None:
    """Where a card was made is its vendor's matter and not a model's. Raises Fault."""
    classes = dict(known)
    said = [(f"pci_vendors.{pci}.class", *row) for pci, row in own.vendor_by_pci.items()]
    said += [(f"models[{number}].class", entry.vendor, entry.hardware_class) for number, entry in enumerate(own.entries)]
    for field, vendor, hardware_class in said:
        if classes.setdefault(vendor.casefold(), hardware_class) is not hardware_class:
            raise Fault("catalogue_two_classes", field=field, vendor=vendor, said=hardware_class, known=classes[vendor.casefold()])
