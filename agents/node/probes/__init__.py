"""One probe per vendor. Add a vendor by writing its file here, with a function `probe`, and naming it in `shipped`."""

from agents.node.probes import (
    amd,
    ascend,
    biren,
    cambricon,
    enflame,
    hygon,
    iluvatar,
    kunlunxin,
    metax,
    moorethreads,
    nvidia,
    thead,
)
from agents.node.probes.probe import Probe


def shipped() -> tuple[Probe, ...]:
    """Every probe of this release, in the order in which two that see the same card may claim it."""
    vendors = (nvidia, ascend, cambricon, hygon, metax, moorethreads, iluvatar, kunlunxin, enflame, thead, biren, amd)
    return tuple(vendor.probe() for vendor in vendors)
