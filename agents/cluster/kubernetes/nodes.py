"""The cluster's nodes as their own reporters, where no node agent sits on them: a `Site` for the agent's loop."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from agents.cluster.kubernetes.client import Object
from agents.cluster.kubernetes.inventory import Rules, cards_of, is_ours, labels_of, quantity, standing, versions_of
from scheduler.contract.inventory import NodeReport, ProbeResult

PROBE = "kubernetes"
ERROR_CHARACTERS = 500


class Nodes(Protocol):
    """The nodes there are, by name; `watch.Watched` is one."""

    def snapshot(self) -> Mapping[str, Object]:
        """Raises LauncherUnavailableError when that is not known."""


class KubernetesNodes:
    """Reports of the nodes of `nodes`. What changes in Kubernetes is in the next report of its node:

    - a node that appears is reported from then on, one that is deleted once more, without cards, and then no longer;
    - one that is cordoned, tainted or not ready is closed, with the reason, its cards degraded or lost: what runs goes on;
    - one that is not selected is none of the city's, and is reported as one that is gone when it was before;
    - one that has more or fewer cards has them by the same ids, the first ones.
    """

    def __init__(self, nodes: Nodes, rules: Rules, *, boot: str, agent_version: str, clock: Callable[[], datetime]) -> None:
        self._nodes = nodes
        self._rules = rules
        self._boot = boot
        self._agent_version = agent_version
        self._clock = clock
        self._sequences: Counter[str] = Counter()

    def hostnames(self) -> list[str]:
        """Raises LauncherUnavailableError when nothing fresh is known of the nodes."""
        return [name for name, node in self._nodes.snapshot().items() if self._is_reported(node)]

    def report(self, hostname: str) -> NodeReport:
        """The node as it is now, with the next sequence number; of one that is not there any more, that nothing is there.

        Raises LauncherUnavailableError when nothing fresh is known of the nodes.
        """
        node = self._nodes.snapshot().get(hostname)
        if node is not None and not self._is_reported(node):
            node = None
        self._sequences[hostname] += 1
        described = _gone() if node is None else self._described(node)
        return NodeReport.model_validate(
            {
                "hostname": hostname,
                "boot": self._boot,
                "sequence": self._sequences[hostname],
                "observed_at": self._clock(),
                "agent_version": self._agent_version,
                **described,
            }
        )

    def _is_reported(self, node: Object) -> bool:
        return is_ours(node, self._rules)

    def _described(self, node: Object) -> dict[str, object]:
        allocatable = node["status"].get("allocatable") or {}
        found = cards_of(node, self._rules)
        driver, toolkit = versions_of(node, self._rules)
        error = "; ".join(found.problems)[:ERROR_CHARACTERS] or None
        return {
            "cpu_cores": max(1, int(quantity(allocatable, "cpu"))),
            "memory_bytes": int(quantity(allocatable, "memory")),
            "driver_version": driver,
            "toolkit_version": toolkit,
            "labels": labels_of(node, self._rules),
            "closed": standing(node, self._rules.tolerations).reasons,
            "accelerators": found.cards,
            "probes": [ProbeResult(probe=PROBE, found=len(found.cards), error=error)],
        }


def _gone() -> dict[str, object]:
    error = "the node is not in the cluster any more, or is not selected"
    return {"cpu_cores": 1, "memory_bytes": 0, "closed": ["node_gone"], "probes": [ProbeResult(probe=PROBE, found=0, error=error)]}
