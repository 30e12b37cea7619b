"""The `kubernetes` launcher with indexed Jobs: the same module against the double and, unchanged, against a real cluster."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.resources import EVENTS, JOBS, PODS, SERVICES
from agents.cluster.launcher import LauncherUnavailableError, LaunchRefusedError
from agents.cluster.reconcile import plan
from scheduler.contract.sync import Cause, RunState
from tests.agents.cluster.kube.api_server import ApiServer, Fault
from tests.agents.cluster.kube.manifests import pod
from tests.agents.cluster.kube.site import CLUSTER, KEY, Site, site
from tests.agents.cluster.kube.world import Kube

ENDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED)


@pytest.fixture
def place(kube: Kube, kubeconfig: Path, tmp_path: Path) -> Iterator[Site]:
    with site(kube, kubeconfig, tmp_path / "agent") as made:
        yield made


def test_a_gang_runs_whole_to_its_end(place: Site) -> None:
    run = place.running()
    assert run.started_at is not None
    assert run.ranks == 2
    on = {pod["spec"]["nodeName"] for pod in place.pods().values()}
    assert on == {place.kube.world.node_name("n0"), place.kube.world.node_name("n1")}
    place.kube.world.kubelet.end(place.pod_name(0))
    assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    place.kube.world.kubelet.end(place.pod_name(1))
    ended = place.until(*ENDED)
    assert (ended.state, ended.exit_code, ended.cause) == (RunState.SUCCEEDED, 0, None)
    assert ended.finished_at is not None
    assert ended.started_at == run.started_at
    assert place.seen() == ended


def test_it_is_told_until_it_is_forgotten_and_then_nothing_is_left(place: Site) -> None:
    place.running(place.gang(nodes=1))
    place.kube.world.kubelet.end(place.pod_name(0))
    place.until(RunState.SUCCEEDED)
    place.launcher.forget(*KEY)
    world, api = place.kube.world, place.kube.api
    world.until(lambda: place.seen() is None)
    world.until(
        lambda: not any(api.list(kind, place.kube.namespace, label_selector=names.selector(CLUSTER)).items for kind in (JOBS,))
    )
    place.launcher.forget(*KEY)


def test_programs_see_each_other_and_their_exit_code_is_the_runs(place: Site) -> None:
    place.kube.world.kubelet.run_programs = True
    command = (
        'echo "$RANK of $WORLD_SIZE at $MASTER_ADDR, $PET_NPROC_PER_NODE each"; echo "pid \'$$\'" >&2; sleep 1; exit $((RANK * 7))'
    )
    place.launcher.launch(place.gang(command=command))
    ended = place.until(*ENDED)
    assert (ended.state, ended.exit_code, ended.cause) == (RunState.FAILED, 7, None)
    name = names.run_name(CLUSTER, KEY)
    for rank in (0, 1) if place.has_logs else ():
        text = place.launcher.read_log(*KEY, rank, 0, 4096).data.decode()
        assert text.startswith(f"{rank} of 2 at {name}-0.{name}.{place.kube.namespace}.svc, 8 each\npid '"), text
        assert "$" not in text


def test_launching_twice_starts_one(place: Site) -> None:
    place.launcher.launch(place.gang())
    place.launcher.launch(place.gang())
    place.until(RunState.RUNNING)
    assert len(place.pods()) == 2
    assert len(place.launcher.observe()) == 1


def test_a_gang_waits_suspended_until_every_node_has_room(place: Site) -> None:
    other = pod("other", node=place.kube.world.node_name("n1"))
    other["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    place.kube.api.create(PODS, place.kube.namespace, other)
    place.kube.world.until(lambda: place.kube.world.kubelet.pod("other")["status"]["phase"] == "Running")
    place.launcher.launch(place.gang())
    for _ in range(5):
        place.kube.world.step()
        assert place.seen().state is RunState.STARTING  # type: ignore[union-attr]
    assert place.job()["spec"]["suspend"] is True
    assert place.pods() == {}
    place.kube.world.kubelet.end("other")
    place.launcher._there_until = 0.0  # what all pods ask for is looked at every few seconds
    place.until(RunState.RUNNING)


def test_half_a_gang_gives_its_places_back_and_is_told_as_not_placed(place: Site) -> None:
    taint = {"spec": {"taints": [{"key": "example.cn/mine", "effect": "NoSchedule"}]}}
    place.kube.world.patch_node(place.kube.world.node_name("n1"), taint)
    place.kube.world.kubelet.hold = True
    place.launcher.launch(place.gang())

    def placed() -> int:
        return sum("nodeName" in each["spec"] for each in place.pods().values())

    place.kube.world.until(lambda: place.seen() and placed() == 1)
    place.clock.ahead = 40
    place.kube.world.until(lambda: place.seen() and not place.pods(), "half a gang holds its places")
    place.clock.ahead = 400
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause, ended.started_at) == (RunState.FAILED, Cause.NOT_PLACED, None)
    assert "of 2 ranks" in (ended.detail or "")


def test_a_quota_that_lets_no_pod_be_made_is_told_in_its_words(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    world, namespace = place.kube.world, place.kube.namespace
    if world.server is None:
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        world.rest("POST", f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
        world.until(lambda: "hard" in world.rest("GET", f"/api/v1/namespaces/{namespace}/resourcequotas/none").get("status", {}))
        place.launcher.launch(place.gang())
        path = f"/api/v1/namespaces/{namespace}/events"
        world.until(lambda: place.seen() and any(each["reason"] == "FailedCreate" for each in world.rest("GET", path)["items"]))
    else:
        monkeypatch.setattr("tests.agents.cluster.kube.controllers._start_pod", lambda *_: None)
        place.launcher.launch(place.gang())
        job = {"kind": "Job", "name": place.job()["metadata"]["name"], "uid": place.job()["metadata"]["uid"]}
        said = 'Error creating: pods "sw-0-x" is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0'
        event = {"metadata": {"name": "e"}, "involvedObject": job, "reason": "FailedCreate", "message": said, "type": "Warning"}
        place.kube.api.create(EVENTS, namespace, event)
    place.clock.ahead = 400
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause) == (RunState.FAILED, Cause.NOT_PLACED)
    assert "exceeded quota: none" in (ended.detail or "")


def test_a_node_that_is_not_there_is_refused(place: Site) -> None:
    run = place.gang()
    elsewhere = run.model_copy(update={"placements": [run.placements[0].model_copy(update={"node": "elsewhere"})]})
    with pytest.raises(LaunchRefusedError, match="elsewhere is no node"):
        place.launcher.launch(elsewhere)


def test_what_the_api_does_not_take_is_refused_in_its_words(place: Site, server: ApiServer) -> None:
    said = 'pods "x" is forbidden: exceeded quota: team, requested: requests.nvidia.com/gpu=16'
    server.faults.append(Fault("create", "jobs", status=403, reason="Forbidden", message=said))
    with pytest.raises(LaunchRefusedError, match="exceeded quota: team"):
        place.launcher.launch(place.gang())


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("PreemptionByScheduler", Cause.PREEMPTED),
        ("EvictionByEvictionAPI", Cause.EVICTED),
        ("DeletionByTaintManager", Cause.EVICTED),
    ],
)
def test_a_pod_the_cluster_removes_ends_the_gang(place: Site, reason: str, cause: Cause) -> None:
    place.running()
    place.kube.world.kubelet.disrupt(place.pod_name(1), reason, "somebody more important")
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause, ended.exit_code) == (RunState.FAILED, cause, None)
    assert reason in (ended.detail or "")
    assert place.pods() == {} or all(each["status"]["phase"] != "Running" for each in place.pods().values())


def test_a_rank_out_of_memory_ends_the_gang(place: Site) -> None:
    place.running()
    place.kube.world.kubelet.end(place.pod_name(1), 137, "OOMKilled")
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause, ended.exit_code) == (RunState.FAILED, Cause.OUT_OF_MEMORY, None)
    assert "rank 1" in (ended.detail or "")


def test_an_evicted_rank_ends_the_gang(place: Site) -> None:
    place.running()
    place.kube.world.kubelet.evict(place.pod_name(0))
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause) == (RunState.FAILED, Cause.EVICTED)
    assert "low on resource" in (ended.detail or "")


@pytest.mark.parametrize(
    ("reason", "cause", "later"),
    [
        ("InvalidImageName", Cause.IMAGE_PULL, 0),
        ("ErrImagePull", Cause.IMAGE_PULL, 130),
        ("ImagePullBackOff", Cause.IMAGE_PULL, 130),
        ("CreateContainerConfigError", Cause.LAUNCH_REFUSED, 130),
    ],
)
def test_what_cannot_begin_is_ended(place: Site, reason: str, cause: Cause, later: float) -> None:
    place.kube.world.kubelet.hold = True
    place.launcher.launch(place.gang())
    place.kube.world.until(lambda: place.seen() and sum("nodeName" in each["spec"] for each in place.pods().values()) == 2)
    place.kube.world.kubelet.wait_for(place.pod_name(1), reason, "no such thing")
    place.kube.world.until(lambda: place.seen() and (later == 0 or place.launcher._ailing))
    place.clock.ahead = later
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause, ended.started_at) == (RunState.FAILED, cause, None)
    assert "no such thing" in (ended.detail or "")


def test_a_gang_with_a_lost_node_is_over_though_its_pod_cannot_be_asked(place: Site) -> None:
    started = place.running().started_at
    name = place.kube.world.node_name("n1")
    place.kube.world.set_ready(name, False)
    for _ in range(3):
        place.kube.world.step()
        assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    place.clock.ahead = 310
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause, ended.started_at) == (RunState.FAILED, Cause.NODE_LOST, started)
    assert name in (ended.detail or "")
    assert ended.finished_at is not None
    assert ended.finished_at < place.clock()


def test_stop_gives_the_program_its_grace(place: Site) -> None:
    place.kube.world.kubelet.run_programs = True
    place.launcher.launch(
        place.gang(command="trap 'echo saving; sleep 0.3; echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    )
    place.until(RunState.RUNNING)
    place.kube.world.until(lambda: not place.has_logs or place.launcher.read_log(*KEY, 0, 0, 100).data == b"up\n")
    place.launcher.stop(*KEY)
    assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause) == (RunState.STOPPED, None)
    assert place.pods() == {}


def test_a_program_that_ignores_the_stop_runs_until_its_grace_is_over(place: Site) -> None:
    place.running()
    for each in place.pods().values():
        place.kube.world.kubelet.stubborn.add(each["metadata"]["name"])
    stubborn = [each["metadata"]["name"] for each in place.pods().values()]
    place.launcher.stop(*KEY)
    for _ in range(10):
        place.kube.world.step()
        assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    place.launcher.stop(*KEY)
    for name in stubborn:
        place.kube.world.kubelet.kill(name)
    assert place.until(*ENDED).state is RunState.STOPPED


def test_an_ending_is_not_told_on_what_was_last_heard(place: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    place.running()
    for each in place.pods().values():
        place.kube.world.kubelet.stubborn.add(each["metadata"]["name"])
    place.launcher.stop(*KEY)
    place.kube.world.until(lambda: place.seen() and not place.pods())
    monkeypatch.setattr(place.launcher._pods, "snapshot", dict)  # a watch that is behind, or has missed something
    for _ in range(5):
        place.kube.world.step()
        assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]


def test_an_ending_waits_for_an_api_that_answers(place: Site, server: ApiServer) -> None:
    place.running()
    for each in place.pods().values():
        place.kube.world.kubelet.end(each["metadata"]["name"])
    server.faults.append(Fault("get", "jobs", times=10**6, status=500))
    for _ in range(20):
        place.kube.world.step()
        assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    server.faults.clear()
    assert place.until(*ENDED).state is RunState.SUCCEEDED


def test_a_restarted_agent_finds_its_runs_as_they_are(place: Site) -> None:
    run = place.running()
    place.restart()
    assert place.seen() == run
    place.kube.world.kubelet.end(place.pod_name(1), 3)
    ended = place.until(*ENDED)
    assert (ended.state, ended.exit_code) == (RunState.FAILED, 3)
    place.restart()
    assert place.seen() == ended


def test_an_agent_that_dies_after_the_create_goes_on(place: Site) -> None:
    place.launcher._brought_on = lambda seen, until: (None, until)  # type: ignore[method-assign]
    place.launcher.launch(place.gang())
    assert place.job()["spec"]["suspend"] is True
    place.restart()
    place.until(RunState.RUNNING)
    assert place.kube.api.list(SERVICES, place.kube.namespace).items


def test_a_run_with_an_old_token_is_stopped_before_the_new_one_is_launched(place: Site) -> None:
    place.running()
    new = place.gang(token=2)
    actions = plan([new], place.launcher.observe())
    assert (actions.stop, actions.launch) == ((KEY,), ())
    place.launcher.stop(*KEY)
    place.until(RunState.STOPPED)
    actions = plan([new], place.launcher.observe())
    assert (actions.forget, [run.fencing_token for run in actions.launch]) == ((KEY,), [2])
    place.launcher.forget(*KEY)
    place.launcher.launch(actions.launch[0])
    place.until(RunState.RUNNING, key=("att-1", 2))


def test_a_job_deleted_by_hand_is_told_while_its_pods_live(place: Site) -> None:
    place.running()
    names_of_pods = [each["metadata"]["name"] for each in place.pods().values()]
    place.kube.world.kubelet.stubborn |= set(names_of_pods)
    place.kube.api.delete(JOBS, place.kube.namespace, names.run_name(CLUSTER, KEY), propagation="Background")
    for _ in range(5):
        place.kube.world.step()
        assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    for name in names_of_pods:
        place.kube.world.kubelet.kill(name)
    place.kube.world.until(lambda: place.seen() is None)


def test_pods_left_without_their_job_are_ended_by_a_stop(place: Site) -> None:
    place.running()
    place.kube.api.delete(JOBS, place.kube.namespace, names.run_name(CLUSTER, KEY), propagation="Orphan")
    place.kube.world.until(lambda: place.seen() and not place.launcher._owners.snapshot())
    assert place.seen().state is RunState.RUNNING  # type: ignore[union-attr]
    place.launcher.stop(*KEY)
    place.kube.world.until(lambda: place.seen() is None)


def test_a_suspended_run_was_preempted(place: Site) -> None:
    place.running()
    place.kube.api.patch(JOBS, place.kube.namespace, names.run_name(CLUSTER, KEY), {"spec": {"suspend": True}})
    ended = place.until(*ENDED)
    assert (ended.state, ended.cause) == (RunState.FAILED, Cause.PREEMPTED)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("patch", "jobs", status=500),
        Fault("patch", "jobs", status=429, headers={"Retry-After": "1"}),
        Fault("patch", "jobs", status=503),
        Fault("patch", "jobs", after_effect=True, cut_after=10),
        Fault("create", "services", status=500),
        Fault("get", "jobs", status=500),
        Fault("list", "jobs", status=500),
        Fault("list", "pods", cut_after=40),
        Fault("watch", "pods", status=410, reason="Expired"),
        Fault("get", "jobs", garbage=b"<html>"),
    ],
    ids=str,
)
def test_trouble_of_the_api_loses_and_doubles_no_run(place: Site, server: ApiServer, fault: Fault) -> None:
    server.faults.append(fault)
    place.launcher.launch(place.gang())
    place.until(RunState.RUNNING)
    assert len(place.pods()) == 2
    server.faults += [Fault("get", "jobs", status=fault.status or 500), Fault("patch", "jobs", status=fault.status or 500)]
    place.kube.world.kubelet.end(place.pod_name(0), 5)
    told: list[RunState] = []

    def over() -> bool:
        try:
            run = place.seen()
        except LauncherUnavailableError:
            return False
        assert run is not None, "a run that is there was not told"
        told.append(run.state)
        return run.state in ENDED

    place.kube.world.until(over)
    assert set(told) == {RunState.RUNNING, RunState.FAILED}
    assert place.seen().exit_code == 5  # type: ignore[union-attr]


def test_a_run_whose_every_step_fails_holds_up_no_other(place: Site, server: ApiServer) -> None:
    """As an admission webhook may have it that does not answer for one object."""
    server.faults.append(Fault("patch", "jobs", name=names.run_name(CLUSTER, KEY), times=10_000, status=500))
    place.launcher.launch(place.gang(nodes=1, per_node=0))
    place.launcher.launch(place.gang(nodes=1, per_node=0, attempt="att-2", token=2))
    place.until(RunState.RUNNING, key=("att-2", 2))
    place.kube.world.kubelet.end(str(place.pods(("att-2", 2))[0]["metadata"]["name"]), 0)
    place.until(RunState.SUCCEEDED, key=("att-2", 2))
    assert place.seen().state is RunState.STARTING  # type: ignore[union-attr]


def test_a_lost_answer_to_a_create_starts_one(place: Site, server: ApiServer) -> None:
    server.faults.append(Fault("create", "jobs", after_effect=True, cut_after=0))
    with pytest.raises(LauncherUnavailableError):
        place.launcher.launch(place.gang())
    place.launcher.launch(place.gang())
    place.until(RunState.RUNNING)
    assert len(place.pods()) == 2


def test_logs_go_on_where_they_were_and_outlive_their_pods(place: Site) -> None:
    place.running(place.gang(nodes=1))
    name = place.pod_name(0)
    kubelet = place.kube.world.kubelet
    kubelet.prints(name, "one\ntwo\n")
    if not place.has_logs:
        pytest.skip("no kubelet serves logs there")
    place.kube.world.until(lambda: place.launcher.read_log(*KEY, 0, 0, 100).data == b"one\ntwo\n")
    kubelet.prints(name, "three\n")
    assert place.launcher.read_log(*KEY, 0, 4, 100).data == b"two\n"
    place.restart()
    place.until(RunState.RUNNING)
    assert place.launcher.read_log(*KEY, 0, 8, 100).data == b"three\n"
    place.launcher.stop(*KEY)
    place.until(RunState.STOPPED)
    place.kube.world.until(lambda: name not in {each["metadata"]["name"] for each in place.kube.world.pods()})
    assert place.launcher.read_log(*KEY, 0, 0, 100).data == b"one\ntwo\nthree\n"
    place.launcher.forget(*KEY)
    place.kube.world.until(lambda: place.seen() is None)
    assert list((place.folder / "logs").iterdir()) == []


def test_whatever_is_written_on_a_job_its_run_is_told(place: Site) -> None:
    place.running()
    forged = {names.STARTED_AT: "yesterday", names.RESUMED_AT: "0001-01-01T00:00:00Z", names.RANKS: "99999", names.FINISHED_AT: "x"}
    for value in (forged, forged | {names.END: '{"cause": "boredom"}'}):
        place.kube.api.patch(JOBS, place.kube.namespace, names.run_name(CLUSTER, KEY), {"metadata": {"annotations": value}})
        for _ in range(3):
            place.kube.world.step()
            assert place.seen() is not None
    assert place.until(*ENDED).state is RunState.FAILED


def test_stopping_and_forgetting_what_never_was_does_nothing(place: Site) -> None:
    place.launcher.stop("att-9", 9)
    place.launcher.forget("att-9", 9)
    assert place.launcher.read_log("att-9", 9, 0, 7, 10).data == b""
    assert place.launcher.observe() == []


def test_the_age_of_a_checkpoint_is_told_where_the_agent_has_the_volume(
    kube: Kube, kubeconfig: Path, server: ApiServer, tmp_path: Path
) -> None:
    volume = tmp_path / "volume"
    with site(kube, kubeconfig, tmp_path / "agent", checkpoints={"claim": "ck", "local_path": str(volume)}) as place:
        run = place.running(place.gang(checkpoint_path="/ckpt"))
        assert run.checkpoint_at is None
        folder = volume / "job-1" / "ckpt"
        folder.mkdir(parents=True)
        (folder / "of-an-earlier-attempt").write_text("x")
        os.utime(folder / "of-an-earlier-attempt", (1_000_000_000, 1_000_000_000))
        assert place.seen().checkpoint_at is None  # type: ignore[union-attr]
        (folder / "step-10").write_text("x")
        later = int(time.time()) + 60
        os.utime(folder / "step-10", (later, later))
        assert place.seen().checkpoint_at == datetime.fromtimestamp(later, UTC)  # type: ignore[union-attr]
