"""Cards through the JSON of `rocm-smi`, which AMD's and Hygon's tools print alike: a card belongs to whom its vendor says.

Versions differ in the capitals of their keys, in the unit of memory (MiB or bytes, in the key), and Hygon's call a card DCU or HCU.
"""

import json
import re
from typing import Any

from agents.node.probes.printed import MIB, pci_address, sections, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run

ARGUMENTS = ("--showproductname", "--showuniqueid", "--showbus", "--showtemp", "--showuse", "--showpower")
_CARD = re.compile(r"card(\d+)", re.IGNORECASE)
_POWER = ("average graphics package power (w)", "current socket graphics package power (w)")
_WARMTH = ("temperature (sensor junction) (c)", "temperature (sensor edge) (c)")


def read_rocm_smi(run: Run, vendor: str, maker: str, pci_vendor_id: str) -> Reading:
    """The cards whose vendor `maker`, a pattern, finds. Raises ToolError, or ValueError for a card of theirs without identity."""
    document = sections(json.loads(run(*ARGUMENTS, "--showmeminfo", "vram", "--showdriverversion", "--json")))
    devices = []
    for name, values in document.items():
        card = {key.lower(): value for key, value in values.items()}
        number = _CARD.fullmatch(name)
        if number and re.search(maker, str(card.get("card vendor")), re.IGNORECASE):
            devices.append(_device(int(number[1]), card, vendor, pci_vendor_id))
    return Reading(tuple(devices), driver_version=document.get("system", {}).get("Driver version") if devices else None)


def _device(index: int, card: dict[str, Any], vendor: str, pci_vendor_id: str) -> Device:
    address, serial = pci_address(card.get("pci bus")), card.get("unique id")
    known = serial and serial != "N/A"
    if "card series" not in card or not (known or address):
        raise ValueError(f"rocm-smi: card {index} has no name or no identity")
    return Device(
        index=index,
        vendor=vendor,
        model=card["card series"],
        uuid=str(serial) if known else f"{PLACE}{address}",
        memory_bytes=_bytes(card, "vram total memory") or None,
        pci_vendor_id=pci_vendor_id,
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=_bytes(card, "vram total used memory"),
            utilisation_percent=_first(card, ("dcu use (%)", "hcu use (%)", "gpu use (%)")),
            power_milliwatts=_first(card, _POWER, 1000),
            temperature_celsius=_first(card, _WARMTH),
        ),
    )


def _first(card: dict[str, Any], keys: tuple[str, ...], unit: int = 1) -> int | None:
    return next((whole(card[key], unit) for key in keys if key in card), None)


def _bytes(card: dict[str, Any], name: str) -> int | None:
    """A size whose unit is in its key: `vram Total Memory (MiB)` or `VRAM Total Memory (B)`."""
    mib, exact = whole(card.get(f"{name} (mib)"), MIB), whole(card.get(f"{name} (b)"))
    return mib if exact is None else exact
