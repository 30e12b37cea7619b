"""The cluster a test of Kubernetes runs in: a double of ours, or the one that SUANWANG_TEST_KUBECONFIG names. See `conftest`."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from agents.cluster.kubernetes.client import Kubernetes
from agents.cluster.kubernetes.resources import Resource
from tests.agents.cluster.kube import controllers
from tests.agents.cluster.kube.api_server import ApiServer
from tests.agents.cluster.kube.kubelet import Kubelet
from tests.agents.cluster.kube.rest import Rest
from tests.agents.cluster.kube.store import ApiError, Object

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STEP_SECONDS = 0.005
PATIENCE_SECONDS = 20.0


@dataclass
class World:
    """What a test may do to the cluster and what goes on in it. `server` is the double, None on a real cluster."""

    rest: Rest
    namespace: str
    kubelet: Kubelet
    server: ApiServer | None
    made: list[str] = field(default_factory=list)
    defined: list[str] = field(default_factory=list)

    def step(self) -> None:
        """Everything that is not the agent's does what it has to do once."""
        if self.server is not None:
            controllers.reconcile(self.server.store)
        self.kubelet.step()

    def until(self, holds: Callable[[], object], what: str = "") -> None:
        """Goes on until `holds` is true. Raises AssertionError when that takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert time.monotonic() < deadline, what or "it did not come about"
            self.step()
            time.sleep(STEP_SECONDS)

    @contextmanager
    def living(self) -> Iterator[None]:
        """Goes on by itself meanwhile: for an agent that runs in a thread or a process of its own."""
        over = threading.Event()

        def live() -> None:
            while not over.wait(STEP_SECONDS * 4):
                self.step()

        thread = threading.Thread(target=live)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def node_name(self, short: str) -> str:
        """What `add_node(short)` is called in the cluster: other tests may be there too."""
        return f"{self.namespace}-{short}"

    def add_node(
        self,
        short: str,
        *,
        cards: Mapping[str, int] | None = None,
        capacity: Mapping[str, int] | None = None,
        labels: Mapping[str, str] | None = None,
        cpu: str = "64",
        memory: str = "512Gi",
    ) -> str:
        """A node that is ready, with extended resources `cards` (and a `capacity` of more of them); its name."""
        name = self.node_name(short)
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, "suanwang-test": self.namespace, **(labels or {})}}
        self.rest("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": metadata, "spec": {}})
        self.made.append(name)
        self.kubelet.nodes.add(name)
        self.set_cards(name, cards or {}, capacity, cpu=cpu, memory=memory)
        self.set_ready(name, True)
        self.patch_node(name, {"spec": {"taints": None}})
        return name

    def set_cards(
        self,
        name: str,
        cards: Mapping[str, int],
        capacity: Mapping[str, int] | None = None,
        *,
        cpu: str = "64",
        memory: str = "512Gi",
    ) -> None:
        """What its device plugins say: `cards` can be had, of the `capacity` that is there. What is not named is removed."""
        old = self.rest("GET", f"/api/v1/nodes/{name}")["status"]
        gone = dict.fromkeys({*old.get("allocatable", {}), *old.get("capacity", {})})
        basic: dict[str, object] = {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "100Gi"}
        allocatable = {**gone, **basic, **{each: str(count) for each, count in cards.items()}}
        full = {**allocatable, **{each: str(count) for each, count in (capacity or {}).items()}}
        self.patch_node(name, {"status": {"allocatable": allocatable, "capacity": full}}, status=True)

    def set_ready(self, name: str, ready: bool, message: str = "kubelet stopped posting node status") -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        new = {"type": "Ready", "status": "True" if ready else "Unknown", "lastHeartbeatTime": now, "lastTransitionTime": now}
        new |= {"reason": "KubeletReady", "message": ""} if ready else {"reason": "NodeStatusUnknown", "message": message}
        self.patch_node(name, {"status": {"conditions": [new]}}, status=True)
        (self.kubelet.dead.discard if ready else self.kubelet.dead.add)(name)

    def patch_node(self, name: str, changes: Object, *, status: bool = False) -> None:
        self.rest("PATCH", f"/api/v1/nodes/{name}{'/status' if status else ''}", changes)

    def remove_node(self, name: str) -> None:
        self.rest("DELETE", f"/api/v1/nodes/{name}", {})
        self.kubelet.nodes.discard(name)
        self.made.remove(name)

    def install(self, resource: Resource) -> None:
        """Makes a custom kind known, with a status of its own; a real cluster that has it keeps its own definition."""
        if self._is_installed(resource):
            return
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": resource.version, "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
        name = f"{resource.plural}.{resource.group}"
        definition: Object = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"}},
            "spec": {
                "group": resource.group,
                "scope": "Namespaced" if resource.namespaced else "Cluster",
                "names": {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind},
                "versions": [version],
            },
        }
        self.rest("POST", DEFINITIONS, definition)
        self.defined.append(name)
        self.until(lambda: self._is_installed(resource), f"{name} did not become known")

    def _is_installed(self, resource: Resource) -> bool:
        try:
            self.rest("GET", resource.path(self.namespace))
        except ApiError as error:
            if error.code != 404:
                raise
            return False
        return True

    def pods(self) -> list[Object]:
        return self.kubelet.pods()

    def close(self) -> None:
        self.kubelet.close()
        for name in list(self.made):
            self._remove(f"/api/v1/nodes/{name}")
        for name in self.defined:
            self._remove(f"{DEFINITIONS}/{name}")

    def _remove(self, path: str) -> None:
        with_patience(lambda: self.rest("DELETE", path, {}))


def with_patience(call: Callable[[], object]) -> None:
    """What is being cleaned away may be gone already."""
    try:
        call()
    except ApiError as error:
        if error.code != 404:
            raise


@dataclass
class Kube:
    """What the fixture `kube` gives: the client under test, the test's own namespace, and the world around them."""

    api: Kubernetes
    namespace: str
    world: World
