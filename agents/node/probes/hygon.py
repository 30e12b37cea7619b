"""Hygon DCU by `hy-smi`, or the `rocm-smi` of its toolkit (DTK). AMD's own `rocm-smi` lists no card of Hygon's."""

from agents.node.probes.probe import Reading
from agents.node.probes.rocm_smi import read_rocm_smi
from agents.node.probes.tool import Run, ToolProbe


def probe() -> ToolProbe:
    return ToolProbe("hy-smi", ("hy-smi", "/opt/hyhal/bin/hy-smi", "rocm-smi", "/opt/dtk/bin/rocm-smi"), read)


def read(run: Run) -> Reading:
    return read_rocm_smi(run, "hygon", "haiguang|hygon|1d94", "1d94")
