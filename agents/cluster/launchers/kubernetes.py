"""The `kubernetes` launcher: each run is one indexed Job, or one RayJob of KubeRay's, in one namespace of a Kubernetes cluster.

Kubernetes keeps the truth: names are made of attempt and token, annotations say whose an object is and what was seen of it, so a
restarted agent finds all of it again. What it does to a run is one step at a time, decided by `kubernetes.status.assess`; what
cannot be taken back is decided on what the API says at that moment, not on what was last heard from it.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

from agents.cluster.checkpoints import written_at
from agents.cluster.kubernetes import manifests, names, pod_status
from agents.cluster.kubernetes.client import Kubernetes
from agents.cluster.kubernetes.config import KubernetesConfig
from agents.cluster.kubernetes.errors import AlreadyExistsError, KubernetesError, NotFoundError, RefusedError
from agents.cluster.kubernetes.gangs import choose
from agents.cluster.kubernetes.log_keeper import LogKeeper, Source
from agents.cluster.kubernetes.owners import Owner, of_job, of_ray_job
from agents.cluster.kubernetes.pods import CONTAINER
from agents.cluster.kubernetes.resources import EVENTS, JOBS, KUEUE_WORKLOADS, NODES, PODS, RAY_JOBS
from agents.cluster.kubernetes.room import lacking
from agents.cluster.kubernetes.status import Assessment, End, Limits, Note, PutBack, Resume, Seen, Step, assess
from agents.cluster.kubernetes.watch import Watched
from agents.cluster.launcher import LauncherUnavailableError, LaunchRefusedError, LogPiece
from agents.cluster.reconcile import RunKey
from scheduler.contract.sync import RUN_FINAL, Cause, DesiredRun, ObservedRun, RunState
from scheduler.domain.clock import rfc3339
from scheduler.domain.hardware import Catalogue

STEPS_PER_RUN = 6
"""How many steps are taken with one run in one round: written down, ended, over."""

STEPS_SECONDS = 5.0
"""After so long, what is left to do waits for the next round, so that a slow API delays no sync."""

FEEDS_PER_ROUND = 16
FEEDS_SECONDS = 2.0
"""How much of a round logs may take."""

ROOM_SECONDS = 5.0
"""How long what all pods of the cluster ask for is taken as known."""

KUEUE_JOB_UID = "kueue.x-k8s.io/job-uid"
SUBMITTER = "ray-job-submitter"

Object = dict[str, Any]

log = logging.getLogger(__name__)


class KubernetesLauncher:
    """Runs the runs of `cluster` in the namespace of `config`. `data` is where the ends of logs are kept."""

    def __init__(
        self,
        api: Kubernetes,
        config: KubernetesConfig,
        catalogue: Catalogue,
        *,
        cluster: str,
        data: Path,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        rng: Random,
    ) -> None:
        self._api = api
        self._config = config
        self._catalogue = catalogue
        self._cluster = cluster
        self._clock = clock
        self._monotonic = monotonic
        self._resource = JOBS if config.kind == "job" else RAY_JOBS
        selector = names.selector(cluster)
        self._owners = Watched(api, self._resource, config.namespace, label_selector=selector, rng=rng, monotonic=monotonic)
        self._pods = Watched(api, PODS, config.namespace, label_selector=selector, rng=rng, monotonic=monotonic)
        self.nodes = Watched(api, NODES, None, rng=rng, monotonic=monotonic)
        self._logs = LogKeeper(api, config.namespace, data / "logs", monotonic)
        self._found_gang: manifests.Gang | None = None
        self._found_sources: dict[tuple[str, int], Source] = {}
        self._trouble = ""
        self._ailing: dict[str, datetime] = {}
        self._equipped: set[str] = set()
        self._ended: dict[RunKey, ObservedRun] = {}
        self._put_off: dict[RunKey, int] = {}
        """How many steps the API could not take with a run. Such runs go behind the others: trouble with one holds up no other."""
        self._there: list[Object] = []
        self._there_until = 0.0

    def observe(self) -> list[ObservedRun]:
        until = self._monotonic() + STEPS_SECONDS
        runs = []
        for seen in self._all_seen():
            run, until = self._brought_on(seen, until)
            if run is not None:
                runs.append(self._with_checkpoint(seen, run))
        self._keep_logs()
        return runs

    def launch(self, run: DesiredRun) -> None:
        make = manifests.job if self._config.kind == "job" else manifests.ray_job
        body = make(self._cluster, run, self._config, self._catalogue, self._gang())
        nodes = self.nodes.snapshot()
        for placement in run.placements:
            if placement.node not in nodes:
                raise LaunchRefusedError(f"{placement.node} is no node of this Kubernetes cluster")
        key = (run.attempt, run.fencing_token)
        try:
            found = self._created(key, body)
        except RefusedError as error:
            raise LaunchRefusedError(f"Kubernetes refused it: {error}") from None
        except KubernetesError as error:
            raise LauncherUnavailableError(str(error)) from None
        self._owners.note(found)
        self._brought_on(Seen(key, self._owner(found), (), nodes), self._monotonic() + STEPS_SECONDS)

    def stop(self, attempt: str, token: int) -> None:
        key = (attempt, token)
        name = self._name(key)
        found = self._owners.snapshot().get(name)
        if found is None:
            self._delete_pods(name)
        elif names.END not in names.annotations_of(found):
            try:
                self._end(found, End(asked=True, detail="the city does not desire it any more", at=self._clock()))
            except NotFoundError:
                pass
            except KubernetesError as error:
                raise LauncherUnavailableError(str(error)) from None

    def forget(self, attempt: str, token: int) -> None:
        name = self._name((attempt, token))
        try:
            self._api.delete(self._resource, self._config.namespace, name, propagation="Background")
        except NotFoundError:
            pass
        except KubernetesError as error:
            raise LauncherUnavailableError(str(error)) from None

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        name = self._name((attempt, token))
        return self._logs.read(name, rank, self._found_sources.get((name, rank)), offset, max_bytes)

    def close(self) -> None:
        for watched in (self._owners, self._pods, self.nodes):
            watched.close()
        self._api.close()

    def _all_seen(self) -> list[Seen]:
        """Every run there is a Job or a pod of. The Jobs are looked at first, so no pod is older than its Job."""
        owners = {key: found for found in self._owners.snapshot().values() if (key := self._key(found)) is not None}
        pods: defaultdict[RunKey, list[Object]] = defaultdict(list)
        for pod in self._pods.snapshot().values():
            if (key := self._key(pod)) is not None:
                pods[key].append(pod)
        nodes = self.nodes.snapshot()
        self._note_ailing(pod for those in pods.values() for pod in those)
        self._equipped &= {str(found["metadata"]["uid"]) for found in owners.values()}
        self._ended = {key: run for key, run in self._ended.items() if key in owners}
        self._put_off = {key: steps for key, steps in self._put_off.items() if key in owners}
        return [
            Seen(key, self._owner(owners[key]) if key in owners else None, pods.get(key, ()), nodes, self._ailing)
            for key in sorted({*owners, *pods}, key=lambda key: (self._put_off.get(key, 0), key))
        ]

    def _brought_on(self, seen: Seen, until: float) -> tuple[ObservedRun | None, float]:
        """What is true of a run after the steps that could be taken with it, and until when others may be taken.

        Trouble of the API is no trouble of the run: it is told as it was last seen, which is never an ending.
        """
        if seen.key in self._ended:
            return self._ended[seen.key], until
        assessment, fresh = self._assess(seen), False
        for _ in range(STEPS_PER_RUN):
            if not _matters(assessment) or self._monotonic() >= until:
                break
            try:
                if not fresh and _is_final(assessment):
                    seen, fresh = self._asked(seen), True
                else:
                    changed = self._take(seen, assessment.step)
                    if changed is None:
                        break
                    seen = replace(seen, owner=self._owner(changed))
            except LauncherUnavailableError as error:
                self._say(str(error))
                self._put_off[seen.key] = self._put_off.get(seen.key, 0) + 1
                until = 0.0
                break
            except KubernetesError as error:  # changed or gone in between, or refused: the next round sees it as it is
                self._say(str(error))
                break
            assessment = self._assess(seen)
        return self._told(seen, assessment, fresh), until

    def _told(self, seen: Seen, assessment: Assessment, fresh: bool) -> ObservedRun | None:
        run = assessment.run
        if run is None or run.state not in RUN_FINAL:
            return run
        if not fresh or assessment.step is not None:
            state = RunState.STARTING if run.started_at is None else RunState.RUNNING
            return run.model_copy(update={"state": state} | dict.fromkeys(("finished_at", "exit_code", "detail", "cause")))
        self._ended[seen.key] = run
        self._there_until = 0.0  # it has made room
        return run

    def _assess(self, seen: Seen) -> Assessment:
        config = self._config
        puts_back = self._found_gang is not None and self._found_gang.way == "suspend"
        return assess(seen, Limits(config.not_placed_seconds, config.node_lost_seconds, puts_back), self._clock())

    def _asked(self, seen: Seen) -> Seen:
        """The run as the API has it now, not as it was last heard."""
        name, namespace = self._name(seen.key), self._config.namespace
        try:
            found: Object | None = self._api.get(self._resource, namespace, name)
        except NotFoundError:
            found = None
        pods = self._api.list(PODS, namespace, label_selector=f"{names.RUN}={name}").items
        owner = None if found is None or self._key(found) != seen.key else self._owner(found)
        ours = [pod for pod in pods if self._key(pod) == seen.key]
        return replace(seen, owner=owner, pods=ours, nodes=self._asked_nodes(seen.nodes, ours))

    def _asked_nodes(self, nodes: Mapping[str, Mapping[str, Any]], pods: Iterable[Object]) -> Mapping[str, Mapping[str, Any]]:
        """The nodes, of which those that seem not to answer were asked for again."""
        found = dict(nodes)
        for name in {name for pod in pods if (name := pod_status.node_of(pod)) is not None}:
            if pod_status.lost_since(found.get(name), self._clock()) is None:
                continue
            try:
                found[name] = self._api.get(NODES, None, name)
            except NotFoundError:
                found.pop(name, None)
        return found

    def _take(self, seen: Seen, step: Step | None) -> Object | None:
        """The Job after a step; None where it could not be taken yet."""
        if seen.owner is None:
            return None
        found = dict(seen.owner.found)
        self._equip(found)
        match step:
            case Note(annotations):
                return self._patch(found, {"metadata": {"annotations": dict(annotations)}})
            case End(cause=Cause.NOT_PLACED) if self._resource is JOBS and not seen.pods:
                return self._end(found, replace(step, detail=f"{step.detail}; {self._why_no_pods(found)}"))
            case End():
                return self._end(found, step)
            case PutBack():
                return self._patch(found, {"spec": {"suspend": True}})
            case Resume():
                return self._resume(seen.owner)
            case None:
                return None

    def _resume(self, owner: Owner) -> Object | None:
        gang = self._gang()
        noted = names.annotations_of(owner.found)
        if gang.way == "kueue" or (gang.way != "suspend" and names.RESUMED_AT in noted):
            return None
        if gang.way == "suspend" and not self._has_room(owner.found):
            return None
        changes = {"metadata": {"annotations": {names.RESUMED_AT: rfc3339(self._clock())}}, "spec": {"suspend": False}}
        changed = self._patch(dict(owner.found), changes)
        self._take_room(owner.found)
        return changed

    def _has_room(self, found: Mapping[str, Any]) -> bool:
        if self._monotonic() >= self._there_until:
            living = "status.phase!=Succeeded,status.phase!=Failed"
            self._there = list(self._api.list(PODS, field_selector=living).items)
            self._there_until = self._monotonic() + ROOM_SECONDS
        template = manifests.pod_template(self._resource, found)
        missing = lacking(self.nodes.snapshot(), manifests.granted_nodes(template), self._there, template)
        if missing is not None:
            log.debug("%s waits: %s", found["metadata"]["name"], missing)
        return missing is None

    def _take_room(self, found: Mapping[str, Any]) -> None:
        """Until its pods are there to be counted, the room they will take is taken."""
        template = manifests.pod_template(self._resource, found)
        for name in manifests.granted_nodes(template):
            self._there.append({"metadata": {}, "spec": {**template["spec"], "nodeName": name}, "status": {}})

    def _end(self, found: Object, end: End) -> Object:
        log.info("%s: ending it: %s", found["metadata"]["name"], end.detail)
        changes = {"metadata": {"annotations": {names.END: end.annotation()}}, "spec": {"suspend": True}}
        changed = self._patch(found, changes)
        if self._gang().way == "kueue":
            self._deactivate(found)
        return changed

    def _why_no_pods(self, found: Object) -> str:
        """Why the Job's controller could make no pod, which only an event says: a quota, an admission policy."""
        selector = f"involvedObject.uid={found['metadata']['uid']},reason=FailedCreate"
        try:
            events = self._api.list(EVENTS, self._config.namespace, field_selector=selector).items
        except (LauncherUnavailableError, KubernetesError) as error:
            return str(error)
        newest = max(events, key=lambda event: str(event.get("lastTimestamp")), default=None)
        return "no pod of it was made" if newest is None else " ".join(str(newest.get("message")).split())

    def _deactivate(self, found: Object) -> None:
        """Kueue, which lets suspended Jobs go when their turn comes, is told that this one's will not."""
        label = f"{KUEUE_JOB_UID}={found['metadata']['uid']}"
        for workload in self._api.list(KUEUE_WORKLOADS, self._config.namespace, label_selector=label).items:
            self._api.patch(KUEUE_WORKLOADS, self._config.namespace, workload["metadata"]["name"], {"spec": {"active": False}})

    def _equip(self, found: Object) -> None:
        """Creates what stands beside a Job, once."""
        uid = str(found["metadata"]["uid"])
        if uid in self._equipped or names.END in names.annotations_of(found):
            return
        for each in manifests.beside(self._resource, found, self._gang()):
            try:
                self._api.create(each.resource, self._config.namespace, dict(each.body))
            except AlreadyExistsError:
                continue
        self._equipped.add(uid)

    def _patch(self, found: Object, changes: Object) -> Object:
        changed = self._api.patch(self._resource, self._config.namespace, found["metadata"]["name"], changes)
        self._owners.note(changed)
        return changed

    def _delete_pods(self, name: str) -> None:
        """Of a run whose Job is gone and did not take them along."""
        for pod in self._pods.snapshot().values():
            if (pod["metadata"].get("labels") or {}).get(names.RUN) != name or pod_status.is_deleted(pod):
                continue
            try:
                self._api.delete(PODS, self._config.namespace, pod["metadata"]["name"], uid=pod["metadata"]["uid"])
            except KubernetesError:
                continue  # gone, or another's by now

    def _keep_logs(self) -> None:
        """A bounded part of a round: those longest ago first; with trouble, none."""
        self._found_sources = self._sources()
        self._logs.keep_only({run for run, _ in self._found_sources} | set(self._owners.snapshot()))
        until = self._monotonic() + FEEDS_SECONDS
        for source in self._logs.by_turns(self._found_sources.values())[:FEEDS_PER_ROUND]:
            if self._monotonic() >= until or not self._logs.feed(source):
                return

    def _sources(self) -> dict[tuple[str, int], Source]:
        """Where logs come from: each rank's newest pod; of a RayJob the pod that hands its program over and prints for it."""
        found = {}
        for pod in sorted(self._pods.snapshot().values(), key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
            key = self._key(pod)
            submits = (pod["metadata"].get("labels") or {}).get(names.ROLE) == names.SUBMITTER_ROLE
            if key is None or submits is not (self._resource is RAY_JOBS):
                continue
            rank = 0 if submits else pod_status.rank(pod)
            name = self._name(key)
            found[name, rank] = Source(name, rank, pod, SUBMITTER if submits else CONTAINER)
        return found

    def _note_ailing(self, pods: Iterable[Object]) -> None:
        ailing = {pod["metadata"]["uid"] for pod in pods if pod_status.ailment(pod) is not None}
        now = self._clock()
        self._ailing = {uid: self._ailing.get(uid, now) for uid in ailing}

    def _created(self, key: RunKey, body: Object) -> Object:
        """The run's Job, made now or before. Raises LaunchRefusedError where one of its name is another's, KubernetesError."""
        try:
            return self._api.create(self._resource, self._config.namespace, body)
        except AlreadyExistsError:
            found = self._api.get(self._resource, self._config.namespace, self._name(key))
        if self._key(found) != key:
            raise LaunchRefusedError(f"{self._name(key)} is there and is not this run's")
        return found

    def _say(self, trouble: str) -> None:
        """Logs trouble when it begins and changes, not each time it is met again."""
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        self._trouble = trouble

    def _with_checkpoint(self, seen: Seen, run: ObservedRun) -> ObservedRun:
        """With when the run wrote its newest checkpoint, where the agent has the volume too."""
        kept = self._config.checkpoints
        named = None if seen.owner is None else names.annotations_of(seen.owner.found).get(names.CHECKPOINT)
        if kept is None or kept.local_path is None or named is None or run.started_at is None:
            return run
        root = Path(kept.local_path).resolve()
        folder = (root / named).resolve()
        written = written_at(folder) if folder.is_relative_to(root) else None
        return run if written is None or written < run.started_at else run.model_copy(update={"checkpoint_at": written})

    def _gang(self) -> manifests.Gang:
        if self._found_gang is None:
            self._found_gang = choose(self._api, self._config)
            log.info("gangs are placed by: %s %s", self._found_gang.way, self._found_gang.queue)
        return self._found_gang

    def _owner(self, found: Mapping[str, Any]) -> Owner:
        of = of_job if self._resource is JOBS else of_ray_job
        return of(found, names.ranks_of(found))

    def _key(self, found: Mapping[str, Any]) -> RunKey | None:
        return names.key_of(self._cluster, found)

    def _name(self, key: RunKey) -> str:
        return names.run_name(self._cluster, key)


def _matters(assessment: Assessment) -> bool:
    return assessment.step is not None or _is_final(assessment)


def _is_final(assessment: Assessment) -> bool:
    """Whether it says, or is about to write down, what cannot be taken back."""
    ends = isinstance(assessment.step, End)
    return ends or (assessment.run is not None and assessment.run.state in RUN_FINAL)
