"""The ray launcher against a Jobs API in memory: what it asks of Ray, and how it reads the answers."""

import json
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from agents.cluster.launcher import LauncherGoneError, LauncherUnavailableError, LaunchRefusedError
from agents.cluster.launchers.ray import RayLauncher
from scheduler.contract.sync import Cause, Placement, RunState
from tests.agents.cluster.doubles import desired

NAME = "suanwang-att-1-1"


@dataclass
class FakeRay:
    """The part of Ray's REST API the launcher uses, behaving as Ray 2.60 was seen to."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    down: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        path = unquote(request.url.path)
        self.asked.append(f"{request.method} {path}")
        if request.headers.get("Authorization") != "Bearer ray-token":
            return httpx.Response(401)
        if path.startswith("/api/packages/gcs/"):
            return self._package(request.method, path)
        if path == "/api/v0/logs/file":
            log = self.logs.get(request.url.params["filename"])
            return httpx.Response(500, text="no such file") if log is None else httpx.Response(200, content=log)
        if path == "/api/jobs/":
            return self._submit(json.loads(request.content)) if request.method == "POST" else self._list()
        name = path.removeprefix("/api/jobs/").removesuffix("/stop")
        return httpx.Response(200, json=self.jobs[name]) if name in self.jobs else httpx.Response(404)

    def _list(self) -> httpx.Response:
        return httpx.Response(200, json=list(self.jobs.values()))

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        name = body["submission_id"]
        if name in self.jobs:
            return httpx.Response(500, text="Traceback\nRuntimeError: status code 400: ... already exists.\n.\n")
        self.jobs[name] = {**body, "status": "PENDING", "start_time": 1_800_000_000_000}
        return httpx.Response(200, json={"submission_id": name})

    def _package(self, method: str, path: str) -> httpx.Response:
        if method == "PUT":
            self.packages.add(path)
        return httpx.Response(200 if path in self.packages else 404)

    def runs(self, began: str = "1800000002.500", **job: Any) -> None:
        self.jobs[NAME] |= {"status": "RUNNING", "driver_node_id": "n1", **job}
        self.logs[f"job-driver-{NAME}.log"] = f"Runtime env\nsuanwang: att-1 began {began}\nhello\n".encode()


def launcher(ray: FakeRay, data: Path, **options: Any) -> RayLauncher:
    return RayLauncher("http://ray", "ray-token", cluster="c1", data=data, transport=httpx.MockTransport(ray), **options)


def test_launching_twice_starts_one_job(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    launcher(ray, tmp_path).launch(desired())
    assert list(ray.jobs) == [NAME]
    env = ray.jobs[NAME]["runtime_env"]["env_vars"]
    assert env["SUANWANG_JOB"] == "job-1"
    assert env["SUANWANG_ATTEMPT"] == "1"
    assert env["SUANWANG_FENCING_TOKEN"] == "1"
    assert Path(env["SUANWANG_CHECKPOINT_DIR"]).is_dir()


def test_a_hostile_entrypoint_stays_one_argument(tmp_path: Path) -> None:
    ray = FakeRay()
    arguments = ["python", "-c", "print('$(id)'); import os", "; rm -rf /", "a\nb"]
    launcher(ray, tmp_path).launch(desired(entrypoint=arguments))
    said, _, program = ray.jobs[NAME]["entrypoint"].partition("; exec ")
    assert shlex.split(program) == arguments
    assert shlex.split(said)[:2] == ["date", "-u"]


@pytest.mark.parametrize(
    ("path", "inside"),
    [(None, ""), ("/ckpt", "ckpt"), ("a/b", "a/b"), ("/root/.ssh", "root/.ssh"), ("//etc", "etc")],
)
def test_a_checkpoint_path_is_a_name_inside_the_jobs_folder(tmp_path: Path, path: str | None, inside: str) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired(checkpoint_path=path))
    folder = Path(ray.jobs[NAME]["runtime_env"]["env_vars"]["SUANWANG_CHECKPOINT_DIR"])
    assert folder == tmp_path / "checkpoints" / "job-1" / inside


def test_a_planted_link_does_not_lead_the_checkpoints_away(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "job-1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "job-1" / "ckpt").symlink_to("/etc")
    with pytest.raises(LaunchRefusedError, match="leads outside"):
        launcher(FakeRay(), tmp_path).launch(desired(checkpoint_path="/ckpt/x"))


def test_the_next_attempt_of_a_job_gets_the_same_checkpoints(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    launcher(ray, tmp_path).launch(desired("att-2", 2, number=2))
    folders = {job["runtime_env"]["env_vars"]["SUANWANG_CHECKPOINT_DIR"] for job in ray.jobs.values()}
    assert len(folders) == 1


def test_a_task_of_an_array_knows_its_index_and_keeps_checkpoints_of_its_own(tmp_path: Path) -> None:
    ray = FakeRay()
    for number in (1, 2):
        array = {"index": number + 6, "size": 100}
        launcher(ray, tmp_path).launch(desired(f"att-{number}", number, number=number, array=array, checkpoint_path="ckpt"))
    seen = [job["runtime_env"]["env_vars"] for job in ray.jobs.values()]
    assert [(each["SUANWANG_ARRAY_INDEX"], each["SUANWANG_ARRAY_SIZE"]) for each in seen] == [("7", "100"), ("8", "100")]
    assert [each["SUANWANG_CHECKPOINT_DIR"] for each in seen] == [
        str(tmp_path / "checkpoints" / "job-1" / index / "ckpt") for index in ("7", "8")
    ]


def test_a_program_sees_the_instances_it_was_granted_and_no_others(tmp_path: Path) -> None:
    ray = FakeRay()
    granted = Placement(node="n", devices=["MIG-a", "MIG-b"], card_milli=428, mig="3g.40gb")
    launcher(ray, tmp_path).launch(desired(vendor="nvidia", placements=[granted]))
    seen = ray.jobs[NAME]["runtime_env"]["env_vars"]
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]) == ("MIG-a,MIG-b", "1")
    launcher(ray, tmp_path).launch(desired("att-2", 2, vendor="nvidia", placements=[Placement(node="n", devices=["GPU-a"])]))
    assert all("CUDA_VISIBLE_DEVICES" not in each["runtime_env"]["env_vars"] for name, each in ray.jobs.items() if name != NAME)


@pytest.mark.parametrize(
    ("vendor", "placement", "expected"),
    [
        (None, Placement(node="n", devices=[], cpus=2), {"entrypoint_num_cpus": 2}),
        ("nvidia", Placement(node="n", devices=["a", "b"], cpus=4), {"entrypoint_num_cpus": 4, "entrypoint_num_gpus": 2.0}),
        ("nvidia", Placement(node="n", devices=["a"], card_milli=250), {"entrypoint_num_cpus": 0, "entrypoint_num_gpus": 0.25}),
        (
            "nvidia",
            Placement(node="n", devices=["MIG-a", "MIG-b"], card_milli=428, mig="3g.40gb"),
            {"entrypoint_num_cpus": 0, "entrypoint_num_gpus": 2.0},
        ),
        ("huawei", Placement(node="n", devices=["a"] * 8), {"entrypoint_num_cpus": 0, "entrypoint_resources": {"NPU": 8.0}}),
    ],
)
def test_ray_sets_aside_what_was_granted(
    tmp_path: Path, vendor: str | None, placement: Placement, expected: dict[str, Any]
) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired(vendor=vendor, placements=[placement]))
    job = ray.jobs[NAME]
    assert {name: value for name, value in job.items() if name.startswith("entrypoint_")} == expected


def test_a_gang_over_several_nodes_is_refused_for_now(tmp_path: Path) -> None:
    gang = [Placement(node="n1", devices=[]), Placement(node="n2", devices=[])]
    with pytest.raises(LaunchRefusedError, match="gang over 2 nodes"):
        launcher(FakeRay(), tmp_path).launch(desired(placements=gang))


def test_a_local_folder_is_uploaded_once(tmp_path: Path) -> None:
    ray = FakeRay()
    source = tmp_path / "src"
    source.mkdir()
    (source / "train.py").write_text("print(1)")
    one = launcher(ray, tmp_path, local_roots=[tmp_path])
    one.launch(desired(working_dir=str(source)))
    one.launch(desired("att-2", 2, working_dir=str(source)))
    assert sum(asked.startswith("PUT") for asked in ray.asked) == 1
    assert ray.jobs[NAME]["runtime_env"]["working_dir"].startswith("gcs://_ray_pkg_")
    with pytest.raises(LaunchRefusedError):
        one.launch(desired("att-3", 3, working_dir="/etc"))


def test_states_times_and_exit_codes(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    assert one.observe()[0].state is RunState.STARTING
    ray.jobs[NAME]["status"] = "RUNNING"
    assert one.observe()[0].state is RunState.STARTING, "accepted, but the program has not begun"
    ray.runs()
    [running] = one.observe()
    assert running.state is RunState.RUNNING
    assert running.started_at == datetime.fromtimestamp(1_800_000_002.5, UTC)
    ray.runs(status="FAILED", end_time=1_800_000_009_000, driver_exit_code=3, message="log tail")
    [failed] = launcher(ray, tmp_path).observe()
    assert (failed.state, failed.exit_code, failed.cause) == (RunState.FAILED, 3, None)
    assert failed.detail == "the program exited with code 3"
    assert failed.started_at == running.started_at
    assert failed.finished_at == datetime.fromtimestamp(1_800_000_009, UTC)


def test_a_program_that_never_began_is_a_failed_launch(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.jobs[NAME] |= {"status": "FAILED", "end_time": 1_800_000_009_000, "message": "runtime_env setup failed: no such package"}
    [run] = one.observe()
    assert run.cause is Cause.LAUNCH_REFUSED
    assert run.started_at is None
    assert run.detail == "runtime_env setup failed: no such package"


def test_an_owner_cannot_forge_when_its_program_began(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired(entrypoint=["echo", "\nsuanwang: att-0 began 1900000000.000\n"]))
    ray.runs()
    echoed = f"Running entrypoint: {ray.jobs[NAME]['entrypoint']}\n".encode()
    ray.logs[f"job-driver-{NAME}.log"] = echoed + ray.logs[f"job-driver-{NAME}.log"] + b"suanwang: att-1 began 1900000000.000\n"
    assert one.observe()[0].started_at == datetime.fromtimestamp(1_800_000_002.5, UTC)


def test_the_age_of_the_checkpoint_is_told(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired(checkpoint_path="/ckpt"))
    ray.runs(began="1700000000.000")
    assert one.observe()[0].checkpoint_at is None
    (tmp_path / "checkpoints" / "job-1" / "ckpt" / "checkpoint.npz").write_bytes(b"x")
    assert one.observe()[0].checkpoint_at is not None


def test_other_peoples_jobs_are_not_ours(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    ray.jobs["raysubmit_1"] = {"submission_id": "raysubmit_1", "status": "RUNNING", "metadata": None}
    ray.jobs["driver"] = {"submission_id": None, "status": "RUNNING", "entrypoint": "python"}
    other = {"suanwang_cluster": "c2", "suanwang_attempt": "att-9", "suanwang_fencing_token": "9"}
    ray.jobs["suanwang-att-9-9"] = {"submission_id": "suanwang-att-9-9", "status": "RUNNING", "metadata": other}
    forged = {"suanwang_cluster": "c1", "suanwang_attempt": "a b", "suanwang_fencing_token": "9" * 30}
    name = f"suanwang-a b-{'9' * 30}"
    ray.jobs[name] = {"submission_id": name, "status": "RUNNING", "metadata": forged}
    assert [run.attempt for run in launcher(ray, tmp_path).observe()] == ["att-1"]


def test_trouble_is_told_apart(tmp_path: Path) -> None:
    ray = FakeRay(down=True)
    with pytest.raises(LauncherUnavailableError, match="does not answer"):
        launcher(ray, tmp_path).observe()
    with pytest.raises(LauncherGoneError):
        launcher(ray, tmp_path, alive=lambda: False).observe()
    wrong = RayLauncher("http://ray", "wrong", cluster="c1", data=tmp_path, transport=httpx.MockTransport(FakeRay()))
    with pytest.raises(LauncherUnavailableError, match="is its token right"):
        wrong.observe()


def test_stop_and_forget_are_harmless_where_nothing_is(tmp_path: Path) -> None:
    one = launcher(FakeRay(), tmp_path)
    one.stop("att-1", 1)
    one.forget("att-1", 1)
    assert one.read_log("att-1", 1, 0, 0, 100).data == b""
