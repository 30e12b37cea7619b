"""Cambricon by `cnmon info -j`, which prints no JSON: it leaves `cnmon_info.json` in the folder it runs in.

What it calls MB is MiB, and version 4 has no UUID.
"""

import json
from typing import Any

from agents.node.probes.printed import MIB, listed, pci_address, section, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import MAX_PRINTED_BYTES, Run, ToolProbe

Json = dict[str, Any]


def probe() -> ToolProbe:
    return ToolProbe("cnmon", ("cnmon", "/usr/local/neuware/bin/cnmon"), read)


def read(run: Run) -> Reading:
    """Raises ValueError where cnmon leaves no file, or not such a one."""
    run("info", "-j")
    try:
        with (run.folder / "cnmon_info.json").open("rb") as left:
            cards = listed(json.loads(left.read(MAX_PRINTED_BYTES)), "CnmonInfo")
    except OSError as error:
        raise ValueError(f"cnmon info -j left no cnmon_info.json: {error}") from error
    driver = next((card["DriverVersion"] for card in cards if card.get("DriverVersion")), None)
    return Reading(tuple(_device(position, card) for position, card in enumerate(cards)), driver_version=driver)


def _device(position: int, card: Json) -> Device:
    number = whole(card.get("CardNum"))
    address = _address(section(card, "PCI"))
    memory, busy, warmth = (section(card, name) for name in ("PhysicalMemUsage", "Utilization", "Temperature"))
    uuid = card.get("UUID") or (f"{PLACE}{address}" if address else None)
    if uuid is None or "ProductName" not in card:
        raise ValueError(f"cnmon info -j: card {position} has no name or no identity")
    return Device(
        index=position if number is None else number,
        vendor="cambricon",
        model=card["ProductName"],
        uuid=uuid,
        memory_bytes=some(memory.get("Total"), MIB),
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=whole(memory.get("Used"), MIB),
            utilisation_percent=whole(busy.get("MLUAverage")),
            power_milliwatts=whole(section(card, "Power").get("Usage"), 1000),
            temperature_celsius=whole(warmth.get("Chip")),
        ),
    )


def _address(pci: Json) -> str | None:
    parts = [str(pci.get(key, "")).removeprefix("0x") for key in ("DomainID", "Bus", "Device", "Function")]
    domain, bus, device, function = parts
    return pci_address(f"{domain.zfill(4)}:{bus.zfill(2)}:{device.zfill(2)}.{function}") if all(parts) else None
