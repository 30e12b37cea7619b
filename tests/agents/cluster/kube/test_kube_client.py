"""The client's calls, on the double or on the cluster that SUANWANG_TEST_KUBECONFIG names (see `conftest`)."""

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents.cluster.kubernetes import client as client_module
from agents.cluster.kubernetes.client import Kubernetes
from agents.cluster.kubernetes.errors import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthorisedError,
)
from agents.cluster.kubernetes.resources import JOBS, NODES, PODS, SERVICES, Resource
from agents.cluster.launcher import LauncherUnavailableError
from tests.agents.cluster.kube.api_server import ApiServer, Fault
from tests.agents.cluster.kube.conftest import write_kubeconfig
from tests.agents.cluster.kube.manifests import job, pod
from tests.agents.cluster.kube.store import Object
from tests.agents.cluster.kube.world import Kube


class Ticks:
    """A monotonic clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def names(items: tuple[Object, ...]) -> list[str]:
    return [each["metadata"]["name"] for each in items]


# What holds on every cluster


def test_an_object_is_created_read_changed_and_deleted(kube: Kube) -> None:
    made = kube.api.create(PODS, kube.namespace, pod("one", labels={"app": "x"}))
    assert made["metadata"]["uid"]
    assert kube.api.get(PODS, kube.namespace, "one")["metadata"]["uid"] == made["metadata"]["uid"]
    changed = kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"labels": {"app": None, "stage": "2"}}})
    assert changed["metadata"]["labels"] == {"stage": "2"}
    kube.api.delete(PODS, kube.namespace, "one")
    with pytest.raises(NotFoundError) as caught:
        kube.api.get(PODS, kube.namespace, "one")
    assert caught.value.reason == "NotFound"


def test_creating_twice_is_told_apart_from_changing_a_stale_version(kube: Kube) -> None:
    made = kube.api.create(PODS, kube.namespace, pod("one"))
    with pytest.raises(AlreadyExistsError):
        kube.api.create(PODS, kube.namespace, pod("one"))
    version = made["metadata"]["resourceVersion"]
    kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"labels": {"a": "1"}}}, resource_version=None)
    with pytest.raises(ConflictError):
        kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"labels": {"a": "2"}}}, resource_version=version)
    now = kube.api.get(PODS, kube.namespace, "one")["metadata"]
    assert now["labels"] == {"a": "1"}
    kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"labels": {"a": "3"}}}, resource_version=now["resourceVersion"])


def test_an_object_is_deleted_only_if_it_is_the_one_that_is_meant(kube: Kube) -> None:
    made = kube.api.create(PODS, kube.namespace, pod("one"))
    with pytest.raises(ConflictError):
        kube.api.delete(PODS, kube.namespace, "one", uid="another")
    kube.api.delete(PODS, kube.namespace, "one", uid=made["metadata"]["uid"])


def test_what_is_not_there_is_told_apart_from_a_kind_that_is_not_installed(kube: Kube) -> None:
    for call in (
        lambda: kube.api.get(PODS, kube.namespace, "none"),
        lambda: kube.api.patch(PODS, kube.namespace, "none", {"metadata": {"labels": {}}}),
        lambda: kube.api.delete(PODS, kube.namespace, "none"),
    ):
        with pytest.raises(NotFoundError, match="pods/none in suanwang-test") as caught:
            call()
        assert caught.value.reason == "NotFound"
    with pytest.raises(NotFoundError) as caught:
        kube.api.list(Resource("nobody.example.cn", "v1", "things", "Thing"), kube.namespace)
    assert caught.value.reason == ""


def test_what_the_api_does_not_take_is_refused_with_its_words(kube: Kube) -> None:
    with pytest.raises(RefusedError, match="metadata"):
        kube.api.create(PODS, kube.namespace, pod("Not-A-Name"))
    bad = job("bad", "n", template={"spec": {**pod("")["spec"], "restartPolicy": "Always"}})
    with pytest.raises(RefusedError, match="restartPolicy") as caught:
        kube.api.create(JOBS, kube.namespace, bad)
    assert caught.value.status == 422


def test_a_list_is_read_page_by_page_and_selected_by_labels_and_fields(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 2)
    for index in range(5):
        kube.api.create(PODS, kube.namespace, pod(f"p{index}", labels={"half": str(index % 2), "of": kube.namespace}))
    assert names(kube.api.list(PODS, kube.namespace).items) == ["p0", "p1", "p2", "p3", "p4"]
    assert names(kube.api.list(PODS, kube.namespace, label_selector="half=1").items) == ["p1", "p3"]
    assert names(kube.api.list(PODS, kube.namespace, label_selector="half notin (1)").items) == ["p0", "p2", "p4"]
    assert names(kube.api.list(PODS, kube.namespace, field_selector="metadata.name=p3").items) == ["p3"]
    everywhere = kube.api.list(PODS, None, label_selector=f"of={kube.namespace}")
    assert names(everywhere.items) == ["p0", "p1", "p2", "p3", "p4"]


def test_a_watch_tells_what_comes_into_view_changes_and_leaves_it(kube: Kube) -> None:
    kube.api.create(PODS, kube.namespace, pod("before", labels={"app": "x"}))
    version = kube.api.list(PODS, kube.namespace, label_selector="app=x").resource_version
    kube.api.create(PODS, kube.namespace, pod("one", labels={"app": "x"}))
    kube.api.create(PODS, kube.namespace, pod("other", labels={"app": "y"}))
    kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"annotations": {"a": "b"}}})
    kube.api.patch(PODS, kube.namespace, "before", {"metadata": {"labels": {"app": "y"}}})
    kube.api.delete(PODS, kube.namespace, "one")
    told: list[tuple[str, str]] = []
    with kube.api.watch(PODS, kube.namespace, resource_version=version, seconds=10, label_selector="app=x") as stream:
        for event in stream:
            told.append((event["type"], event["object"]["metadata"].get("name", "")))
            if told[-1] == ("DELETED", "one"):
                break
    # Once each: a deletion may be told as a change first.
    assert [entry for entry in dict.fromkeys(told) if entry[0] != "BOOKMARK"] == [
        ("ADDED", "one"),
        ("MODIFIED", "one"),
        ("DELETED", "before"),
        ("DELETED", "one"),
    ]


def test_a_watch_ends_by_itself_when_its_time_is_over(kube: Kube) -> None:
    version = kube.api.list(PODS, kube.namespace).resource_version
    with kube.api.watch(PODS, kube.namespace, resource_version=version, seconds=1) as stream:
        assert [event["type"] for event in stream if event["type"] != "BOOKMARK"] == []


def test_a_job_goes_with_its_pods_in_the_background_and_after_them_in_the_foreground(kube: Kube) -> None:
    node = kube.world.add_node("a")
    for name, propagation in (("first", "Background"), ("second", "Foreground")):
        kube.api.create(JOBS, kube.namespace, job(name, node, completions=2))
        kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
        kube.world.kubelet.stubborn = {each["metadata"]["name"] for each in kube.world.pods()}
        kube.api.delete(JOBS, kube.namespace, name, propagation=propagation)
        kube.world.until(lambda: sum("deletionTimestamp" in each["metadata"] for each in kube.world.pods()) == 2)
        left = names(kube.api.list(JOBS, kube.namespace).items)
        assert left == ([] if propagation == "Background" else [name])
        kube.world.kubelet.stubborn.clear()
        kube.world.until(lambda: not kube.world.pods() and not kube.api.list(JOBS, kube.namespace).items)


def test_the_pods_of_an_indexed_job_know_their_number_and_its_end_is_theirs(kube: Kube) -> None:
    node = kube.world.add_node("a")
    kube.api.create(JOBS, kube.namespace, job("gang", node, completions=2))
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
    label = "batch.kubernetes.io/job-completion-index"
    assert sorted(each["metadata"]["labels"][label] for each in kube.world.pods()) == ["0", "1"]
    assert sorted(each["spec"]["hostname"] for each in kube.world.pods()) == ["gang-0", "gang-1"]
    for each in kube.world.pods():
        kube.world.kubelet.end(each["metadata"]["name"])
    kube.world.until(lambda: "Complete" in conditions(kube))
    assert kube.api.get(JOBS, kube.namespace, "gang")["status"]["succeeded"] == 2


def test_a_job_without_retries_fails_with_its_first_pod_and_ends_the_others(kube: Kube) -> None:
    node = kube.world.add_node("a")
    kube.api.create(JOBS, kube.namespace, job("gang", node, completions=2))
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
    first = kube.world.pods()[0]["metadata"]["name"]
    kube.world.kubelet.end(first, 137, "OOMKilled")
    kube.world.until(lambda: "Failed" in conditions(kube))
    assert [each["metadata"]["name"] for each in kube.world.pods()] in ([first], sorted(names(tuple(kube.world.pods()))))


def test_a_suspended_job_has_no_pods_until_it_is_resumed(kube: Kube) -> None:
    node = kube.world.add_node("a")
    kube.api.create(JOBS, kube.namespace, job("gang", node, suspend=True))
    kube.world.until(lambda: "Suspended" in conditions(kube))
    assert kube.world.pods() == []
    kube.api.patch(JOBS, kube.namespace, "gang", {"spec": {"suspend": False}})
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"])


def test_a_pod_waits_where_no_node_has_what_it_wants(kube: Kube) -> None:
    node = kube.world.add_node("a", cards={"nvidia.com/gpu": 4})
    wanting = pod("big", node=node)
    wanting["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "5"}}
    kube.api.create(PODS, kube.namespace, wanting)

    def reasons() -> list[str]:
        found = kube.api.get(PODS, kube.namespace, "big")["status"].get("conditions", [])
        return [each["reason"] for each in found if each["type"] == "PodScheduled" and each["status"] == "False"]

    kube.world.until(lambda: reasons() == ["Unschedulable"])


def test_a_services_object_and_a_custom_one_are_like_the_others(kube: Kube) -> None:
    headless = {"metadata": {"name": "gang"}, "spec": {"clusterIP": "None", "selector": {"app": "x"}}}
    kube.api.create(SERVICES, kube.namespace, headless)
    kube.api.delete(SERVICES, kube.namespace, "gang")
    nodes = kube.api.list(NODES, label_selector=f"suanwang-test={kube.namespace}")
    assert nodes.items == ()


def test_a_custom_kind_exists_once_it_is_defined(kube: Kube) -> None:
    things = Resource("tests.example.cn", "v1", "things", "Thing")
    with pytest.raises(NotFoundError) as caught:
        kube.api.list(things, kube.namespace)
    assert caught.value.reason == ""
    kube.world.install(things)
    kube.api.create(things, kube.namespace, {"metadata": {"name": "one"}, "spec": {"entrypoint": "python"}})
    assert kube.api.list(things, kube.namespace).items[0]["spec"] == {"entrypoint": "python"}


POLICY = {
    "rules": [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
    ]
}


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("exit", r"Container main for pod .*/gang-.* failed with exit code 42 matching FailJob rule at index 1"),
        ("disrupt", r"Pod .*/gang-.* has condition DisruptionTarget matching FailJob rule at index 0"),
    ],
)
def test_a_jobs_policy_says_why_it_failed(kube: Kube, trouble: str, message: str) -> None:
    node = kube.world.add_node("a")
    kube.api.create(JOBS, kube.namespace, job("gang", node, completions=2, podFailurePolicy=POLICY))
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
    name = kube.world.pods()[0]["metadata"]["name"]
    if trouble == "exit":
        kube.world.kubelet.end(name, 42)
    else:
        kube.world.kubelet.disrupt(name, "PreemptionByScheduler", "preempted")
    kube.world.until(lambda: "Failed" in conditions(kube))
    found = kube.api.get(JOBS, kube.namespace, "gang")["status"]["conditions"]
    failed = next(each for each in found if each["type"] == "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert re.fullmatch(message, failed["message"])


def test_what_is_suspended_has_not_failed(kube: Kube) -> None:
    node = kube.world.add_node("a")
    kube.api.create(JOBS, kube.namespace, job("gang", node, completions=2))
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
    kube.api.patch(JOBS, kube.namespace, "gang", {"spec": {"suspend": True}})
    kube.world.until(lambda: "Suspended" in conditions(kube) and not kube.world.pods())
    assert kube.api.get(JOBS, kube.namespace, "gang")["status"].get("failed", 0) == 0


def test_pods_that_shun_each_other_are_on_different_nodes(kube: Kube) -> None:
    names_of_nodes = [kube.world.add_node("a"), kube.world.add_node("b")]
    shuns = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"of": "gang"}}}
    affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [shuns]}}
    for index in range(2):
        body = pod(f"p{index}", labels={"of": "gang"})
        body["spec"] |= {"affinity": affinity, "nodeSelector": {"suanwang-test": kube.namespace}}
        del body["spec"]["schedulingGates"]
        kube.api.create(PODS, kube.namespace, body)
    kube.world.until(lambda: [each["status"]["phase"] for each in kube.world.pods()] == ["Running"] * 2)
    assert sorted(each["spec"]["nodeName"] for each in kube.world.pods()) == names_of_nodes


def conditions(kube: Kube, name: str = "gang") -> set[str]:
    status = kube.api.get(JOBS, kube.namespace, name)["status"]
    return {each["type"] for each in status.get("conditions", ()) if each["status"] == "True"}


# Logs: a real cluster of these tests has no kubelet that serves any


def test_a_log_is_read_within_limits(kube: Kube, server: ApiServer) -> None:
    kube.api.create(PODS, kube.namespace, pod("one", node=kube.world.add_node("a")))
    with pytest.raises(RefusedError, match="waiting to start"):
        kube.api.read_log(kube.namespace, "one", max_bytes=100)
    kube.world.until(lambda: kube.world.pods()[0]["status"]["phase"] == "Running")
    kube.world.kubelet.prints("one", "first\nsecond\n")
    assert kube.api.read_log(kube.namespace, "one", max_bytes=100) == b"first\nsecond\n"
    assert kube.api.read_log(kube.namespace, "one", max_bytes=3, container="main") == b"fir"
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert kube.api.read_log(kube.namespace, "one", max_bytes=100, since=later) == b""
    stamped = kube.api.read_log(kube.namespace, "one", max_bytes=1000, timestamps=True)
    assert stamped.splitlines()[0].endswith(b"Z first")
    with pytest.raises(NotFoundError):
        kube.api.read_log(kube.namespace, "none", max_bytes=100)


def test_a_pods_command_is_a_real_process_whose_output_and_end_are_told(kube: Kube, server: ApiServer) -> None:
    kube.world.kubelet.run_programs = True
    command = ["sh", "-c", "echo rank $RANK; exit 3"]
    body = pod("one", node=kube.world.add_node("a"), command=command)
    body["spec"]["containers"][0]["env"] = [{"name": "RANK", "value": "7"}]
    kube.api.create(PODS, kube.namespace, body)
    kube.world.until(lambda: kube.world.pods()[0]["status"]["phase"] == "Failed")
    ended = kube.world.pods()[0]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert kube.api.read_log(kube.namespace, "one", max_bytes=100) == b"rank 7\n"


# Trouble on order


def test_an_answer_that_says_wait_keeps_the_whole_client_off_until_then(server: ApiServer, kubeconfig: Path) -> None:
    clock = Ticks()
    api = Kubernetes(kubeconfig, monotonic=clock)
    server.faults = [Fault("list", "nodes", status=429, reason="TooManyRequests", headers={"Retry-After": "7"})]
    with pytest.raises(LauncherUnavailableError, match="429"):
        api.list(NODES)
    asked = len(server.seen)
    clock.now += 6.9
    with pytest.raises(LauncherUnavailableError, match="429"):
        api.get(PODS, "default", "other")
    assert len(server.seen) == asked
    assert api.keep_off_seconds() == pytest.approx(0.1)
    clock.now += 0.2
    assert api.list(NODES).items == ()


@pytest.mark.parametrize(
    ("status", "demand", "seconds"),
    [(429, None, 1.0), (503, "3", 3.0), (503, None, 0.0), (429, "86400", 60.0), (429, "soon", 1.0), (500, "9", 0.0)],
)
def test_how_long_it_keeps_off_is_bounded(
    server: ApiServer, kubeconfig: Path, status: int, demand: str | None, seconds: float
) -> None:
    api = Kubernetes(kubeconfig, monotonic=Ticks())
    headers = {"Retry-After": demand} if demand else {}
    server.faults = [Fault(status=status, headers=headers)]
    with pytest.raises(LauncherUnavailableError):
        api.list(NODES)
    assert api.keep_off_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("status", [500, 502, 504, 302])
def test_a_server_in_trouble_is_unavailable(server: ApiServer, kubeconfig: Path, status: int) -> None:
    api = Kubernetes(kubeconfig)
    server.faults = [Fault("get", "pods", status=status)]
    with pytest.raises(LauncherUnavailableError, match=f"trouble on order .{status}."):
        api.get(PODS, "default", "x")
    assert len(server.seen) == 1, "the library must not retry by itself"


def test_half_an_answer_is_none(kube: Kube, server: ApiServer) -> None:
    kube.api.create(PODS, kube.namespace, pod("one"))
    server.faults = [Fault("list", cut_after=40), Fault("get", garbage=b"<html>"), Fault("get", garbage=b'{"kind": "Pod"}')]
    with pytest.raises(LauncherUnavailableError, match="list pods in"):
        kube.api.list(PODS, kube.namespace)
    for _ in range(2):
        with pytest.raises(LauncherUnavailableError, match="no object of Kubernetes"):
            kube.api.get(PODS, kube.namespace, "one")
    assert names(kube.api.list(PODS, kube.namespace).items) == ["one"]


def test_an_answer_that_does_not_come_or_trickles_is_given_up(
    kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "CALL_SECONDS", 0.1)
    held = threading.Event()
    server.faults = [Fault("list", hold=held)]
    with pytest.raises(LauncherUnavailableError, match="does not answer"):
        kube.api.list(PODS, kube.namespace)
    held.set()
    with pytest.raises(LauncherUnavailableError, match="in time"):
        kube.api.list(PODS, kube.namespace, seconds=-1)


def test_an_answer_that_is_too_large_is_not_read(kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1000)
    server.faults = [Fault("list", garbage=b" " * 5000)]
    with pytest.raises(LauncherUnavailableError, match="more than 1000 bytes"):
        kube.api.list(PODS, kube.namespace)


def test_an_api_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    api = Kubernetes(write_kubeconfig(tmp_path / "config", "http://127.0.0.1:1"))
    with pytest.raises(LauncherUnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        api.list(NODES)


def test_a_create_whose_answer_is_lost_is_repeated_without_making_two(kube: Kube, server: ApiServer) -> None:
    server.faults = [Fault("create", "pods", status=504, reason="Timeout", after_effect=True)]
    with pytest.raises(LauncherUnavailableError):
        kube.api.create(PODS, kube.namespace, pod("one"))
    with pytest.raises(AlreadyExistsError):
        kube.api.create(PODS, kube.namespace, pod("one"))


def test_a_list_that_outlives_its_version_is_begun_again(kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAGE", 1)
    for name in ("a", "b"):
        kube.api.create(PODS, kube.namespace, pod(name))
    expiry = Fault("list", "pods", status=410, reason="Expired")
    server.faults = [Fault("list", "pods", times=1), expiry]
    assert names(kube.api.list(PODS, kube.namespace).items) == ["a", "b"]
    assert len(server.requests("list", "pods")) == 4
    server.faults = [Fault("list", "pods", times=99, status=410, reason="Expired")]
    with pytest.raises(LauncherUnavailableError, match="changes faster"):
        kube.api.list(PODS, kube.namespace)


def test_a_token_that_was_replaced_on_disk_is_read_again(server: ApiServer, kubeconfig: Path) -> None:
    api = Kubernetes(kubeconfig)
    assert api.list(NODES).items == ()
    server.tokens = {"next-token"}
    write_kubeconfig(kubeconfig, server.url, "next-token")
    assert api.list(NODES).items == ()
    assert [seen.token for seen in server.requests("list", "nodes")] == ["good-token", "good-token", "next-token"]


def test_credentials_that_are_not_accepted_are_named_by_their_place_and_not_tried_all_the_time(
    server: ApiServer, kubeconfig: Path
) -> None:
    clock = Ticks()
    api = Kubernetes(kubeconfig, monotonic=clock)
    server.tokens = {"another"}
    for _ in range(3):
        with pytest.raises(UnauthorisedError, match=r"renew .*kubeconfig") as caught:
            api.list(NODES)
        assert "good-token" not in str(caught.value)
    assert len(server.seen) == 2
    server.tokens = {"good-token"}
    clock.now += 6
    assert api.list(NODES).items == ()


def test_a_permission_that_is_missing_is_named(server: ApiServer, kubeconfig: Path) -> None:
    api = Kubernetes(kubeconfig)
    server.forbidden = {("create", "jobs"), ("list", "nodes")}
    with pytest.raises(ForbiddenError, match=r"may not create jobs.batch/x in team: give its service account that verb"):
        api.create(JOBS, "team", job("x", "n"))
    with pytest.raises(ForbiddenError, match="may not list nodes"):
        api.list(NODES)


def test_a_quota_that_is_full_is_a_refusal_and_no_missing_permission(kube: Kube, server: ApiServer) -> None:
    message = 'pods "one" is forbidden: exceeded quota: cards, requested: requests.nvidia.com/gpu=8, used: 64, limited: 64'
    server.faults = [Fault("create", "pods", status=403, reason="Forbidden", message=message)]
    with pytest.raises(RefusedError, match="exceeded quota"):
        kube.api.create(PODS, kube.namespace, pod("one"))


def test_a_version_that_is_no_longer_kept_has_expired(kube: Kube, server: ApiServer) -> None:
    server.store.compact()
    with pytest.raises(ExpiredError):
        kube.api.watch(PODS, kube.namespace, resource_version="1", seconds=5)


def test_a_watch_that_breaks_off_says_so_and_a_torn_event_is_none(kube: Kube, server: ApiServer) -> None:
    version = kube.api.list(PODS, kube.namespace).resource_version
    kube.api.create(PODS, kube.namespace, pod("one"))
    told = []
    with (
        pytest.raises(LauncherUnavailableError, match="broke off"),
        kube.api.watch(PODS, kube.namespace, resource_version=version, seconds=30) as stream,
    ):
        for event in stream:
            told.append(event["type"])
            server.tell_watches("cut")
    assert told == ["ADDED"]


def test_an_error_within_a_watch_is_the_error_it_stands_for(kube: Kube, server: ApiServer) -> None:
    version = kube.api.list(PODS, kube.namespace).resource_version
    kube.api.create(PODS, kube.namespace, pod("one"))
    with (
        pytest.raises(ExpiredError),
        kube.api.watch(PODS, kube.namespace, resource_version=version, seconds=30) as stream,
    ):
        for _ in stream:
            server.tell_watches("expire")


def test_a_watch_is_interrupted_from_another_thread(kube: Kube, server: ApiServer) -> None:
    version = kube.api.list(PODS, kube.namespace).resource_version
    ended = threading.Event()
    with kube.api.watch(PODS, kube.namespace, resource_version=version, seconds=30) as stream:

        def read() -> None:
            with pytest.raises(LauncherUnavailableError):
                list(stream)
            ended.set()

        thread = threading.Thread(target=read)
        thread.start()
        stream.interrupt()
        assert ended.wait(5)
        thread.join()


@pytest.mark.parametrize(
    "text",
    [
        "users: [{name: a, user: {token: hidden-secret}",
        "[hidden-secret, 2]",
        "current-context: none\ncontexts: []\nclusters: []\nusers: []",
        '{"users": {"token": "hidden-secret"}, "contexts": [], "current-context": "x"}',
    ],
)
def test_a_file_that_is_no_kubeconfig_is_said_plainly_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")) as caught:
        Kubernetes(path)
    assert "hidden-secret" not in str(caught.value)
    with pytest.raises(ValueError, match="absent"):
        Kubernetes(tmp_path / "absent")


def in_cluster(folder: Path, token: str, monkeypatch: pytest.MonkeyPatch, url: str) -> Callable[[str], None]:
    """Makes this process look like a pod, whose token the returned function replaces."""
    from kubernetes.config import incluster_config

    (folder / "token").write_text(token)
    (folder / "ca.crt").write_text("a certificate")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setattr(incluster_config, "_join_host_port", lambda host, port: url.removeprefix("http://"))
    monkeypatch.setattr(incluster_config.InClusterConfigLoader, "_set_config", _plain(incluster_config.InClusterConfigLoader))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")

    def replace(new: str) -> None:
        (folder / "token").write_text(new)

    return replace


def _plain(loader: type) -> Callable[[object, object], None]:
    """The library's own method, but speaking http: the double has no certificate."""
    original = loader._set_config  # type: ignore[attr-defined]

    def set_config(self: object, configuration: object) -> None:
        self.host = self.host.replace("https://", "http://")  # type: ignore[attr-defined]
        original(self, configuration)

    return set_config


def test_a_pods_token_is_read_again_when_it_is_refused(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = in_cluster(tmp_path, "good-token", monkeypatch, server.url)
    api = Kubernetes()
    assert api.list(NODES).items == ()
    server.tokens = {"rotated"}
    replace("rotated")
    assert api.list(NODES).items == ()
    replace("not one\nline")
    server.tokens = set()
    with pytest.raises(UnauthorisedError, match="not one line") as caught:
        api.list(NODES)
    assert "line\n" not in str(caught.value) and caught.value.__cause__ is None


def test_without_a_pods_account_or_a_kubeconfig_there_is_nothing_to_begin_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ValueError, match=r"this pod's service account: .*not set"):
        Kubernetes()


def test_the_double_writes_what_a_watch_needs(server: ApiServer) -> None:
    """Its answers are JSON with a version that only grows."""
    versions = [int(json.loads(json.dumps(change.after))["metadata"]["resourceVersion"]) for change in server.store.history]
    assert versions == sorted(set(versions))
