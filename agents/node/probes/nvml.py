"""Cards through NVML, by the real binding (`nvidia-ml-py`, imported as `pynvml`): NVIDIA's, and whose library speaks NVML.

The binding knows one library a process: it is set before its first use, by `nvidia` or `iluvatar`, in a process of its own
(`probes/child.py`). NVML stays initialised between probes, because starting it wakes the driver and costs more than all reads
together.
"""

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
from typing import Any, Protocol, TypeVar

import pynvml

from agents.node.probes.links import islands
from agents.node.probes.printed import pci_address
from agents.node.probes.probe import MAX_NAME, MAX_PROCESSES, Device, Instance, Partition, Process, Reading, Sensors
from agents.node.probes.xid import NvmlEvents, XidWatch
from scheduler.domain.hardware import Health
from scheduler.domain.mig import is_profile

ABSENT = frozenset({pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED})
CARD_FAULTS = {pynvml.NVML_ERROR_GPU_IS_LOST: "gpu_lost", pynvml.NVML_ERROR_RESET_REQUIRED: "reset_required"}
"""Errors of a read that speak of the card and not of the sensor."""

COMPUTE_MODES = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "default",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "exclusive_process",
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "prohibited",
}
PROCESS_LISTS = (
    ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    ("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"),
)
"""Each with the function that older drivers have in its place."""

Value = TypeVar("Value")


class Nvml(NvmlEvents, Protocol):
    """The functions this probe calls. The module `pynvml` is one; each raises `pynvml.NVMLError`."""

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...
    def nvmlSystemGetDriverVersion(self) -> str: ...
    def nvmlSystemGetCudaDriverVersion_v2(self) -> int: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any: ...
    def nvmlDeviceGetName(self, handle: Any) -> str: ...
    def nvmlDeviceGetPciInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any: ...
    def nvmlDeviceGetPowerUsage(self, handle: Any) -> int: ...
    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int) -> int: ...
    def nvmlDeviceGetTemperatureThreshold(self, handle: Any, threshold: int) -> int: ...
    def nvmlDeviceGetTotalEccErrors(self, handle: Any, error: int, counter: int) -> int: ...
    def nvmlDeviceGetRemappedRows(self, handle: Any) -> tuple[int, int, int, int]: ...
    def nvmlDeviceGetP2PStatus(self, one: Any, other: Any, capability: int) -> int: ...
    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int) -> int: ...
    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: Any) -> int: ...
    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: Any) -> int: ...
    def nvmlDeviceGetComputeMode(self, handle: Any) -> int: ...
    def nvmlDeviceGetEccMode(self, handle: Any) -> list[int]: ...
    def nvmlDeviceGetNvLinkState(self, handle: Any, link: int) -> int: ...
    def nvmlSystemGetProcessName(self, pid: int) -> str: ...
    def nvmlDeviceGetMigMode(self, handle: Any) -> list[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any: ...


def nvidia(library: str) -> "NvmlProbe":
    """The probe of a child process that reads NVIDIA's cards through `library`. Raises OSError where it cannot be loaded."""
    return _through(library, "nvidia")


def iluvatar(library: str) -> "NvmlProbe":
    """The same for Iluvatar's ixML."""
    return _through(library, "iluvatar")


def _through(library: str, vendor: str) -> "NvmlProbe":
    pynvml.nvmlLib = ctypes.CDLL(library)
    return NvmlProbe(pynvml, vendor)


class NvmlProbe:
    """Every card NVML lists. A card that was seen before and can no longer be identified is reported as lost."""

    name = "nvml"

    def __init__(self, nvml: Nvml = pynvml, vendor: str = "nvidia") -> None:
        self._nvml, self._vendor = nvml, vendor
        self._initialised = False
        self._xids: XidWatch | None = None
        self._seen: dict[int, Device] = {}
        self._islands: dict[str, int] = {}
        """The island of NVLink each card is in, by UUID; as long as the cards are the same, it stays so."""
        self._links: dict[str, int | None] = {}
        """How many of its NVLinks are up, by UUID, read once: a link that fails later is an Xid error (74)."""

    def probe(self) -> Reading:
        """Raises `pynvml.NVMLError` where NVML is there but does not answer; the next call then starts it afresh."""
        try:
            if not self._initialised:
                self._nvml.nvmlInit()
                self._initialised = True
            return self._read()
        except pynvml.NVMLError as error:
            self._restart_next_time()
            if error.value in ABSENT:
                return Reading()
            raise

    def _restart_next_time(self) -> None:
        if self._initialised:
            self._initialised = False
            self._xids = None
            with suppress(pynvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _read(self) -> Reading:
        self._xids = self._xids or XidWatch(self._nvml)
        self._xids.drain()
        devices, unidentified = [], []
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                devices.append(self._device(index, self._xids))
            except pynvml.NVMLError as error:
                unidentified.append(f"card {index} cannot be identified: {error}")
        reader = _Reader()
        cuda = reader.read(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        return Reading(
            devices=self._linked(devices),
            driver_version=reader.read(self._nvml.nvmlSystemGetDriverVersion),
            toolkit_version=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            error="; ".join(unidentified) or None,
        )

    def _device(self, index: int, xids: XidWatch) -> Device:
        """Raises NVMLError for a card that cannot be identified and was never seen before."""
        try:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            model, uuid = self._nvml.nvmlDeviceGetName(handle), self._nvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError as error:
            if index not in self._seen:
                raise
            reason = CARD_FAULTS.get(error.value, "not_identified")
            return replace(self._seen[index], sensors=Sensors(), health=Health.LOST, health_reasons=(reason,))
        device = self._seen.get(index)
        if device is None or device.uuid != uuid:
            device = Device(index=index, vendor=self._vendor, model=model, uuid=uuid)
        xids.watch(handle, uuid)
        self._seen[index] = self._sensed(handle, device, xids.reasons(uuid))
        return self._seen[index]

    def _linked(self, devices: Sequence[Device]) -> tuple[Device, ...]:
        """The devices with their islands; without, where NVML does not tell of every pair whether NVLink joins it."""
        if self._islands.keys() != {device.uuid for device in devices}:
            self._islands = self._find_islands(devices)
            self._links = {device.uuid: self._count_links(device.index) for device in devices}
        return tuple(
            replace(device, link_island=self._islands.get(device.uuid), link_count=self._links.get(device.uuid))
            for device in devices
        )

    def _count_links(self, index: int) -> int | None:
        """None where NVML tells of no link at all, as for cards that have none."""
        nvml, reader = self._nvml, _Reader()
        handle = reader.read(nvml.nvmlDeviceGetHandleByIndex, index)
        states = (reader.read(nvml.nvmlDeviceGetNvLinkState, handle, link) for link in range(pynvml.NVML_NVLINK_MAX_LINKS))
        told = list(takewhile(lambda state: state is not None, states))
        return sum(state == pynvml.NVML_FEATURE_ENABLED for state in told) if told else None

    def _find_islands(self, devices: Sequence[Device]) -> dict[str, int]:
        nvml, reader = self._nvml, _Reader()
        handles = [reader.read(nvml.nvmlDeviceGetHandleByIndex, device.index) for device in devices]

        def joined(one: int, other: int) -> bool | None:
            status = reader.read(nvml.nvmlDeviceGetP2PStatus, handles[one], handles[other], pynvml.NVML_P2P_CAPS_INDEX_NVLINK)
            return None if status is None else bool(status == pynvml.NVML_P2P_STATUS_OK)

        island = islands(len(devices), joined)
        return {} if island is None else {device.uuid: number for device, number in zip(devices, island, strict=True)}

    def _sensed(self, handle: Any, device: Device, xids: Sequence[str]) -> Device:
        """The device as it is now, `xids` among what ails it.

        Its size and PCI vendor do not change, so a failed read leaves what was known of them.
        """
        nvml, reader = self._nvml, _Reader()
        pci = reader.read(nvml.nvmlDeviceGetPciInfo, handle)
        memory = reader.read(nvml.nvmlDeviceGetMemoryInfo, handle)
        utilisation = reader.read(nvml.nvmlDeviceGetUtilizationRates, handle)
        processes = self._processes(handle, reader)
        sensors = Sensors(
            memory_used_bytes=memory and memory.used,
            utilisation_percent=utilisation and utilisation.gpu,
            power_milliwatts=reader.read(nvml.nvmlDeviceGetPowerUsage, handle),
            temperature_celsius=reader.read(nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            sm_clock_mhz=reader.read(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=reader.read(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            pcie_generation=reader.read(nvml.nvmlDeviceGetCurrPcieLinkGeneration, handle),
            pcie_width=reader.read(nvml.nvmlDeviceGetCurrPcieLinkWidth, handle),
            processes=None if processes is None else processes[:MAX_PROCESSES],
            process_count=None if processes is None else len(processes),
        )
        mode = reader.read(nvml.nvmlDeviceGetComputeMode, handle)
        closed = ["compute_prohibited"] if mode == pynvml.NVML_COMPUTEMODE_PROHIBITED else []
        ecc = reader.read(nvml.nvmlDeviceGetEccMode, handle)
        current, _ = reader.read(nvml.nvmlDeviceGetMigMode, handle) or (0, 0)
        mig = self._partition(handle, reader) if current else None
        unreadable = ["mig_unreadable"] if current and mig is None else []
        limit = reader.read(nvml.nvmlDeviceGetTemperatureThreshold, handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
        hot = ["over_temperature"] if limit and (sensors.temperature_celsius or 0) >= limit else []
        reasons = (*self._memory_faults(handle, reader), *unreadable, *hot, *closed, *xids, *reader.faults)
        return replace(
            device,
            memory_bytes=memory.total if memory else device.memory_bytes,
            pci_vendor_id=f"{pci.pciDeviceId & 0xFFFF:04x}" if pci else device.pci_vendor_id,
            pci_address=pci_address(pci.busId) if pci else device.pci_address,
            compute_mode=COMPUTE_MODES.get(mode),
            ecc_enabled=None if ecc is None else bool(ecc[0]),
            sensors=sensors,
            mig=mig,
            health=_health(reasons),
            health_reasons=reasons,
        )

    def _processes(self, handle: Any, reader: "_Reader") -> tuple[Process, ...] | None:
        """Those that compute or draw on a card, the largest first; None where NVML tells of neither."""
        found: dict[int, int | None] = {}
        told = False
        for names in PROCESS_LISTS:
            listed = next((each for name in names if (each := reader.read(getattr(self._nvml, name), handle)) is not None), None)
            told |= listed is not None
            found |= {process.pid: process.usedGpuMemory for process in listed or ()}
        if not told:
            return None
        largest = sorted(found, key=lambda pid: (-(found[pid] or 0), pid))
        names_of = {pid: reader.read(self._nvml.nvmlSystemGetProcessName, pid) for pid in largest[:MAX_PROCESSES]}
        return tuple(Process(pid, found[pid], _program(names_of.get(pid))) for pid in largest)

    def _memory_faults(self, handle: Any, reader: "_Reader") -> list[str]:
        """Uncorrectable errors since the driver was loaded, and rows waiting for a reset or beyond repair."""
        uncorrected = reader.read(
            self._nvml.nvmlDeviceGetTotalEccErrors, handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
        )
        _, _, pending, failed = reader.read(self._nvml.nvmlDeviceGetRemappedRows, handle) or (0, 0, 0, 0)
        found = {"uncorrected_ecc_errors": uncorrected, "row_remap_pending": pending, "row_remap_failed": failed}
        return [reason for reason, count in found.items() if count]

    def _partition(self, handle: Any, reader: "_Reader") -> Partition | None:
        """The instances of a card in MIG mode; None where NVML does not tell how many it may have."""
        slices = reader.read(self._nvml.nvmlDeviceGetMaxMigDeviceCount, handle)
        if not slices:
            return None
        found = (self._instance(handle, index) for index in range(slices))
        return Partition(slices, tuple(instance for instance in found if instance is not None))

    def _instance(self, handle: Any, index: int) -> Instance | None:
        """None where there is no instance of that index, or not all of it can be read: such a one is not given out."""
        nvml, reader = self._nvml, _Reader()
        instance = reader.read(nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if instance is None:
            return None
        uuid, name = reader.read(nvml.nvmlDeviceGetUUID, instance), reader.read(nvml.nvmlDeviceGetName, instance)
        memory = reader.read(nvml.nvmlDeviceGetMemoryInfo, instance)
        profile = (name or "").rpartition("MIG ")[2]  # NVIDIA H800 MIG 3g.40gb
        return Instance(uuid, profile, memory.total) if uuid and memory and is_profile(profile) else None


class _Reader:
    """Reads of one card: one that fails is None, and an error that speaks of the whole card is kept in `faults`."""

    def __init__(self) -> None:
        self.faults: dict[str, None] = {}

    def read(self, function: Callable[..., Value], *arguments: Any) -> Value | None:
        try:
            return function(*arguments)
        except pynvml.NVMLError as error:
            if error.value in CARD_FAULTS:
                self.faults[CARD_FAULTS[error.value]] = None
            return None


def _program(command: str | None) -> str | None:
    """The name of a program from its command, without its path and arguments, which may hold what is nobody's business."""
    first = (command or "").split(maxsplit=1)[:1]
    return first[0].rpartition("/")[2][:MAX_NAME] or None if first else None


def _health(reasons: tuple[str, ...]) -> Health:
    if "gpu_lost" in reasons:
        return Health.LOST
    return Health.DEGRADED if reasons else Health.HEALTHY
