"""From the documents Kubernetes really writes to what a run is told as: tables of pods, Jobs, RayJobs and nodes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.owners import Owner, of_job, of_ray_job
from agents.cluster.kubernetes.status import AILING_SECONDS, Assessment, End, Limits, Note, PutBack, Resume, Seen, assess
from scheduler.contract.sync import Cause, RunState
from scheduler.domain.clock import rfc3339
from tests.agents.cluster.doubles import desired

CREATED, SCHEDULED, BEGUN, ENDED, NOW = (datetime(2026, 11, 24, 8, minute, tzinfo=UTC) for minute in (0, 1, 2, 30, 31))
LIMITS = Limits(not_placed_seconds=300, node_lost_seconds=300, puts_back=True)
KEY = ("att-1", 7)
RUN = desired(*KEY, placements=[{"node": f"node-{rank}", "devices": []} for rank in (0, 1)])
LABELS, ANNOTATIONS = names.labels("c", RUN), names.annotations("c", RUN)
STARTED = {names.STARTED_AT: rfc3339(BEGUN)}


def at(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def condition(kind: str, status: str = "True", reason: str = "", message: str = "", moment: datetime = ENDED) -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at(moment)}


def container(state: dict[str, Any], name: str = "main") -> dict[str, Any]:
    return {"name": name, "restartCount": 0, "ready": "running" in state, "image": "i", "imageID": "", "state": state}


def exited(code: int, reason: str = "Error", moment: datetime = ENDED, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": at(BEGUN), "finishedAt": at(moment), **more}}


RUNNING = {"running": {"startedAt": at(BEGUN)}}


def pod(rank: int, state: dict[str, Any] | None = None, *, node: str | None = "", deleted: bool = False, **status: Any) -> Any:
    """A pod of rank `rank` on its node, its program in `state`."""
    state = RUNNING if state is None else state
    phase = "Pending" if "waiting" in state or not state else "Running"
    if "terminated" in state:
        phase = "Succeeded" if state["terminated"]["exitCode"] == 0 else "Failed"
    metadata: dict[str, Any] = {
        "name": f"sw-{rank}-abcde",
        "uid": f"uid-{rank}",
        "creationTimestamp": at(CREATED),
        "labels": {**LABELS, names.ROLE: "rank"},
        "annotations": {**ANNOTATIONS, "batch.kubernetes.io/job-completion-index": str(rank)},
    }
    if deleted:
        metadata |= {"deletionTimestamp": at(ENDED), "deletionGracePeriodSeconds": 30}
    on = f"node-{rank}" if node == "" else node
    found = {"phase": phase, "containerStatuses": [container(state)] if state else [], **status}
    return {"metadata": metadata, "spec": {"nodeName": on} if on else {}, "status": found}


def job(
    *conditions: dict[str, str],
    notes: dict[str, str] | None = None,
    suspend: bool = False,
    created: datetime = CREATED,
    **status: Any,
) -> Owner:
    metadata = {"name": "sw", "uid": "job", "creationTimestamp": at(created), "labels": LABELS}
    found = {
        "metadata": metadata | {"annotations": ANNOTATIONS | (STARTED if notes is None else notes)},
        "spec": {"suspend": suspend},
        "status": {"conditions": list(conditions), **status},
    }
    return of_job(found, 2)


def node(name: str, ready: bool = True, since: datetime = CREATED) -> dict[str, Any]:
    status = condition("Ready", "True" if ready else "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.", since)
    return {"metadata": {"name": name}, "spec": {}, "status": {"conditions": [status]}}


NODES = {name: node(name) for name in ("node-0", "node-1")}


def judged(owner: Owner | None, *pods: Any, nodes: dict[str, Any] | None = None, now: datetime = NOW, **seen: Any) -> Assessment:
    return assess(Seen(KEY, owner, pods, NODES if nodes is None else nodes, **seen), LIMITS, now)


def verdict(owner: Owner, *pods: Any, **more: Any) -> End:
    """Why the gang is ended; meanwhile it is told as going on."""
    found = judged(owner, *pods, **more)
    assert found.run is not None
    assert found.run.state in (RunState.RUNNING, RunState.STARTING)
    assert isinstance(found.step, End), found
    return found.step


DISRUPTED = [
    ("PreemptionByScheduler", "default-scheduler: preempting to accommodate a higher priority pod", Cause.PREEMPTED),
    ("EvictionByEvictionAPI", "Eviction API: evicting", Cause.EVICTED),
    ("TerminationByKubelet", "The node was low on resource: memory. Threshold quantity: 100Mi, available: 2Mi.", Cause.EVICTED),
    ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", Cause.EVICTED),
    ("DeletionByPodGC", "PodGC: node no longer exists", Cause.NODE_LOST),
    ("SomethingNew", "", Cause.EVICTED),
]


@pytest.mark.parametrize(("reason", "message", "cause"), DISRUPTED)
@pytest.mark.parametrize("gone", [True, False])
def test_who_removed_a_pod_is_in_its_condition(reason: str, message: str, cause: Cause, gone: bool) -> None:
    state = exited(143) if gone else RUNNING
    removed = pod(1, state, deleted=True, conditions=[condition("DisruptionTarget", reason=reason, message=message)])
    found = verdict(job(), pod(0), removed)
    assert (found.cause, found.exit_code, found.at) == (cause, None, ENDED)
    assert found.detail.startswith(f"rank 1 on node-1: {reason}")


def test_a_taint_of_a_node_that_does_not_answer_is_a_lost_node() -> None:
    removed = pod(1, deleted=True, conditions=[condition("DisruptionTarget", reason="DeletionByTaintManager")])
    nodes = {**NODES, "node-1": node("node-1", ready=False, since=NOW - timedelta(seconds=60))}
    assert verdict(job(), pod(0), removed, nodes=nodes).cause is Cause.NODE_LOST


FAILED = [
    # a program's own end
    (pod(1, exited(3)), None, 3, "the program exited with code 3"),
    (pod(1, exited(139, "Error", signal=11)), None, 139, "exited with code 139"),
    # the kernel's killer
    (pod(1, exited(137, "OOMKilled")), Cause.OUT_OF_MEMORY, None, "OOMKilled"),
    # the kubelet
    (
        pod(1, exited(137), reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit."),
        Cause.EVICTED, None, "Evicted: Pod ephemeral local storage",
    ),
    (
        pod(1, {}, phase="Failed", reason="UnexpectedAdmissionError",
            message="Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. Requested: 8"),
        Cause.NOT_PLACED, None, "UnexpectedAdmissionError: Allocate failed",
    ),
    (
        pod(1, {}, phase="Failed", reason="OutOfnvidia.com/gpu", message="Node didn't have enough resource: nvidia.com/gpu"),
        Cause.NOT_PLACED, None, "OutOfnvidia.com/gpu",
    ),
    (pod(1, exited(0), phase="Failed", reason="Terminated", message="Pod was terminated in response to imminent node shutdown."),
     Cause.EVICTED, None, "imminent node shutdown"),
    (pod(1, {}, phase="Failed", reason="NodeLost", message="Node node-1 which was running pod is unresponsive"),
     Cause.NODE_LOST, None, "NodeLost"),
    # a container that never began; its times are those of the epoch
    (
        pod(1, {"terminated": {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z",
                               "finishedAt": at(ENDED), "message": 'exec: "trian.py": executable file not found in $PATH'}}),
        Cause.LAUNCH_REFUSED, None, "StartError: exec",
    ),
    # after the node came back
    (pod(1, exited(137, "ContainerStatusUnknown", message="The container could not be located when the pod was terminated")),
     Cause.NODE_LOST, None, "ContainerStatusUnknown"),
]  # fmt: skip


@pytest.mark.parametrize(("failed", "cause", "exit_code", "said"), FAILED)
def test_why_a_pod_failed(failed: Any, cause: Cause | None, exit_code: int | None, said: str) -> None:
    found = verdict(job(), pod(0), failed)
    assert (found.cause, found.exit_code) == (cause, exit_code)
    assert said in found.detail


def test_a_container_that_never_began_starts_no_clock() -> None:
    never = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": at(ENDED)}
    found = judged(job(notes={}), pod(0), pod(1, {"terminated": never}))
    assert found.run is not None
    assert (found.run.state, found.run.started_at) == (RunState.STARTING, None)


def test_the_rank_that_failed_first_counts() -> None:
    later = pod(0, exited(1, moment=ENDED + timedelta(seconds=5)))
    assert verdict(job(), later, pod(1, exited(137, "OOMKilled"))).cause is Cause.OUT_OF_MEMORY
    assert verdict(job(), pod(0, exited(9)), pod(1, exited(137, "OOMKilled", moment=ENDED + timedelta(seconds=5)))).exit_code == 9


def test_a_rank_that_fails_because_another_is_removed_does_not_hide_it() -> None:
    removed = pod(1, deleted=True, conditions=[condition("DisruptionTarget", reason="PreemptionByScheduler")])
    lost_its_peer = pod(0, exited(1, moment=ENDED + timedelta(seconds=1)))
    assert verdict(job(), lost_its_peer, removed).cause is Cause.PREEMPTED


def test_what_a_failed_job_ended_itself_is_not_why_it_failed() -> None:
    failed = condition(
        "FailureTarget", reason="PodFailurePolicy", message="Container main for pod n/sw-0 failed with exit code 3 …"
    )
    ended_by_it = pod(1, exited(143, moment=ENDED - timedelta(seconds=1)), deleted=True)
    assert verdict(job(failed), pod(0, exited(3)), ended_by_it).exit_code == 3


def test_a_pod_deleted_by_hand_was_evicted() -> None:
    assert verdict(job(), pod(0), pod(1, exited(143), deleted=True)).cause is Cause.EVICTED


@pytest.mark.parametrize(
    ("found", "cause", "exit_code", "said"),
    [
        (
            condition("Failed", reason="PodFailurePolicy",
                      message="Container main for pod ns/sw-1-x failed with exit code 42 matching FailJob rule at index 1"),
            None, 42, "exit code 42",
        ),
        (
            condition("Failed", reason="PodFailurePolicy",
                      message="Pod ns/sw-1-x has condition DisruptionTarget matching FailJob rule at index 0"),
            Cause.EVICTED, None, "DisruptionTarget",
        ),
        (condition("Failed", reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit"), None, None,
         "BackoffLimitExceeded"),
        (condition("Failed", reason="DeadlineExceeded", message="Job was active longer than specified deadline"), None, None,
         "DeadlineExceeded: Job was active longer"),
    ],
)  # fmt: skip
def test_what_the_job_says_counts_where_its_pods_are_gone(
    found: dict[str, str], cause: Cause | None, exit_code: int | None, said: str
) -> None:
    end = verdict(job(found))
    assert (end.cause, end.exit_code, end.at) == (cause, exit_code, ENDED)
    assert said in end.detail


@pytest.mark.parametrize(
    ("state", "cause", "hopeless"),
    [
        ({"reason": "ErrImagePull", "message": "failed to pull and unpack image: not found"}, Cause.IMAGE_PULL, False),
        ({"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}, Cause.IMAGE_PULL, False),
        ({"reason": "InvalidImageName", "message": 'couldn\'t parse image name "X:"'}, Cause.IMAGE_PULL, True),
        ({"reason": "ErrImageNeverPull", "message": ""}, Cause.IMAGE_PULL, True),
        ({"reason": "CreateContainerConfigError", "message": 'secret "hf" not found'}, Cause.LAUNCH_REFUSED, False),
        ({"reason": "CreateContainerError", "message": "context deadline exceeded"}, Cause.LAUNCH_REFUSED, False),
        ({"reason": "ContainerCreating"}, None, False),
        ({"reason": "PodInitializing"}, None, False),
    ],
)
def test_what_keeps_a_pod_from_beginning(state: dict[str, str], cause: Cause | None, hopeless: bool) -> None:
    waiting, owner = pod(1, {"waiting": state}), job(notes={})
    now = SCHEDULED + timedelta(seconds=AILING_SECONDS)
    at_first = judged(owner, pod(0), waiting, now=now, ailing_since={"uid-1": SCHEDULED})
    assert isinstance(at_first.step, End) is hopeless
    later = judged(owner, pod(0), waiting, now=now + timedelta(seconds=1), ailing_since={"uid-1": SCHEDULED} if cause else {})
    assert (later.step.cause if isinstance(later.step, End) else None) is cause
    assert later.run is not None
    assert (later.run.state, later.run.started_at) == (RunState.STARTING, None)


def test_the_clock_starts_when_the_last_rank_has_begun() -> None:
    late = {"running": {"startedAt": at(BEGUN + timedelta(seconds=90))}}
    assert judged(job(notes={}), pod(0), pod(1, {"waiting": {"reason": "ContainerCreating"}})).run.started_at is None  # type: ignore[union-attr]
    found = judged(job(notes={}), pod(0), pod(1, late))
    assert found.step == Note({names.STARTED_AT: "2026-11-24T08:03:30.000000Z"})
    assert found.run is not None
    assert (found.run.state, found.run.started_at, found.run.ranks) == (RunState.RUNNING, BEGUN + timedelta(seconds=90), 2)
    noted = judged(job(notes={names.STARTED_AT: rfc3339(BEGUN)}), pod(0), pod(1, late))
    assert noted.run is not None
    assert (noted.run.started_at, noted.step) == (BEGUN, None)


def test_a_gang_that_has_no_place_in_time_is_not_placed() -> None:
    said = "0/9 nodes are available: 1 Insufficient nvidia.com/gpu, 8 node(s) didn't match Pod's node affinity/selector."
    nowhere = pod(1, {}, node=None, conditions=[condition("PodScheduled", "False", "Unschedulable", said)])
    owner = job(notes={names.RESUMED_AT: rfc3339(CREATED)})
    in_time = judged(owner, pod(0, {}), nowhere, now=CREATED + timedelta(seconds=20))
    assert in_time.step is None
    halfway = judged(owner, pod(0, {}), nowhere, now=CREATED + timedelta(seconds=31))
    assert halfway.step == PutBack()
    late = verdict(owner, pod(0, {}), nowhere, now=CREATED + timedelta(seconds=301))
    assert late.cause is Cause.NOT_PLACED
    assert late.detail == f"1 of 2 ranks had a place after 300 s: {said}"
    waits = verdict(job(notes={}, suspend=True), now=CREATED + timedelta(seconds=301))
    assert waits.detail == "0 of 2 ranks had a place after 300 s: it was not admitted"


def test_a_suspended_gang_is_let_go_and_one_that_ran_was_preempted() -> None:
    suspended = condition("Suspended", reason="JobSuspended")
    assert judged(job(suspended, notes={}, suspend=True), now=CREATED).step == Resume()
    put_back = job(suspended, notes={names.RESUMED_AT: rfc3339(CREATED)}, suspend=True)
    assert judged(put_back, pod(0, exited(143), deleted=True), now=BEGUN).step == Resume()
    found = verdict(job(suspended, suspend=True), pod(0, exited(143), deleted=True))
    assert (found.cause, found.exit_code) == (Cause.PREEMPTED, None)


def test_a_lost_node_ends_the_gang_and_its_pod_is_not_waited_for() -> None:
    lost = {**NODES, "node-1": node("node-1", ready=False, since=ENDED)}
    soon, late = ENDED + timedelta(seconds=300), ENDED + timedelta(seconds=301)
    assert judged(job(), pod(0), pod(1), nodes=lost, now=soon).step is None
    end = verdict(job(), pod(0), pod(1), nodes=lost, now=late)
    assert (end.cause, end.at) == (Cause.NODE_LOST, ENDED)
    notes = STARTED | {names.END: end.annotation()}
    ended = job(condition("Suspended"), notes=notes, suspend=True)
    still = judged(ended, pod(0, deleted=True), pod(1, deleted=True), nodes=lost, now=late)
    assert still.run is not None
    assert still.run.state is RunState.RUNNING
    over = judged(ended, pod(0, exited(143), deleted=True), pod(1, deleted=True), nodes=lost, now=late)
    assert over.run is not None
    assert (over.run.state, over.run.cause, over.run.finished_at) == (RunState.FAILED, Cause.NODE_LOST, ENDED)
    gone = {"node-0": NODES["node-0"]}
    assert verdict(job(), pod(0), pod(1), nodes=gone).cause is Cause.NODE_LOST


def test_a_rank_that_failed_of_anothers_lost_node_does_not_hide_it() -> None:
    end = End(None, 1, "rank 0 on node-0: the program exited with code 1", ENDED)
    owner = job(condition("FailureTarget", reason="PodFailurePolicy", message="…"), notes=STARTED | {names.END: end.annotation()})
    lost = {**NODES, "node-1": node("node-1", ready=False, since=ENDED)}
    pods = pod(0, exited(1)), pod(1, deleted=True)
    waiting = judged(owner, *pods, nodes=lost, now=ENDED + timedelta(seconds=200))
    assert waiting.run is not None
    assert waiting.run.state is RunState.RUNNING
    over = judged(owner, *pods, nodes=lost, now=ENDED + timedelta(seconds=301))
    assert over.run is not None
    assert (over.run.state, over.run.cause, over.run.exit_code) == (RunState.FAILED, Cause.NODE_LOST, None)


def test_an_ending_is_told_when_nothing_can_run_any_more() -> None:
    end = End(asked=True, detail="the city does not desire it any more", at=NOW)
    notes = STARTED | {names.END: end.annotation()}
    not_yet_suspended = judged(job(notes=notes), pod(0), pod(1))
    assert not_yet_suspended.step == end
    for owner, pods in (
        (job(notes=notes, suspend=True), ()),  # the controller has not seen it yet
        (job(condition("Suspended"), notes=notes, suspend=True, active=1), ()),
        (job(condition("Suspended"), notes=notes, suspend=True), (pod(0, deleted=True),)),
    ):
        assert judged(owner, *pods).run.state is RunState.RUNNING  # type: ignore[union-attr]
    over = judged(job(condition("Suspended"), notes=notes, suspend=True))
    assert over.run is not None
    assert (over.run.state, over.run.cause, over.run.finished_at) == (RunState.STOPPED, None, NOW)
    assert over.step == Note({names.FINISHED_AT: rfc3339(NOW)})
    written = notes | {names.FINISHED_AT: rfc3339(ENDED)}
    again = judged(job(condition("Suspended"), notes=written, suspend=True))
    assert again.run is not None
    assert (again.run.finished_at, again.step) == (ENDED, None)


def test_a_program_that_was_done_before_its_stop_arrived_succeeded() -> None:
    notes = STARTED | {names.END: End(asked=True, at=NOW).annotation()}
    done = job(condition("Complete"), notes=notes, completionTime=at(ENDED))
    found = judged(done, pod(0, exited(0, "Completed")), pod(1, exited(0, "Completed")))
    assert found.run is not None
    assert (found.run.state, found.run.finished_at) == (RunState.SUCCEEDED, ENDED)


def test_a_job_that_is_gone_is_told_while_a_pod_of_it_lives() -> None:
    found = judged(None, pod(0), pod(1, deleted=True))
    assert found.run is not None
    assert (found.run.state, found.run.started_at, found.step) == (RunState.RUNNING, BEGUN, None)
    assert judged(None, pod(0, exited(0)), pod(1, exited(143))).run is None
    assert judged(None).run is None


def test_pods_of_a_job_of_the_same_name_that_is_gone_are_waited_for_and_say_nothing() -> None:
    old = pod(0, exited(143), deleted=True)
    old["metadata"]["ownerReferences"] = [{"kind": "Job", "uid": "another"}]
    assert judged(job(), pod(0), pod(1), old).step is None
    old["status"]["phase"] = "Running"
    notes = STARTED | {names.END: End(asked=True, at=NOW).annotation()}
    found = judged(job(condition("Suspended"), notes=notes, suspend=True), old)
    assert found.run is not None
    assert found.run.state is RunState.RUNNING


def test_what_somebody_else_wrote_as_an_ending_says_nothing() -> None:
    found = judged(job(condition("Suspended"), notes=STARTED | {names.END: "{}"}, suspend=True))
    assert found.run is not None
    assert (found.run.state, found.run.cause) == (RunState.FAILED, None)
    assert "cannot read" in (found.run.detail or "")


# RayJobs


def ray(
    deployment: str = "", status: str = "", *, suspend: bool = False, notes: dict[str, str] | None = None, **more: Any
) -> Owner:
    metadata = {"name": "sw", "uid": "ray", "creationTimestamp": at(CREATED), "labels": LABELS}
    found = {
        "metadata": metadata | {"annotations": ANNOTATIONS | (STARTED if notes is None else notes)},
        "spec": {"suspend": suspend},
        "status": {"jobDeploymentStatus": deployment, "jobStatus": status, **more},
    }
    return of_ray_job(found, 2)


def ray_pod(number: int, state: dict[str, Any] | None = None, **more: Any) -> Any:
    found = pod(number, state, **more)
    del found["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
    for each in found["status"]["containerStatuses"]:
        each["name"] = "ray-worker" if number else "ray-head"
    return found


def test_a_ray_program_begins_after_its_cluster() -> None:
    pods = ray_pod(0), ray_pod(1)
    assert judged(ray("Initializing", notes={}), *pods).run.state is RunState.STARTING  # type: ignore[union-attr]
    began = BEGUN + timedelta(seconds=40)
    found = judged(ray("Running", "RUNNING", notes={}, rayJobInfo={"startTime": at(began)}), *pods)
    assert found.run is not None
    assert (found.run.state, found.run.started_at, found.run.ranks) == (RunState.RUNNING, began, 1)


def test_how_a_ray_job_ends() -> None:
    info = {"startTime": at(BEGUN), "endTime": at(ENDED)}
    done = judged(ray("Complete", "SUCCEEDED", rayJobInfo=info))
    assert done.run is not None
    assert (done.run.state, done.run.exit_code, done.run.finished_at) == (RunState.SUCCEEDED, 0, ENDED)
    busy = judged(ray("Complete", "SUCCEEDED", rayJobInfo=info), ray_pod(0, deleted=True))
    assert busy.run is not None
    assert busy.run.state is RunState.RUNNING
    message = "Job entrypoint command failed with exit code 3, last available logs (truncated to 20,000 chars):\nTraceback"
    failed = verdict(ray("Failed", "FAILED", reason="AppFailed", message=message, rayJobInfo=info))
    assert (failed.cause, failed.exit_code, failed.at) == (None, 3, ENDED)
    invalid = verdict(
        ray("ValidationFailed", reason="ValidationFailed", message="headGroupSpec should have at least one container")
    )
    assert invalid.cause is Cause.LAUNCH_REFUSED


def test_a_ray_pod_that_failed_or_was_replaced_ends_the_gang() -> None:
    owner = ray("Running", "RUNNING", rayJobInfo={"startTime": at(BEGUN)})
    assert verdict(owner, ray_pod(0), ray_pod(1, exited(137, "OOMKilled"))).cause is Cause.OUT_OF_MEMORY
    new = ray_pod(1)
    new["metadata"]["creationTimestamp"] = at(ENDED)
    assert verdict(owner, ray_pod(0), new).cause is Cause.EVICTED
    assert judged(owner, ray_pod(0), ray_pod(1)).step is None


def test_a_suspended_ray_job_is_quiet_when_its_operator_says_so() -> None:
    notes = STARTED | {names.END: End(asked=True, at=NOW).annotation()}
    assert judged(ray("Suspending", suspend=True, notes=notes)).run.state is RunState.RUNNING  # type: ignore[union-attr]
    assert judged(ray("Suspended", suspend=True, notes=notes)).run.state is RunState.STOPPED  # type: ignore[union-attr]
