"""Moore Threads by `mthreads-gmi -q`, a page of `key : value` lines per card, which every version prints.

The newer `--query-gpu` knows few columns and is refused by older versions, so it is not asked. There is no power limit.
"""

import re

from agents.node.probes.printed import MIB, UNCORRECTED_ECC, header, pages, pci_address, present, some, whole
from agents.node.probes.probe import Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health

_START = re.compile(r"\s*GPU\s*(\d+)\b(?!.*:\s)")
"""`GPU0 00000000:4f:00.0`; not `GPU UUID : ...`."""


def probe() -> ToolProbe:
    return ToolProbe("mthreads-gmi", ("mthreads-gmi", "/usr/bin/mthreads-gmi"), read)


def read(run: Run) -> Reading:
    """Raises ValueError for a page without the card's name or identity."""
    printed = run("-q")
    return Reading(
        tuple(_device(index, page) for index, page in pages(printed, _START)), driver_version=header(printed, "Driver Version")
    )


def _device(index: int, page: dict[str, str]) -> Device:
    def said(*keys: str) -> str | None:
        """The first value whose key ends so, below whatever heading."""
        return next((value for end in keys for key, value in page.items() if key.endswith(end)), None)

    name, uuid = said("product name"), said("gpu uuid")
    if name is None or uuid is None:
        raise ValueError(f"mthreads-gmi -q: card {index} has no name or no UUID")
    reasons = present({UNCORRECTED_ECC: whole(said("double bit", "uncorrectable"))})
    return Device(
        index=index,
        vendor="moorethreads",
        model=name,
        uuid=uuid,
        memory_bytes=some(said("memory usage/total", "memory/total"), MIB),
        pci_address=pci_address(said("bus id")),
        sensors=Sensors(
            memory_used_bytes=whole(said("memory usage/used", "memory/used"), MIB),
            utilisation_percent=whole(said("utilization/gpu")),
            power_milliwatts=whole(said("power draw"), 1000),
            temperature_celsius=whole(said("gpu current temp")),
        ),
        health=Health.DEGRADED if reasons else Health.HEALTHY,
        health_reasons=reasons,
    )
