"""AMD by `amd-smi`, JSON of ROCm 6 and 7: a list of cards, in newer versions below `gpu_data`. What it calls MB is MiB.

Where it is missing, `rocm-smi`, which it replaces, is asked; Hygon's toolkit brings one of the same name, with no card of AMD's.
"""

import json
from typing import Any

from agents.node.probes.printed import MIB, UNCORRECTED_ECC, listed, pci_address, present, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.rocm_smi import read_rocm_smi
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health

Json = dict[str, Any]


def probe() -> ToolProbe:
    return ToolProbe("amd-smi", ("amd-smi", "/opt/rocm/bin/amd-smi", "rocm-smi", "/opt/rocm/bin/rocm-smi"), read)


def read(run: Run) -> Reading:
    """Raises ValueError for what is no JSON of the tool's, or a card without identity."""
    if run.tool == "rocm-smi":
        return read_rocm_smi(run, "amd", "advanced micro|amd", "1002")
    cards = _cards(run("static", "--asic", "--bus", "--vram", "--driver", "--json"))
    if not cards:
        return Reading()
    measured = {row["gpu"]: row for row in _cards(run("metric", "--json"))}
    driver = next((_at(card, "driver", "version") for card in cards), None)
    return Reading(tuple(_device(card, measured.get(card["gpu"], {})) for card in cards), driver_version=driver)


def _cards(printed: str) -> list[Json]:
    cards = listed(json.loads(printed), "gpu_data")
    if not all(isinstance(card.get("gpu"), int) for card in cards):
        raise ValueError("amd-smi: every card was expected to have its number")
    return cards


def _at(card: Json, *path: str) -> Any:
    """What stands there; numbers are wrapped as `{"value": 120, "unit": "W"}`. None where there is nothing."""
    found: Any = card
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found.get("value") if isinstance(found, dict) else found


def _device(card: Json, row: Json) -> Device:
    address, serial = pci_address(_at(card, "bus", "bdf")), _at(card, "asic", "asic_serial")
    model = _at(card, "asic", "market_name")
    known = serial and serial != "N/A"
    if not model or not (known or address):
        raise ValueError(f"amd-smi: card {card['gpu']} has no name or no identity")
    vendor = str(_at(card, "asic", "vendor_id")).lower().removeprefix("0x")
    reasons = present({UNCORRECTED_ECC: whole(_at(row, "ecc", "total_uncorrectable_count"))})
    return Device(
        index=card["gpu"],
        vendor="amd",
        model=model,
        uuid=serial if known else f"{PLACE}{address}",
        memory_bytes=some(_at(card, "vram", "size"), MIB),
        pci_vendor_id=vendor if len(vendor) == 4 else None,
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=whole(_at(row, "mem_usage", "used_vram"), MIB),
            utilisation_percent=whole(_at(row, "usage", "gfx_activity")),
            power_milliwatts=whole(_at(row, "power", "socket_power"), 1000),
            temperature_celsius=whole(_at(row, "temperature", "hotspot")),
        ),
        health=Health.DEGRADED if reasons else Health.HEALTHY,
        health_reasons=reasons,
    )
