"""What is granted as objects of Kubernetes: an indexed Job or a RayJob, and what stands beside it. Pure.

Every Job is created suspended, and what stands beside it is created after it and belongs to it: so nothing runs before all of it
is there, an agent that dies in between goes on where it was, and who deletes the Job deletes all of it. What Kubernetes could retry
is not retried: whole gangs are, by the city.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.config import KubernetesConfig
from agents.cluster.kubernetes.pods import CONTAINER, INDEX, alike, checkpoint_folder, escaped, merged, rank_pod
from agents.cluster.kubernetes.resources import JOBS, SERVICES, VOLCANO_POD_GROUPS, Resource
from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.variables import rendezvous_variables
from agents.cluster.working_dir import is_remote
from scheduler.contract.sync import DesiredRun
from scheduler.domain.hardware import Catalogue

BACKSTOP_SECONDS = 3_600
"""How long after all that may take its time Kubernetes itself ends a run, should its agent be gone by then."""

KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
VOLCANO_GROUP = "scheduling.k8s.io/group-name"
VOLCANO = "volcano"
MAX_SUBMITTER_CPU, MAX_SUBMITTER_MEMORY = "500m", "512Mi"
ENTRYPOINT_FOLDER, ENTRYPOINT_NOTE = "/etc/suanwang", names.PREFIX + "entrypoint"


@dataclass(frozen=True, slots=True)
class Gang:
    """How a run's pods come to run together: `kueue`, `volcano` (each with a queue), `scheduler` or `suspend`.

    `pod_groups`: for `scheduler`, the kind of object the API server groups pods by.
    """

    way: str
    queue: str = ""
    pod_groups: Resource | None = None


@dataclass(frozen=True, slots=True)
class Beside:
    """An object that stands beside a Job, less its owner."""

    resource: Resource
    body: Mapping[str, Any]


def job(cluster: str, run: DesiredRun, config: KubernetesConfig, catalogue: Catalogue, gang: Gang) -> dict[str, Any]:
    """The suspended Job of a run: one pod for each granted node, its completion index the rank. Raises LaunchRefusedError."""
    if run.working_dir is not None:
        raise LaunchRefusedError("working_dir is for Ray clusters: on this one the program must be in its image")
    name = _name(cluster, run)
    nodes = len(run.placements)
    main = {"name": CONTAINER, "command": [escaped(argument) for argument in run.entrypoint], "env": _rendezvous(run, config, name)}
    pod = merged(rank_pod(cluster, run, config, catalogue), {"spec": {"subdomain": name, "containers": [main]}})
    return {
        "metadata": _metadata(cluster, run, config, gang),
        "spec": {
            "suspend": True,
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            "backoffLimit": 0,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [0]}},
                ]
            },
            "activeDeadlineSeconds": run.max_runtime_seconds + config.not_placed_seconds + BACKSTOP_SECONDS,
            "template": _grouped(pod, gang, name),
        },
    }


def ray_job(cluster: str, run: DesiredRun, config: KubernetesConfig, catalogue: Catalogue, gang: Gang) -> dict[str, Any]:
    """The suspended RayJob of a run: the head on one granted node, a worker on each other, together exactly what was granted.

    The program is started from a file: KubeRay passes its command line through two shells and a quoting of its own.
    Raises LaunchRefusedError.
    """
    name = _name(cluster, run)
    nodes = len(run.placements)
    program = {
        "metadata": {"annotations": {ENTRYPOINT_NOTE: f"exec {shlex.join(run.entrypoint)}\n"}},
        "spec": {
            "volumes": [{"name": "entrypoint", "downwardAPI": {"items": [_entrypoint_item()]}}],
            "containers": [{"name": CONTAINER, "volumeMounts": [{"name": "entrypoint", "mountPath": ENTRYPOINT_FOLDER}]}],
        },
    }
    pod = _grouped(merged(rank_pod(cluster, run, config, catalogue), program), gang, name)
    start = _ray_start(run, catalogue)
    workers = {
        "groupName": "workers",
        "replicas": nodes - 1,
        "minReplicas": nodes - 1,
        "maxReplicas": nodes - 1,
        "rayStartParams": start,
        "template": _renamed(pod, "ray-worker"),
    }
    spec: dict[str, Any] = {
        "suspend": True,
        "submissionMode": "K8sJobMode",
        "submitterPodTemplate": _submitter(pod),
        "entrypoint": f"sh {ENTRYPOINT_FOLDER}/entrypoint",
        "shutdownAfterJobFinishes": True,
        "backoffLimit": 0,
        "submitterConfig": {"backoffLimit": 0},
        "activeDeadlineSeconds": run.max_runtime_seconds + config.not_placed_seconds + BACKSTOP_SECONDS,
        "rayClusterSpec": {
            "headGroupSpec": {"rayStartParams": {**start, "dashboard-host": "0.0.0.0"}, "template": _renamed(pod, "ray-head")},  # noqa: S104
            "workerGroupSpecs": [workers] if nodes > 1 else [],
        },
    }
    if run.working_dir is not None:
        if not is_remote(run.working_dir):
            raise LaunchRefusedError("working_dir: a KubeRay cluster fetches it from an address, it has no folders of yours")
        spec["runtimeEnvYAML"] = json.dumps({"working_dir": run.working_dir})
    return {"metadata": _metadata(cluster, run, config, gang), "spec": spec}


def beside(resource: Resource, owner: Mapping[str, Any], gang: Gang) -> list[Beside]:
    """What stands beside a run's Job or RayJob as the API has it: a Service for its pods' names, the group they are placed in."""
    metadata = owner["metadata"]
    name = metadata["name"]
    own = {
        "name": name,
        "labels": dict(metadata.get("labels") or {}),
        "annotations": {key: value for key, value in names.annotations_of(owner).items() if key in _IDENTITY},
        "ownerReferences": [
            {"apiVersion": resource.api_version, "kind": resource.kind, "name": name, "uid": metadata["uid"], "controller": True}
        ],
    }
    found = []
    if resource is JOBS:
        selector = {names.RUN: name, names.ROLE: names.RANK_ROLE}
        service = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": selector}
        found.append(Beside(SERVICES, {"metadata": own, "spec": service}))
    if gang.way == "volcano":
        found.append(
            Beside(VOLCANO_POD_GROUPS, {"metadata": own, "spec": {"minMember": names.ranks_of(owner), "queue": gang.queue}})
        )
    if gang.pod_groups is not None:
        group = {"schedulingPolicy": {"gang": {"minCount": names.ranks_of(owner)}}}
        found.append(Beside(gang.pod_groups, {"metadata": own, "spec": group}))
    return found


def pod_template(resource: Resource, owner: Mapping[str, Any]) -> Mapping[str, Any]:
    """The template of the ranks' pods in a Job or RayJob."""
    spec = owner["spec"]
    found: Mapping[str, Any] = spec["template"] if resource is JOBS else spec["rayClusterSpec"]["headGroupSpec"]["template"]
    return found


def granted_nodes(template: Mapping[str, Any]) -> list[str]:
    """The nodes a rank's pod may be on, as `pods.affinity` wrote them."""
    required = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [term["matchFields"][0]["values"][0] for term in required["nodeSelectorTerms"]]


_IDENTITY = (names.CLUSTER, names.JOB, names.TENANT, names.ATTEMPT, names.FENCING_TOKEN, names.RANKS)


def _name(cluster: str, run: DesiredRun) -> str:
    return names.run_name(cluster, (run.attempt, run.fencing_token))


def _metadata(cluster: str, run: DesiredRun, config: KubernetesConfig, gang: Gang) -> dict[str, Any]:
    labels = names.labels(cluster, run)
    if gang.way == "kueue":
        labels[KUEUE_QUEUE] = gang.queue
    noted = names.annotations(cluster, run)
    if config.checkpoints is not None:
        noted[names.CHECKPOINT] = checkpoint_folder(run)
    return {"name": _name(cluster, run), "labels": labels, "annotations": noted}


def _grouped(pod: dict[str, Any], gang: Gang, name: str) -> dict[str, Any]:
    """The pod as a member of its gang, where its scheduler is told by the pod."""
    if gang.way == "volcano":
        group = {"metadata": {"annotations": {VOLCANO_GROUP: name}}, "spec": {"schedulerName": VOLCANO}}
        return dict(merged(pod, group))
    if gang.pod_groups is not None:
        return dict(merged(pod, {"spec": {"schedulingGroup": {"podGroupName": name}}}))
    return pod


def _rendezvous(run: DesiredRun, config: KubernetesConfig, name: str) -> list[dict[str, Any]]:
    """How the ranks find each other: by the name of the first pod, each rank told by its pod's completion index."""
    address = f"{name}-0.{name}.{config.namespace}.svc"
    found = rendezvous_variables(
        rank=INDEX, nodes=len(run.placements), per_node=run.per_node, address=address, port=config.master_port
    )
    rank = {"valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX}']"}}}
    return [{"name": variable, **(rank if value == INDEX else {"value": value})} for variable, value in found.items()]


def _ray_start(run: DesiredRun, catalogue: Catalogue) -> dict[str, str]:
    """What Ray is told a node has: KubeRay sees for itself only what is called a GPU."""
    placement = alike(run)
    found = {"num-cpus": str(placement.cpus)} if placement.cpus else {}
    kind = catalogue.ray_resources.get(run.vendor or "", run.vendor or "")
    if not placement.devices:
        return found
    if kind == "GPU":
        return {**found, "num-gpus": str(len(placement.devices))}
    # KubeRay puts it on a shell's command line as it is
    return {**found, "resources": shlex.quote(json.dumps({kind: len(placement.devices)}))}


def _submitter(pod: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that hands the program to Ray and prints what it prints: on the granted nodes, in no gang and without cards."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = {**metadata["labels"], names.ROLE: names.SUBMITTER_ROLE}
    noted = {key: value for key, value in metadata["annotations"].items() if key in _IDENTITY}
    image = next(container["image"] for container in spec["containers"] if container["name"] == CONTAINER)
    amount = {"cpu": MAX_SUBMITTER_CPU, "memory": MAX_SUBMITTER_MEMORY}
    kept = ("restartPolicy", "imagePullSecrets", "tolerations", "nodeSelector", "securityContext", "automountServiceAccountToken")
    return {
        "metadata": {"labels": labels, "annotations": noted},
        "spec": {
            **{key: spec[key] for key in kept if key in spec},
            "affinity": {"nodeAffinity": spec["affinity"]["nodeAffinity"]},
            "containers": [
                {
                    "name": "ray-job-submitter",
                    "image": image,
                    "resources": {"limits": amount, "requests": amount},
                    "securityContext": {"allowPrivilegeEscalation": False},
                }
            ],
        },
    }


def _renamed(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The pod with its own container called `name` and in the first place, where KubeRay looks for Ray's."""
    containers = sorted(pod["spec"]["containers"], key=lambda container: container["name"] != CONTAINER)
    first = {**containers[0], "name": name}
    return {**pod, "spec": {**pod["spec"], "containers": [first, *containers[1:]]}}


def _entrypoint_item() -> dict[str, Any]:
    return {"path": "entrypoint", "fieldRef": {"fieldPath": f"metadata.annotations['{ENTRYPOINT_NOTE}']"}}
