"""NVIDIA through NVML, `libnvidia-ml.so.1`; another library is chosen with `LD_LIBRARY_PATH`, as for nvidia-smi."""

from agents.node.probes.child import ChildProbe


def probe() -> ChildProbe:
    return ChildProbe("nvml", "agents.node.probes.nvml:nvidia", ("libnvidia-ml.so.1",))
