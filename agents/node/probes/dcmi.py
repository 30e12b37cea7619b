"""Huawei Ascend through DCMI, `libdcmi.so` of its driver: what `npu-smi` asks too, read in a child process (`probes/child.py`).

Functions and structures are those of Huawei's "DCMI API reference"; a call answers 0 or a code below zero. Power comes in tenths of
watts, memory in MiB. Cards have the names that the tool's table leads to (`probes/ascend.py`): whichever is asked, a card
is the same. Tried on a mock library of the same interface, not on hardware.
"""

import ctypes
from ctypes import byref, c_char, c_int, c_uint, c_ulong, c_ulonglong
from dataclasses import replace
from typing import Any, ClassVar

from agents.node.probes.links import islands
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import with_lost
from scheduler.domain.hardware import Health

MIB = 2**20
MAX_CARDS = 64
NPU = 0
"""Type of a device; a card may have a controller (MCU) beside its NPUs."""
AICORE = 2
HBM = 2
AICORE_CLOCK = 7
LINKS = frozenset({3, 6, 7})
"""Ways between two NPUs that are their vendor's links: HCCS, SIO between the dies of a package, HCCS through a switch."""

VERDICTS: tuple[tuple[Health, tuple[str, ...]], ...] = (
    (Health.HEALTHY, ()),
    (Health.HEALTHY, ("npu_warning",)),
    (Health.DEGRADED, ("npu_alarm",)),
    (Health.DEGRADED, ("npu_critical",)),
)
"""By DCMI's number; npu-smi says the same in words (`ascend.VERDICTS`)."""


class DcmiError(RuntimeError):
    """DCMI does not answer at all; its code is in the message."""


class _Chip(ctypes.Structure):
    _fields_: ClassVar = [("type", c_char * 32), ("name", c_char * 32), ("version", c_char * 32), ("aicores", c_uint)]


class _Pcie(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, c_uint) for name in ("vendor", "subvendor", "device_id", "subdevice")),
        ("domain", c_int),
        *((name, c_uint) for name in ("bus", "device", "function")),
        ("reserved", c_char * 32),
    ]


class _Hbm(ctypes.Structure):
    _fields_: ClassVar = [("size", c_ulonglong), ("mhz", c_uint), ("used", c_ulonglong), ("celsius", c_int), ("bandwidth", c_uint)]


class _Ddr(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, c_ulonglong) for name in ("size", "available")),
        ("mhz", c_uint),
        *((name, c_ulong) for name in ("page_size", "pages", "pages_free")),
        ("busy", c_uint),
        ("reserved", c_char * 60),
    ]


class _Ecc(ctypes.Structure):
    _fields_: ClassVar = [("enabled", c_int), ("single", c_uint), ("double", c_uint), ("rest", c_uint * 6)]


def huawei(library: str) -> "DcmiProbe":
    """The probe of a child process that reads Ascend cards through `library`. Raises OSError where it cannot be loaded."""
    return DcmiProbe(ctypes.CDLL(library))


class DcmiProbe:
    """Every NPU that DCMI lists. One that was listed and no longer is, is reported as lost."""

    name = "dcmi"

    def __init__(self, library: Any) -> None:
        self._library = library
        self._initialised = False
        self._listed: dict[str, Device] = {}
        self._islands: dict[str, int] = {}
        """By UUID; as long as the cards are the same, it stays so."""

    def probe(self) -> Reading:
        """Raises DcmiError where DCMI does not start or does not list its cards."""
        if not self._initialised:
            self._need("dcmi_init")
            self._initialised = True
        count, cards = c_int(), (c_int * MAX_CARDS)()
        self._need("dcmi_get_card_list", byref(count), cards, MAX_CARDS)
        places = [
            (card, chip) for card in cards[: count.value] for chip in range(self._number("dcmi_get_device_num_in_card", card) or 0)
        ]
        npus = [place for place in places if self._number("dcmi_get_device_type", *place, kind=c_uint) in (NPU, None)]
        devices = [self._device(*place) for place in npus]
        missing = [
            f"NPU {card} chip {chip} tells no name" for (card, chip), device in zip(npus, devices, strict=True) if device is None
        ]
        named = {place: device for place, device in zip(npus, devices, strict=True) if device is not None}
        version = ctypes.create_string_buffer(64)
        told = self._call("dcmi_get_driver_version", version, c_uint(len(version))) == 0
        reading = Reading(
            self._linked(named),
            driver_version=version.value.decode("utf-8", "replace") or None if told else None,
            error="; ".join(missing) or None,
        )
        return with_lost(self._listed, reading)

    def _device(self, card: int, chip: int) -> Device | None:
        about = self._filled("dcmi_get_device_chip_info", _Chip(), card, chip)
        if about is None:
            return None
        pcie = self._filled("dcmi_get_device_pcie_info_v2", _Pcie(), card, chip)
        address = None if pcie is None else f"{pcie.domain & 0xFFFF:04x}:{pcie.bus:02x}:{pcie.device:02x}.{pcie.function:x}"
        total, used = self._memory(card, chip)
        logic = c_uint()
        indexed = self._call("dcmi_get_device_logic_id", byref(logic), card, chip) == 0
        power = self._number("dcmi_get_device_power_info", card, chip)
        verdict = self._number("dcmi_get_device_health", card, chip, kind=c_uint)
        known = verdict is not None and verdict < len(VERDICTS)
        health, reasons = VERDICTS[verdict or 0] if known else (Health.DEGRADED, ("npu_health_unknown",))
        ecc = self._filled("dcmi_get_device_ecc_info", _Ecc(), card, chip, HBM)
        if ecc is not None and ecc.double:
            health, reasons = Health.DEGRADED, (*reasons, "uncorrected_ecc_errors")
        return Device(
            index=logic.value if indexed else card,
            vendor="huawei",
            model=about.name.decode("utf-8", "replace"),
            uuid=f"{PLACE}{address or card}-{chip}",
            memory_bytes=total,
            pci_vendor_id=None if pcie is None else f"{pcie.vendor & 0xFFFF:04x}",
            pci_address=address,
            ecc_enabled=None if ecc is None else bool(ecc.enabled),
            sensors=Sensors(
                memory_used_bytes=used,
                utilisation_percent=self._number("dcmi_get_device_utilization_rate", card, chip, AICORE, kind=c_uint),
                power_milliwatts=None if power is None else power * 100,
                temperature_celsius=self._number("dcmi_get_device_temperature", card, chip),
                sm_clock_mhz=self._number("dcmi_get_device_frequency", card, chip, AICORE_CLOCK, kind=c_uint),
            ),
            health=health,
            health_reasons=reasons,
        )

    def _memory(self, card: int, chip: int) -> tuple[int | None, int | None]:
        """Size and use in bytes: of the HBM where a card has it, else of its DDR."""
        hbm = self._filled("dcmi_get_device_hbm_info", _Hbm(), card, chip)
        if hbm is not None and hbm.size:
            return hbm.size * MIB, hbm.used * MIB
        ddr = self._filled("dcmi_get_device_memory_info_v3", _Ddr(), card, chip)
        if ddr is None or not ddr.size:
            return None, None
        return ddr.size * MIB, (ddr.size - min(ddr.available, ddr.size)) * MIB

    def _linked(self, devices: dict[tuple[int, int], Device]) -> tuple[Device, ...]:
        uuids = [device.uuid for device in devices.values()]
        if self._islands.keys() != set(uuids):
            places = list(devices)
            found = islands(len(places), lambda one, other: self._is_joined(*places[one], *places[other]))
            self._islands = {} if found is None else dict(zip(uuids, found, strict=True))
        return tuple(replace(device, link_island=self._islands.get(device.uuid)) for device in devices.values())

    def _is_joined(self, *places: int) -> bool | None:
        way = self._number("dcmi_get_topo_info_by_device_id", *places)
        return None if way is None else way in LINKS

    def _need(self, function: str, *arguments: Any) -> None:
        code = self._call(function, *arguments)
        if code is None:
            raise DcmiError(f"the library has no {function}")
        if code:
            raise DcmiError(f"{function} answered {code}")

    def _number(self, function: str, *arguments: Any, kind: Any = c_int) -> int | None:
        found = kind()
        return found.value if self._call(function, *arguments, byref(found)) == 0 else None

    def _filled(self, function: str, structure: Any, *arguments: Any) -> Any:
        return structure if self._call(function, *arguments, byref(structure)) == 0 else None

    def _call(self, function: str, *arguments: Any) -> int | None:
        """The code it answers; None where this library has no such function, as older and newer ones do."""
        try:
            call = getattr(self._library, function)
        except AttributeError:
            return None
        return int(call(*arguments))
