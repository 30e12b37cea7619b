"""Huawei Ascend through DCMI (`probes/dcmi.py`), and where that is not there or fails by `npu-smi`, tables of 22.0 to 25.5.

`npu-smi info` prints two rows a chip, three cells each; `npu-smi info -m` says which chip is which device:

    | 0     910B3               | OK            | 102.8       55                0    / 0             |
    | 0                         | 0000:C1:00.0  | 0           0    / 0          3338 / 65536         |

One die of a 910C is a device of its own; its second die has no power of its own (`-`). A 310P has its memory in the DDR
column and no HBM column; a 910 has DDR beside HBM, and its memory is the HBM. `Mcu` rows of the mapping are no NPUs.
The two chips of a 300I Duo have one address, and in a container a chip may have none.
"""

import re

from agents.node.probes.child import ChildProbe
from agents.node.probes.preferred import Preferred
from agents.node.probes.printed import MIB, cells, header, joined, pci_address, some, whole
from agents.node.probes.probe import PLACE, Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolProbe
from scheduler.domain.hardware import Health

LIBRARIES = ("libdcmi.so", "/usr/local/dcmi/libdcmi.so", "/usr/local/Ascend/driver/lib64/driver/libdcmi.so")

VERDICTS = {
    "ok": (Health.HEALTHY, ()),
    "warning": (Health.HEALTHY, ("npu_warning",)),
    "alarm": (Health.DEGRADED, ("npu_alarm",)),
    "critical": (Health.DEGRADED, ("npu_critical",)),
}
"""npu-smi's own words. A warning is told and takes no card out: one unplugged optical module gives it."""

_CARD = re.compile(r"(\d+)\s+(\S.*)")
_CARD_STATE = re.compile(r"(\S+)\s+(\S+)\s+\d+\s*/\s*\d+")
_CHIP = re.compile(r"(\d+)(?:\s+\d+)?")
_CHIP_STATE = re.compile(r"(\S+)\s+(\d+)\s*/\s*(\d+)(?:\s+(\d+)\s*/\s*(\d+))?")
_MAPPED = re.compile(r"\s*(\d+)\s+(\d+)\s+(\d+)\s")
"""NPU, chip, and the logic id, which an `Mcu` has not (`-`)."""


def probe() -> Preferred:
    return Preferred(ChildProbe("dcmi", "agents.node.probes.dcmi:huawei", LIBRARIES), tool())


def tool() -> ToolProbe:
    """The command alone."""
    return ToolProbe("npu-smi", ("npu-smi", "/usr/local/bin/npu-smi", "/usr/local/sbin/npu-smi"), read)


def read(run: Run) -> Reading:
    table = run("info")
    rows = [row for row in map(cells, table.splitlines()) if len(row) == 3]
    heads = [position for position, row in enumerate(rows) if _CARD.fullmatch(row[0]) and _CARD_STATE.fullmatch(row[2])]
    logic = _logic_ids(run("info", "-m")) if heads else {}
    devices, errors = [], []
    for position in heads:
        try:
            devices.append(_device(rows[position], rows[position + 1 : position + 2], logic))
        except ValueError as error:
            errors.append(str(error))
    return Reading(tuple(devices), driver_version=header(table, "Version"), error=joined(errors))


def _logic_ids(mapping: str) -> dict[tuple[str, str], int]:
    """Logic id by NPU and chip; device nodes use the physical id, which is another number."""
    found = map(_MAPPED.match, mapping.splitlines())
    return {(row[1], row[2]): int(row[3]) for row in found if row}


def _device(head: list[str], below: list[list[str]], logic: dict[tuple[str, str], int]) -> Device:
    card, state = _CARD.fullmatch(head[0]), _CARD_STATE.fullmatch(head[2])
    chip, usage = (_CHIP.fullmatch(below[0][0]), _CHIP_STATE.fullmatch(below[0][2])) if below else (None, None)
    address = pci_address(below[0][1]) if below else None
    if card is None or state is None or chip is None or usage is None:
        raise ValueError(f"npu-smi info: the table ends within NPU {head[0]!r}")
    index = logic.get((card[1], chip[1]))
    if index is None:
        raise ValueError(f"npu-smi info -m: NPU {card[1]} chip {chip[1]} has no logic id")
    hbm = (usage[4], usage[5]) if some(usage[5]) else (usage[2], usage[3])
    health, reasons = VERDICTS.get(head[1].lower(), (Health.DEGRADED, ("npu_health_unknown",)))
    return Device(
        index=index,
        vendor="huawei",
        model=card[2],
        uuid=f"{PLACE}{address or card[1]}-{chip[1]}",
        memory_bytes=some(hbm[1], MIB),
        pci_address=address,
        sensors=Sensors(
            memory_used_bytes=whole(hbm[0], MIB) if some(hbm[1]) else None,
            utilisation_percent=whole(usage[1]),
            power_milliwatts=whole(state[1], 1000),
            temperature_celsius=whole(state[2]),
        ),
        health=health,
        health_reasons=reasons,
    )
