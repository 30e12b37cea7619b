"""What a Job or a RayJob says of its run, in the same words for both. Pure.

Conditions of a Job: kubernetes.io/docs/concepts/workloads/controllers/job. States of a RayJob: KubeRay,
`apis/ray/v1/rayjob_types.go`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.cluster.kubernetes.pod_status import moment
from scheduler.contract.sync import Cause, RunState

Object = Mapping[str, Any]

DETAIL_LENGTH = 400

_EXIT_CODE = re.compile(r"exit code (-?[0-9]{1,3})\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class Account:
    """How a run ended by its owner's account: SUCCEEDED or FAILED."""

    state: RunState
    at: datetime | None = None
    exit_code: int | None = None
    cause: Cause | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """A Job or RayJob. `suspended`: it is to have no pods. `quiet`: it makes none any more, or none until it is resumed.

    `program`: whether the program itself is known to have begun, and at `program_at` if that is known; a Job's has with its pods.
    """

    found: Object
    ranks: int
    suspended: bool
    quiet: bool
    account: Account | None
    program: bool = True
    program_at: datetime | None = None
    keeps_pods: bool = True
    """Whether a pod that ended stays, so that one that is newer than the start has taken another's place only where it is false."""


def of_job(found: Object, ranks: int) -> Owner:
    conditions = {
        condition["type"]: condition
        for condition in (found.get("status") or {}).get("conditions") or ()
        if condition.get("status") == "True"
    }
    suspended = bool(found["spec"].get("suspend"))
    account = _job_account(found, conditions)
    idle = not (found.get("status") or {}).get("active")
    return Owner(found, ranks, suspended, account is not None or (suspended and "Suspended" in conditions and idle), account)


def of_ray_job(found: Object, ranks: int) -> Owner:
    status = found.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus") or "", status.get("jobStatus") or ""
    suspended = bool(found["spec"].get("suspend"))
    account = _ray_account(status, deployment, job)
    return Owner(
        found,
        ranks,
        suspended,
        account is not None or (suspended and deployment in ("", "Suspended")),
        account,
        program=job in ("RUNNING", "STOPPED", "SUCCEEDED", "FAILED"),
        program_at=moment((status.get("rayJobInfo") or {}).get("startTime")),
        keeps_pods=False,
    )


def _job_account(found: Object, conditions: Mapping[str, Object]) -> Account | None:
    # FailureTarget and SuccessCriteriaMet come first, while pods are still being ended; with them no pod is made any more
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    if failed is not None:
        return _job_failure(failed)
    if "Complete" in conditions or "SuccessCriteriaMet" in conditions:
        return Account(RunState.SUCCEEDED, moment((found.get("status") or {}).get("completionTime")), exit_code=0)
    return None


def _job_failure(condition: Object) -> Account:
    reason, message = str(condition.get("reason")), _line(condition.get("message"))
    at = moment(condition.get("lastTransitionTime"))
    if reason == "PodFailurePolicy" and "DisruptionTarget" in message:
        return Account(RunState.FAILED, at, cause=Cause.EVICTED, detail=message)
    exit_code = _EXIT_CODE.search(message)
    if reason == "PodFailurePolicy" and exit_code:
        return Account(RunState.FAILED, at, exit_code=int(exit_code[1]), detail=message)
    return Account(RunState.FAILED, at, detail=f"{reason}: {message}"[:DETAIL_LENGTH])


def _ray_account(status: Object, deployment: str, job: str) -> Account | None:
    if deployment not in ("Complete", "Failed", "ValidationFailed"):
        return None
    info = status.get("rayJobInfo") or {}
    at = moment(info.get("endTime")) or moment(status.get("endTime"))
    if job == "SUCCEEDED":
        return Account(RunState.SUCCEEDED, at, exit_code=0)
    reason, message = str(status.get("reason") or deployment), _line(status.get("message"))
    if deployment == "ValidationFailed":
        return Account(RunState.FAILED, at, cause=Cause.LAUNCH_REFUSED, detail=message)
    exit_code = _EXIT_CODE.search(message)
    return Account(RunState.FAILED, at, int(exit_code[1]) if exit_code else None, detail=f"{reason}: {message}"[:DETAIL_LENGTH])


def _line(text: object) -> str:
    return " ".join(str(text or "").split())[:DETAIL_LENGTH]
