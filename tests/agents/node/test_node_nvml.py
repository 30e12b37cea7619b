"""NVML cards: the mapping against a fake of the few functions the probe calls, and the real binding against a mock library."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from agents.node.collect import Host, NodeIdentity, collect
from agents.node.probes.child import ChildProbe
from agents.node.probes.nvml import NvmlProbe
from agents.node.probes.probe import MAX_PROCESSES, Instance, Partition, Process, Reading, Sensors
from scheduler.contract.inventory import NodeReport
from scheduler.domain.hardware import Health, shipped_catalogue


class FakeNvml:
    """`count` H800 cards. `broken` says which function raises which NVML error, for all cards or for one of them."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.broken: dict[str, int] = {}
        self.broken_card: int | None = None
        self.inits = 0
        self.rows = (0, 0, 0, 0)
        self.mig = [0, 0]
        self.instances: dict[int, str] = {}
        self.links: set[tuple[int, int]] = set()
        self.pairs_asked = 0
        self.slowdown_celsius = 87
        self.compute_mode = pynvml.NVML_COMPUTEMODE_DEFAULT
        self.processes: dict[str, list[tuple[int, int | None]]] = {"compute": [], "graphics": []}
        self.link_states: list[int] = []
        self.watched: list[int] = []
        self.xids: list[tuple[int, int]] = []

    def _fail(self, function: str, card: int | None = None) -> None:
        if function in self.broken and (self.broken_card is None or card == self.broken_card):
            raise pynvml.NVMLError(self.broken[function])

    def nvmlInit(self) -> None:
        self._fail("nvmlInit")
        self.inits += 1

    def nvmlShutdown(self) -> None:
        self._fail("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        self._fail("nvmlSystemGetCudaDriverVersion_v2")
        return 12_040

    def nvmlDeviceGetCount(self) -> int:
        self._fail("nvmlDeviceGetCount")
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self._fail("nvmlDeviceGetHandleByIndex", index)
        return index

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return "NVIDIA H800" if isinstance(handle, int) else self.instances[handle[1]]

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return f"GPU-{handle}" if isinstance(handle, int) else f"MIG-{handle[0]}-{handle[1]}"

    def nvmlDeviceGetPciInfo(self, handle: int) -> Any:
        self._fail("nvmlDeviceGetPciInfo", handle)
        return SimpleNamespace(pciDeviceId=0x232410DE, busId=f"00000000:{handle:02X}:00.0")

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        if not isinstance(handle, int):
            return SimpleNamespace(total=40_192 * 2**20, used=0)
        self._fail("nvmlDeviceGetMemoryInfo", handle)
        return SimpleNamespace(total=80 * 2**30, used=2**30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        self._fail("nvmlDeviceGetUtilizationRates", handle)
        return SimpleNamespace(gpu=0)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._fail("nvmlDeviceGetPowerUsage", handle)
        return 65_123

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._fail("nvmlDeviceGetTemperature", handle)
        return 41

    def nvmlDeviceGetTemperatureThreshold(self, handle: int, threshold: int) -> int:
        self._fail("nvmlDeviceGetTemperatureThreshold", handle)
        assert threshold == pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        return self.slowdown_celsius

    def nvmlEventSetCreate(self) -> object:
        self._fail("nvmlEventSetCreate")
        return self.xids

    def nvmlDeviceRegisterEvents(self, handle: int, types: int, events: Any) -> None:
        self._fail("nvmlDeviceRegisterEvents", handle)
        self.watched.append(handle)

    def nvmlEventSetWait_v2(self, events: Any, milliseconds: int) -> Any:
        assert events is self.xids and milliseconds == 0
        if not self.xids:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
        card, code = self.xids.pop(0)
        return SimpleNamespace(device=card, eventType=pynvml.nvmlEventTypeXidCriticalError, eventData=code)

    def nvmlDeviceGetTotalEccErrors(self, handle: int, error: int, counter: int) -> int:
        self._fail("nvmlDeviceGetTotalEccErrors", handle)
        return 0

    def nvmlDeviceGetRemappedRows(self, handle: int) -> tuple[int, int, int, int]:
        return self.rows

    def nvmlDeviceGetP2PStatus(self, one: int, other: int, capability: int) -> int:
        self._fail("nvmlDeviceGetP2PStatus")
        assert capability == pynvml.NVML_P2P_CAPS_INDEX_NVLINK
        self.pairs_asked += 1
        return pynvml.NVML_P2P_STATUS_OK if (one, other) in self.links else pynvml.NVML_P2P_STATUS_NOT_SUPPORTED  # type: ignore[no-any-return]

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        self._fail("nvmlDeviceGetClockInfo", handle)
        return {pynvml.NVML_CLOCK_SM: 1980, pynvml.NVML_CLOCK_MEM: 2619}[clock]

    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: int) -> int:
        self._fail("nvmlDeviceGetCurrPcieLinkGeneration", handle)
        return 5

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: int) -> int:
        self._fail("nvmlDeviceGetCurrPcieLinkWidth", handle)
        return 16

    def nvmlDeviceGetComputeMode(self, handle: int) -> int:
        return self.compute_mode  # type: ignore[no-any-return]

    def nvmlDeviceGetEccMode(self, handle: int) -> list[int]:
        self._fail("nvmlDeviceGetEccMode", handle)
        return [1, 0]

    def nvmlDeviceGetNvLinkState(self, handle: int, link: int) -> int:
        if link >= len(self.link_states):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.link_states[link]

    def _listed(self, kind: str) -> list[Any]:
        return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in self.processes[kind]]

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: int) -> list[Any]:
        self._fail("nvmlDeviceGetComputeRunningProcesses_v3", handle)
        return self._listed("compute")

    def nvmlDeviceGetComputeRunningProcesses_v2(self, handle: int) -> list[Any]:
        self._fail("nvmlDeviceGetComputeRunningProcesses_v2", handle)
        return self._listed("compute")

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: int) -> list[Any]:
        self._fail("nvmlDeviceGetGraphicsRunningProcesses_v3", handle)
        return self._listed("graphics")

    def nvmlDeviceGetGraphicsRunningProcesses_v2(self, handle: int) -> list[Any]:
        self._fail("nvmlDeviceGetGraphicsRunningProcesses_v2", handle)
        return self._listed("graphics")

    def nvmlSystemGetProcessName(self, pid: int) -> str:
        if pid == 404:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return {7: "", 8: "   ", 9: "x" * 300}.get(pid, f"/usr/bin/python{pid} train.py --token=s3cret")

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        return self.mig

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:
        self._fail("nvmlDeviceGetMaxMigDeviceCount")
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> tuple[int, int]:
        if index not in self.instances:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return handle, index


@pytest.mark.parametrize("absence", [pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED])
def test_a_machine_without_nvml_is_no_error(absence: int) -> None:
    nvml = FakeNvml()
    nvml.broken = {"nvmlInit": absence}
    assert NvmlProbe(nvml).probe() == Reading()


def test_a_driver_without_cards_is_no_error() -> None:
    assert NvmlProbe(FakeNvml(count=0)).probe() == Reading(driver_version="550.54.15", toolkit_version="12.4")


def test_a_driver_that_does_not_tell_its_cuda_version_leaves_it_unknown() -> None:
    nvml = FakeNvml(count=0)
    nvml.broken = {"nvmlSystemGetCudaDriverVersion_v2": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    assert NvmlProbe(nvml).probe() == Reading(driver_version="550.54.15")


def test_a_card_is_told_in_the_vendors_words_with_its_pci_vendor() -> None:
    (card,) = NvmlProbe(FakeNvml()).probe().devices
    assert (card.vendor, card.model, card.uuid, card.pci_vendor_id) == ("nvidia", "NVIDIA H800", "GPU-0", "10de")
    assert card.memory_bytes == 80 * 2**30
    assert card.sensors == Sensors(
        memory_used_bytes=2**30,
        utilisation_percent=0,
        power_milliwatts=65_123,
        temperature_celsius=41,
        sm_clock_mhz=1980,
        memory_clock_mhz=2619,
        pcie_generation=5,
        pcie_width=16,
        processes=(),
        process_count=0,
    )
    assert (card.pci_address, card.compute_mode, card.ecc_enabled, card.link_count) == ("0000:00:00.0", "default", True, None)
    assert (card.health, card.health_reasons) == (Health.HEALTHY, ())


@pytest.mark.parametrize(
    ("function", "sensor"),
    [
        ("nvmlDeviceGetPowerUsage", "power_milliwatts"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetUtilizationRates", "utilisation_percent"),
        ("nvmlDeviceGetCurrPcieLinkGeneration", "pcie_generation"),
        ("nvmlDeviceGetCurrPcieLinkWidth", "pcie_width"),
    ],
)
def test_a_failing_sensor_is_missing_and_hides_nothing_else(function: str, sensor: str) -> None:
    nvml = FakeNvml()
    nvml.broken = {function: pynvml.NVML_ERROR_NOT_SUPPORTED}
    (card,) = NvmlProbe(nvml).probe().devices
    missing = {name for name in Sensors.__slots__ if getattr(card.sensors, name) is None}
    assert missing == {sensor}
    assert card.health is Health.HEALTHY


def test_memory_and_pci_that_cannot_be_read_are_unknown() -> None:
    nvml = FakeNvml()
    nvml.broken = dict.fromkeys(("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetPciInfo"), pynvml.NVML_ERROR_UNKNOWN)
    (card,) = NvmlProbe(nvml).probe().devices
    assert (card.memory_bytes, card.pci_vendor_id) == (None, None)


def test_memory_and_pci_that_were_read_once_stay_known() -> None:
    nvml = FakeNvml()
    probe = NvmlProbe(nvml)
    probe.probe()
    nvml.broken = dict.fromkeys(("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetPciInfo"), pynvml.NVML_ERROR_GPU_IS_LOST)
    (card,) = probe.probe().devices
    assert (card.memory_bytes, card.pci_vendor_id) == (80 * 2**30, "10de")
    assert (card.health, card.sensors.memory_used_bytes) == (Health.LOST, None)


def _remap_pending(nvml: FakeNvml) -> None:
    nvml.rows = (0, 1, 1, 0)


def _remap_failed(nvml: FakeNvml) -> None:
    nvml.rows = (0, 1, 0, 1)


def _mig(nvml: FakeNvml) -> None:
    nvml.mig = [1, 1]
    nvml.broken = {"nvmlDeviceGetMaxMigDeviceCount": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}


def _reset_required(nvml: FakeNvml) -> None:
    nvml.broken = {"nvmlDeviceGetUtilizationRates": pynvml.NVML_ERROR_RESET_REQUIRED}


def _lost(nvml: FakeNvml) -> None:
    nvml.broken = dict.fromkeys(("nvmlDeviceGetPowerUsage", "nvmlDeviceGetTemperature"), pynvml.NVML_ERROR_GPU_IS_LOST)


def _closed(nvml: FakeNvml) -> None:
    nvml.compute_mode = pynvml.NVML_COMPUTEMODE_PROHIBITED


def _too_hot(nvml: FakeNvml) -> None:
    nvml.slowdown_celsius = 41


@pytest.mark.parametrize(
    ("break_it", "health", "reason"),
    [
        (_remap_pending, Health.DEGRADED, "row_remap_pending"),
        (_remap_failed, Health.DEGRADED, "row_remap_failed"),
        (_mig, Health.DEGRADED, "mig_unreadable"),
        (_reset_required, Health.DEGRADED, "reset_required"),
        (_lost, Health.LOST, "gpu_lost"),
        (_too_hot, Health.DEGRADED, "over_temperature"),
        (_closed, Health.DEGRADED, "compute_prohibited"),
    ],
)
def test_what_ails_a_card_is_said_once(break_it: Callable[[FakeNvml], None], health: Health, reason: str) -> None:
    nvml = FakeNvml()
    break_it(nvml)
    (card,) = NvmlProbe(nvml).probe().devices
    assert (card.health, card.health_reasons) == (health, (reason,))


def test_an_xid_that_speaks_of_the_card_stays_until_nvml_is_started_afresh() -> None:
    nvml = FakeNvml(count=2)
    probe = NvmlProbe(nvml)
    probe.probe()
    nvml.xids += [(1, 31), (1, 94), (0, 13), (1, 79), (1, 94)]
    for _ in range(2):
        sound, ill = probe.probe().devices
        assert (sound.health, sound.health_reasons) == (Health.HEALTHY, ())
        assert (ill.health, ill.health_reasons) == (Health.DEGRADED, ("xid_94", "xid_79"))
    assert nvml.watched == [0, 1], "watched once"
    nvml.broken = {"nvmlDeviceGetCount": pynvml.NVML_ERROR_UNINITIALIZED}
    with pytest.raises(pynvml.NVMLError):
        probe.probe()
    nvml.broken = {}
    assert [card.health_reasons for card in probe.probe().devices] == [(), ()]


@pytest.mark.parametrize("missing", ["nvmlEventSetCreate", "nvmlDeviceRegisterEvents", "nvmlDeviceGetTemperatureThreshold"])
def test_a_driver_without_events_or_limits_tells_the_cards_all_the_same(missing: str) -> None:
    nvml = FakeNvml()
    nvml.broken = {missing: pynvml.NVML_ERROR_NOT_SUPPORTED}
    (card,) = NvmlProbe(nvml).probe().devices
    assert (card.health, card.health_reasons) == (Health.HEALTHY, ())


def test_a_card_that_falls_off_the_bus_stays_on_the_report_as_lost() -> None:
    nvml = FakeNvml(count=2)
    probe = NvmlProbe(nvml)
    probe.probe()
    nvml.broken, nvml.broken_card = {"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_GPU_IS_LOST}, 1
    healthy, lost = probe.probe().devices
    assert healthy.health is Health.HEALTHY
    assert (lost.uuid, lost.health, lost.health_reasons, lost.sensors) == ("GPU-1", Health.LOST, ("gpu_lost",), Sensors())


def test_a_card_that_was_never_identified_is_an_error_beside_the_others() -> None:
    nvml = FakeNvml(count=2)
    nvml.broken, nvml.broken_card = {"nvmlDeviceGetHandleByIndex": pynvml.NVML_ERROR_UNKNOWN}, 0
    reading = NvmlProbe(nvml).probe()
    assert [card.uuid for card in reading.devices] == ["GPU-1"]
    assert reading.error == "card 0 cannot be identified: Unknown Error"


def test_nvml_is_kept_open_and_started_afresh_only_after_a_failure() -> None:
    nvml = FakeNvml()
    probe = NvmlProbe(nvml)
    probe.probe()
    probe.probe()
    assert nvml.inits == 1
    nvml.broken = dict.fromkeys(("nvmlDeviceGetCount", "nvmlShutdown"), pynvml.NVML_ERROR_UNINITIALIZED)
    with pytest.raises(pynvml.NVMLError):
        probe.probe()
    nvml.broken = {}
    assert len(probe.probe().devices) == 1
    assert nvml.inits == 2


def test_a_card_in_mig_mode_is_told_with_its_instances() -> None:
    nvml = FakeNvml()
    nvml.mig = [1, 1]
    nvml.instances = {0: "NVIDIA H800 MIG 3g.40gb", 2: "NVIDIA H800 MIG 1c.3g.40gb", 3: "NVIDIA H800 of no profile"}
    (card,) = NvmlProbe(nvml).probe().devices
    assert (card.uuid, card.health, card.health_reasons) == ("GPU-0", Health.HEALTHY, ())
    size = 40_192 * 2**20
    assert card.mig == Partition(7, (Instance("MIG-0-0", "3g.40gb", size), Instance("MIG-0-2", "1c.3g.40gb", size)))


def test_a_card_that_leaves_mig_mode_with_the_next_reset_is_still_cut() -> None:
    nvml = FakeNvml()
    nvml.mig = [1, 0]
    (card,) = NvmlProbe(nvml).probe().devices
    assert card.mig == Partition(7)
    nvml.mig = [0, 1]
    (card,) = NvmlProbe(nvml).probe().devices
    assert card.mig is None


def test_cards_that_links_join_directly_or_in_a_chain_are_one_island() -> None:
    nvml = FakeNvml(count=5)
    nvml.links = {(0, 2), (2, 4)}
    probe = NvmlProbe(nvml)
    for _ in range(2):
        assert [card.link_island for card in probe.probe().devices] == [0, 1, 0, 3, 0]
    assert nvml.pairs_asked == 10, "asked once, as it does not change"


def test_links_that_are_up_are_counted_and_a_card_without_any_has_no_count() -> None:
    nvml = FakeNvml()
    nvml.link_states = [1, 1, 0, 1]
    assert [card.link_count for card in NvmlProbe(nvml).probe().devices] == [3]


def test_processes_are_told_once_with_their_memory_and_program_the_largest_first() -> None:
    nvml = FakeNvml()
    nvml.processes = {"compute": [(1, 10), (404, None), (3, 30)], "graphics": [(3, 30), (2, 20), (7, 1), (8, 1), (9, 1)]}
    (card,) = NvmlProbe(nvml).probe().devices
    assert card.sensors.processes == (
        Process(3, 30, "python3"),
        Process(2, 20, "python2"),
        Process(1, 10, "python1"),
        Process(7, 1, None),
        Process(8, 1, None),
        Process(9, 1, "x" * 64),
        Process(404, None, None),
    )
    assert card.sensors.process_count == 7


def test_more_processes_than_a_report_carries_are_counted() -> None:
    nvml = FakeNvml()
    nvml.processes["compute"] = [(pid, pid) for pid in range(1000, 1100)]
    (card,) = NvmlProbe(nvml).probe().devices
    assert card.sensors.process_count == 100
    assert [process.pid for process in card.sensors.processes or ()] == list(range(1099, 1099 - MAX_PROCESSES, -1))


V3 = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3")


def test_an_older_driver_tells_processes_by_an_older_function_and_one_that_tells_none_leaves_them_unknown() -> None:
    nvml = FakeNvml()
    nvml.processes["compute"] = [(1, 10)]
    nvml.broken = dict.fromkeys(V3, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    (card,) = NvmlProbe(nvml).probe().devices
    assert card.sensors.processes == (Process(1, 10, "python1"),)
    nvml.broken |= dict.fromkeys((name.replace("_v3", "_v2") for name in V3), pynvml.NVML_ERROR_NO_PERMISSION)
    (card,) = NvmlProbe(nvml).probe().devices
    assert (card.sensors.processes, card.sensors.process_count) == (None, None)


def test_islands_are_unknown_where_nvml_does_not_tell() -> None:
    nvml = FakeNvml(count=2)
    nvml.broken = {"nvmlDeviceGetP2PStatus": pynvml.NVML_ERROR_FUNCTION_NOT_FOUND}
    assert [card.link_island for card in NvmlProbe(nvml).probe().devices] == [None, None]


def _report_beside(library: Path, **environment: str) -> dict[str, Any]:
    """What a fresh agent prints whose loader finds `library`: the binding cannot be pointed elsewhere once it is loaded."""
    command = "import typer; from agents.node.command import node; typer.run(node)"
    printed = subprocess.run(
        [sys.executable, "-c", command, "--once", "--json"],
        env=os.environ | {"LD_LIBRARY_PATH": str(library)} | environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    report: dict[str, Any] = json.loads(printed.stdout)
    return report


def test_the_real_binding_reads_a_library(mock_library: Path) -> None:
    report = _report_beside(mock_library, MOCK_NVML_PROCESSES="2")
    assert (report["driver_version"], report["toolkit_version"]) == ("550.54.15", "12.4")
    probe = report["probes"][0]
    assert (probe["probe"], probe["found"], probe["error"], probe["age_seconds"]) == ("nvml", 2, None, None)
    assert probe["milliseconds"] >= 0
    known, unknown = report["accelerators"]
    assert known == {
        "index": 0,
        "vendor": "nvidia",
        "model": "H800",
        "hardware_class": "foreign",
        "uuid": "GPU-0",
        "memory_bytes": 85_520_809_984,
        "nominal_memory_bytes": None,
        "health": "healthy",
        "health_reasons": [],
        "link_island": 0,
        "link_count": 8,
        "mig": None,
        "pci_vendor_id": "10de",
        "pci_address": "0000:10:00.0",
        "compute_mode": "default",
        "ecc_enabled": True,
        "memory_used_bytes": 2**30,
        "utilisation_percent": 37,
        "power_milliwatts": None,
        "temperature_celsius": 41,
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619,
        "pcie_generation": 5,
        "pcie_width": 16,
        "processes": [
            {"pid": 1001, "memory_bytes": 2**21, "name": "train-1001"},
            {"pid": 1000, "memory_bytes": 2**20, "name": "train-1000"},
        ],
        "process_count": 2,
    }
    assert "s3cret" not in json.dumps(report)
    assert (unknown["model"], unknown["hardware_class"]) == ("NVIDIA Mystery", "foreign")
    assert (unknown["health"], unknown["health_reasons"]) == ("degraded", ["uncorrected_ecc_errors"])


def test_whatever_library_is_named_is_read_twice_alike_through_the_real_binding(nvml_library: Path) -> None:
    """On the mock, or on the driver that SUANWANG_TEST_NVML names: what every NVML must tell of every card."""
    probe = ChildProbe("nvml", "agents.node.probes.nvml:nvidia", (str(nvml_library),), deadline_seconds=60.0)
    host = Host(cpu_cores=1, memory_bytes=1, memory_used_bytes=0)
    identity = NodeIdentity(hostname="node-1", boot="boot-1", agent_version="0")
    reports = [
        NodeReport.model_validate(
            collect(
                identity,
                host,
                {"nvml": probe.probe()},
                shipped_catalogue(),
                sequence=n,
                observed_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
        for n in range(2)
    ]
    for report in reports:
        assert report.driver_version and report.toolkit_version
        assert report.accelerators and report.probes[0].error is None
    for first, second in zip(*(report.accelerators for report in reports), strict=True):
        assert (first.uuid, first.model, first.memory_bytes, first.pci_address) == (
            second.uuid,
            second.model,
            second.memory_bytes,
            second.pci_address,
        )
        assert first.memory_bytes > 0
        assert first.memory_used_bytes is not None
        assert (first.vendor, first.hardware_class, first.pci_vendor_id) == ("nvidia", "foreign", "10de")
        assert first.temperature_celsius is not None and first.sm_clock_mhz is not None
        assert first.processes is not None and first.process_count is not None


def test_the_real_binding_takes_up_an_xid(mock_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_NVML_XID", "79")
    probe = ChildProbe("nvml", "agents.node.probes.nvml:nvidia", (str(mock_library / "libnvidia-ml.so.1"),), deadline_seconds=60.0)
    assert [card.health_reasons for card in probe.probe().devices] == [(), ("uncorrected_ecc_errors",)]
    for _ in range(2):
        assert [card.health_reasons for card in probe.probe().devices] == [("xid_79",), ("uncorrected_ecc_errors",)]


@pytest.mark.parametrize(
    ("code", "error"),
    [(pynvml.NVML_ERROR_DRIVER_NOT_LOADED, None), (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "version mismatch")],
)
def test_the_real_binding_tells_absence_from_failure(mock_library: Path, code: int, error: str | None) -> None:
    report = _report_beside(mock_library, MOCK_NVML_INIT=str(code))
    probe = report["probes"][0]
    assert (report["accelerators"], probe["found"]) == ([], 0)
    assert probe["error"] is None if error is None else error in probe["error"]
