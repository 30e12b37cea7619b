"""Whether the nodes that were granted have room for a gang by what the API shows: allocatable less what pods there ask for. Pure.

The scheduler has the last word. This only keeps a gang from being let go where a part of it would get places and hold them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from agents.cluster.kubernetes.pod_status import is_over, node_of

Object = Mapping[str, Any]
Amounts = Mapping[str, Decimal]


def lacking(nodes: Mapping[str, Object], granted: Iterable[str], pods: Iterable[Object], template: Object) -> str | None:
    """What keeps a pod made of `template` from each of the nodes `granted`; None if each has room for one.

    `pods`: all of the cluster, of whatever namespace.
    """
    wanted = requests(template["spec"])
    used = _used(pods)
    for name in granted:
        node = nodes.get(name)
        if node is None:
            return f"{name} is no node of this cluster"
        if node["spec"].get("unschedulable"):
            return f"{name} is cordoned"
        missing = _missing(node, used[name], wanted)
        if missing is not None:
            return f"{name} lacks {missing}"
    return None


def requests(spec: Object) -> Amounts:
    """What a pod asks of a node: its containers at once, or its largest init container where that is more; and its overhead.

    kubernetes.io/docs/concepts/workloads/pods/init-containers, "Resource sharing within containers"; those that go on beside
    the containers (`restartPolicy: Always`) count with them.
    """
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    first: defaultdict[str, Decimal] = defaultdict(Decimal)
    inits = spec.get("initContainers") or ()
    for container in (*spec["containers"], *(each for each in inits if each.get("restartPolicy") == "Always")):
        for name, amount in _asked(container).items():
            total[name] += amount
    for container in inits:
        for name, amount in _asked(container).items():
            first[name] = max(first[name], amount)
    overhead = _amounts(spec.get("overhead") or {})
    return {name: max(total[name], first[name]) + overhead.get(name, Decimal()) for name in {*total, *first, *overhead}}


def _used(pods: Iterable[Object]) -> Mapping[str, defaultdict[str, Decimal]]:
    used: defaultdict[str, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for pod in pods:
        name = node_of(pod)
        if name is None or is_over(pod):
            continue
        used[name]["pods"] += 1
        for resource, amount in requests(pod["spec"]).items():
            used[name][resource] += amount
    return used


def _missing(node: Object, used: Mapping[str, Decimal], wanted: Amounts) -> str | None:
    there = _amounts(node["status"].get("allocatable") or {})
    for name, amount in sorted({**wanted, "pods": Decimal(1)}.items()):
        free = there.get(name, Decimal()) - used.get(name, Decimal())
        if amount > free:
            return f"{name}: {max(free, Decimal()).normalize():f} free of {amount.normalize():f} needed"
    return None


def _asked(container: Object) -> Amounts:
    """Requests, where they are left out what is the limit."""
    resources = container.get("resources") or {}
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _amounts(quantities: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: Decimal(parse_quantity(quantity)) for name, quantity in quantities.items()}
