"""How the ray launcher reads what Ray and the payload say of a run, and its logs: against a Jobs API in memory."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.cluster.launcher import LogPiece
from agents.cluster.launchers.ray import READINGS_OF_AN_END
from agents.cluster.logs import LogUpload
from agents.cluster.ray.payload.rank import SEGMENT_BYTES
from scheduler.contract.sync import Cause, RunState
from tests.agents.cluster.doubles import MemoryCity, desired
from tests.agents.cluster.fake_ray import LOG, NAME, FakeRay, gang, launcher


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
    assert one.read_log("att-1", 1, 1, 5, 100) == LogPiece(5, b"1 prints\n", 14)
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
    pieces = [one.read_log("att-1", 1, 0, 0, 100) for _ in range(READINGS_OF_AN_END + 1)]
    assert pieces == [LogPiece(0, waits=True)] * READINGS_OF_AN_END + [LogPiece(0)]


def test_the_end_of_a_log_waits_for_a_node_that_does_not_answer_just_then(tmp_path: Path) -> None:
    ray, city = FakeRay(), MemoryCity()
    one = launcher(ray, tmp_path)
    upload = LogUpload(city, "c1", one)
    one.launch(desired())
    ray.runs()
    upload.push(one.observe())
    ray.fails()
    ray.dead.add("id-node-1")
    upload.push(one.observe())
    assert not upload.is_complete(("att-1", 1))
    ray.dead.clear()
    ray.logs["id-node-1", f"suanwang/{NAME}/0/00000000.log"] = b"result\n"
    for _ in range(2):
        upload.push(one.observe())
    assert city.texts["att-1", 1] == b"result\n"
    assert upload.is_complete(("att-1", 1))


def test_a_log_is_read_by_its_segments_and_goes_on_where_it_is_still_kept(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    one.observe()
    folder = f"suanwang/{NAME}/0"
    size = SEGMENT_BYTES
    ray.logs["id-node-1", f"{folder}/00000003.log"] = b"c" * size
    ray.logs["id-node-1", f"{folder}/00000004.log"] = b"d" * 10
    end = 4 * size + 10
    assert one.read_log("att-1", 1, 0, 0, 4) == LogPiece(3 * size, b"cccc", 4 * size), "what came before is gone"
    assert one.read_log("att-1", 1, 0, 3 * size, 4) == LogPiece(3 * size, b"cccc", 4 * size), "so much at least was printed"
    assert one.read_log("att-1", 1, 0, 3 * size + 8, 4) == LogPiece(3 * size + 8, b"cccc"), "not asked for again"
    assert one.read_log("att-1", 1, 0, 4 * size - 2, 100) == LogPiece(4 * size - 2, b"ccdddddddddd", end)
    assert one.read_log("att-1", 1, 0, end, 100) == LogPiece(end, b"", end)
    assert one.read_log("att-1", 1, 0, 5 * size, 100) == LogPiece(5 * size)


def test_an_upload_goes_on_behind_what_a_node_no_longer_keeps(tmp_path: Path) -> None:
    ray = FakeRay()
    one = launcher(ray, tmp_path)
    one.launch(desired())
    ray.runs()
    ray.logs["id-node-1", f"suanwang/{NAME}/0/00000007.log"] = b"the end\n"
    city = MemoryCity()
    LogUpload(city, "c1", one).push(one.observe())
    [batch] = city.batches
    assert [(chunk.offset, chunk.text) for chunk in batch.chunks] == [(7 * SEGMENT_BYTES, "the end\n")]


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
