"""What the ray launcher asks of Ray for a run: against a Jobs API in memory."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.launchers.ray import MOST_ENTRYPOINT_BYTES
from agents.cluster.ray.packing import payload
from scheduler.contract.sync import Cause, DesiredRun, Placement
from tests.agents.cluster.doubles import desired
from tests.agents.cluster.fake_ray import NAME, FakeRay, gang, launcher, node, spec, variables


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


def test_stop_and_forget_are_harmless_where_nothing_is(tmp_path: Path) -> None:
    one = launcher(FakeRay(), tmp_path)
    one.stop("att-1", 1)
    one.forget("att-1", 1)
    assert one.read_log("att-1", 1, 0, 0, 100).data == b""


NESTED = "suanwang: att-2 " + '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    ("metadata", "log"),
    [
        ({"suanwang_fencing_token": "1" * 5000}, ""),
        ({"suanwang_ranks": "1" * 5000}, ""),
        ({"suanwang_checkpoint": "a\0b"}, 'suanwang: att-2 {"began": 1800000002.5}\n'),
        ({}, NESTED),
    ],
)
def test_what_others_submit_in_our_names_ends_no_agent(tmp_path: Path, metadata: dict[str, str], log: str) -> None:
    """A tenant's program may submit jobs to the Ray it runs on, and write what it likes about them."""
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    one.launch(desired("att-2", 2))
    name = "suanwang-att-2-2"
    ray.jobs[name] |= {"metadata": {**ray.jobs[name]["metadata"], **metadata}, "status": "RUNNING", "driver_node_id": "id-node-1"}
    ray.logs["id-node-1", f"job-driver-{name}.log"] = log.encode()
    assert "att-1" in [run.attempt for run in one.observe()]
