"""What one pod or node tells: whether it can still run, when its program began, what it failed of. Pure.

Reasons are those of the kubelet (`pkg/kubelet/{images,lifecycle,eviction,nodeshutdown,container}`), of the pod conditions
(kubernetes.io/docs/concepts/workloads/pods/disruptions) and of the garbage collector.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.pods import CONTAINER, INDEX
from scheduler.contract.sync import Cause

Object = Mapping[str, Any]

PROGRAMS = frozenset({CONTAINER, "ray-head", "ray-worker"})
"""The container that counts, by its name."""

_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""A container that never began has a `startedAt` of 1970."""

_DISRUPTIONS = {
    "PreemptionByScheduler": Cause.PREEMPTED,
    "DeletionByTaintManager": Cause.NODE_LOST,
    "DeletionByPodGC": Cause.NODE_LOST,
    "DeletionByDeviceTaintManager": Cause.NODE_LOST,
    "EvictionByEvictionAPI": Cause.EVICTED,
    "TerminationByKubelet": Cause.EVICTED,
}
_REASONS = {
    "Evicted": Cause.EVICTED,
    "Shutdown": Cause.EVICTED,
    "NodeShutdown": Cause.EVICTED,
    "Terminated": Cause.EVICTED,
    "Preempting": Cause.PREEMPTED,
    "NodeLost": Cause.NODE_LOST,
    "NodeAffinity": Cause.NOT_PLACED,
    "UnexpectedAdmissionError": Cause.NOT_PLACED,
    "TopologyAffinityError": Cause.NOT_PLACED,
}
"""A pod's own reason; a kubelet without room says `OutOf` and the resource's name."""

_EXITS = {
    "OOMKilled": Cause.OUT_OF_MEMORY,
    "ContainerStatusUnknown": Cause.NODE_LOST,
    "StartError": Cause.LAUNCH_REFUSED,
    "ContainerCannotRun": Cause.LAUNCH_REFUSED,
}
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"})
_NEVER_PULLED = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_CANNOT_START = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff", "PreCreateHookError"}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a pod ended that did not succeed. `deleted`: somebody deleted it and did not say why, so that it ended because of that.

    A program that ended by itself has an `exit_code` and no cause. `at` is when its program ended, where that is known.
    """

    cause: Cause | None
    exit_code: int | None
    detail: str
    at: datetime | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Ailment:
    """Why a pod does not begin. `hopeless`: waiting does not help."""

    cause: Cause
    detail: str
    hopeless: bool = False


def moment(text: str | None) -> datetime | None:
    """A time as Kubernetes or the agent writes it. None for anything else: an annotation may hold what anybody wrote."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None and _EARLIEST <= found < _LATEST else None


def created_at(found: Object) -> datetime | None:
    return moment(found["metadata"].get("creationTimestamp"))


def index(pod: Object) -> int | None:
    """The completion index of a Job's pod; others have none."""
    noted = names.annotations_of(pod).get(INDEX, "")
    return int(noted) if re.fullmatch(r"[0-9]{1,6}", noted, re.ASCII) else None


def rank(pod: Object) -> int:
    """Which rank's it is, as logs are told apart."""
    return index(pod) or 0


def is_rank(pod: Object) -> bool:
    return (pod["metadata"].get("labels") or {}).get(names.ROLE) == names.RANK_ROLE


def is_deleted(pod: Object) -> bool:
    return pod["metadata"].get("deletionTimestamp") is not None


def node_of(pod: Object) -> str | None:
    name: str | None = pod["spec"].get("nodeName")
    return name


def is_over(pod: Object) -> bool:
    """Whether nothing of it runs nor can: it has ended, or is deleted before any node had it."""
    return pod["status"].get("phase") in ("Succeeded", "Failed") or (is_deleted(pod) and node_of(pod) is None)


def began_at(pod: Object) -> datetime | None:
    """When the pod's program began."""
    state = _program(pod).get("state") or {}
    return moment((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def ended_at(pod: Object) -> datetime | None:
    """When the pod's program ended."""
    return moment(((_program(pod).get("state") or {}).get("terminated") or {}).get("finishedAt"))


def failure(pod: Object, nodes: Mapping[str, Object]) -> Failure | None:
    """Why the pod failed, or is being removed by the cluster; None if neither. `nodes` are those there are, by name.

    What is being removed may fail of it much later, and its peers before it: when it was said counts.
    """
    disrupted = _disruption(pod)
    failed = pod["status"].get("phase") == "Failed"
    if disrupted and (failed or is_deleted(pod)):
        cause = _disrupted(pod, str(disrupted.get("reason")), nodes)
        detail = _where(pod, _told(disrupted.get("reason"), disrupted.get("message")))
        return Failure(cause, None, detail, moment(disrupted.get("lastTransitionTime")), deleted=False)
    return _failed(pod) if failed else None


def ailment(pod: Object) -> Ailment | None:
    """What keeps the pod's containers from beginning, where it is more than that they have not begun yet."""
    for container in _statuses(pod):
        waiting = (container.get("state") or {}).get("waiting") or {}
        reason, detail = waiting.get("reason", ""), f"{waiting.get('reason')}: {_line(waiting.get('message'))}"
        if reason in _NEVER_PULLED:
            return Ailment(Cause.IMAGE_PULL, _where(pod, detail), hopeless=True)
        if reason in _PULL:
            return Ailment(Cause.IMAGE_PULL, _where(pod, detail))
        if reason in _CANNOT_START:
            return Ailment(Cause.LAUNCH_REFUSED, _where(pod, detail))
    return None


def unschedulable(pod: Object) -> str | None:
    """Why the scheduler has not placed it, in its words."""
    found = _condition(pod, "PodScheduled")
    return _line(found.get("message")) if found.get("status") == "False" else None


def lost_since(node: Object | None, now: datetime) -> datetime | None:
    """Since when a node does not answer; None if it does. One that is no longer there is lost from now on."""
    if node is None:
        return now
    ready = _condition(node, "Ready")
    return None if ready.get("status") == "True" else moment(ready.get("lastTransitionTime")) or now


def is_lost(node: Object | None, now: datetime, seconds: int) -> bool:
    """Whether a node is gone, or has not answered for so long."""
    since = lost_since(node, now)
    return node is None or (since is not None and now - since > timedelta(seconds=seconds))


def _failed(pod: Object) -> Failure:
    status = pod["status"]
    terminated = (_program(pod).get("state") or {}).get("terminated") or {}
    cause = _cause(pod, terminated)
    if cause is None:
        code = int(terminated["exitCode"])
        said = _where(pod, f"the program exited with code {code}")
        return Failure(None, code, said, ended_at(pod), is_deleted(pod))
    reason = status.get("reason") or terminated.get("reason") or "it ended before its program began"
    detail = _where(pod, _told(reason, status.get("message") or terminated.get("message")))
    return Failure(cause, None, detail, ended_at(pod), is_deleted(pod))


def _cause(pod: Object, terminated: Object) -> Cause | None:
    reason = str(pod["status"].get("reason") or "")
    if reason.startswith("OutOf"):
        return Cause.NOT_PLACED
    if reason in _REASONS:
        return _REASONS[reason]
    if terminated.get("reason") in _EXITS:
        return _EXITS[terminated["reason"]]
    if "exitCode" in terminated:
        return Cause.EVICTED if is_deleted(pod) else None
    return Cause.LAUNCH_REFUSED if any("terminated" in (each.get("state") or {}) for each in _statuses(pod)) else Cause.EVICTED


def _disruption(pod: Object) -> Object:
    found = _condition(pod, "DisruptionTarget")
    return found if found.get("status") == "True" else {}


def _disrupted(pod: Object, reason: str, nodes: Mapping[str, Object]) -> Cause:
    """A taint drives pods from a node that does not answer, and from one that is to be emptied: the node itself tells which."""
    cause = _DISRUPTIONS.get(reason, Cause.EVICTED)
    node = nodes.get(node_of(pod) or "")
    answers = node is not None and _condition(node, "Ready").get("status") == "True"
    return Cause.EVICTED if answers and reason == "DeletionByTaintManager" else cause


def _told(reason: object, message: object) -> str:
    return f"{reason}: {_line(message)}" if message else str(reason)


def _where(pod: Object, text: str) -> str:
    node = node_of(pod)
    return f"rank {rank(pod)}{f' on {node}' if node else ''}: {text}"


def _statuses(pod: Object) -> Iterator[Object]:
    status = pod["status"]
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _program(pod: Object) -> Object:
    """The state of the container that counts; empty before the kubelet has told any."""
    found = pod["status"].get("containerStatuses") or ()
    return next((container for container in found if container.get("name") in PROGRAMS), {})


def _condition(found: Object, kind: str) -> Object:
    conditions = found["status"].get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _line(text: object) -> str:
    return " ".join(str(text or "").split())[:300]
