"""From the objects of a run to what is true of it and what to do next: the launcher's half of the truth, as one pure function.

Three rules hold it together:
- a run is over only when no pod of it can still run, but for pods on nodes that do not answer, which nobody can ask;
- why it ended is written on its Job before anything is made of it, since pods vanish and agents are restarted;
- a gang ends whole: when one rank failed, was lost or has no place, the Job is suspended, which ends the others with their grace.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from agents.cluster.kubernetes import names, pod_status
from agents.cluster.kubernetes.owners import Account, Owner
from agents.cluster.kubernetes.pod_status import Failure
from agents.cluster.reconcile import RunKey
from scheduler.contract.sync import Cause, ObservedRun, RunState
from scheduler.domain.clock import rfc3339

Object = Mapping[str, Any]

AILING_SECONDS = 120
"""How long a pod may not begin for a reason that may pass: a registry that does not answer, a secret that is not there yet."""

HALF_PLACED_SECONDS = 30
"""How long a gang may hold a part of its places, where nothing places it whole."""

DETAIL_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Limits:
    """How long what is waited for; `puts_back`: whether a gang that got a part of its places gives them back and tries again."""

    not_placed_seconds: int
    node_lost_seconds: int
    puts_back: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is known of a run. `owner` is None where its Job is gone; `ailing_since`: by pod's uid, since when it ails."""

    key: RunKey
    owner: Owner | None
    pods: Sequence[Object]
    nodes: Mapping[str, Object]
    ailing_since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """Write on the Job what must not be forgotten."""

    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class End:
    """End the gang: write down why, and suspend its Job. `asked`: because the city does not desire it any more."""

    cause: Cause | None = None
    exit_code: int | None = None
    detail: str = ""
    at: datetime | None = None
    asked: bool = False

    def annotation(self) -> str:
        parts = {"cause": self.cause, "exit_code": self.exit_code, "detail": self.detail[:DETAIL_LENGTH], "asked": self.asked}
        return json.dumps(parts | {"at": None if self.at is None else rfc3339(self.at)}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Resume:
    """Let the gang have its pods."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """Take the gang's pods away again: some of them have no place."""


Step = Note | End | Resume | PutBack


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is told of a run (None: it is no more), and what is to be done next."""

    run: ObservedRun | None
    step: Step | None = None


def assess(seen: Seen, limits: Limits, now: datetime) -> Assessment:
    """What is true of a run at `now`, and the one next step."""
    owner = seen.owner
    lost = [pod for pod in seen.pods if _is_lost(pod, seen, limits, now)]
    living = [pod for pod in seen.pods if not pod_status.is_over(pod) and pod not in lost]
    if owner is None:
        return Assessment(_going(seen, None) if living else None)
    noted = names.annotations_of(owner.found)
    if names.END in noted:
        return _ending(seen, owner, _read_end(noted[names.END]), living, lost, now)
    if owner.account is not None and owner.account.state is RunState.SUCCEEDED:
        return Assessment(_going(seen, owner) if living else _succeeded(seen, owner, owner.account))
    verdict = _verdict(seen, owner, limits, now)
    if verdict is not None:
        return Assessment(_going(seen, owner), verdict)
    return Assessment(_going(seen, owner), _onward(seen, owner, limits, now))


def _onward(seen: Seen, owner: Owner, limits: Limits, now: datetime) -> Step | None:
    """What brings a gang on that is not at its end."""
    noted = names.annotations_of(owner.found)
    began = _began_at(seen, owner)
    if began is not None and names.STARTED_AT not in noted:
        return Note({names.STARTED_AT: rfc3339(began)})
    if owner.suspended:
        return Resume()
    resumed = pod_status.moment(noted.get(names.RESUMED_AT))
    long_ago = resumed is not None and now - resumed > timedelta(seconds=HALF_PLACED_SECONDS)
    half = names.STARTED_AT not in noted and 0 < len(_placed(seen)) < owner.ranks
    return PutBack() if limits.puts_back and long_ago and half else None


def _verdict(seen: Seen, owner: Owner, limits: Limits, now: datetime) -> End | None:
    """Why the gang is at its end, if it is."""
    started = names.STARTED_AT in names.annotations_of(owner.found)
    if owner.account is None and owner.suspended and started:
        return End(Cause.PREEMPTED, detail="the cluster suspended it while it ran", at=now)
    failed = _failed(seen, owner)
    if failed is not None:
        return failed
    return (
        _on_lost_node(seen, limits, now)
        or _replaced(seen, owner)
        or (None if started else _ailing(seen, now) or _not_placed(seen, owner, limits, now))
    )


def _failed(seen: Seen, owner: Owner) -> End | None:
    """By the rank that failed first of itself, since the others were ended for it; else by what the owner says."""
    account = owner.account
    if owner.suspended and account is None:
        return None  # what ends now was ended by being suspended
    found = [failure for pod in _ranks(seen) if (failure := pod_status.failure(pod, seen.nodes)) is not None]
    first = min((failure for failure in found if not failure.deleted), key=_ended, default=None)
    if first is not None:
        return End(first.cause, first.exit_code, first.detail, first.at)
    if account is not None:
        return End(account.cause, account.exit_code, account.detail or "", account.at)
    if found and owner.keeps_pods:
        deleted = min(found, key=_ended)
        return End(deleted.cause, deleted.exit_code, deleted.detail, deleted.at)
    return None


def _on_lost_node(seen: Seen, limits: Limits, now: datetime) -> End | None:
    for pod in _ranks(seen):
        if _is_lost(pod, seen, limits, now):
            name = pod_status.node_of(pod)
            since = pod_status.lost_since(seen.nodes.get(name or ""), now)
            return End(Cause.NODE_LOST, detail=f"rank {pod_status.rank(pod)}: its node {name} does not answer any more", at=since)
    return None


def _replaced(seen: Seen, owner: Owner) -> End | None:
    """Ray's operator puts a new pod in the place of one that ended; a gang that has lost a member is not what was started."""
    started = pod_status.moment(names.annotations_of(owner.found).get(names.STARTED_AT))
    if owner.keeps_pods or started is None or owner.account is not None:
        return None
    newer = [pod for pod in _ranks(seen) if (created := pod_status.created_at(pod)) is not None and created > started]
    return End(Cause.EVICTED, detail="a pod of the gang ended and was replaced while it ran") if newer else None


def _ailing(seen: Seen, now: datetime) -> End | None:
    for pod in _ranks(seen):
        found = pod_status.ailment(pod)
        since = seen.ailing_since.get(pod["metadata"]["uid"], now)
        if found is not None and (found.hopeless or now - since > timedelta(seconds=AILING_SECONDS)):
            return End(found.cause, detail=found.detail, at=now)
    return None


def _not_placed(seen: Seen, owner: Owner, limits: Limits, now: datetime) -> End | None:
    created = pod_status.created_at(owner.found)
    placed = len(_placed(seen))
    if created is None or placed >= owner.ranks or now - created <= timedelta(seconds=limits.not_placed_seconds):
        return None
    said = next(filter(None, map(pod_status.unschedulable, _ranks(seen))), None)
    waited = "it was not admitted" if owner.suspended else said or "nothing was said why"
    return End(
        Cause.NOT_PLACED,
        detail=f"{placed} of {owner.ranks} ranks had a place after {limits.not_placed_seconds} s: {waited}",
        at=now,
    )


def _ending(seen: Seen, owner: Owner, end: End, living: Sequence[Object], lost: Sequence[Object], now: datetime) -> Assessment:
    if living or not owner.quiet:
        return Assessment(_going(seen, owner), None if owner.suspended or owner.account is not None else end)
    if owner.account is not None and owner.account.state is RunState.SUCCEEDED:
        return Assessment(_succeeded(seen, owner, owner.account))
    noted = names.annotations_of(owner.found)
    finished = pod_status.moment(noted.get(names.FINISHED_AT))
    step: Step | None = None
    if finished is None:
        ends = [ended for pod in _ranks(seen) if (ended := pod_status.ended_at(pod)) is not None]
        finished = _finished_at(end, lost, max(ends, default=None), now)
        step = Note({names.FINISHED_AT: rfc3339(finished)})
    if lost and not end.asked:
        end = _on_nodes(end, lost)
    run = ObservedRun(
        attempt=seen.key[0],
        fencing_token=seen.key[1],
        state=RunState.STOPPED if end.asked else RunState.FAILED,
        started_at=_began_at(seen, owner),
        finished_at=finished,
        exit_code=None if end.cause is not None else end.exit_code,
        detail=end.detail[:DETAIL_LENGTH] or None,
        cause=None if end.asked else end.cause,
        ranks=_logs(owner),
    )
    return Assessment(run, step)


def _finished_at(end: End, lost: Sequence[Object], last: datetime | None, now: datetime) -> datetime:
    """What ran on a node that does not answer was last known to run when it still did."""
    if end.at is not None and (lost or end.cause is Cause.NODE_LOST):
        return end.at
    return last or (end.at if not end.asked and end.at is not None else now)


def _on_nodes(end: End, lost: Sequence[Object]) -> End:
    """A rank that failed because another's node went: the node is the truth."""
    if end.cause is Cause.NODE_LOST:
        return end
    where = ", ".join(sorted({str(pod_status.node_of(pod)) for pod in lost}))
    return End(Cause.NODE_LOST, detail=f"{where} does not answer any more; {end.detail}", at=end.at)


def _succeeded(seen: Seen, owner: Owner, account: Account) -> ObservedRun:
    ends = [ended for pod in _ranks(seen) if (ended := pod_status.ended_at(pod)) is not None]
    return ObservedRun(
        attempt=seen.key[0],
        fencing_token=seen.key[1],
        state=RunState.SUCCEEDED,
        started_at=_began_at(seen, owner),
        finished_at=account.at if not owner.keeps_pods else max(ends, default=account.at),
        exit_code=account.exit_code,
        ranks=_logs(owner),
    )


def _going(seen: Seen, owner: Owner | None) -> ObservedRun:
    began = _began_at(seen, owner)
    return ObservedRun(
        attempt=seen.key[0],
        fencing_token=seen.key[1],
        state=RunState.STARTING if began is None else RunState.RUNNING,
        started_at=began,
        ranks=_ranks_needed(seen) if owner is None else _logs(owner),
    )


def _began_at(seen: Seen, owner: Owner | None) -> datetime | None:
    """When the programs of all ranks had begun; written down is what was seen first."""
    noted = None if owner is None else pod_status.moment(names.annotations_of(owner.found).get(names.STARTED_AT))
    if noted is not None:
        return noted
    began = [pod_status.began_at(pod) for pod in _ranks(seen)]
    times = [moment for moment in began if moment is not None]
    ranks = _ranks_needed(seen) if owner is None else owner.ranks
    if len(times) < ranks or (owner is not None and not owner.program):
        return None
    at = None if owner is None else owner.program_at
    return max(times) if at is None else max(*times, at)


def _ranks_needed(seen: Seen) -> int:
    """By its pods, where its Job is gone."""
    return max((names.ranks_of(pod) for pod in seen.pods), default=1)


def _ranks(seen: Seen) -> list[Object]:
    """The pod of each rank, the newest where one took another's place. Ray's have no index: each is a rank."""
    found: dict[object, Object] = {}
    ranks = [pod for pod in seen.pods if pod_status.is_rank(pod) and _is_of(pod, seen.owner)]
    for pod in sorted(ranks, key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
        index = pod_status.index(pod)
        found[pod["metadata"]["uid"] if index is None else index] = pod
    return list(found.values())


def _is_of(pod: Object, owner: Owner | None) -> bool:
    """Whether it is this Job's, and not one's of the same name that is gone; that one's may still live, and fail of it."""
    owners = pod["metadata"].get("ownerReferences") or ()
    if owner is None or not owner.keeps_pods or not owners:
        return True
    return any(each["uid"] == owner.found["metadata"]["uid"] for each in owners)


def _placed(seen: Seen) -> list[Object]:
    return [pod for pod in _ranks(seen) if pod_status.node_of(pod) is not None and not pod_status.is_deleted(pod)]


def _is_lost(pod: Object, seen: Seen, limits: Limits, now: datetime) -> bool:
    name = pod_status.node_of(pod)
    if name is None or pod_status.is_over(pod):
        return False
    return pod_status.is_lost(seen.nodes.get(name), now, limits.node_lost_seconds)


def _logs(owner: Owner) -> int:
    """A RayJob has one log, that of its program; what its workers print is Ray's own."""
    return owner.ranks if owner.keeps_pods else 1


def _ended(failure: Failure) -> float:
    return failure.at.timestamp() if failure.at is not None else float("inf")


def _read_end(text: str) -> End:
    """What `End.annotation` wrote. Whoever may write annotations may write any: what cannot be read says nothing."""
    try:
        found = json.loads(text)
        cause = None if found["cause"] is None else Cause(found["cause"])
        code = found["exit_code"]
        exit_code = code if isinstance(code, int) and -255 <= code <= 255 else None
        at = pod_status.moment(found["at"])
        return End(cause, exit_code, str(found["detail"])[:DETAIL_LENGTH], at, asked=found["asked"] is True)
    except (ValueError, KeyError, TypeError):
        return End(detail="its ending was written down in words this agent cannot read")
