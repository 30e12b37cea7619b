"""The `ray` launcher: each run is one job of a Ray cluster, by its Jobs REST API.

Ray keeps the truth: a job's id is made of attempt and token, its metadata says whose it is, so a restarted agent finds all of
them again. A run on one node is one job there: Ray sets the cards aside for the job itself, and its entrypoint runs the program
(`payload.rank`). A gang is a job whose entrypoint drives the ranks (`payload.gang`), beside rank 0.
"""

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from pydantic import ValidationError

from agents.cluster.checkpoints import written_at
from agents.cluster.launcher import LauncherUnavailableError, LaunchRefusedError, LogPiece
from agents.cluster.ray.api import Job, RayApi, job_path, last_line
from agents.cluster.ray.nodes import RankPlace, places
from agents.cluster.ray.observed import DETAIL_LENGTH, STATES, Said, observed, read_said
from agents.cluster.ray.packing import payload
from agents.cluster.ray.payload.rank import FOLDER, SEGMENT_BYTES
from agents.cluster.reconcile import RunKey
from agents.cluster.variables import rendezvous_variables, run_variables
from agents.cluster.working_dir import allowed_folder, is_remote, pack
from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun, Placement

STOP_GRACE_SECONDS = 10
STOP_MARGIN_SECONDS = 10
"""Beyond the grace, after which Ray kills what still stands: the payload has then ended the program itself, on every node."""
PLACEMENT_SECONDS = 60
"""For Ray to find room for a whole gang. A run on one node waits as long as Ray lets jobs wait (RAY_JOB_START_TIMEOUT_SECONDS)."""
MOST_ENTRYPOINT_BYTES = 100_000
"""Linux takes no longer argument than 128 KiB, and Ray gives the whole entrypoint to a shell as one."""
MOST_JOB_LOG_BYTES = 2**20
READINGS_OF_AN_END = 5
"""How often the log of an ended job is asked for its last words, and that of a rank for its end: its node may be gone."""

NODE_SHARE = 0.001
"""Of the resource only one node has: enough to be put there, and a thousand jobs fit."""
ADDRESS_MARK = "@rank-0-address@"
PORT_MARK = "@rank-0-port@"
RANK_MARK = "@rank@"
"""Stand in a gang's variables for what only its driver knows, on Ray's nodes."""
ONE_NODE_ADDRESS = "127.0.0.1"


class RayLauncher:
    """Runs the runs of `cluster` on the Ray that `api` speaks to.

    `data` holds the checkpoints, a folder per job, so that the next attempt finds those of the last one; on a Ray of several
    nodes it lies on storage they share. `resources` is what Ray calls each vendor's cards.
    """

    def __init__(
        self, api: RayApi, *, cluster: str, data: Path, resources: Mapping[str, str], local_roots: Sequence[Path] = ()
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._checkpoints = (data / "checkpoints").absolute()
        self._resources = resources
        self._local_roots = tuple(local_roots)
        self._jobs: dict[RunKey, Job] = {}
        self._said: dict[RunKey, Said] = {}
        self._ends_read: dict[RunKey, int] = {}
        self._silences: dict[tuple[RunKey, int], int] = {}
        """How often a node did not answer for the log of a rank that has ended."""

    def observe(self) -> list[ObservedRun]:
        jobs = {key: job for job in self._api.jobs(_NAME_PREFIX) if (key := self._key(job)) is not None}
        self._jobs = jobs
        self._said = {key: said for key, said in self._said.items() if key in jobs}
        self._ends_read = {key: count for key, count in self._ends_read.items() if key in jobs}
        self._silences = {(key, rank): count for (key, rank), count in self._silences.items() if key in jobs}
        runs = []
        for key, job in jobs.items():
            said = self._listen(key, job)
            checkpoint_at = self._checkpoint_at(job, said.began)
            try:
                runs.append(observed(key, job, said, ranks=_ranks(job), checkpoint_at=checkpoint_at))
            except ValidationError:
                # Whoever may submit to this Ray may write any metadata; what we cannot have written is not ours.
                continue
        return runs

    def launch(self, run: DesiredRun) -> None:
        ranks = places(run, self._api.nodes(), self._resources)
        body = {
            "submission_id": _name(run.attempt, run.fencing_token),
            "metadata": {
                "suanwang_cluster": self._cluster,
                "suanwang_attempt": run.attempt,
                "suanwang_fencing_token": str(run.fencing_token),
                "suanwang_ranks": str(len(ranks)),
                "suanwang_checkpoint": str(self._checkpoint_folder(run).relative_to(self._checkpoints)),
            },
            "runtime_env": self._runtime_env(run),
            **(_on_one_node(run, ranks[0]) if len(ranks) == 1 else _on_several(run, ranks)),
        }
        response = self._api.call("POST", "/api/jobs/", accept=(400, 500), json=body)
        if response.is_success or self._exists(run):
            return
        # Ray answers 500 to everything; what it holds against the request itself has a 400 inside.
        why = last_line(response.text, DETAIL_LENGTH // 2)
        if response.status_code == httpx.codes.BAD_REQUEST or "status code 400" in response.text:
            raise LaunchRefusedError(f"Ray refused it: {why}")
        raise LauncherUnavailableError(f"Ray could not take a job ({response.status_code}): {why}")

    def stop(self, attempt: str, token: int) -> None:
        self._api.call("POST", f"{job_path(_name(attempt, token))}/stop", accept=(404,))

    def forget(self, attempt: str, token: int) -> None:
        self._api.call("DELETE", job_path(_name(attempt, token)), accept=(404,))

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        job = self._jobs.get((attempt, token))
        node_id = None if job is None else self._node_of(job, self._said.get((attempt, token), Said()), rank)
        if node_id is None:
            return LogPiece(offset)
        folder = f"{FOLDER}/{_name(attempt, token)}/{rank}"
        number, skipped = divmod(offset, SEGMENT_BYTES)
        data = self._segment(node_id, folder, number, skipped, max_bytes)
        if data is None:
            kept = self._kept(node_id, folder)
            if kept is None:
                return LogPiece(offset, waits=self._waits((attempt, token), rank))
            later = [each for each in kept if each > number]
            if not later:
                return LogPiece(offset)
            number, skipped, offset = later[0], 0, later[0] * SEGMENT_BYTES
            data = self._segment(node_id, folder, number, skipped, max_bytes) or b""
        if len(data) < max_bytes and skipped + len(data) == SEGMENT_BYTES:
            data += self._segment(node_id, folder, number + 1, 0, max_bytes - len(data)) or b""
        return LogPiece(offset, data, self._end(node_id, folder, offset, data, max_bytes))

    def _segment(self, node_id: str, folder: str, number: int, skipped: int, max_bytes: int) -> bytes | None:
        return self._api.log(node_id, f"{folder}/{number:08d}.log", offset=skipped, max_bytes=max_bytes)

    def _kept(self, node_id: str, folder: str) -> list[int] | None:
        """The numbers of a log's segments that are still there, in order; None when the node does not answer."""
        names = self._api.log_names(node_id, f"{folder}/*.log")
        if names is None:
            return None
        return sorted(int(stem) for stem in (PurePosixPath(name).stem for name in names) if stem.isdecimal())

    def _waits(self, key: RunKey, rank: int) -> bool:
        """Whether to ask a node again that does not answer: of a run that has ended, only so often."""
        if STATES.get(self._jobs[key].status) in RUN_FINAL:
            self._silences[key, rank] = self._silences.get((key, rank), 0) + 1
        return self._silences.get((key, rank), 0) <= READINGS_OF_AN_END

    def _end(self, node_id: str, folder: str, offset: int, data: bytes, max_bytes: int) -> int | None:
        """How much was printed: what has been read to its end, or all before the newest segment, asked for once a segment."""
        if len(data) < max_bytes:
            return offset + len(data)
        kept = self._kept(node_id, folder) if offset % SEGMENT_BYTES < max_bytes else []
        return kept[-1] * SEGMENT_BYTES if kept and kept[-1] * SEGMENT_BYTES >= offset + len(data) else None

    def close(self) -> None:
        self._api.close()

    def _key(self, job: Job) -> RunKey | None:
        """The run a job is, or None when it is not one of this cluster's."""
        metadata = job.metadata or {}
        attempt, token = metadata.get("suanwang_attempt"), metadata.get("suanwang_fencing_token", "")
        if metadata.get("suanwang_cluster") != self._cluster or attempt is None or not _NUMBER.fullmatch(token):
            return None
        return (attempt, int(token)) if job.submission_id == _name(attempt, int(token)) else None

    def _listen(self, key: RunKey, job: Job) -> Said:
        """What the payload has said so far: its log is read until the program has begun, and again when the job has ended."""
        said = self._said.get(key, Said())
        final = STATES.get(job.status) in RUN_FINAL
        if job.driver_node_id is None or said.ended is not None or (said.began is not None and not final):
            return said
        if final:
            self._ends_read[key] = self._ends_read.get(key, 0) + 1
            if self._ends_read[key] > READINGS_OF_AN_END:
                return said
        log = self._api.log(job.driver_node_id, f"job-driver-{job.submission_id}.log", max_bytes=MOST_JOB_LOG_BYTES)
        if log is not None:
            self._said[key] = said = read_said(key[0], log.decode(errors="replace"))
        return said

    def _node_of(self, job: Job, said: Said, rank: int) -> str | None:
        if _ranks(job) == 1:
            return job.driver_node_id if rank == 0 else None
        return said.nodes[rank] if rank < len(said.nodes) else None

    def _checkpoint_folder(self, run: DesiredRun) -> Path:
        """Where a job's attempts keep their checkpoints, each task of an array for itself: the tenant's path names a folder inside
        the job's own, nothing else."""
        named = [part for part in PurePosixPath(run.checkpoint_path or "").parts if part not in ("/", "//", "..")]
        own = self._checkpoints / run.job
        if run.array is not None:
            own /= str(run.array.index)
        folder = own.joinpath(*named)
        if not Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(own)):
            raise LaunchRefusedError("checkpoint.path leads outside the job's own folder")
        return folder

    def _checkpoint_at(self, job: Job, began: datetime | None) -> datetime | None:
        """When the newest file in the run's checkpoint folder was written, if this run wrote it."""
        named = (job.metadata or {}).get("suanwang_checkpoint")
        if named is None or began is None:
            return None
        written = written_at(self._checkpoints / named)
        return written if written is not None and written >= began else None

    def _runtime_env(self, run: DesiredRun) -> dict[str, Any]:
        checkpoints = self._checkpoint_folder(run)
        checkpoints.mkdir(parents=True, exist_ok=True)
        variables = run_variables(run, str(checkpoints)) | {
            "PYTHONUNBUFFERED": "1",
            "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_SECONDS + STOP_MARGIN_SECONDS),
        }
        if run.placements[0].mig:
            # Ray would give a program any instance of MIG that it counts as a GPU.
            variables["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"
        environment: dict[str, Any] = {"env_vars": variables, "py_modules": [self._api.upload(*payload())]}
        if run.working_dir is not None:
            remote = is_remote(run.working_dir)
            environment["working_dir"] = run.working_dir if remote else self._upload(run.working_dir)
        return environment

    def _upload(self, working_dir: str) -> str:
        return self._api.upload(*pack(allowed_folder(working_dir, self._local_roots)))

    def _exists(self, run: DesiredRun) -> bool:
        return self._api.call("GET", job_path(_name(run.attempt, run.fencing_token)), accept=(404,)).is_success


_NAME_PREFIX = "suanwang-"
_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)
"""As we write numbers; others may write digits without end, which Python refuses to read."""


def _name(attempt: str, token: int) -> str:
    return f"{_NAME_PREFIX}{attempt}-{token}"


def _ranks(job: Job) -> int:
    told = (job.metadata or {}).get("suanwang_ranks", "1")
    return int(told) if _NUMBER.fullmatch(told) else 1


def _on_one_node(run: DesiredRun, place: RankPlace) -> dict[str, Any]:
    """A job that Ray puts on its node and sets everything aside for; its entrypoint runs the program."""
    spec = _spec(run) | {
        "folder": f"{_name(run.attempt, run.fencing_token)}/0",
        "owned": False,
        "variables": _rendezvous(run, "0", ONE_NODE_ADDRESS) | _pinned(run.placements[0]),
        "cards": _counted(place),
    }
    resources = {**place.resources, place.node_resource: NODE_SHARE}
    asked: dict[str, Any] = {"entrypoint_num_cpus": place.cpus, "entrypoint_resources": resources}
    if place.gpus:
        asked["entrypoint_num_gpus"] = place.gpus
    if place.memory_bytes:
        asked["entrypoint_memory"] = place.memory_bytes
    return {"entrypoint": _entrypoint("rank", spec), **asked}


def _on_several(run: DesiredRun, ranks: Sequence[RankPlace]) -> dict[str, Any]:
    """A job beside rank 0 that takes nothing itself; its entrypoint drives the gang."""
    nodes = [
        {
            "name": place.name,
            "node_resource": place.node_resource,
            "cpus": place.cpus,
            "gpus": place.gpus,
            "memory_bytes": place.memory_bytes,
            "resources": dict(place.resources),
            "variables": _pinned(placement),
            "cards": _counted(place),
        }
        for placement, place in zip(run.placements, ranks, strict=True)
    ]
    spec = _spec(run) | {
        "folder": _name(run.attempt, run.fencing_token),
        "placement_seconds": PLACEMENT_SECONDS,
        "address_mark": ADDRESS_MARK,
        "rank_mark": RANK_MARK,
        "variables": _rendezvous(run, RANK_MARK, ADDRESS_MARK),
        "nodes": nodes,
    }
    return {"entrypoint": _entrypoint("gang", spec), "entrypoint_resources": {ranks[0].node_resource: NODE_SHARE}}


def _spec(run: DesiredRun) -> dict[str, Any]:
    return {
        "attempt": run.attempt,
        "program": run.entrypoint,
        "grace_seconds": STOP_GRACE_SECONDS,
        "port_mark": PORT_MARK,
    }


def _rendezvous(run: DesiredRun, rank: str, address: str) -> dict[str, str]:
    return rendezvous_variables(rank=rank, nodes=len(run.placements), per_node=run.per_node, address=address, port=PORT_MARK)


def _pinned(placement: Placement) -> dict[str, str]:
    """What makes a program see the granted instances of MIG and no others."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(placement.devices)} if placement.mig else {}


def _counted(place: RankPlace) -> dict[str, Any] | None:
    return None if place.counted is None else asdict(place.counted)


def _entrypoint(what: str, spec: Mapping[str, Any]) -> str:
    """The shell line Ray runs: finds the unpacked payload on the path and becomes it. The tenant's files are on that path too: so
    Python is told to ignore it (-E), or a `json.py` of theirs would be ours."""
    name = payload()[0].removesuffix(".zip")
    line = (
        f'IFS=:; for each in $PYTHONPATH; do case "$each" in */{name}) '
        f'exec python3 -E "$each" {what} {shlex.quote(json.dumps(spec))};; esac; done; echo "its payload is not there"; exit 1'
    )
    if len(line.encode()) > MOST_ENTRYPOINT_BYTES:
        raise LaunchRefusedError(f"entrypoint: with its nodes it makes more than the {MOST_ENTRYPOINT_BYTES} bytes Ray can start")
    return line
