"""What a job asks of the hardware, without who asks: jobs of equal shapes get equal verdicts, so the engine decides per shape."""

from dataclasses import dataclass

from scheduler.contract.job import Hardware, JobSpec, Topology
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.mig import WHOLE_CARD_MILLI as WHOLE_CARD_MILLI
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES, Level
from scheduler.domain.versions import parse_range
from scheduler.engine.constraints import Constraint, LabelIn, VersionIn

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Shape:
    """`nodes` distinct nodes of one cluster, each giving `per_node` cards of one model (or none), CPU and memory.

    With `min_nodes` below `nodes` any number of nodes between the two will do. `card_milli` below 1000 asks for a part of
    one card. Empty `vendors` or `models` and a class of None mean any; `mig` asks for instances of that profile in place of
    cards. Nodes that do not meet all `constraints` do not count.

    All cards are in one domain of level `within`, and in as few of level `near` as they can at the same price.
    """

    nodes: int
    min_nodes: int
    per_node: int
    card_milli: int = WHOLE_CARD_MILLI
    hardware_class: HardwareClass | None = None
    vendors: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    card_memory_bytes: int = 0
    cpu_milli: int = 0
    memory_bytes: int = 0
    mig: str = ""
    within: Level = CLUSTER
    near: Level = CLUSTER
    constraints: tuple[Constraint, ...] = ()

    def what(self) -> str:
        """What is asked for of a node, in a few words that read the same in zh and en apart from the class."""
        return " ".join((self._cards(), *map(str, self.constraints)))

    def _cards(self) -> str:
        if self.per_node == 0:
            return f"{self.cpu_milli // 1000} CPU"
        words = [self.hardware_class.value] if self.hardware_class else []
        words.append("/".join(sorted(self.models or self.vendors)) or "any-model")
        if self.mig:
            words.append(self.mig)
        if self.card_memory_bytes:
            words.append(f"≥{self.card_memory_bytes // GIB}GiB")
        if self.card_milli < WHOLE_CARD_MILLI:
            words.append(f"{self.card_milli}/1000")
        return " ".join(words)


def shapes_of(spec: JobSpec) -> tuple[Shape, ...]:
    """The alternatives of a job, in its order of preference."""
    return tuple(shape_of(hardware) for hardware in spec.alternatives)


def shape_of(hardware: Hardware) -> Shape:
    """One alternative."""
    within, near = _levels(hardware.topology)
    return Shape(
        nodes=hardware.nodes,
        min_nodes=hardware.min_nodes or hardware.nodes,
        per_node=hardware.per_node,
        hardware_class=hardware.hardware_class,
        vendors=frozenset(hardware.vendors),
        models=frozenset(hardware.models),
        card_memory_bytes=(hardware.memory_gib or 0) * GIB,
        cpu_milli=hardware.cpus * 1000,
        memory_bytes=hardware.host_memory_gib * GIB,
        mig=hardware.mig or "",
        within=within,
        near=near,
        constraints=_constraints(hardware),
    )


def _levels(topology: str | Topology) -> tuple[Level, Level]:
    """Within which level a gang must be, and within which it would be."""
    if topology == "any":
        return CLUSTER, CLUSTER
    if isinstance(topology, str):
        return LEVEL_NAMES.index(topology), CLUSTER
    level = LEVEL_NAMES.index(topology.within)
    return (level, CLUSTER) if topology.required else (CLUSTER, level)


def _constraints(hardware: Hardware) -> tuple[Constraint, ...]:
    """Versions, then labels by name: equal requests make equal shapes."""
    found: list[Constraint] = []
    if hardware.driver is not None:
        found.append(VersionIn("driver", parse_range(hardware.driver)))
    if hardware.toolkit is not None:
        found.append(VersionIn("toolkit", parse_range(hardware.toolkit)))
    found += [LabelIn(key, frozenset(hardware.label_values(key))) for key in sorted(hardware.labels)]
    return tuple(found)
