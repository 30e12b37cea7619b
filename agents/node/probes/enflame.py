"""Enflame by `efsmi -q`, a page of `key : value` lines per card. Drivers differ in what they call the memory's size and use."""

import re

from agents.node.probes.printed import MIB, header, pages, pci_address, present, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health

_START = re.compile(r"\s*DEV ID\s+(\d+)")


def probe() -> ToolProbe:
    return ToolProbe("efsmi", ("efsmi", "/usr/bin/efsmi", "/usr/local/efsmi/efsmi"), read)


def read(run: Run) -> Reading:
    """Raises ValueError for a page without the card's name or identity."""
    printed = run("-q")
    driver = header(printed.partition("Driver Info")[2], "Ver")
    return Reading(tuple(_device(index, page) for index, page in pages(printed, _START)), driver_version=driver)


def _device(index: int, page: dict[str, str]) -> Device:
    # Headings such as "Link Info" stand within others, so a value is found by its own name.
    said = {key.partition("/")[2]: value for key, value in reversed(page.items())}
    address = pci_address("{domain}:{bus}:{dev}.{func}".format_map({"domain": "", "bus": "", "dev": "", "func": ""} | said))
    uuid = said.get("dev uuid") or (f"{PLACE}{address}" if address else None)
    if uuid is None or "dev name" not in said:
        raise ValueError(f"efsmi -q: card {index} has no name or no identity")
    reasons = present(
        {
            "not_healthy": said.get("health", "true").lower() != "true",
            "uncorrected_ecc_errors": whole(said.get("total dbe")),
            "replacement_advised": page.get("rma info/flags", "false").lower() == "true",
            "power_cable": page.get("power cable/status", "normal").lower() != "normal",
        }
    )
    return Device(
        index=index,
        vendor="enflame",
        model=said["dev name"],
        uuid=uuid,
        memory_bytes=some(said.get("total size", said.get("mem size")), MIB),
        pci_vendor_id=said.get("vendor id"),
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=whole(said.get("used size", said.get("mem usage")), MIB),
            utilisation_percent=whole(said.get("gcu usage")),
            power_milliwatts=whole(said.get("cur power"), 1000),
            temperature_celsius=whole(said.get("gcu temp")),
        ),
        health=Health.DEGRADED if reasons else Health.HEALTHY,
        health_reasons=reasons,
    )
