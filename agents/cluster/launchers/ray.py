"""The `ray` launcher: each run is one job of an existing Ray cluster, by its Jobs REST API.

The REST API and not `ray.job_submission`: the client library waits without a deadline, lets RAY_ADDRESS in the environment
lead it to another cluster, and weighs 250 MB in the agent's image.

Ray keeps the truth: a job's id is made of attempt and token, its metadata says whose it is, so a restarted agent finds all of
them again. Only when a program began is not kept by Ray (it records when the job was accepted), and tenants pay from then on;
so the program is preceded by a line in its log with the time, written on the node where it runs.
"""

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agents.cluster.checkpoints import written_at
from agents.cluster.launcher import LauncherGoneError, LauncherUnavailableError, LaunchRefusedError, LogPiece
from agents.cluster.reconcile import RunKey
from agents.cluster.variables import run_variables
from agents.cluster.working_dir import allowed_folder, is_remote, pack
from scheduler.contract.sync import Cause, DesiredRun, ObservedRun, Placement, RunState

TIMEOUT_SECONDS = 15.0
STOP_GRACE_SECONDS = 10
DETAIL_LENGTH = 500

RAY_RESOURCES = {"nvidia": "GPU", "amd": "GPU", "metax": "GPU", "huawei": "NPU"}
"""What Ray calls a vendor's cards where it detects them itself; for the others an operator declares the vendor as a resource."""

_STATES = {
    "PENDING": RunState.STARTING,
    "RUNNING": RunState.RUNNING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "STOPPED": RunState.STOPPED,
}


class _Job(BaseModel):
    """What Ray answers of a job, as far as it matters here. Times are milliseconds since the epoch."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    submission_id: str | None
    status: str
    entrypoint: str = ""
    message: str | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


_JOBS = TypeAdapter(list[_Job])


class RayLauncher:
    """Runs the runs of `cluster` on the Ray at `address` (`http://host:8265`).

    `data` holds the checkpoints, a folder per job, so that the next attempt finds those of the last one; on a Ray of several
    nodes it lies on storage they share. `alive` says whether a Ray this process started still runs.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        cluster: str,
        data: Path,
        local_roots: Sequence[Path] = (),
        alive: Callable[[], bool] = lambda: True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            trust_env=False,
        )
        self._cluster = cluster
        self._checkpoints = (data / "checkpoints").absolute()
        self._local_roots = tuple(local_roots)
        self._alive = alive
        self._jobs: dict[RunKey, _Job] = {}
        self._began: dict[RunKey, datetime] = {}

    def observe(self) -> list[ObservedRun]:
        try:
            jobs = _JOBS.validate_json(self._call("GET", "/api/jobs/").content)
        except ValidationError as error:
            raise LauncherUnavailableError("Ray answered a list of jobs this agent cannot read") from error
        self._jobs = {key: job for job in jobs if (key := self._key(job)) is not None}
        self._began = {key: began for key, began in self._began.items() if key in self._jobs}
        runs = []
        for key, job in self._jobs.items():
            try:
                runs.append(self._observed(key, job))
            except ValidationError:
                # Whoever may submit to this Ray may write any metadata; what we cannot have written is not ours.
                continue
        return runs

    def launch(self, run: DesiredRun) -> None:
        if len({placement.node for placement in run.placements}) != 1:
            raise LaunchRefusedError(f"the ray launcher cannot yet run a gang over {len(run.placements)} nodes, only on one")
        body = {
            "submission_id": _name(run.attempt, run.fencing_token),
            "entrypoint": _entrypoint(run),
            "metadata": {
                "suanwang_cluster": self._cluster,
                "suanwang_attempt": run.attempt,
                "suanwang_fencing_token": str(run.fencing_token),
                "suanwang_checkpoint": str(self._checkpoint_folder(run).relative_to(self._checkpoints)),
            },
            "runtime_env": self._runtime_env(run),
            **_resources(run),
        }
        response = self._call("POST", "/api/jobs/", accept=(400, 500), json=body)
        if response.is_success or self._exists(run):
            return
        # Ray answers 500 to everything; what it holds against the request itself has a 400 inside.
        if response.status_code == httpx.codes.BAD_REQUEST or "status code 400" in response.text:
            raise LaunchRefusedError(f"Ray refused it: {_last_line(response.text)}")
        raise LauncherUnavailableError(f"Ray could not take a job ({response.status_code}): {_last_line(response.text)}")

    def stop(self, attempt: str, token: int) -> None:
        self._call("POST", f"{self._path(attempt, token)}/stop", accept=(404,))

    def forget(self, attempt: str, token: int) -> None:
        self._call("DELETE", self._path(attempt, token), accept=(404,))

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        job = self._jobs.get((attempt, token))
        if job is None or job.driver_node_id is None or rank > 0:
            return LogPiece(offset)
        query = {"node_id": job.driver_node_id, "filename": f"job-driver-{job.submission_id}.log", "lines": "-1"}
        # Ray streams a log from its beginning, whatever its size: take what is needed and hang up.
        found = bytearray()
        try:
            with self._http.stream("GET", "/api/v0/logs/file", params=query) as response:
                if not response.is_success:
                    return LogPiece(offset)
                for piece in response.iter_bytes():
                    found += piece
                    if len(found) >= offset + max_bytes:
                        break
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        return LogPiece(offset, bytes(found[offset : offset + max_bytes]))

    def close(self) -> None:
        self._http.close()

    def _key(self, job: _Job) -> RunKey | None:
        """The run a job is, or None when it is not one of this cluster's."""
        metadata = job.metadata or {}
        attempt, token = metadata.get("suanwang_attempt"), metadata.get("suanwang_fencing_token", "")
        if metadata.get("suanwang_cluster") != self._cluster or attempt is None or not token.isdecimal():
            return None
        return (attempt, int(token)) if job.submission_id == _name(attempt, int(token)) else None

    def _observed(self, key: RunKey, job: _Job) -> ObservedRun:
        state = _STATES.get(job.status, RunState.STARTING)
        began = self._began_at(key, job)
        if state is RunState.RUNNING and began is None:
            state = RunState.STARTING
        failed = state is RunState.FAILED
        return ObservedRun(
            attempt=key[0],
            fencing_token=key[1],
            state=state,
            started_at=began,
            finished_at=_moment(job.end_time) if job.end_time else None,
            exit_code=job.driver_exit_code,
            detail=_failure(job) if failed else None,
            cause=Cause.LAUNCH_REFUSED if failed and began is None else None,
            checkpoint_at=self._checkpoint_at(job, began),
        )

    def _began_at(self, key: RunKey, job: _Job) -> datetime | None:
        """When the program began, by the first line in its log that we wrote before it: its owner cannot name the attempt."""
        if key not in self._began and job.driver_node_id is not None:
            head = self.read_log(*key, rank=0, offset=0, max_bytes=len(job.entrypoint.encode()) + 4096).data
            mark = re.search(rf"^{re.escape(_mark(key[0]))} (\d{{10,11}})\.(\d{{3}})$".encode(), head, re.MULTILINE)
            if mark is not None:
                self._began[key] = _moment(int(mark[1] + mark[2]))
        return self._began.get(key)

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

    def _checkpoint_at(self, job: _Job, began: datetime | None) -> datetime | None:
        """When the newest file in the run's checkpoint folder was written, if this run wrote it."""
        named = (job.metadata or {}).get("suanwang_checkpoint")
        if named is None or began is None:
            return None
        written = written_at(self._checkpoints / named)
        return written if written is not None and written >= began else None

    def _runtime_env(self, run: DesiredRun) -> dict[str, Any]:
        checkpoints = self._checkpoint_folder(run)
        checkpoints.mkdir(parents=True, exist_ok=True)
        variables = run_variables(run, str(checkpoints)) | {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_GRACE_SECONDS)}
        environment: dict[str, Any] = {"env_vars": variables}
        if run.placements[0].mig:
            environment["env_vars"] |= _pinned(run.placements[0])
        if run.working_dir is not None:
            remote = is_remote(run.working_dir)
            environment["working_dir"] = run.working_dir if remote else self._upload(run.working_dir)
        return environment

    def _upload(self, working_dir: str) -> str:
        """The URI under which Ray has the folder's package."""
        name, package = pack(allowed_folder(working_dir, self._local_roots))
        path = f"/api/packages/gcs/{name}"
        if self._call("GET", path, accept=(404,)).status_code == httpx.codes.NOT_FOUND:
            self._call("PUT", path, content=package)
        return f"gcs://{name}"

    def _exists(self, run: DesiredRun) -> bool:
        return self._call("GET", self._path(run.attempt, run.fencing_token), accept=(404,)).is_success

    def _path(self, attempt: str, token: int) -> str:
        return f"/api/jobs/{quote(_name(attempt, token), safe='')}"

    def _call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **content: Any) -> httpx.Response:
        """An answer that is a success or among `accept`. Raises LauncherUnavailableError or LauncherGoneError."""
        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise self._unavailable(error) from error
        if not response.is_success and response.status_code not in accept:
            hint = ": is its token right?" if response.status_code in (401, 403) else ""
            raise LauncherUnavailableError(f"Ray at {self._http.base_url} answered {response.status_code}{hint}")
        return response

    def _unavailable(self, error: httpx.TransportError) -> LauncherUnavailableError | LauncherGoneError:
        if not self._alive():
            return LauncherGoneError("the Ray this agent started has ended")
        return LauncherUnavailableError(f"Ray at {self._http.base_url} does not answer ({error or type(error).__name__})")


def _name(attempt: str, token: int) -> str:
    return f"suanwang-{attempt}-{token}"


def _mark(attempt: str) -> str:
    return f"suanwang: {attempt} began"


def _entrypoint(run: DesiredRun) -> str:
    """The shell line Ray runs: say when, then become the program, every argument of it quoted."""
    return f"date -u {shlex.quote(f'+{_mark(run.attempt)} %s.%3N')}; exec {shlex.join(run.entrypoint)}"


def _resources(run: DesiredRun) -> Mapping[str, Any]:
    """What Ray must set aside for a run on one node."""
    placement = run.placements[0]
    # Ray counts an instance of MIG as a GPU
    cards = float(len(placement.devices)) if placement.mig else len(placement.devices) * placement.card_milli / 1000
    resources: dict[str, Any] = {"entrypoint_num_cpus": placement.cpus}
    if cards:
        name = RAY_RESOURCES.get(run.vendor or "", run.vendor or "")
        resources |= {"entrypoint_num_gpus": cards} if name == "GPU" else {"entrypoint_resources": {name: cards}}
    return resources


def _pinned(placement: Placement) -> dict[str, str]:
    """What makes a program see the granted instances of MIG and no others: Ray would give it any it counts as a GPU."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(placement.devices), "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}


def _failure(job: _Job) -> str:
    if job.driver_exit_code is not None:
        return f"the program exited with code {job.driver_exit_code}"
    lines = [line.strip() for line in (job.message or "").splitlines() if line.strip()]
    if not lines:
        return "Ray says no more than that it failed"
    # Of a traceback, what failed and why: its first line and its last.
    return (lines[0] if len(lines) == 1 else f"{lines[0][: DETAIL_LENGTH // 2]} … {lines[-1]}")[:DETAIL_LENGTH]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return lines[-1][: DETAIL_LENGTH // 2] if lines else "no reason given"


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
