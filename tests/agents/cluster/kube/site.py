"""A launcher in a cluster of the tests: two nodes of eight cards each, a clock that can be put forward, and runs granted there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import monotonic

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.client import Kubernetes
from agents.cluster.kubernetes.config import KubernetesConfig
from agents.cluster.kubernetes.resources import JOBS
from agents.cluster.launcher import LauncherUnavailableError
from agents.cluster.launchers.kubernetes import KubernetesLauncher
from scheduler.contract.sync import DesiredRun, ObservedRun, Placement, RunState
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import desired
from tests.agents.cluster.kube.store import Object
from tests.agents.cluster.kube.world import Kube

CLUSTER = "sz:nanshan-1"
"""An id that no label may hold."""

KEY = ("att-1", 1)
CARDS = 8


@dataclass
class LateClock:
    """The time, and so many seconds more."""

    ahead: float = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)


@dataclass
class Site:
    """The launcher under test, `kube` around it, and where it keeps things."""

    kube: Kube
    kubeconfig: Path
    folder: Path
    options: dict[str, object]
    clock: LateClock = field(default_factory=LateClock)
    launcher: KubernetesLauncher = field(init=False)

    def start(self) -> None:
        document = {"namespace": self.kube.namespace, "image": "registry.example.cn/train:1", "gang": "suspend", **self.options}
        self.launcher = KubernetesLauncher(
            Kubernetes(self.kubeconfig),
            KubernetesConfig.model_validate(document),
            shipped_catalogue(),
            cluster=CLUSTER,
            data=self.folder,
            clock=self.clock,
            monotonic=monotonic,
            rng=Random(1),
        )

    def restart(self) -> None:
        """As an agent that is killed and started again: nothing is kept but the cluster and the folder."""
        self.launcher.close()
        self.start()

    def gang(self, *, nodes: int = 2, per_node: int = CARDS, command: str = "exit 0", **changes: object) -> DesiredRun:
        placements = [
            Placement(node=self.kube.world.node_name(f"n{number}"), devices=[f"d{card}" for card in range(per_node)], cpus=4)
            for number in range(nodes)
        ]
        fields: dict[str, object] = {
            "vendor": "nvidia" if per_node else None,
            "model": "H100" if per_node else None,
            "per_node": per_node,
            "placements": placements,
            "entrypoint": ["sh", "-c", command],
        }
        return desired(**(fields | changes))  # type: ignore[arg-type]

    def seen(self, key: tuple[str, int] = KEY) -> ObservedRun | None:
        runs = {(run.attempt, run.fencing_token): run for run in self.launcher.observe()}
        return runs.get(key)

    def until(self, *states: RunState, key: tuple[str, int] = KEY) -> ObservedRun:
        """Goes on until the run is in one of `states`."""
        found: list[ObservedRun] = []

        def there() -> bool:
            try:
                run = self.seen(key)
            except LauncherUnavailableError:
                return False  # the city is told nothing then, which changes nothing
            if run is not None and run.state in states:
                found.append(run)
            return bool(found)

        self.kube.world.until(there, f"it never was {states}")
        return found[-1]

    def pods(self, key: tuple[str, int] = KEY) -> dict[int, Object]:
        """The pods of a run's ranks that are not being deleted."""
        name = names.run_name(CLUSTER, key)
        return {
            int(pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]): pod
            for pod in self.kube.world.pods()
            if pod["metadata"].get("labels", {}).get(names.RUN) == name and "deletionTimestamp" not in pod["metadata"]
        }

    def pod_name(self, rank: int) -> str:
        return str(self.pods()[rank]["metadata"]["name"])

    def running(self, run: DesiredRun | None = None) -> ObservedRun:
        """A gang that was launched and runs."""
        self.launcher.launch(run or self.gang())
        return self.until(RunState.RUNNING)

    @property
    def has_logs(self) -> bool:
        """Nodes of the tests have no kubelet that a real API server could ask for a log."""
        return self.kube.world.server is not None

    def job(self, key: tuple[str, int] = KEY) -> Object:
        return self.kube.api.get(JOBS, self.kube.namespace, names.run_name(CLUSTER, key))


@contextmanager
def site(kube: Kube, kubeconfig: Path, folder: Path, **options: object) -> Iterator[Site]:
    for short in ("n0", "n1"):
        kube.world.add_node(short, cards={"nvidia.com/gpu": CARDS}, cpu="16", memory="64Gi")
    made = Site(kube, kubeconfig, folder, options)
    made.start()
    try:
        yield made
    finally:
        made.launcher.close()
