"""The control loops a double needs beside its API server, where a real control plane has its own: jobs, scheduling, pod collection.

Each looks at everything and takes what steps it can, so the order in which they run does not matter. From the documentation of
Job (indexed completion, suspension, backoff, pod failure policies), of the scheduler's filters and of the pod garbage collector.
"""

from collections.abc import Iterator
from decimal import Decimal
from uuid import uuid4

from kubernetes.utils import parse_quantity

from tests.agents.cluster.kube.store import Kind, Object, Store, owners, stamp

PODS = Kind("", "v1", "pods", "Pod")
JOBS = Kind("batch", "v1", "jobs", "Job")
INDEX = "batch.kubernetes.io/job-completion-index"
TRACKED = "batch.kubernetes.io/job-tracking"
ENDED = ("Succeeded", "Failed")


def reconcile(store: Store) -> None:
    """One pass of all loops."""
    with store.changed:
        for job in store.all("jobs.batch"):
            _run_job(store, job)
        for pod in store.all("pods"):
            if not pod["spec"].get("nodeName") and "deletionTimestamp" not in pod["metadata"]:
                _schedule(store, pod)
        _let_go_of_the_bereaved(store)
        _collect_orphans(store)


# Jobs


def _run_job(store: Store, job: Object) -> None:
    pods = [pod for pod in store.all("pods", job["metadata"]["namespace"]) if job["metadata"]["uid"] in owners(pod)]
    if condition(job, "Complete") or condition(job, "Failed") or "deletionTimestamp" in job["metadata"]:
        _let_go(store, pods)
        return
    spec = {"parallelism": 1, "completions": 1, "backoffLimit": 6, **job["spec"]}
    only_failed = spec.get("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "") == "Failed"
    living = [pod for pod in pods if pod["status"]["phase"] not in ENDED]
    active = [pod for pod in living if "deletionTimestamp" not in pod["metadata"]]
    counted = [pod for pod in pods if TRACKED in pod["metadata"].get("finalizers", ()) and _is_over(pod, only_failed)]
    done = {int(index) for index in (job["status"].get("completedIndexes") or "").split(",") if index}
    done |= {_index(pod) for pod in counted if pod["status"]["phase"] == "Succeeded"}
    rules = [_rule(pod, spec) for pod in counted if pod["status"]["phase"] != "Succeeded"]
    failed = job["status"].get("failed", 0) + sum(1 for action, _ in rules if action != "Ignore")
    status: Object = {
        "active": len(active),
        "ready": sum(1 for pod in active if condition(pod, "Ready")),
        "terminating": len(living) - len(active),
        "succeeded": len(done),
        "failed": failed,
        "completedIndexes": ",".join(map(str, sorted(done))),
        "startTime": job["status"].get("startTime"),
    }
    verdict = _verdict(job, spec, rules, failed)
    if verdict is None and spec.get("suspend"):
        _let_go(store, active)  # what is suspended has not failed
        _delete_all(store, active)
        status |= {"active": 0, "startTime": None, "conditions": with_condition(job, store, "Suspended", "JobSuspended")}
    elif verdict is None and len(done) < spec["completions"]:
        status["startTime"] = status["startTime"] or stamp(store.clock())
        if "conditions" in job["status"]:
            status["conditions"] = with_condition(job, store, "Suspended", "JobResumed", status="False")
        occupied = done | {_index(pod) for pod in (living if only_failed else active)}
        missing = [index for index in range(spec["completions"]) if index not in occupied]
        for index in missing[: max(0, spec["parallelism"] - len(active))]:
            _start_pod(store, job, index)
    else:
        # First what will come of it, then, when no pod is left running, that it has come about.
        _delete_all(store, active)
        soon, finally_ = ("FailureTarget", "Failed") if verdict else ("SuccessCriteriaMet", "Complete")
        reason, message = verdict or ("CompletionsReached", "Reached expected number of succeeded pods")
        status |= {"active": 0, "conditions": with_condition(job, store, finally_ if not living else soon, reason, message)}
        if finally_ == "Complete" and not living:
            status["completionTime"] = stamp(store.clock())
    _say(store, job, status)
    _let_go(store, counted)


def _is_over(pod: Object, only_failed: bool) -> bool:
    """Whether the job counts a pod: one that has ended, and by default also one that is being deleted."""
    return pod["status"]["phase"] in ENDED or ("deletionTimestamp" in pod["metadata"] and not only_failed)


def _let_go(store: Store, pods: list[Object]) -> None:
    for pod in pods:
        if TRACKED in pod["metadata"].get("finalizers", ()):
            left = [name for name in pod["metadata"]["finalizers"] if name != TRACKED]
            store.patch(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {"metadata": {"finalizers": left}})


def _let_go_of_the_bereaved(store: Store) -> None:
    """A pod whose job is gone need not wait for being counted."""
    jobs = {job["metadata"]["uid"] for job in store.all("jobs.batch")}
    _let_go(store, [pod for pod in store.all("pods") if not jobs.intersection(owners(pod))])


def _rule(pod: Object, spec: Object) -> tuple[str, str]:
    """What the job's podFailurePolicy says of a failed pod, the first rule that fits, and in which words."""
    named = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    for index, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules", ())):
        action = str(rule["action"])
        for wanted in rule.get("onPodConditions") or ():
            if _present(pod, wanted):
                return action, f"Pod {named} has condition {wanted['type']} matching {action} rule at index {index}"
        codes = rule.get("onExitCodes")
        for container, code in exit_codes(pod) if codes else ():
            if (
                codes.get("containerName") in (None, container)
                and code
                and (code in codes["values"]) == (codes["operator"] == "In")
            ):
                said = f"Container {container} for pod {named} failed with exit code {code}"
                return action, f"{said} matching {action} rule at index {index}"
    return "Count", ""


def _present(pod: Object, wanted: Object) -> bool:
    return any(
        each["type"] == wanted["type"] and each["status"] == wanted.get("status", "True")
        for each in pod["status"].get("conditions", ())
    )


def exit_codes(pod: Object) -> Iterator[tuple[str, int]]:
    for container in pod["status"].get("containerStatuses", ()):
        ended = container.get("state", {}).get("terminated")
        if ended:
            yield container["name"], int(ended["exitCode"])


def _verdict(job: Object, spec: Object, rules: list[tuple[str, str]], failed: int) -> tuple[str, str] | None:
    """Why the job must fail, if it must; what was said once stays."""
    for each in job["status"].get("conditions", ()):
        if each["type"] == "FailureTarget":
            return each["reason"], each["message"]
    fatal = [said for action, said in rules if action == "FailJob"]
    if fatal:
        return "PodFailurePolicy", fatal[0]
    if failed > spec["backoffLimit"]:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _start_pod(store: Store, job: Object, index: int) -> None:
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    template = job["spec"]["template"]
    own = {
        "batch.kubernetes.io/job-name": name,
        "job-name": name,
        "batch.kubernetes.io/controller-uid": job["metadata"]["uid"],
        "controller-uid": job["metadata"]["uid"],
    }
    metadata: Object = dict(template.get("metadata") or {})
    metadata |= {"labels": {**metadata.get("labels", {}), **own}, "name": f"{name}-{uuid4().hex[:5]}"}
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
    metadata["finalizers"] = [TRACKED]
    metadata["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    spec: Object = dict(template["spec"])
    if job["spec"].get("completionMode") == "Indexed":
        metadata["name"] = f"{name}-{index}-{uuid4().hex[:5]}"
        metadata["labels"][INDEX] = str(index)
        metadata["annotations"] = {**metadata.get("annotations", {}), INDEX: str(index)}
        spec["hostname"] = f"{name}-{index}"
        told = {"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}}
        spec["containers"] = [{**each, "env": [*each.get("env", ()), told]} for each in spec["containers"]]
    store.create(PODS, namespace, {"metadata": metadata, "spec": spec})


def _index(pod: Object) -> int:
    return int(pod["metadata"].get("labels", {}).get(INDEX, 0))


def _delete_all(store: Store, pods: list[Object]) -> None:
    for pod in pods:
        store.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], {})


def _say(store: Store, job: Object, status: Object) -> None:
    kept = {name: value for name, value in {**job["status"], **status}.items() if value is not None}
    store.replace(JOBS, job["metadata"]["namespace"], job["metadata"]["name"], {"status": kept}, status=True)


def condition(found: Object, kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in found["status"].get("conditions", ()))


def with_condition(found: Object, store: Store, kind: str, reason: str, message: str = "", status: str = "True") -> list[Object]:
    """Its conditions with one of them set; unchanged if it is set already."""
    there = found["status"].get("conditions", [])
    if any((each["type"], each["status"], each["reason"]) == (kind, status, reason) for each in there):
        return list(there)
    new = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": stamp(store.clock())}
    return [each for each in there if each["type"] != kind] + [new]


# Scheduling


def _schedule(store: Store, pod: Object) -> None:
    """Binds a pod to the first node that takes it, in the order of names, or says why none does."""
    if pod["spec"].get("schedulingGates"):
        return
    nodes = store.all("nodes")
    fitting = [node for node in nodes if _admits(node, pod) and _has_room(store, node, pod) and not _repels(store, node, pod)]
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    if fitting:
        store.patch(PODS, namespace, name, {"spec": {"nodeName": fitting[0]["metadata"]["name"]}})
        status: Object = {"conditions": with_condition(pod, store, "PodScheduled", "")}
    else:
        message = f"0/{len(nodes)} nodes are available"
        status = {"conditions": with_condition(pod, store, "PodScheduled", "Unschedulable", message, status="False")}
    store.patch(PODS, namespace, name, {"status": status}, status=True)


def _admits(node: Object, pod: Object) -> bool:
    spec = pod["spec"]
    labels = node["metadata"].get("labels", {})
    tolerations = spec.get("tolerations", ())
    barred = [taint for taint in node["spec"].get("taints") or () if taint["effect"] in ("NoSchedule", "NoExecute")]
    if node["spec"].get("unschedulable") or not all(any(_tolerates(each, taint) for each in tolerations) for taint in barred):
        return False
    if not condition(node, "Ready") or any(labels.get(name) != value for name, value in spec.get("nodeSelector", {}).items()):
        return False
    required = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term(term, node) for term in required["nodeSelectorTerms"])


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, taint["key"])
    return bool(toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _term(term: Object, node: Object) -> bool:
    labels, fields = node["metadata"].get("labels", {}), {"metadata.name": node["metadata"]["name"]}
    return all(_expression(each, labels) for each in term.get("matchExpressions", ())) and all(
        _expression(each, fields) for each in term.get("matchFields", ())
    )


def _expression(expression: Object, values: dict[str, str]) -> bool:
    value = values.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise AssertionError(f"the double knows no operator {other}")


def _has_room(store: Store, node: Object, pod: Object) -> bool:
    there = [
        each
        for each in store.all("pods")
        if each["spec"].get("nodeName") == node["metadata"]["name"] and each["status"]["phase"] not in ENDED
    ]
    for name, wanted in _requests(pod).items():
        used = sum((_requests(each).get(name, Decimal(0)) for each in there), Decimal(0))
        if used + wanted > parse_quantity(node["status"].get("allocatable", {}).get(name, "0")):
            return False
    return True


def _repels(store: Store, node: Object, pod: Object) -> bool:
    """Whether a pod there is one this pod may not share a node with."""
    required = pod["spec"].get("affinity", {}).get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", ())
    there = [
        each["metadata"].get("labels", {}).items()
        for each in store.all("pods", pod["metadata"]["namespace"])
        if each["spec"].get("nodeName") == node["metadata"]["name"] and each["status"]["phase"] not in ENDED
    ]
    wanted = [term["labelSelector"]["matchLabels"].items() for term in required if term["topologyKey"] == "kubernetes.io/hostname"]
    return any(labels <= each for labels in wanted for each in there)


def _requests(pod: Object) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for container in pod["spec"]["containers"]:
        resources = container.get("resources", {})
        for name, quantity in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            total[name] = total.get(name, Decimal(0)) + parse_quantity(quantity)
    return total


# Pod collection


def _collect_orphans(store: Store) -> None:
    """Pods of a node that is no more are failed and taken away, as the pod garbage collector does."""
    nodes = {node["metadata"]["name"] for node in store.all("nodes")}
    for pod in store.all("pods"):
        if pod["spec"].get("nodeName") not in (None, *nodes):
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            if pod["status"]["phase"] not in ENDED:
                conditions = with_condition(pod, store, "DisruptionTarget", "DeletionByPodGC", "PodGC: node no longer exists")
                store.patch(PODS, namespace, name, {"status": {"phase": "Failed", "conditions": conditions}}, status=True)
            store.delete(PODS, namespace, name, {"gracePeriodSeconds": 0})
