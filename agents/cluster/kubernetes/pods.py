"""The pod of one rank of a run: what the operator's configuration says, and over it what the grant says."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.config import Counted, KubernetesConfig, counted
from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.variables import run_variables
from scheduler.contract.sync import DesiredRun, Placement
from scheduler.domain.hardware import Catalogue

CONTAINER = "main"
WHOLE_CARD_MILLI = 1000
POD_CHECKPOINTS = "/checkpoints"
"""Where a program finds a folder for checkpoints on a cluster that keeps none: it is the pod's and goes with it."""

HOSTNAME = "kubernetes.io/hostname"
INDEX = "batch.kubernetes.io/job-completion-index"

_MERGED = frozenset({"containers", "initContainers"})

_DEFAULTS: Mapping[str, Any] = {
    "spec": {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": CONTAINER, "securityContext": {"allowPrivilegeEscalation": False}}],
    }
}
"""What holds unless the operator's template says otherwise."""


def merged(base: Any, over: Any, *, key: str = "") -> Any:
    """`over` laid over `base`: maps key by key, lists of named things by their names, further things behind those of the base.

    Names are as in Kubernetes' strategic merge: `mountPath` of a mount, `name` of all else. Of two things of one name containers
    (under that `key`) are merged, others replaced. Lists of plain values are replaced.
    """
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        keys = (*base, *(each for each in over if each not in base))
        return {each: merged(base.get(each), over.get(each), key=each) for each in keys}
    if isinstance(base, list) and isinstance(over, list) and all(isinstance(item, Mapping) for item in (*base, *over)):
        return _by_name(base, over, deep=key in _MERGED)
    return deepcopy(base if over is None else over)


def rank_pod(cluster: str, run: DesiredRun, config: KubernetesConfig, catalogue: Catalogue) -> dict[str, Any]:
    """The template of every rank's pod, its only own container called CONTAINER and without a command.

    Raises LaunchRefusedError where Kubernetes cannot express what was granted.
    """
    placement = alike(run)
    image = run.image or config.image
    if image is None:
        raise LaunchRefusedError("it names no image, and this cluster has no image of its own for such jobs")
    limits = resources(run, placement, config, catalogue)
    checkpoints = config.checkpoints.mount_path if config.checkpoints else POD_CHECKPOINTS
    own = {
        "metadata": {
            "labels": {**names.labels(cluster, run), names.ROLE: names.RANK_ROLE},
            "annotations": names.annotations(cluster, run),
        },
        "spec": {
            "restartPolicy": "Never",
            **_given(config, run),
            "terminationGracePeriodSeconds": config.termination_grace_seconds,
            "affinity": affinity(cluster, run),
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}, *_checkpoint_volumes(config)],
            "containers": [
                {
                    "name": CONTAINER,
                    "image": image,
                    "env": [{"name": name, "value": escaped(value)} for name, value in run_variables(run, checkpoints).items()],
                    "resources": {"limits": limits, "requests": limits},
                    "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, *_checkpoint_mounts(run, config)],  # noqa: S108
                }
            ],
        },
    }
    pod: dict[str, Any] = merged(merged(_DEFAULTS, config.template), own)
    return pod


def alike(run: DesiredRun) -> Placement:
    """What each node of the gang is granted. Raises LaunchRefusedError where it is not the same on all: a Job's pods are."""
    first = run.placements[0]
    for other in run.placements[1:]:
        if (len(other.devices), other.card_milli, other.mig, other.cpus, other.host_memory_gib) != (
            len(first.devices), first.card_milli, first.mig, first.cpus, first.host_memory_gib,
        ):  # fmt: skip
            raise LaunchRefusedError("its nodes were granted unequal shares, and the pods of a Kubernetes Job are all alike")
    return first


def resources(run: DesiredRun, placement: Placement, config: KubernetesConfig, catalogue: Catalogue) -> dict[str, str]:
    """What a rank's pod asks for and is limited to. Raises LaunchRefusedError."""
    found: dict[str, str] = {}
    if placement.cpus:
        found["cpu"] = str(placement.cpus)
    if placement.host_memory_gib:
        found["memory"] = f"{placement.host_memory_gib}Gi"
    if placement.devices:
        unit = _counted(run, placement, config, catalogue)
        found[unit.name] = str(len(placement.devices) * unit.per_card)
    return found


def affinity(cluster: str, run: DesiredRun) -> dict[str, Any]:
    """Exactly the granted nodes, and one pod on each. A term matches one name, and terms are alternatives."""
    terms = [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [placement.node]}]} for placement in run.placements
    ]
    own = {names.RUN: names.run_name(cluster, (run.attempt, run.fencing_token)), names.ROLE: names.RANK_ROLE}
    return {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}},
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": own}}]
        },
    }


def checkpoint_folder(run: DesiredRun) -> str:
    """Where in the checkpoints' volume a job's attempts keep theirs, each task of an array for itself: the tenant's path names a
    folder inside the job's own, nothing else."""
    named = [part for part in PurePosixPath(run.checkpoint_path or "").parts if part not in ("/", "//", "..", ".")]
    own = [run.job] if run.array is None else [run.job, str(run.array.index)]
    return "/".join((*own, *named))


def escaped(text: str) -> str:
    """Text that Kubernetes leaves as it is in a command or a value, where it would put variables in for `$(NAME)`."""
    return text.replace("$", "$$")


def _given(config: KubernetesConfig, run: DesiredRun) -> dict[str, Any]:
    """What the configuration says of every pod, less what it does not say."""
    found: dict[str, Any] = {
        "serviceAccountName": config.service_account,
        "imagePullSecrets": [{"name": name} for name in config.image_pull_secrets],
        "schedulerName": config.scheduler_name,
        "runtimeClassName": config.runtime_classes.get(run.vendor or ""),
        "tolerations": [toleration.model_dump(exclude_none=True) for toleration in config.tolerations],
        "nodeSelector": dict(config.node_selector),
    }
    return {key: value for key, value in found.items() if value}


def _checkpoint_volumes(config: KubernetesConfig) -> list[dict[str, Any]]:
    own = config.checkpoints
    kept: dict[str, Any] = {"emptyDir": {}} if own is None else {"persistentVolumeClaim": {"claimName": own.claim}}
    return [*map(dict, config.volumes), {"name": "checkpoints", **kept}]


def _checkpoint_mounts(run: DesiredRun, config: KubernetesConfig) -> list[dict[str, Any]]:
    own = config.checkpoints
    where = {"mountPath": POD_CHECKPOINTS}
    if own is not None:
        where = {"mountPath": own.mount_path, "subPath": checkpoint_folder(run)}
    return [*map(dict, config.volume_mounts), {"name": "checkpoints", **where}]


def _counted(run: DesiredRun, placement: Placement, config: KubernetesConfig, catalogue: Catalogue) -> Counted:
    if placement.mig is None and placement.card_milli != WHOLE_CARD_MILLI:
        raise LaunchRefusedError(
            f"it was granted {placement.card_milli}/1000 of a card, and this Kubernetes cluster gives out whole cards only"
        )
    vendor, model = run.vendor or "", run.model or ""
    unit = counted(config, catalogue, vendor, model, placement.mig)
    if unit is None:
        what = f"{vendor} {model}" if placement.mig is None else f"{vendor} {model} MIG {placement.mig}"
        raise LaunchRefusedError(f"this cluster's agent does not know under which resource Kubernetes counts {what}")
    return unit


def _by_name(base: list[Any], over: list[Any], *, deep: bool) -> list[Any]:
    found = deepcopy(base)
    places = {name: place for place, item in enumerate(found) if (name := _name(item)) is not None}
    for item in over:
        place = places.get(_name(item))
        if place is None:
            found.append(deepcopy(item))
        else:
            found[place] = merged(found[place], item) if deep else deepcopy(item)
    return found


def _name(item: Mapping[str, Any]) -> Any:
    return item.get("mountPath", item.get("name"))
