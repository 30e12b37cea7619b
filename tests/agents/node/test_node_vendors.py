"""Every vendor's cards, read by running a tool that prints what its fixture says: model, class, memory, sensors, health.

A fixture, `fixtures/VENDOR.yaml`, has the tool's name, what it prints for which arguments, the files it leaves, and the cards.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from agents.node.agent import once
from agents.node.collect import Host, NodeIdentity, collect
from agents.node.probes import cambricon, shipped
from agents.node.probes.child import ChildProbe
from agents.node.probes.probe import PLACE, Probe, Reading, Sensors
from agents.node.probes.tool import Run, ToolError, ToolProbe
from agents.node.watch import Watch
from scheduler.contract.inventory import Accelerator, NodeReport
from scheduler.domain.hardware import HardwareClass, Health, shipped_catalogue

FIXTURES = sorted(Path(__file__).with_name("fixtures").glob("*.yaml"))
MIB = 2**20


class Printed(Run):
    """A tool that prints what it is told to; what it is not told fails, as an unknown option does."""

    def __init__(self, prints: Mapping[str, str], tool: str = "") -> None:
        self._prints, self.tool = prints, tool

    def __call__(self, *arguments: str) -> str:
        asked = " ".join(arguments)
        if asked not in self._prints:
            raise ToolError(f"unknown option {asked}")
        return self._prints[asked]


def vendor(path: Path) -> ModuleType:
    return import_module(f"agents.node.probes.{path.stem.split('-')[0]}")


def fixture(name: str) -> Any:
    return yaml.safe_load(Path(__file__).with_name("fixtures").joinpath(f"{name}.yaml").read_text("utf-8"))


def read(name: str, **changed: str) -> Reading:
    """What the vendor's file makes of its fixture, with some outputs put in the place of others."""
    module = import_module(f"agents.node.probes.{name.split('-')[0]}")
    return module.read(Printed(fixture(name)["prints"] | changed, fixture(name)["tool"]))  # type: ignore[no-any-return]


def install(folder: Path, told: Any) -> None:
    """A program of the fixture's name that prints by its arguments, and ends with status 2 for others."""
    answers = []
    for number, (arguments, text) in enumerate(told["prints"].items()):
        printed = folder / f"{told['tool']}-prints-{number}"
        printed.write_text(text, "utf-8")
        answers.append(f"{shlex.quote(arguments)}) cat {printed} ;;")
    left = []
    for name, text in told.get("leaves", {}).items():
        (folder / name).write_text(text, "utf-8")
        left.append(f"cp {folder}/{name} .")
    program = folder / told["tool"]
    program.write_text("\n".join(("#!/bin/sh", *left, 'case "$*" in', *answers, "*) exit 2 ;;", "esac")))
    program.chmod(0o755)


def report(reading: Reading) -> NodeReport:
    told = collect(
        NodeIdentity(hostname="node-1", boot="boot-1", agent_version="0"),
        Host(cpu_cores=1, memory_bytes=1, memory_used_bytes=0),
        {"probe": reading},
        shipped_catalogue(),
        sequence=0,
        observed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return NodeReport.model_validate(told)


def as_told(card: Accelerator) -> dict[str, Any]:
    """A reported card in the words of a fixture."""
    return {
        "index": card.index,
        "model": card.model,
        "class": card.hardware_class.value,
        "uuid": card.uuid.partition("@")[0],
        "mib": card.memory_bytes / MIB,
        "used": None if card.memory_used_bytes is None else card.memory_used_bytes / MIB,
        "busy": card.utilisation_percent,
        "watts": None if card.power_milliwatts is None else card.power_milliwatts / 1000,
        "celsius": card.temperature_celsius,
        "health": card.health.value,
        "reasons": card.health_reasons,
    }


NOT_TOLD: dict[str, Any] = {"used": None, "busy": None, "watts": None, "celsius": None, "health": "healthy", "reasons": []}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_vendors_cards_are_read_as_they_are(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = fixture(path.stem)
    install(tmp_path, told)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    reading = vendor(path).probe().probe()
    seen = report(reading)
    assert seen.probes[0].error is None
    assert [as_told(card) for card in seen.accelerators] == [NOT_TOLD | card for card in told["cards"]]
    assert (seen.driver_version, seen.toolkit_version) == (told.get("driver"), told.get("toolkit"))


def test_every_shipped_probe_has_a_fixture_or_a_mock_library() -> None:
    with_fixture = {vendor(path).probe().name for path in FIXTURES}
    assert {probe.name for probe in shipped()} - with_fixture == {"nvml", "ixml"}


CARDS: dict[str, list[tuple[str, str, int]]] = {
    "ascend": [("910B3", "domestic", 65_536)] * 3 + [("910B3", "domestic", 0)],  # the last tells no size, and is degraded for it
    "cambricon": [("MLU590-M9", "domestic", 98_304), ("MLU370-X4", "domestic", 23_308), ("MLU999", "unknown", 49_152)],
    "hygon": [("K100_AI", "domestic", 65_520), ("BW1000", "domestic", 65_520)],
    "metax": [("MXC500", "domestic", 65_536)] * 2 + [("MXC500", "domestic", 0)],
    "moorethreads": [("MTT S5000", "domestic", 81_920), ("MTT S4000", "domestic", 49_152)],
    "kunlunxin": [("P800", "domestic", 98_304)] * 2,
    "enflame": [("S60", "domestic", 42_976), ("L300", "domestic", 147_456)],
    "thead": [("PPU-ZW810E", "domestic", 98_304)] * 2,
    "biren": [("Biren166M", "unknown", 65_536)],
    "amd": [("MI300X", "foreign", 196_592), ("AMD Instinct MI999", "foreign", 262_144)],
    "nvidia": [("H800", "foreign", 81_559)] * 8,
    "iluvatar": [("BI-V150", "domestic", 81_559)] * 8,
}
"""By vendor: model, class and MiB of each of its cards, in order. AMD's and Cambricon's last are models of no catalogue."""


@pytest.mark.parametrize("name", CARDS)
def test_every_vendor_is_told_by_model_class_memory_and_count(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if name in ("nvidia", "iluvatar"):
        library: Path = request.getfixturevalue("mock_library") / "libnvidia-ml.so.1"
        monkeypatch.setenv("MOCK_NVML_CARDS", "8")
        monkeypatch.setenv("MOCK_NVML_MODEL", {"nvidia": "NVIDIA H800", "iluvatar": "Iluvatar BI-V150"}[name])
        probe: Probe = ChildProbe(name, f"agents.node.probes.nvml:{name}", (str(library),), deadline_seconds=60.0)
    else:
        install(tmp_path, fixture(name))
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        probe = vendor(Path(f"{name}.yaml")).probe()
    seen = report(probe.probe()).accelerators
    assert [(card.model, card.hardware_class.value, card.memory_bytes // MIB) for card in seen] == CARDS[name]


def test_no_vendor_is_left_out() -> None:
    assert len(CARDS) == len(shipped())


GARBAGE = [
    "",
    "驱动未加载,请联系管理员。\n",
    "\x00\xff|||\n| 0 |\n+---+\n",
    "Segmentation fault (core dumped)\n",
    *("[]", "{}", "null", "[1]", "7", '{"card0": 1}', '{"card0": {"Card Vendor": "Hygon"}}', '{"card0": {"Card Vendor": 1}}'),
    *('{"CnmonInfo": 1}', '{"CnmonInfo": [1]}', '{"CnmonInfo": [{"UUID": "u", "PCI": 3}]}', '{"CnmonInfo": [{"UUID": "u"}]}'),
    *('{"gpu_data": 1}', '[{"gpu": 0}]', '{"gpu_data": [{"gpu": "x", "asic": 1}]}'),
]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_is_no_card(path: Path, garbage: str, tmp_path: Path) -> None:
    (tmp_path / "cnmon_info.json").write_text(garbage, "utf-8")
    printed = Printed(dict.fromkeys(fixture(path.stem)["prints"], garbage), fixture(path.stem)["tool"])
    printed.folder = tmp_path
    try:
        assert vendor(path).read(printed).devices == ()
    except (ValueError, ToolError) as error:
        assert str(error)


def _fields(reading: Reading, *names: str) -> list[tuple[object, ...]]:
    return [tuple(getattr(device, name) for name in names) for device in reading.devices]


def test_half_an_ascend_table_names_the_card_it_ends_in_and_keeps_the_others() -> None:
    whole = fixture("ascend")["prints"]["info"]
    reading = read("ascend", info=whole[: whole.index("| 0                         | 0000:81")])
    assert _fields(reading, "index") == [(0,), (1,)]
    assert reading.error == "npu-smi info: the table ends within NPU '2     910B3'"


def test_an_ascend_chip_that_the_mapping_does_not_know_is_left_out_and_named() -> None:
    mapping = fixture("ascend")["prints"]["info -m"].replace("1            0            1 ", "1            0            - ")
    reading = read("ascend", **{"info -m": mapping})
    assert _fields(reading, "index") == [(0,), (2,), (3,)]
    assert reading.error == "npu-smi info -m: NPU 1 chip 0 has no logic id"


def test_an_ascend_health_of_a_newer_word_is_not_taken_for_sound() -> None:
    table = fixture("ascend")["prints"]["info"].replace("| OK            | 91.5", "| UNKNOWN       | 91.5")
    assert _fields(read("ascend", info=table), "health", "health_reasons")[0] == (Health.DEGRADED, ("npu_health_unknown",))


def test_an_old_ascend_whose_name_is_a_number_and_whose_memory_is_ddr_beside_an_empty_hbm_column() -> None:
    table = """
| 215   310                 | OK            | 12.8        56                0    / 970           |
| 2                         | 0000:D9:00.0  | 0           2703 / 8192       0    / 0             |
"""
    reading = read("ascend", info=table, **{"info -m": "215   2   2   Ascend 310\n215   4   -   Mcu\n"})
    assert _fields(reading, "index", "model", "memory_bytes") == [(2, "310", 8192 * MIB)]


def test_cnmon_that_leaves_no_file_is_an_error(tmp_path: Path) -> None:
    printed = Printed({"info -j": "no device\n"})
    printed.folder = tmp_path
    with pytest.raises(ValueError, match=r"left no cnmon_info\.json"):
        vendor(Path("cambricon.yaml")).read(printed)


def test_intels_tool_of_the_same_name_lists_no_card_of_kunlunxin() -> None:
    table = fixture("kunlunxin")["prints"][""].replace("XPU-RT Version", "Level Zero Version")
    assert read("kunlunxin", **{"": table}) == Reading()


def test_a_column_more_in_a_table_shifts_nothing() -> None:
    table = fixture("kunlunxin")["prints"][""].replace("Default |", "Default | Off |").replace("N/A | ", "N/A | x | ", 1)
    assert _fields(read("kunlunxin", **{"": table}), "memory_bytes")[0] == (98304 * MIB,)


def test_half_a_table_in_the_manner_of_nvidia_smi_is_an_error() -> None:
    table = fixture("metax")["prints"][""]
    with pytest.raises(ValueError, match="the table ends within card 1"):
        read("metax", **{"": table[: table.index("| 288W")]})


def test_measurements_that_a_tool_refuses_leave_the_cards_known() -> None:
    asked, refused = fixture("thead")["prints"]
    reading = vendor(Path("thead.yaml")).read(Printed({asked: fixture("thead")["prints"][asked]}))
    assert len(reading.devices) == 2
    assert reading.error == f"no measurements: unknown option {refused}"


def test_a_header_that_was_not_asked_for_is_no_card_and_a_short_line_an_error() -> None:
    asked = next(iter(fixture("thead")["prints"]))
    with_header = "index, name, uuid, pci.bus_id, memory.total [MiB]\n" + fixture("thead")["prints"][asked]
    assert len(read("thead", **{asked: with_header}).devices) == 2
    with pytest.raises(ValueError, match="5 columns were asked for and 2 came: '0, PPU-ZW810E'"):
        read("thead", **{asked: "0, PPU-ZW810E\n"})


def test_an_older_amd_smi_prints_a_bare_list() -> None:
    prints = fixture("amd")["prints"]
    bare = {asked: text.strip().removeprefix('{"gpu_data": ').removesuffix("}") for asked, text in prints.items()}
    assert read("amd", **bare) == read("amd")


@pytest.mark.parametrize(
    ("name", "pci_vendor", "expected"),
    [("biren", None, HardwareClass.UNKNOWN), ("kunlunxin", "1d22", HardwareClass.DOMESTIC), ("amd", "1002", HardwareClass.FOREIGN)],
)
def test_a_model_nobody_knows_has_the_class_of_its_pci_vendor_if_that_is_known(
    name: str, pci_vendor: str | None, expected: HardwareClass
) -> None:
    (device, *_) = read(name).devices
    (card,) = report(Reading((replace(device, model="Model of 2030", pci_vendor_id=pci_vendor),))).accelerators
    assert (card.model, card.hardware_class) == ("Model of 2030", expected)


def test_a_node_with_five_vendors_tools_one_of_which_hangs_is_one_whole_report(
    tmp_path: Path, mock_library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ascend", "hygon", "metax"):
        install(tmp_path, fixture(name))
    hanging = tmp_path / "cnmon"
    hanging.write_text("#!/bin/sh\nsleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    nvml = ChildProbe("nvml", "agents.node.probes.nvml:nvidia", (str(mock_library / "libnvidia-ml.so.1"),), deadline_seconds=60.0)
    cnmon = ToolProbe("cnmon", ("cnmon",), cambricon.read, deadline_seconds=0.5)
    others = tuple(probe for probe in shipped() if probe.name not in ("nvml", "cnmon"))
    told = once(
        NodeIdentity(hostname="node-1", boot="boot-1", agent_version="0"),
        Watch((nvml, cnmon, *others), deadline_seconds=60.0),
        shipped_catalogue(),
        sequence=0,
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    seen = NodeReport.model_validate(told)
    assert {probe.probe: probe.found for probe in seen.probes if probe.found} == {"nvml": 2, "npu-smi": 4, "hy-smi": 2, "mx-smi": 3}
    assert {probe.probe: probe.error for probe in seen.probes if probe.error} == {
        "cnmon": "ToolError: cnmon info -j did not end in time and was killed"
    }
    assert len(seen.probes) == len(shipped())
    assert {card.vendor for card in seen.accelerators} == {"nvidia", "huawei", "hygon", "metax"}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_an_output_that_ends_early_invents_nothing(path: Path, tmp_path: Path) -> None:
    """Cut after any line of any output: what is read is what the whole says, or absent, or an error."""
    prints, leaves = fixture(path.stem)["prints"], fixture(path.stem).get("leaves", {})

    def read_cut(name: str, lines: int) -> Reading:
        told = {**prints, **leaves}
        if name in told:
            told[name] = "".join(told[name].splitlines(keepends=True)[:lines])
        for left in leaves:
            (tmp_path / left).write_text(told[left], "utf-8")
        printed = Printed(told, fixture(path.stem)["tool"])
        printed.folder = tmp_path
        return vendor(path).read(printed)  # type: ignore[no-any-return]

    whole = {device.uuid: device for device in read_cut("nothing", 0).devices}
    assert whole
    for name, text in (prints | leaves).items():
        for lines in range(len(text.splitlines())):
            try:
                devices = read_cut(name, lines).devices
            except (ValueError, ToolError):
                continue
            for device in devices:
                known = whole.get(device.uuid)
                if known is None:
                    assert device.uuid.startswith(PLACE), "named by its place where its identity was cut off"
                    continue
                assert device.memory_bytes in (None, known.memory_bytes)
                assert all(
                    getattr(device.sensors, sensor) in (None, getattr(known.sensors, sensor)) for sensor in Sensors.__slots__
                )
