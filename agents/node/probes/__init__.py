"""One probe per vendor interface. Add a vendor by writing its file here and naming it in `shipped`."""

from agents.node.probes.nvml import NvmlProbe
from agents.node.probes.probe import Probe


def shipped() -> tuple[Probe, ...]:
    """Every probe of this release, in the order in which two that see the same card may claim it."""
    return (NvmlProbe(),)
