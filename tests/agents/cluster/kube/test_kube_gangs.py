"""Gangs by Kueue, by Volcano and by the scheduler itself, and RayJobs: the test does what their controllers would."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.config import KubernetesConfig
from agents.cluster.kubernetes.errors import NotFoundError
from agents.cluster.kubernetes.gangs import choose
from agents.cluster.kubernetes.resources import (
    KUEUE_LOCAL_QUEUES,
    KUEUE_WORKLOADS,
    POD_GROUPS,
    RAY_JOBS,
    SERVICES,
    VOLCANO_POD_GROUPS,
    Resource,
)
from agents.cluster.launcher import LauncherUnavailableError
from scheduler.contract.sync import Cause, RunState
from tests.agents.cluster.kube.site import CLUSTER, KEY, Site, site
from tests.agents.cluster.kube.test_kube_launcher import ENDED
from tests.agents.cluster.kube.world import Kube

NAME = names.run_name(CLUSTER, KEY)

Place = Callable[..., Any]


@pytest.fixture
def place(kube: Kube, kubeconfig: Path, tmp_path: Path) -> Place:
    @contextmanager
    def made(*installed: Resource, **options: object) -> Iterator[Site]:
        for resource in installed:
            kube.world.install(resource)
        with site(kube, kubeconfig, tmp_path / "agent", **options) as found:
            yield found

    return made


def test_kueue_starts_a_gang_and_what_it_takes_back_was_preempted(place: Place) -> None:
    with place(KUEUE_LOCAL_QUEUES, KUEUE_WORKLOADS, gang={"kueue": {"queue": "team-a"}}) as here:
        here.launcher.launch(here.gang())
        for _ in range(5):
            here.kube.world.step()
            assert here.seen().state is RunState.STARTING
        job = here.job()
        assert (job["spec"]["suspend"], job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]) == (True, "team-a")
        _workload(here, job)
        here.kube.api.patch(here.launcher._resource, here.kube.namespace, NAME, {"spec": {"suspend": False}})
        here.until(RunState.RUNNING)
        here.kube.api.patch(here.launcher._resource, here.kube.namespace, NAME, {"spec": {"suspend": True}})
        ended = here.until(*ENDED)
        assert (ended.state, ended.cause) == (RunState.FAILED, Cause.PREEMPTED)
        workload = here.kube.api.get(KUEUE_WORKLOADS, here.kube.namespace, "job-sw")
        assert workload["spec"]["active"] is False, "Kueue would start it again"


def test_a_stop_is_told_to_kueue_too(place: Place) -> None:
    with place(KUEUE_LOCAL_QUEUES, KUEUE_WORKLOADS, gang={"kueue": {"queue": "team-a"}}) as here:
        here.launcher.launch(here.gang())
        _workload(here, here.job())
        here.launcher.stop(*KEY)
        assert here.until(*ENDED).state is RunState.STOPPED
        assert here.kube.api.get(KUEUE_WORKLOADS, here.kube.namespace, "job-sw")["spec"]["active"] is False


def _workload(here: Site, job: dict[str, Any]) -> None:
    """What Kueue makes of a Job that is queued with it."""
    labels = {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}
    spec = {"queueName": "team-a", "podSets": [{"name": "main", "count": 2, "template": job["spec"]["template"]}]}
    here.kube.api.create(KUEUE_WORKLOADS, here.kube.namespace, {"metadata": {"name": "job-sw", "labels": labels}, "spec": spec})


def test_volcano_gets_the_gang_as_a_group(place: Place) -> None:
    with place(VOLCANO_POD_GROUPS, gang={"volcano": {"queue": "training"}}) as here:
        here.launcher.launch(here.gang())
        group = here.kube.api.get(VOLCANO_POD_GROUPS, here.kube.namespace, NAME)
        assert group["spec"] == {"minMember": 2, "queue": "training"}
        here.kube.world.until(lambda: here.seen() and len(here.pods()) == 2)
        for pod in here.pods().values():
            assert pod["spec"]["schedulerName"] == "volcano"
            assert pod["metadata"]["annotations"]["scheduling.k8s.io/group-name"] == NAME


def test_the_schedulers_own_groups_where_it_has_them(place: Place) -> None:
    with place(gang="scheduler") as here:
        if here.kube.world.server is not None:
            here.kube.world.install(POD_GROUPS[1])
        elif not _served(here, POD_GROUPS):
            pytest.skip("this API server has no pod groups of its own")
        here.running()
        (group,) = [group for kind in POD_GROUPS if (group := _found(here, kind)) is not None]
        assert group["spec"]["schedulingPolicy"] == {"gang": {"minCount": 2}}
        for pod in here.pods().values():
            assert pod["spec"]["schedulingGroup"] == {"podGroupName": NAME}


def test_an_operator_who_asks_for_what_is_not_there_is_told(place: Place) -> None:
    with place(gang="scheduler") as here:
        if _served(here, POD_GROUPS):
            pytest.skip("this API server has pod groups of its own")
        with pytest.raises(LauncherUnavailableError, match=r"Kubernetes 1\.36"):
            here.launcher.launch(here.gang())


def _served(here: Site, kinds: tuple[Resource, ...]) -> bool:
    return any(here.kube.world._is_installed(kind) for kind in kinds)


def _found(here: Site, kind: Resource) -> dict[str, Any] | None:
    try:
        return here.kube.api.get(kind, here.kube.namespace, NAME)
    except NotFoundError:
        return None


def test_the_way_is_found_by_what_the_cluster_has(kube: Kube) -> None:
    config = KubernetesConfig(namespace=kube.namespace)
    before = choose(kube.api, config).way
    if kube.world.server is not None:
        assert before == "suspend"
        kube.world.install(POD_GROUPS[1])
        assert choose(kube.api, config).pod_groups == POD_GROUPS[1]
        assert choose(kube.api, config.model_copy(update={"kind": "rayjob"})).way == "suspend"
    kube.world.install(VOLCANO_POD_GROUPS)
    assert (choose(kube.api, config).way, choose(kube.api, config).queue) == ("volcano", "default")
    kube.world.install(KUEUE_LOCAL_QUEUES)
    assert choose(kube.api, config).way == "volcano", "no queue of Kueue's is here"
    kube.api.create(KUEUE_LOCAL_QUEUES, kube.namespace, {"metadata": {"name": "a"}, "spec": {"clusterQueue": "all"}})
    assert (choose(kube.api, config).way, choose(kube.api, config).queue) == ("kueue", "a")
    kube.api.create(KUEUE_LOCAL_QUEUES, kube.namespace, {"metadata": {"name": "b"}, "spec": {"clusterQueue": "all"}})
    with pytest.raises(LauncherUnavailableError, match="several queues of Kueue"):
        choose(kube.api, config)


# RayJobs


def test_a_ray_job_runs_and_its_exit_code_is_told(place: Place) -> None:
    with place(RAY_JOBS, kind="rayjob") as here:
        here.launcher.launch(here.gang())
        assert here.seen().state is RunState.STARTING
        assert here.kube.api.get(RAY_JOBS, here.kube.namespace, NAME)["spec"]["suspend"] is False
        assert not [each for each in here.kube.api.list(SERVICES, here.kube.namespace).items if each["metadata"]["name"] == NAME]
        _ray_pods(here)
        _ray_says(here, jobDeploymentStatus="Initializing")
        here.kube.world.until(lambda: _phases(here) == {"Running"})
        assert here.seen().state is RunState.STARTING, "the program has not begun"
        _ray_says(here, jobDeploymentStatus="Running", jobStatus="RUNNING", rayJobInfo={"startTime": "2026-11-24T08:00:00Z"})
        run = here.until(RunState.RUNNING)
        assert run.ranks == 1
        message = "Job entrypoint command failed with exit code 3, last available logs"
        _ray_says(here, jobDeploymentStatus="Failed", jobStatus="FAILED", reason="AppFailed", message=message)
        for name in [pod["metadata"]["name"] for pod in here.kube.world.pods()]:
            here.kube.world.kubelet.end(name)
        ended = here.until(*ENDED)
        assert (ended.state, ended.exit_code, ended.cause) == (RunState.FAILED, 3, None)
        here.launcher.forget(*KEY)
        here.kube.world.until(lambda: here.seen() is None)


def test_a_worker_of_ray_out_of_memory_ends_the_gang_and_nothing_is_tried_again(place: Place) -> None:
    with place(RAY_JOBS, kind="rayjob") as here:
        here.launcher.launch(here.gang())
        _ray_pods(here)
        _ray_says(here, jobDeploymentStatus="Running", jobStatus="RUNNING", rayJobInfo={"startTime": "2026-11-24T08:00:00Z"})
        here.until(RunState.RUNNING)
        here.kube.world.kubelet.end(f"{NAME}-worker", 137, "OOMKilled")
        here.kube.world.until(lambda: here.seen() and here.kube.api.get(RAY_JOBS, here.kube.namespace, NAME)["spec"]["suspend"])
        assert here.seen().state is RunState.RUNNING
        here.kube.world.kubelet.end(f"{NAME}-head", 143)
        _ray_says(here, jobDeploymentStatus="Suspended", jobStatus="")
        ended = here.until(*ENDED)
        assert (ended.state, ended.cause) == (RunState.FAILED, Cause.OUT_OF_MEMORY)


def test_a_ray_job_deleted_by_hand_is_told_while_its_pods_live(place: Place) -> None:
    with place(RAY_JOBS, kind="rayjob") as here:
        here.launcher.launch(here.gang())
        _ray_pods(here)
        here.kube.world.until(lambda: _phases(here) == {"Running"})
        here.kube.api.delete(RAY_JOBS, here.kube.namespace, NAME)
        here.kube.world.until(lambda: here.seen() and not here.launcher._owners.snapshot())
        assert here.seen().state is RunState.RUNNING
        for pod in here.kube.world.pods():
            here.kube.world.kubelet.end(pod["metadata"]["name"])
        here.kube.world.until(lambda: here.seen() is None)


def _ray_pods(here: Site) -> None:
    """As KubeRay makes them of the groups' templates."""
    spec = here.kube.api.get(RAY_JOBS, here.kube.namespace, NAME)["spec"]["rayClusterSpec"]
    for name, group in (("head", spec["headGroupSpec"]), ("worker", spec["workerGroupSpecs"][0])):
        template = group["template"]
        metadata = {**template["metadata"], "name": f"{NAME}-{name}"}
        here.kube.world.rest(
            "POST",
            f"/api/v1/namespaces/{here.kube.namespace}/pods",
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]},
        )


def _ray_says(here: Site, **status: Any) -> None:
    path = f"/apis/ray.io/v1/namespaces/{here.kube.namespace}/rayjobs/{NAME}/status"
    here.kube.world.rest("PATCH", path, {"status": status})


def _phases(here: Site) -> set[str]:
    here.seen()
    return {pod["status"]["phase"] for pod in here.kube.world.pods()}
