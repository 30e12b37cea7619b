"""Kunlunxin by `xpu-smi` or `xpu_smi`, a table in the manner of nvidia-smi without UUIDs.

Intel's tool has the same name: only a table that names XPU-RT, Kunlunxin's runtime, is read.
"""

from agents.node.probes.printed import MIB, UNCORRECTED_ECC, header, present, smi_rows, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health


def probe() -> ToolProbe:
    return ToolProbe("xpu-smi", ("xpu-smi", "xpu_smi", "/usr/local/xpu/bin/xpu-smi", "/usr/local/xpu/tools/xpu_smi"), read)


def read(run: Run) -> Reading:
    """Raises ValueError for half a table."""
    table = run()
    runtime = header(table, "XPU-RT Version")
    if runtime is None:
        return Reading()
    return Reading(
        tuple(_device(row) for row in smi_rows(table)),
        driver_version=header(table, "Driver Version"),
        toolkit_version=runtime,
    )


def _device(row: dict[str, str | None]) -> Device:
    reasons = present({UNCORRECTED_ECC: whole(row["corner"])})
    return Device(
        index=int(str(row["index"])),
        vendor="kunlunxin",
        model=str(row["name"]),
        uuid=f"{PLACE}{row['address']}",
        memory_bytes=some(row["memory"], MIB),
        pci_address=row["address"],
        sensors=Sensors(
            memory_used_bytes=whole(row["memory_used"], MIB),
            utilisation_percent=whole(row["busy"]),
            power_milliwatts=whole(row["watts"], 1000),
            temperature_celsius=whole(row["celsius"]),
        ),
        health=Health.DEGRADED if reasons else Health.HEALTHY,
        health_reasons=reasons,
    )
