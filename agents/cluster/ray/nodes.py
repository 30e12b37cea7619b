"""Where Ray is to put a run: Ray's own names for the nodes and the cards that the city granted.

A Ray node is the city's by its name: `ray start --node-name` is the hostname its node agent reports. What Ray counts there is
compared beforehand, because Ray would let a job that can never fit wait, and not say why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.ray.api import Node
from scheduler.contract.sync import Cause, DesiredRun, Placement

GIB = 2**30
MOST_NAMES_TOLD = 5

ASSIGNED_BY_RAY = frozenset({"GPU", "NPU"})
"""Resources of which Ray gives each run cards of its own; of others it only keeps count."""
VISIBLE_DEVICES = {
    "biren": "SUPA_VISIBLE_DEVICES",
    "cambricon": "MLU_VISIBLE_DEVICES",
    "enflame": "TOPS_VISIBLE_DEVICES",
    "hygon": "HIP_VISIBLE_DEVICES",
    "kunlunxin": "XPU_VISIBLE_DEVICES",
    "moorethreads": "MUSA_VISIBLE_DEVICES",
}
"""The variable by which a vendor's runtime is told, by their numbers, which cards of its machine a program sees."""


@dataclass(frozen=True, slots=True)
class CountedCards:
    """`count` of the `total` cards that a node has under `resource`, which its ranks share out among themselves."""

    resource: str
    count: int
    total: int
    variable: str


@dataclass(frozen=True, slots=True)
class RankPlace:
    """What one rank gets of Ray. `node_resource` is the resource only its node has; `resources` those beside the three that Ray
    asks for by name."""

    name: str
    node_id: str
    node_resource: str
    cpus: int
    gpus: float
    memory_bytes: int
    resources: Mapping[str, float]
    counted: CountedCards | None
    """None where Ray says which cards they are, where they are parts of cards, and where no runtime's variable is known."""


def places(run: DesiredRun, nodes: Sequence[Node], names: Mapping[str, str]) -> list[RankPlace]:
    """One for each rank. `names` says what Ray calls a vendor's cards; a vendor that is not in it is called by its own name.

    Raises LaunchRefusedError where Ray has no such node, or counts less there than was granted.
    """
    by_name: dict[str, list[Node]] = {}
    for node in nodes:
        by_name.setdefault(node.node_name, []).append(node)
    cards_name = names.get(run.vendor or "", run.vendor or "")
    variable = None if cards_name in ASSIGNED_BY_RAY else VISIBLE_DEVICES.get(run.vendor or "")
    return [_place(placement, _named(placement.node, by_name), cards_name, variable) for placement in run.placements]


def _named(name: str, by_name: Mapping[str, list[Node]]) -> Node:
    found = by_name.get(name, [])
    if len(found) == 1:
        return found[0]
    if found:
        raise _unplaced(f"{len(found)} nodes of this Ray are called {name}")
    known = ", ".join(sorted(by_name)[:MOST_NAMES_TOLD]) or "none"
    raise _unplaced(f"no living node of this Ray is called {name} (it has: {known}); its worker is started with --node-name {name}")


def _place(placement: Placement, node: Node, cards_name: str, variable: str | None) -> RankPlace:
    cards = _cards(placement)
    total = int(node.resources_total.get(cards_name, 0))
    whole = cards > 0 and cards.is_integer()
    place = RankPlace(
        name=placement.node,
        node_id=node.node_id,
        node_resource=_own_resource(node),
        cpus=placement.cpus,
        gpus=cards if cards_name == "GPU" else 0.0,
        memory_bytes=placement.host_memory_gib * GIB,
        resources={} if cards_name == "GPU" or not cards else {cards_name: cards},
        counted=CountedCards(cards_name, int(cards), total, variable) if whole and variable else None,
    )
    asked = {"CPU": place.cpus, "GPU": place.gpus, "memory": place.memory_bytes, **place.resources}
    for resource, amount in asked.items():
        counted = node.resources_total.get(resource, 0)
        if amount > counted:
            raise _unplaced(f"Ray counts {counted:g} {resource} on {placement.node}, and {amount:g} were granted there")
    return place


def _cards(placement: Placement) -> float:
    """As Ray counts them: an instance of MIG is a GPU of its own."""
    return float(len(placement.devices)) if placement.mig else len(placement.devices) * placement.card_milli / 1000


def _own_resource(node: Node) -> str:
    own: Iterable[str] = (name for name in node.resources_total if name.startswith("node:") and not name.endswith("__"))
    found = next(iter(own), None)
    if found is None:
        raise _unplaced(f"Ray's node {node.node_name} has no resource of its own to be chosen by")
    return found


def _unplaced(why: str) -> LaunchRefusedError:
    return LaunchRefusedError(why, Cause.NOT_PLACED)
