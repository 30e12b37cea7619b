"""An operator's catalogue: what replaces and extends the shipped one, and what is refused with row and field."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from scheduler.contract.catalogue import catalogue_view, read_catalogue
from scheduler.domain.faults import Fault
from scheduler.domain.hardware import HardwareClass, Identity, shipped_catalogue

ROW: dict[str, Any] = {
    "vendor": "acme",
    "model": "X1",
    "class": "domestic",
    "memory_gib": 32,
    "source": "a test",
    "confidence": "low",
}


def _file(*rows: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"version": "sz-1", "verified_on": "2026-11-24", "models": [ROW | row for row in rows], **rest}


def test_a_file_replaces_the_shipped_one() -> None:
    catalogue = read_catalogue(_file({}))
    assert (catalogue.version, len(catalogue.entries)) == ("sz-1", 1)
    assert catalogue.identify("nvidia", "NVIDIA H800", "10de").hardware_class is HardwareClass.UNKNOWN


def test_a_file_that_extends_it_adds_rows_and_takes_the_place_of_its_models() -> None:
    shipped = shipped_catalogue()
    h800 = {
        "vendor": "nvidia",
        "model": "H800",
        "class": "foreign",
        "memory_gib": 81,
        "aliases": ["NVIDIA H800", "NVIDIA H800 PCIe"],
    }
    resource = {"name": "nvidia.com/gpu", "vendor": "nvidia", "unit": "token", "source": "time-slicing here"}
    catalogue = read_catalogue(_file({}, h800, extends="shipped", kubernetes_resources=[resource]))
    assert catalogue.version == f"{shipped.version}+sz-1"
    assert len(catalogue.entries) == len(shipped.entries) + 1
    assert catalogue.nominal_memory_bytes("nvidia", "H800") == 81 * 2**30
    assert catalogue.identify("nvidia", "nvidia h800 pcie") == Identity("nvidia", "H800", HardwareClass.FOREIGN)
    assert catalogue.identify("huawei", "Ascend910B3").model == "910B3"
    found = catalogue.kubernetes_resource("nvidia.com/gpu")
    assert found is not None and found.unit == "token"
    assert catalogue.kubernetes_resource("huawei.com/Ascend910") == shipped.kubernetes_resource("huawei.com/Ascend910")


def test_rows_say_when_they_were_verified_or_their_file_does() -> None:
    first, second = read_catalogue(_file({}, {"model": "X2", "verified_on": "2026-01-02"})).entries
    assert (str(first.verified_on), str(second.verified_on)) == ("2026-11-24", "2026-01-02")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (_file({"class": "unknown"}), ("models", 0, "class")),
        (_file({}, {"model": "X2", "class": None}), ("models", 1, "class")),
        (_file({"memory_gib": 0}), ("models", 0, "memory_gib")),
        (_file({"memory_gib": "64 GB"}), ("models", 0, "memory_gib")),
        (_file({"confidence": "certain"}), ("models", 0, "confidence")),
        (_file({"source": ""}), ("models", 0, "source")),
        (_file({"colour": "red"}), ("models", 0, "colour")),
        (_file({"tflops_fp16": -1}), ("models", 0, "tflops_fp16")),
        (_file({"model": "a\nb"}), ("models", 0, "model")),
        (_file({}, version="two words"), ("version",)),
        (_file({}, extends="another"), ("extends",)),
        (_file({}, pci_vendors={"10DE": {"vendor": "nvidia", "class": "foreign"}}), ("pci_vendors", "10DE", "[key]")),
        (_file({}, verified_on="yesterday"), ("verified_on",)),
    ],
)
def test_what_is_not_as_allowed_is_named_by_row_and_field(document: dict[str, Any], field: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        read_catalogue(document)
    assert [error["loc"] for error in refused.value.errors()] == [field]


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        (_file({}, {"model": "X2", "aliases": ["x1"]}), "catalogue_name_claimed", "models[1]"),
        (_file({}, {"model": "X2", "class": "foreign"}), "catalogue_two_classes", "models[1].class"),
        (_file({}, pci_vendors={"abcd": {"vendor": "ACME", "class": "foreign"}}), "catalogue_two_classes", "models[0].class"),
        (_file({"vendor": "nvidia", "model": "H20"}, extends="shipped"), "catalogue_two_classes", "models[0].class"),
        (
            _file({"model": "X0"}, {"vendor": "huawei", "model": "910D", "aliases": ["Ascend910"]}, extends="shipped"),
            "catalogue_name_claimed",
            "models[1]",
        ),
    ],
)
def test_what_says_two_things_of_one_card_is_refused(document: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(Fault) as refused:
        read_catalogue(document)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert refused.value.text("zh") != refused.value.text("en")


def test_the_shipped_one_is_as_an_operators_has_to_be() -> None:
    from importlib.resources import files

    text = files("scheduler.domain").joinpath("catalogue.yaml").read_text("utf-8")
    assert read_catalogue(yaml.safe_load(text)) == shipped_catalogue()


def test_what_is_shown_can_be_read_back() -> None:
    view = catalogue_view(shipped_catalogue())
    shown = view.model_dump(mode="json", by_alias=True) | {"verified_on": "2026-11-24"}
    assert read_catalogue(shown) == shipped_catalogue()
