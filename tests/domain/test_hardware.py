"""The catalogue: names as tools report them lead to one model and one class, and nothing is guessed."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from scheduler.contract.job import Model
from scheduler.domain.hardware import HardwareClass, Identity, parse_catalogue, shipped_catalogue

DOMESTIC, FOREIGN, UNKNOWN = HardwareClass.DOMESTIC, HardwareClass.FOREIGN, HardwareClass.UNKNOWN
ROW = {"model": "X1", "vendor": "acme", "class": "domestic", "memory_gib": 32, "source": "a test", "confidence": "low"}


def _catalogue(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"version": "1", "pci_vendors": {"abcd": {"vendor": "acme", "class": "domestic"}}, "models": [ROW | row for row in rows]}


@pytest.mark.parametrize(
    ("vendor", "reported", "model", "hardware_class"),
    [
        ("nvidia", "NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB", FOREIGN),
        ("nvidia", "NVIDIA H100 80GB HBM3", "H100", FOREIGN),
        ("nvidia", "NVIDIA H800", "H800", FOREIGN),
        ("nvidia", "nvidia h20", "H20", FOREIGN),
        ("nvidia", "NVIDIA GeForce RTX 4090", "RTX 4090", FOREIGN),
        ("amd", "AMD Instinct MI300X OAM", "MI300X", FOREIGN),
        ("huawei", "910B3", "910B3", DOMESTIC),
        ("huawei", "Ascend 910B3", "910B3", DOMESTIC),
        ("huawei", "Ascend910B4-1", "910B4-1", DOMESTIC),
        ("huawei", "Ascend910", "910C", DOMESTIC),
        ("cambricon", "MLU590-M9", "MLU590-M9", DOMESTIC),
        ("hygon", "K100_AI", "K100_AI", DOMESTIC),
        ("metax", "MetaX C500", "MXC500", DOMESTIC),
        ("moorethreads", "MTT S4000", "MTT S4000", DOMESTIC),
        ("iluvatar", "Iluvatar MR-V50", "MR-V50", DOMESTIC),
        ("kunlunxin", "P800 OAM", "P800", DOMESTIC),
        ("enflame", "S60", "S60", DOMESTIC),
        ("thead", "PPU-ZW810E", "PPU-ZW810E", DOMESTIC),
    ],
)
def test_a_name_as_its_tool_reports_it_is_known(vendor: str, reported: str, model: str, hardware_class: HardwareClass) -> None:
    assert shipped_catalogue().identify(vendor, reported) == Identity(vendor, model, hardware_class)


def test_an_unknown_model_has_the_class_of_its_pci_vendor_and_keeps_its_name() -> None:
    identify = shipped_catalogue().identify
    assert identify("nvidia", "NVIDIA GeForce GT 710", "10DE") == Identity("nvidia", "NVIDIA GeForce GT 710", FOREIGN)
    assert identify("?", "Ascend 2030", "19e5") == Identity("huawei", "Ascend 2030", DOMESTIC)


def test_what_is_wholly_unknown_is_unknown() -> None:
    identify = shipped_catalogue().identify
    assert identify("acme", "Acme One", "ffff") == Identity("acme", "Acme One", UNKNOWN)
    assert identify("huawei", "Ascend 2030") == Identity("huawei", "Ascend 2030", UNKNOWN)
    assert identify("huawei", "NVIDIA H800") == Identity("huawei", "NVIDIA H800", UNKNOWN)


def test_disputed_figures_are_left_out() -> None:
    catalogue = shipped_catalogue()
    tflops = {entry.model: entry.tflops_fp16 for entry in catalogue.entries}
    assert tflops["910B3"] == 313.2
    assert tflops["MTT S5000"] is None
    assert tflops["MXC500"] is None
    assert not {"BR100", "BR104"} & {entry.model for entry in catalogue.entries}


def test_every_shipped_row_can_be_asked_for_and_says_where_it_comes_from() -> None:
    catalogue = shipped_catalogue()
    names = TypeAdapter(Model)
    for entry in catalogue.entries:
        assert names.validate_python(entry.model) == entry.model
        assert entry.hardware_class is not UNKNOWN
        assert 16 * 2**30 <= entry.memory_bytes <= 256 * 2**30
        assert entry.source
        assert entry.confidence in ("high", "medium", "low")
    assert len({entry.model for entry in catalogue.entries}) == len(catalogue.entries)


def test_a_vendor_is_of_one_class_only() -> None:
    catalogue = shipped_catalogue()
    classes = {(entry.vendor, entry.hardware_class) for entry in catalogue.entries} | set(catalogue.vendor_by_pci.values())
    assert len({vendor for vendor, _ in classes}) == len(classes)
    assert all(len(pci) == 4 and pci == pci.lower() for pci in catalogue.vendor_by_pci)


@pytest.mark.parametrize("second", [{"model": "x1"}, {"model": "X2", "aliases": ["X1"]}, {"model": "X2", "aliases": ["Acme X"]}])
def test_a_name_claimed_twice_is_refused(second: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is claimed by two models"):
        parse_catalogue(_catalogue({"aliases": ["ACME X"]}, second))


def test_two_vendors_may_use_one_name() -> None:
    catalogue = parse_catalogue(_catalogue({}, {"vendor": "other", "class": "foreign"}))
    assert catalogue.identify("acme", "X1").hardware_class is DOMESTIC
    assert catalogue.identify("other", "X1").hardware_class is FOREIGN


@pytest.mark.parametrize(
    ("name", "vendor", "unit"),
    [
        ("nvidia.com/gpu", "nvidia", "card"),
        ("nvidia.com/mig-3g.40gb", "nvidia", "instance"),
        ("nvidia.com/gpumem-percentage", "nvidia", "share"),
        ("huawei.com/Ascend910", "huawei", "die"),
        ("huawei.com/Ascend310P", "huawei", "die"),
        ("huawei.com/Ascend910B3", "huawei", "token"),
        ("huawei.com/Ascend910B3-memory", "huawei", "share"),
        ("cambricon.com/mlu", "cambricon", "card"),
        ("cambricon.com/mlu370", "cambricon", "card"),
        ("cambricon.com/mlu.smlu.vmemory", "cambricon", "share"),
        ("hygon.com/dcu", "hygon", "card"),
        ("hygon.com/dcunum", "hygon", "token"),
        ("metax-tech.com/sgpu", "metax", "token"),
        ("mthreads.com/sgpu-core", "moorethreads", "share"),
        ("iluvatar.com/gpu", "iluvatar", None),
        ("iluvatar.ai/BI-V150-vgpu", "iluvatar", "token"),
        ("kunlunxin.com/vxpu-memory", "kunlunxin", "share"),
        ("birentech.com/1-4-gpu", "biren", "instance"),
    ],
)
def test_a_kubernetes_resource_has_its_vendor_and_unit(name: str, vendor: str, unit: str | None) -> None:
    row = shipped_catalogue().kubernetes_resource(name)
    assert row is not None
    assert (row.vendor, row.unit) == (vendor, unit)


@pytest.mark.parametrize("name", ["cpu", "nvidia.com", "nvidia.com/gpu.shared", "huawei.com/ascend910", "example.com/gpu", ""])
def test_a_resource_nobody_named_is_not_taken_for_one(name: str) -> None:
    assert shipped_catalogue().kubernetes_resource(name) is None


def test_ray_has_a_name_for_the_cards_of_every_vendor() -> None:
    catalogue = shipped_catalogue()
    assert {entry.vendor for entry in catalogue.entries} <= set(catalogue.ray_resources)
    assert (catalogue.ray_resources["nvidia"], catalogue.ray_resources["huawei"]) == ("GPU", "NPU")


def test_every_resource_row_can_be_reached_and_says_where_it_comes_from() -> None:
    catalogue = shipped_catalogue()
    for row in catalogue.kubernetes_resources:
        assert catalogue.kubernetes_resource(row.name.replace("*", "x")) == row
        assert row.source
