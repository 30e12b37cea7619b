"""What the objects of a run are called, and how a run is found again from them.

Ids of the city may hold characters and have lengths that names and labels of Kubernetes may not. So an object's name is made of a
digest, labels hold what selects, and annotations the ids themselves; an object whose name its ids do not give is not ours.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from agents.cluster.reconcile import RunKey
from scheduler.contract.job import MAX_NODES
from scheduler.contract.sync import DesiredRun

PREFIX = "suanwang.io/"
MANAGED_BY = {"app.kubernetes.io/managed-by": "suanwang"}
CLUSTER, RUN, ROLE = PREFIX + "cluster", PREFIX + "run", PREFIX + "role"
JOB, TENANT, ATTEMPT, FENCING_TOKEN = PREFIX + "job", PREFIX + "tenant", PREFIX + "attempt", PREFIX + "fencing-token"
RANKS = PREFIX + "ranks"
CHECKPOINT = PREFIX + "checkpoint"
CREATED_AT = PREFIX + "created-at"
STARTED_AT, RESUMED_AT, END, FINISHED_AT = PREFIX + "started-at", PREFIX + "resumed-at", PREFIX + "end", PREFIX + "finished-at"
"""Annotations: what an object is of, and what the agent has seen of its run and must not forget when it is restarted."""

RANK_ROLE, SUBMITTER_ROLE = "rank", "submitter"
NAME_LENGTH = 27
LABEL_LENGTH = 63
MAX_COUNT = 2**53
"""The greatest token the wire carries."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)


@lru_cache(maxsize=65_536)
def run_name(cluster: str, key: RunKey) -> str:
    """The name of all objects of a run: a DNS label short enough that a pod's index and KubeRay's suffixes fit behind it."""
    return f"sw-{sha256('/'.join((cluster, key[0], str(key[1]))).encode()).hexdigest()[: NAME_LENGTH - 3]}"


def label_value(text: str) -> str:
    """`text` where a label may hold it, else what of it a label may hold and a digest of the rest."""
    if _LABEL.fullmatch(text):
        return text
    digest = sha256(text.encode()).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-')[: LABEL_LENGTH - 13]}-{digest}".lstrip("-")


def selector(cluster: str) -> str:
    """The label selector of everything the agent of `cluster` has made."""
    return ",".join(f"{key}={value}" for key, value in _of_cluster(cluster).items())


def labels(cluster: str, run: DesiredRun) -> dict[str, str]:
    key = (run.attempt, run.fencing_token)
    return {
        **_of_cluster(cluster),
        RUN: run_name(cluster, key),
        JOB: label_value(run.job),
        TENANT: label_value(run.tenant),
        ATTEMPT: label_value(run.attempt),
        FENCING_TOKEN: str(run.fencing_token),
    }


def annotations(cluster: str, run: DesiredRun) -> dict[str, str]:
    return {
        CLUSTER: cluster,
        JOB: run.job,
        TENANT: run.tenant,
        ATTEMPT: run.attempt,
        FENCING_TOKEN: str(run.fencing_token),
        RANKS: str(len(run.placements)),
    }


def key_of(cluster: str, found: Mapping[str, Any]) -> RunKey | None:
    """The run an object is of, or None when it is not one of this cluster's: whoever may write labels may write any."""
    metadata = found["metadata"]
    noted = annotations_of(found)
    attempt, token = noted.get(ATTEMPT, ""), noted.get(FENCING_TOKEN, "")
    if noted.get(CLUSTER) != cluster or not _KEY.fullmatch(attempt) or not re.fullmatch(r"[0-9]{1,16}", token, re.ASCII):
        return None
    key = (attempt, int(token))
    ours = key[1] <= MAX_COUNT and (metadata.get("labels") or {}).get(RUN) == run_name(cluster, key)
    return key if ours else None


def annotations_of(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found["metadata"].get("annotations") or {}


def ranks_of(found: Mapping[str, Any]) -> int:
    """How many nodes its gang has; 1 where that is not noted."""
    noted = annotations_of(found).get(RANKS, "")
    return min(int(noted), MAX_NODES) if re.fullmatch(r"[1-9][0-9]{0,4}", noted, re.ASCII) else 1


def _of_cluster(cluster: str) -> dict[str, str]:
    return {**MANAGED_BY, CLUSTER: label_value(cluster)}
