"""Cards through a tool that answers `--query-gpu` as nvidia-smi does: first who they are, then what they measure.

A tool of another version may refuse a measurement; its cards are told all the same, and the refusal beside them.
"""

from agents.node.probes.printed import MIB, joined, pci_address, query, some, whole
from agents.node.probes.probe import Device, Reading, Sensors
from agents.node.probes.tool import Run, ToolError

IDENTITY = ("index", "name", "uuid", "pci.bus_id", "memory.total")
SENSORS = ("index", "memory.used", "utilization.gpu", "temperature.gpu", "power.draw")


def read_query(run: Run, vendor: str, *command: str, identity: tuple[str, ...] = IDENTITY) -> Reading:
    """The cards of `vendor`. Raises ToolError, or ValueError for lines of another shape than asked for."""

    def ask(columns: tuple[str, ...]) -> list[dict[str, str]]:
        return query(run(*command, f"--query-gpu={','.join(columns)}", "--format=csv,noheader"), columns)

    cards, measured, errors = ask(identity), dict[str, dict[str, str]](), []
    if cards:
        try:
            measured = {row["index"]: row for row in ask(SENSORS)}
        except (ToolError, ValueError) as error:
            errors.append(f"no measurements: {error}")
    return Reading(tuple(_device(vendor, card, measured.get(card["index"], {})) for card in cards), error=joined(errors))


def _device(vendor: str, card: dict[str, str], row: dict[str, str]) -> Device:
    return Device(
        index=int(card["index"]),
        vendor=vendor,
        model=card["name"],
        uuid=card["uuid"],
        memory_bytes=some(card["memory.total"], MIB),
        pci_address=pci_address(card.get("pci.bus_id")),
        sensors=Sensors(
            memory_used_bytes=whole(row.get("memory.used"), MIB),
            utilisation_percent=whole(row.get("utilization.gpu")),
            power_milliwatts=whole(row.get("power.draw"), 1000),
            temperature_celsius=whole(row.get("temperature.gpu")),
        ),
    )
