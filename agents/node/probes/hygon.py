"""Hygon DCU by `hy-smi`, or the `rocm-smi` of its toolkit (DTK): both print the JSON of rocm-smi.

Versions call a card DCU or HCU, and write memory in MiB or in bytes. AMD's own `rocm-smi` prints the same: a card is
Hygon's only where its vendor says so.
"""

import json
import re
from typing import Any

from agents.node.probes.printed import MIB, pci_address, sections, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe

ARGUMENTS = ("--showproductname", "--showuniqueid", "--showbus", "--showtemp", "--showuse", "--showpower")
_CARD = re.compile(r"card(\d+)", re.IGNORECASE)
_MAKER = re.compile("haiguang|hygon|1d94", re.IGNORECASE)


def probe() -> ToolProbe:
    return ToolProbe("hy-smi", ("hy-smi", "/opt/hyhal/bin/hy-smi", "rocm-smi", "/opt/dtk/bin/rocm-smi"), read)


def read(run: Run) -> Reading:
    """Raises ValueError for what is no JSON, or for a card of Hygon's without identity."""
    document = sections(json.loads(run(*ARGUMENTS, "--showmeminfo", "vram", "--showdriverversion", "--json")))
    cards = ((_CARD.fullmatch(name), values) for name, values in document.items())
    devices = tuple(
        _device(int(name[1]), values) for name, values in cards if name and _MAKER.search(str(values.get("Card Vendor")))
    )
    return Reading(devices, driver_version=document.get("system", {}).get("Driver version") if devices else None)


def _device(index: int, card: dict[str, Any]) -> Device:
    address = pci_address(card.get("PCI Bus"))
    serial = card.get("Unique ID")
    if "Card Series" not in card or not (serial or address):
        raise ValueError(f"hy-smi: card {index} has no name or no identity")
    return Device(
        index=index,
        vendor="hygon",
        model=card["Card Series"],
        uuid=serial or f"{PLACE}{address}",
        memory_bytes=_bytes(card, "vram total memory") or None,
        pci_vendor_id="1d94",
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=_bytes(card, "vram total used memory"),
            utilisation_percent=_value(card, "DCU use (%)", "HCU use (%)"),
            power_milliwatts=_value(card, "Average Graphics Package Power (W)", unit=1000),
            temperature_celsius=_value(card, "Temperature (Sensor junction) (C)", "Temperature (Sensor edge) (C)"),
        ),
    )


def _value(card: dict[str, Any], *keys: str, unit: int = 1) -> int | None:
    return next((whole(card[key], unit) for key in keys if key in card), None)


def _bytes(card: dict[str, Any], name: str) -> int | None:
    """Bytes of a size whose unit is in its key: `vram Total Memory (MiB)` or `VRAM Total Memory (B)`."""
    for key, said in card.items():
        called, _, unit = key.lower().partition(" (")
        if called == name and unit in ("mib)", "b)"):
            return whole(said, MIB if unit == "mib)" else 1)
    return None
