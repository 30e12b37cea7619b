"""MetaX by `mx-smi`: `-L` says who the cards are and whether they can be used, the plain table what they measure.

The tables of 2.1, 2.2 and 2.3 differ in their columns; only the address joins the two. The table writes memory in MiB (the
library MXSML has KiB) and `MetaX C500` for the card that `-L` calls `MXC500`.
"""

import re

from agents.node.probes.printed import ADDRESS, MIB, header, pci_address, smi_rows, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health

_LISTED = re.compile(rf"GPU#(\d+)\s+(\S.*?)\s+({ADDRESS.pattern})\s+(.*?)\s*(?:\(UUID:\s*(\S+?)\))?\s*", re.IGNORECASE)
"""`GPU#0    MXC500      0000:08:00.0   Available (UUID: GPU-...)`"""


def probe() -> ToolProbe:
    return ToolProbe("mx-smi", ("mx-smi", "/opt/mxdriver/bin/mx-smi", "/opt/maca/bin/mx-smi"), read)


def read(run: Run) -> Reading:
    listed = [found for found in map(_LISTED.fullmatch, run("-L").splitlines()) if found]
    if not listed:
        return Reading()
    table = run()
    measured = {row["address"]: row for row in smi_rows(table)}
    return Reading(
        tuple(_device(card, measured.get(pci_address(card[3]), {})) for card in listed),
        driver_version=header(table, "Kernel Mode Driver Version"),
        toolkit_version=header(table, "MACA Version"),
    )


def _device(card: re.Match[str], row: dict[str, str | None]) -> Device:
    usable = card[4].lower() == "available"
    return Device(
        index=int(card[1]),
        vendor="metax",
        model=card[2],
        uuid=card[5] or f"{PLACE}{pci_address(card[3])}",
        memory_bytes=some(row.get("memory"), MIB),
        pci_address=pci_address(card[3]),
        sensors=Sensors(
            memory_used_bytes=whole(row.get("memory_used"), MIB),
            utilisation_percent=whole(row.get("busy")),
            power_milliwatts=whole(row.get("watts"), 1000),
            temperature_celsius=whole(row.get("celsius")),
        ),
        health=Health.HEALTHY if usable else Health.LOST,
        health_reasons=() if usable else ("not_available",),
    )
