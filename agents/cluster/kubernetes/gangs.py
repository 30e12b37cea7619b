"""How gangs are placed whole in one cluster: as its operator says, or by what the cluster has."""

from agents.cluster.kubernetes.client import Kubernetes, Listed
from agents.cluster.kubernetes.config import KubernetesConfig, Kueue, Volcano
from agents.cluster.kubernetes.errors import NotFoundError
from agents.cluster.kubernetes.manifests import Gang
from agents.cluster.kubernetes.resources import KUEUE_LOCAL_QUEUES, POD_GROUPS, VOLCANO_POD_GROUPS, Resource
from agents.cluster.launcher import LauncherUnavailableError

VOLCANO_QUEUE = "default"
"""The queue that Volcano makes for itself."""


def choose(api: Kubernetes, config: KubernetesConfig) -> Gang:
    """Raises LauncherUnavailableError where what the operator says is not there, or does not say which of several queues."""
    match config.gang:
        case Kueue(kueue=named):
            return Gang("kueue", named.queue)
        case Volcano(volcano=named):
            return Gang("volcano", named.queue)
        case "suspend":
            return Gang("suspend")
        case "scheduler":
            return _by_scheduler(api, config.namespace)
        case _:
            return _detected(api, config)


def _by_scheduler(api: Kubernetes, namespace: str) -> Gang:
    for resource in POD_GROUPS:
        if _listed(api, resource, namespace) is not None:
            return Gang("scheduler", pod_groups=resource)
    raise LauncherUnavailableError(
        "gang: scheduler: this API server has no pod groups; it takes Kubernetes 1.36 with the feature gates GenericWorkload and "
        "GangScheduling and the API scheduling.k8s.io/v1alpha2, or 1.37 with v1beta1"
    )


def _detected(api: Kubernetes, config: KubernetesConfig) -> Gang:
    queues = _listed(api, KUEUE_LOCAL_QUEUES, config.namespace)
    if queues is not None and len(queues.items) > 1:
        names = ", ".join(sorted(str(queue["metadata"]["name"]) for queue in queues.items))
        raise LauncherUnavailableError(f"gang: auto: {config.namespace} has several queues of Kueue ({names}); name one")
    if queues is not None and queues.items:
        return Gang("kueue", str(queues.items[0]["metadata"]["name"]))
    if _listed(api, VOLCANO_POD_GROUPS, config.namespace) is not None:
        return Gang("volcano", VOLCANO_QUEUE)
    if config.kind == "job":
        for resource in POD_GROUPS:
            if _listed(api, resource, config.namespace) is not None:
                return Gang("scheduler", pod_groups=resource)
    return Gang("suspend")


def _listed(api: Kubernetes, resource: Resource, namespace: str) -> Listed | None:
    """What there is of a kind; None where the cluster does not have the kind."""
    try:
        return api.list(resource, namespace)
    except NotFoundError:
        return None
