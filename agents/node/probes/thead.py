"""T-Head PPU by `ppu-smi --query-gpu`. The index is the device node's number; the minor number of its UUID's page is not."""

from agents.node.probes.probe import Reading
from agents.node.probes.query_gpu import read_query
from agents.node.probes.tool import Run, ToolProbe


def probe() -> ToolProbe:
    return ToolProbe("ppu-smi", ("ppu-smi", "/usr/local/bin/ppu-smi", "/usr/local/PPU_SDK/bin/ppu-smi"), read)


def read(run: Run) -> Reading:
    return read_query(run, "thead")
