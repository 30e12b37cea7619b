"""Iluvatar through ixML: `libixml.so` exports NVML's functions, so the NVML probe reads it under that name,
from where the loader looks or from where CoreX, Iluvatar's toolkit, puts it.

A board with two chips is two devices.
"""

from agents.node.probes.child import ChildProbe


def probe() -> ChildProbe:
    return ChildProbe("ixml", "agents.node.probes.nvml:iluvatar", ("libixml.so", "/usr/local/corex/lib64/libixml.so"))
