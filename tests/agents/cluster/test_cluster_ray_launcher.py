"""The ray launcher against a Jobs API in memory: what it asks of Ray, and how it reads the answers."""

import json
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from agents.cluster.launcher import LauncherGoneError, LauncherUnavailableError, LaunchRefusedError, LogPiece
from agents.cluster.launchers.ray import MOST_ENTRYPOINT_BYTES, READINGS_OF_AN_END, RayLauncher
from agents.cluster.ray import api
from agents.cluster.ray.api import RayApi
from agents.cluster.ray.packing import payload
from agents.cluster.ray.payload.rank import SEGMENT_BYTES
from scheduler.contract.sync import Cause, DesiredRun, Placement, RunState
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import desired

NAME = "suanwang-att-1-1"
LOG = f"job-driver-{NAME}.log"


def node(name: str, number: int, **counted: float) -> dict[str, Any]:
    address = f"10.0.0.{number}"
    total = {"CPU": 64.0, "memory": 512 * 2.0**30, f"node:{address}": 1.0, "object_store_memory": 1e9, **counted}
    if number == 1:
        total = {"node:__internal_head__": 1.0, **total}
    return {"node_id": f"id-{name}", "node_name": name, "node_ip": address, "state": "ALIVE", "resources_total": total}


@dataclass
class FakeRay:
    """The part of Ray's REST API the launcher uses, behaving as Ray 2.60 was seen to."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By node and file."""
    nodes: list[dict[str, Any]] = field(
        default_factory=lambda: [node("node-1", 1, GPU=8, NPU=8, MLU=8), node("node-2", 2, GPU=8, NPU=8, MLU=8)]
    )
    dead: set[str] = field(default_factory=set)
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
        if path.startswith("/api/v0/"):
            return self._state(path, request.url.params)
        if path == "/api/jobs/":
            return self._submit(json.loads(request.content)) if request.method == "POST" else self._list()
        name = path.removeprefix("/api/jobs/").removesuffix("/stop")
        return httpx.Response(200, json=self.jobs[name]) if name in self.jobs else httpx.Response(404)

    def _list(self) -> httpx.Response:
        return httpx.Response(200, json=list(self.jobs.values()))

    def _state(self, path: str, query: httpx.QueryParams) -> httpx.Response:
        if path == "/api/v0/nodes":
            rows = [each for each in self.nodes if each["state"] == query["filter_values"]]
            return httpx.Response(200, json={"result": True, "msg": "", "data": {"result": {"total": len(rows), "result": rows}}})
        where = query["node_id"]
        if where in self.dead:
            return httpx.Response(500, text=f"Given node id {where} is not available")
        if path == "/api/v0/logs":
            names = [name for on, name in self.logs if on == where and fnmatch(name, query["glob"])]
            return httpx.Response(200, json={"result": True, "data": {"result": {"internal": names}}})
        log = self.logs.get((where, query["filename"]))
        return httpx.Response(500, text="A file is not found") if log is None else httpx.Response(200, content=log)

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        name = body["submission_id"]
        if name in self.jobs:
            return httpx.Response(500, text="Traceback\nRuntimeError: status code 400: ... already exists.\n.\n")
        self.jobs[name] = {**body, "status": "PENDING", "start_time": 1_800_000_000_000, "error_type": None}
        return httpx.Response(200, json={"submission_id": name})

    def _package(self, method: str, path: str) -> httpx.Response:
        if method == "PUT":
            self.packages.add(path)
        return httpx.Response(200 if path in self.packages else 404)

    def runs(self, *said: dict[str, Any], began: float | None = 1_800_000_002.5, **job: Any) -> None:
        """The job is on its node, where the payload has said so."""
        self.jobs[NAME] |= {"status": "RUNNING", "driver_node_id": "id-node-1", **job}
        lines = [{"began": began}, *said] if began else said
        text = "".join(f"suanwang: att-1 {json.dumps(line)}\n" for line in lines)
        self.logs["id-node-1", LOG] = f"Running entrypoint for job {NAME}: {self.jobs[NAME]['entrypoint']}\n{text}".encode()

    def fails(self, *said: dict[str, Any], **job: Any) -> None:
        self.runs(*said, **{"status": "FAILED", "end_time": 1_800_000_009_000, "driver_exit_code": 1, **job})


def launcher(ray: FakeRay, data: Path, **options: Any) -> RayLauncher:
    api = RayApi("http://ray", "ray-token", transport=httpx.MockTransport(ray))
    return RayLauncher(api, cluster="c1", data=data, resources=shipped_catalogue().ray_resources, **options)


def variables(job: dict[str, Any]) -> dict[str, str]:
    """Of the runtime environment, of which Ray makes every process's."""
    found: dict[str, str] = job["runtime_env"]["env_vars"]
    return found


def spec(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the payload is told to run, as the shell of Ray's node would take the entrypoint apart."""
    words = shlex.split(job["entrypoint"].partition("exec ")[2].partition(";; esac")[0])
    assert words[:3] == ["python3", "-E", "$each"]
    return words[3], json.loads(words[4])


GANG = [Placement(node="node-1", devices=["a"] * 8, cpus=16, host_memory_gib=64), Placement(node="node-2", devices=["b"] * 8)]


def gang(**changes: Any) -> DesiredRun:
    return desired(**{"vendor": "huawei", "per_node": 8, "placements": GANG, **changes})


def test_launching_twice_starts_one_job(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    launcher(ray, tmp_path).launch(desired())
    assert list(ray.jobs) == [NAME]
    env = variables(ray.jobs[NAME])
    assert env["SUANWANG_JOB"] == "job-1"
    assert env["SUANWANG_ATTEMPT"] == "1"
    assert env["SUANWANG_FENCING_TOKEN"] == "1"
    assert Path(env["SUANWANG_CHECKPOINT_DIR"]).is_dir()


def test_a_hostile_entrypoint_stays_what_it_is(tmp_path: Path) -> None:
    ray = FakeRay()
    arguments = ["python", "-c", "print('$(id)'); import os", "; rm -rf /", "a\nb", "it's", ";; esac"]
    launcher(ray, tmp_path).launch(desired(entrypoint=arguments))
    line = ray.jobs[NAME]["entrypoint"]
    assert "\n" not in line, "or Ray's note of it in the log could speak in the payload's place"
    assert json.loads(shlex.split(line)[shlex.split(line).index("rank") + 1].removesuffix(";;"))["program"] == arguments


def test_an_entrypoint_too_long_for_linux_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LaunchRefusedError, match=str(MOST_ENTRYPOINT_BYTES)):
        launcher(FakeRay(), tmp_path).launch(desired(entrypoint=["x" * 4096] * 30))


def test_the_payload_is_shipped_once_and_its_entrypoint_finds_it(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    one.launch(desired("att-2", 2))
    name, _ = payload()
    assert ray.jobs[NAME]["runtime_env"]["py_modules"] == [f"gcs://{name}"]
    assert name.removesuffix(".zip") in ray.jobs[NAME]["entrypoint"]
    assert ray.asked.count(f"PUT /api/packages/gcs/{name}") == 1


def test_a_program_on_one_node_has_the_variables_of_a_gang_of_one(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    what, told = spec(ray.jobs[NAME])
    assert (what, told["folder"], told["owned"]) == ("rank", f"{NAME}/0", False)
    assert {name: told["variables"][name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")} == {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
    }
    assert told["variables"]["MASTER_PORT"] == told["port_mark"], "two runs on one node need a port each: the node finds one"


@pytest.mark.parametrize(
    ("path", "inside"),
    [(None, ""), ("/ckpt", "ckpt"), ("a/b", "a/b"), ("/root/.ssh", "root/.ssh"), ("//etc", "etc")],
)
def test_a_checkpoint_path_is_a_name_inside_the_jobs_folder(tmp_path: Path, path: str | None, inside: str) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired(checkpoint_path=path))
    folder = Path(variables(ray.jobs[NAME])["SUANWANG_CHECKPOINT_DIR"])
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
    granted = Placement(node="node-1", devices=["MIG-a", "MIG-b"], card_milli=428, mig="3g.40gb")
    launcher(ray, tmp_path).launch(desired(vendor="nvidia", placements=[granted]))
    assert variables(ray.jobs[NAME])["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] == "1"
    assert spec(ray.jobs[NAME])[1]["variables"]["CUDA_VISIBLE_DEVICES"] == "MIG-a,MIG-b"
    launcher(ray, tmp_path).launch(desired("att-2", 2, vendor="nvidia", placements=[Placement(node="node-1", devices=["GPU-a"])]))
    whole = ray.jobs["suanwang-att-2-2"]
    assert "CUDA_VISIBLE_DEVICES" not in variables(whole) | spec(whole)[1]["variables"], "Ray says which"


HERE = {"node:10.0.0.1": 0.001}


@pytest.mark.parametrize(
    ("vendor", "placement", "expected"),
    [
        (None, {"devices": [], "cpus": 2}, {"entrypoint_num_cpus": 2, "entrypoint_resources": HERE}),
        (
            "nvidia",
            {"devices": ["a", "b"], "cpus": 4, "host_memory_gib": 2},
            {"entrypoint_num_cpus": 4, "entrypoint_num_gpus": 2.0, "entrypoint_memory": 2**31, "entrypoint_resources": HERE},
        ),
        (
            "nvidia",
            {"devices": ["a"], "card_milli": 250},
            {"entrypoint_num_cpus": 0, "entrypoint_num_gpus": 0.25, "entrypoint_resources": HERE},
        ),
        (
            "nvidia",
            {"devices": ["MIG-a", "MIG-b"], "card_milli": 428, "mig": "3g.40gb"},
            {"entrypoint_num_cpus": 0, "entrypoint_num_gpus": 2.0, "entrypoint_resources": HERE},
        ),
        ("huawei", {"devices": ["a"] * 8}, {"entrypoint_num_cpus": 0, "entrypoint_resources": {"NPU": 8.0, **HERE}}),
        ("cambricon", {"devices": ["a"] * 4}, {"entrypoint_num_cpus": 0, "entrypoint_resources": {"MLU": 4.0, **HERE}}),
    ],
)
def test_ray_sets_aside_what_was_granted_where_it_was_granted(
    tmp_path: Path, vendor: str | None, placement: dict[str, Any], expected: dict[str, Any]
) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired(vendor=vendor, placements=[Placement(node="node-1", **placement)]))
    job = ray.jobs[NAME]
    assert {name: value for name, value in job.items() if name.startswith("entrypoint_")} == expected


def test_a_gang_is_driven_beside_its_rank_0_and_every_node_gets_its_own(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(gang())
    job = ray.jobs[NAME]
    assert {name: value for name, value in job.items() if name.startswith("entrypoint_")} == {"entrypoint_resources": HERE}
    what, told = spec(job)
    assert (what, told["placement_seconds"], told["program"]) == ("gang", 60, ["python", "train.py"])
    first, second = told["nodes"]
    assert (first["name"], first["node_resource"], first["cpus"], first["memory_bytes"]) == ("node-1", "node:10.0.0.1", 16, 2**36)
    assert (second["node_resource"], second["cpus"], second["memory_bytes"]) == ("node:10.0.0.2", 0, 0)
    assert first["resources"] == second["resources"] == {"NPU": 8.0}
    assert [told["variables"][name] for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE")] == [
        told["rank_mark"],
        told["address_mark"],
        told["port_mark"],
        "2",
    ]


@pytest.mark.parametrize(
    ("vendor", "placement", "cards"),
    [
        (
            "cambricon",
            {"devices": ["a"] * 3},
            {"resource": "MLU", "count": 3, "total": 8, "variable": "MLU_VISIBLE_DEVICES"},
        ),
        ("cambricon", {"devices": ["a"], "card_milli": 500}, None),
        ("cambricon", {"devices": []}, None),
        ("nvidia", {"devices": ["a"] * 3}, None),
        ("huawei", {"devices": ["a"] * 3}, None),
    ],
)
def test_of_cards_that_ray_only_counts_a_run_finds_its_own(
    tmp_path: Path, vendor: str, placement: dict[str, Any], cards: dict[str, Any] | None
) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired(vendor=vendor, placements=[Placement(node="node-1", **placement)]))
    one.launch(desired("att-2", 2, vendor=vendor, placements=[Placement(node=f"node-{n}", **placement) for n in (1, 2)]))
    assert spec(ray.jobs[NAME])[1]["cards"] == cards
    assert [each["cards"] for each in spec(ray.jobs["suanwang-att-2-2"])[1]["nodes"]] == [cards, cards]


def test_a_gang_of_five_hundred_nodes_can_be_told(tmp_path: Path) -> None:
    ray = FakeRay(nodes=[node(f"gpu-worker-{number:04d}", number, GPU=8) for number in range(1, 501)])
    placements = [Placement(node=each["node_name"], devices=["GPU"] * 8, cpus=64, host_memory_gib=512) for each in ray.nodes]
    launcher(ray, tmp_path).launch(gang(vendor="nvidia", placements=placements))
    assert len(spec(ray.jobs[NAME])[1]["nodes"]) == 500


@pytest.mark.parametrize(
    ("nodes", "run", "why"),
    [
        ([node("10.0.0.1", 1, NPU=8)], gang(), "no living node of this Ray is called node-1 .it has: 10.0.0.1.*--node-name node-1"),
        ([], gang(), "it has: none"),
        ([{**node("node-1", 1, NPU=8), "state": "DEAD"}], gang(), "no living node of this Ray is called node-1"),
        ([node("node-1", 1, NPU=8), node("node-2", 2, NPU=4)], gang(), "Ray counts 4 NPU on node-2, and 8 were granted there"),
        ([node("node-1", 1), node("node-2", 2)], gang(vendor="cambricon"), "Ray counts 0 MLU on node-1, and 8 were granted"),
        ([node("node-1", 1), node("node-1", 2)], desired(), "2 nodes of this Ray are called node-1"),
        ([{**node("node-1", 1), "resources_total": {"CPU": 1}}], desired(), "no resource of its own"),
    ],
)
def test_where_ray_has_no_such_node_or_too_little_it_is_refused_in_words(
    tmp_path: Path, nodes: list[dict[str, Any]], run: DesiredRun, why: str
) -> None:
    ray = FakeRay(nodes=nodes)
    with pytest.raises(LaunchRefusedError, match=why) as caught:
        launcher(ray, tmp_path).launch(run)
    assert caught.value.cause is Cause.NOT_PLACED, "the tenant is not to blame: it costs no retry"
    assert ray.jobs == {}


def test_a_local_folder_is_uploaded_once(tmp_path: Path) -> None:
    ray = FakeRay()
    source = tmp_path / "src"
    source.mkdir()
    (source / "train.py").write_text("print(1)")
    one = launcher(ray, tmp_path, local_roots=[tmp_path])
    one.launch(desired(working_dir=str(source)))
    one.launch(desired("att-2", 2, working_dir=str(source)))
    assert sum(asked.startswith("PUT") for asked in ray.asked) == 2, "the payload, and the folder"
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
    ray.fails({"ended": {"exit_code": 3}}, driver_exit_code=3, message="log tail")
    [failed] = launcher(ray, tmp_path).observe()
    assert (failed.state, failed.exit_code, failed.cause) == (RunState.FAILED, 3, None)
    assert failed.detail == "the program exited with code 3"
    assert failed.started_at == running.started_at
    assert failed.finished_at == datetime.fromtimestamp(1_800_000_009, UTC)


def test_a_gang_has_a_log_for_each_rank_and_says_who_failed_first(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(gang())
    ray.runs({"nodes": ["id-node-1", "id-node-2"]}, began=None)
    [starting] = one.observe()
    assert (starting.state, starting.ranks, starting.started_at) == (RunState.STARTING, 2, None), "not all have begun"
    nodes = {"nodes": ["id-node-1", "id-node-2"]}
    ray.fails(nodes, {"ended": {"exit_code": 9, "rank": 1, "node": "node-2"}}, driver_exit_code=9)
    ray.logs["id-node-2", f"suanwang/{NAME}/1/00000000.log"] = b"rank 1 prints\n"
    [failed] = one.observe()
    assert (failed.exit_code, failed.cause, failed.ranks) == (9, None, 2)
    assert failed.detail == "rank 1 on node-2 exited with code 9"
    assert one.read_log("att-1", 1, 1, 5, 100) == LogPiece(5, b"1 prints\n")
    assert one.read_log("att-1", 1, 0, 0, 100) == LogPiece(0)
    assert one.read_log("att-1", 1, 2, 0, 100) == LogPiece(0), "there is no such rank"


@pytest.mark.parametrize(
    ("ended", "job", "cause", "detail"),
    [
        ({"cause": "not_placed", "detail": "no room in 60 s"}, {}, Cause.NOT_PLACED, "no room in 60 s"),
        (
            {"cause": "node_lost", "rank": 1, "node": "node-2", "detail": "its node, or Ray on it, died: gone"},
            {},
            Cause.NODE_LOST,
            "rank 1 on node-2: its node, or Ray on it, died: gone",
        ),
        (
            {"exit_code": 137, "cause": "out_of_memory", "rank": 0, "node": "node-1"},
            {},
            Cause.OUT_OF_MEMORY,
            "rank 0 on node-1 was killed for the memory it used",
        ),
        (
            {"exit_code": 127, "cause": "launch_refused", "detail": "cannot be started: x"},
            {},
            Cause.LAUNCH_REFUSED,
            "cannot be started: x",
        ),
        (None, {"error_type": "RUNTIME_ENV_SETUP_FAILURE", "message": "no such package"}, Cause.LAUNCH_REFUSED, "no such package"),
        (None, {"error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "message": "too late"}, Cause.NOT_PLACED, "too late"),
        (None, {"error_type": "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", "message": "nowhere"}, Cause.NOT_PLACED, "nowhere"),
        (
            None,
            {
                "error_type": "JOB_SUPERVISOR_ACTOR_DIED",
                "message": "Job supervisor actor died: The actor died unexpectedly.\n\tpid: 7\nmissing too many heartbeats",
            },
            Cause.NODE_LOST,
            "Job supervisor actor died: The actor died unexpectedly. … missing too many heartbeats",
        ),
        (
            None,
            {
                "error_type": "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE",
                "message": "Unexpected error occurred: 1 worker(s) were killed due to the node running low on memory. Memory on …",
            },
            Cause.OUT_OF_MEMORY,
            "the program was killed for the memory it used",
        ),
        (None, {"driver_exit_code": -9, "message": "its log: print('low on memory')"}, None, "the program exited with code 137"),
        ({"cause": "a cause of a later release"}, {"driver_exit_code": 1}, None, "the program exited with code 1"),
    ],
)
def test_why_a_run_failed(
    tmp_path: Path, ended: dict[str, Any] | None, job: dict[str, Any], cause: Cause | None, detail: str
) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.fails(*([{"ended": ended}] if ended else []), **{"driver_exit_code": None, **job})
    [run] = one.observe()
    assert (run.cause, run.detail) == (cause, detail)


def test_a_program_that_never_began_is_a_failed_launch(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.fails(began=None, driver_exit_code=127, message="sh: python3: not found")
    [run] = one.observe()
    assert (run.cause, run.started_at, run.detail) == (Cause.LAUNCH_REFUSED, None, "sh: python3: not found")


def test_an_owner_cannot_forge_when_its_program_began(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired(entrypoint=["echo", '\nsuanwang: att-1 {"began": 1900000000.0}\n']))
    ray.runs({"began": 1_900_000_000.0}, {"began": "soon"}, {"ended": 7})
    ray.logs["id-node-1", LOG] += b"suanwang: att-1 {not json}\n\xff\n"
    assert one.observe()[0].started_at == datetime.fromtimestamp(1_800_000_002.5, UTC)


def test_what_has_been_heard_is_not_asked_for_again(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    one.observe()
    ray.asked.clear()
    one.observe()
    assert ray.asked == ["GET /api/jobs/"]


def test_a_dead_node_is_not_asked_for_ever(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    one.observe()
    ray.dead.add("id-node-1")
    ray.fails(error_type="JOB_SUPERVISOR_ACTOR_DIED", message="its node has died", driver_exit_code=None)
    ray.asked.clear()
    runs = [one.observe()[0] for _ in range(READINGS_OF_AN_END + 3)]
    assert {(run.cause, run.started_at is not None) for run in runs} == {(Cause.NODE_LOST, True)}
    assert ray.asked.count("GET /api/v0/logs/file") == READINGS_OF_AN_END
    assert one.read_log("att-1", 1, 0, 0, 100) == LogPiece(0)


def test_a_log_is_read_by_its_segments_and_goes_on_where_it_is_still_kept(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    one.observe()
    folder = f"suanwang/{NAME}/0"
    ray.logs["id-node-1", f"{folder}/00000003.log"] = b"c" * SEGMENT_BYTES
    ray.logs["id-node-1", f"{folder}/00000004.log"] = b"d" * 10
    assert one.read_log("att-1", 1, 0, 0, 4) == LogPiece(3 * SEGMENT_BYTES), "what came before is gone"
    assert one.read_log("att-1", 1, 0, 3 * SEGMENT_BYTES, 4) == LogPiece(3 * SEGMENT_BYTES, b"cccc")
    over = 4 * SEGMENT_BYTES - 2
    assert one.read_log("att-1", 1, 0, over, 100) == LogPiece(over, b"ccdddddddddd")
    end = 4 * SEGMENT_BYTES + 10
    assert one.read_log("att-1", 1, 0, end, 100) == LogPiece(end)
    assert one.read_log("att-1", 1, 0, 5 * SEGMENT_BYTES, 100) == LogPiece(5 * SEGMENT_BYTES)


def test_the_age_of_the_checkpoint_is_told(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired(checkpoint_path="/ckpt"))
    ray.runs(began=1_700_000_000.0)
    assert one.observe()[0].checkpoint_at is None
    (tmp_path / "checkpoints" / "job-1" / "ckpt" / "checkpoint.npz").write_bytes(b"x")
    assert one.observe()[0].checkpoint_at is not None


def test_other_peoples_jobs_are_not_ours(tmp_path: Path) -> None:
    ray = FakeRay()
    launcher(ray, tmp_path).launch(desired())
    ray.jobs["raysubmit_1"] = {"submission_id": "raysubmit_1", "status": "RUNNING", "metadata": None}
    ray.jobs["driver"] = {"submission_id": None, "status": "RUNNING", "entrypoint": "python"}
    ray.jobs["odd"] = {"submission_id": 7, "metadata": {"a": {"b": 1}}}
    ray.jobs["suanwang-odd"] = {"submission_id": "suanwang-odd", "status": "RUNNING", "metadata": {"suanwang_cluster": ["c1"]}}
    other = {"suanwang_cluster": "c2", "suanwang_attempt": "att-9", "suanwang_fencing_token": "9"}
    ray.jobs["suanwang-att-9-9"] = {"submission_id": "suanwang-att-9-9", "status": "RUNNING", "metadata": other}
    forged = {"suanwang_cluster": "c1", "suanwang_attempt": "a b", "suanwang_fencing_token": "9" * 30}
    name = f"suanwang-a b-{'9' * 30}"
    ray.jobs[name] = {"submission_id": name, "status": "RUNNING", "metadata": forged}
    assert [run.attempt for run in launcher(ray, tmp_path).observe()] == ["att-1"]


def test_a_job_deleted_by_hand_is_no_longer_observed(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    assert len(one.observe()) == 1
    del ray.jobs[NAME]
    assert one.observe() == [], "so the city says it has vanished"
    assert one.read_log("att-1", 1, 0, 0, 100) == LogPiece(0)


def test_trouble_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LauncherUnavailableError, match="does not answer"):
        launcher(FakeRay(down=True), tmp_path).observe()
    gone = RayApi("http://ray", "ray-token", alive=lambda: False, transport=httpx.MockTransport(FakeRay(down=True)))
    with pytest.raises(LauncherGoneError):
        gone.jobs("suanwang-")
    wrong = RayApi("http://ray", "wrong", transport=httpx.MockTransport(FakeRay()))
    with pytest.raises(LauncherUnavailableError, match="is its token right"):
        wrong.jobs("suanwang-")


@pytest.mark.parametrize("answer", [b"<html>502</html>", b"{}", b"[1]", b'{"data": null}', b"", b"\xff"])
def test_garbage_says_nothing_of_any_run(tmp_path: Path, answer: bytes) -> None:
    one = RayApi("http://ray", None, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=answer)))
    for ask in (lambda: one.jobs("suanwang-"), one.nodes):
        with pytest.raises(LauncherUnavailableError, match="cannot read"):
            ask()
    assert one.log_names("n", "*") == []


def test_an_answer_that_trickles_in_or_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Any:
        while True:
            yield b"[" * 65_536

    one = RayApi("http://ray", None, transport=httpx.MockTransport(lambda _: httpx.Response(200, content=endless())))
    with pytest.raises(LauncherUnavailableError, match="more than"):
        one.jobs("suanwang-")
    monkeypatch.setattr(api, "ANSWER_SECONDS", -1.0)
    with pytest.raises(LauncherUnavailableError, match="took more than"):
        one.jobs("suanwang-")


def test_stop_and_forget_are_harmless_where_nothing_is(tmp_path: Path) -> None:
    one = launcher(FakeRay(), tmp_path)
    one.stop("att-1", 1)
    one.forget("att-1", 1)
    assert one.read_log("att-1", 1, 0, 0, 100).data == b""
