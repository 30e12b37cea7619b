"""`suanwang replay`: its output, its errors and its exit codes."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from api.cli.replay import replay
from tests.replay.workloads import CITY, KUEUE, TAS, written

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn0,8000,1024,2,T4\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,creation_time,deletion_time\np0,1000,1,2,1000,0,10\np1,1000,1,1,500,4,30\n"
GENERATE = ["--generate", "nodes=20,jobs=50,seed=1"]

KEYS = [
    "jobs_total",
    "jobs_placed",
    "jobs_waiting",
    "jobs_never",
    "cards_total",
    "cards_allocated",
    "wall_seconds",
    "virtual_seconds",
    "decisions_per_second",
    "peak_rss_bytes",
    "utilisation",
    "wait_seconds",
    "completion_seconds",
    "makespan_seconds",
    "preemptions",
    "lost_card_seconds",
    "reasons",
]

app = typer.Typer()
app.command("replay")(replay)
runner = CliRunner()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)
    return ["--nodes", str(tmp_path / "nodes.csv"), "--pods", str(tmp_path / "pods.csv")]


def test_json_has_every_key_of_the_contract(files: list[str]) -> None:
    result = runner.invoke(app, [*files, "--json"])
    assert result.exit_code == 0
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert list(found) == KEYS
    assert list(found["wait_seconds"]) == list(found["completion_seconds"]) == ["mean", "p50", "p99", "max"]
    assert (found["jobs_total"], found["jobs_placed"], found["cards_total"], found["cards_allocated"]) == (2, 2, 2, 2.0)
    assert found["wait_seconds"] == {"mean": 3.0, "p50": 0.0, "p99": 6.0, "max": 6.0}
    assert found["completion_seconds"] == {"mean": 18.0, "p50": 10.0, "p99": 26.0, "max": 26.0}
    assert found["utilisation"] == (2 * 10 + 0.5 * 20) / (2 * 30)
    assert found["reasons"] == {"placed_only_fit": 2}
    assert found["wall_seconds"] > 0 and found["decisions_per_second"] > 0 and found["peak_rss_bytes"] > 2**20


def test_a_generated_trace_comes_out_the_same_but_for_what_it_took() -> None:
    one, other = (json.loads(runner.invoke(app, [*GENERATE, "--json"]).stdout) for _ in range(2))
    for key in ("wall_seconds", "decisions_per_second", "peak_rss_bytes"):
        del one[key], other[key]
    assert one == other
    assert one["jobs_total"] == 50


def test_without_json_a_person_can_read_it() -> None:
    result = runner.invoke(app, GENERATE)
    assert result.exit_code == 0
    assert "jobs placed" in result.stdout
    assert "wait seconds: p99" in result.stdout
    assert "reasons: placed_cheapest_net" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --nodes FILE and --pods FILE, or --generate"),
        (["--nodes", "x.csv"], "give either --nodes FILE and --pods FILE, or --generate"),
        (["--nodes", "x.csv", "--pods", "y.csv", *GENERATE], "give either --nodes FILE and --pods FILE, or --generate"),
        (["--nodes", "absent.csv", "--pods", "y.csv"], "absent.csv: cannot be read: No such file"),
        (["--generate", "nodes=1"], "jobs, seed is missing"),
        ([*GENERATE, "--arrivals", "x.txt", "--seed", "1"], "give either --nodes FILE and --pods FILE, or --generate"),
        ([*GENERATE, "--seed", "1"], "--seed chooses one of the orders of --arrivals FILE, which is missing"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_exit_code_2(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_broken_row_is_named(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "pods.csv").write_text(PODS + "p2,1000,1,1,500,4,3\n")
    result = runner.invoke(app, [*files, "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "pods.csv, row 4, column deletion_time: '3' is not allowed" in result.stderr


def test_an_order_of_arrival_adds_how_full_it_got(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_text("pods 5 1 1 0\nnodeprio 5 0\n")
    result = runner.invoke(app, [*files, "--arrivals", str(tmp_path / "arrivals.txt"), "--seed", "5", "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert set(found) == {*KEYS, "allocated_percent"}
    assert found["allocated_percent"] == {"100": None, "130": None}
    assert (found["jobs_placed"], found["jobs_waiting"], found["cards_allocated"]) == (2, 1, 1.0)
    as_table = runner.invoke(app, [*files, "--arrivals", str(tmp_path / "arrivals.txt"), "--seed", "5"])
    assert "allocated percent: 130" in as_table.stdout


def test_an_order_of_arrival_needs_a_seed_of_the_file(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_text("pods 5 1 1 0\npods 6 1\n")
    for seed in ([], ["--seed", "4"]):
        result = runner.invoke(app, [*files, "--arrivals", str(tmp_path / "arrivals.txt"), *seed, "--json"])
        assert (result.exit_code, result.stdout) == (2, "")
        assert "give --seed with one of 5, 6" in result.stderr
        assert result.stderr.count("\n") == 1


WORKLOAD_KEYS = ["classes", "queues_usage_percent", "fairness", "moves", "ideal_seconds", "clock", "store", "admissions_committed"]


@pytest.mark.parametrize("text", [KUEUE, TAS, CITY])
def test_a_workload_has_the_keys_of_every_replay_and_its_own(tmp_path: Path, text: str) -> None:
    result = runner.invoke(app, ["--workload", str(written(tmp_path, text)), "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert list(found) == [*KEYS, *WORKLOAD_KEYS]
    assert (found["clock"], found["store"], found["admissions_committed"]) == ("virtual", "memory", None)
    assert found["jobs_placed"] == found["jobs_total"] == sum(each["count"] for each in found["classes"].values())
    assert found["makespan_seconds"] >= found["ideal_seconds"] > 0


def test_a_workload_on_real_time_commits_every_admission(tmp_path: Path) -> None:
    quick = KUEUE.replace("runtimeMs: 1000", "runtimeMs: 10").replace("creationIntervalMs: 100", "creationIntervalMs: 5")
    result = runner.invoke(app, ["--workload", str(written(tmp_path, quick)), "--clock", "real", "--store", "sqlite", "--json"])
    found = json.loads(result.stdout)
    assert (found["clock"], found["store"], found["admissions_committed"]) == ("real", "sqlite", 24)
    assert found["wall_seconds"] >= found["makespan_seconds"] >= found["ideal_seconds"]


def test_a_database_that_is_named_keeps_the_admissions(tmp_path: Path) -> None:
    kept = tmp_path / "kept.db"
    result = runner.invoke(app, ["--workload", str(written(tmp_path, KUEUE)), "--store", f"sqlite:///{kept}", "--json"])
    assert json.loads(result.stdout)["admissions_committed"] == 24
    assert kept.stat().st_size > 0


def test_a_person_can_read_a_workload(tmp_path: Path) -> None:
    result = runner.invoke(app, ["--workload", str(written(tmp_path, KUEUE))])
    assert result.exit_code == 0
    assert "classes: large: wait_seconds: p99" in result.stdout
    assert "queues usage percent: cq" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "FILE", *GENERATE], "give either --nodes FILE"),
        (["--workload", "absent.yaml"], "absent.yaml: cannot be read: No such file"),
        (["--workload", "FILE", "--clock", "sun"], "--clock sun is not allowed: virtual or real is"),
        (["--workload", "FILE", "--store", "nowhere"], "--store URL: ArgumentError; memory, sqlite or the URL"),
        (["--workload", "FILE", "--store", "sqlite:////no/such/folder/x.db"], "OperationalError; memory, sqlite or the URL"),
        (["--workload", "FILE", "--store", "nodb://me:secret@host/x"], "--store nodb://me:***@host/x: NoSuchModuleError"),
        ([*GENERATE, "--clock", "real"], "--clock and --store are for a --workload"),
    ],
)
def test_what_is_wrong_with_a_workload_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    path = str(written(tmp_path, KUEUE))
    result = runner.invoke(app, [path if each == "FILE" else each for each in arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.fixture
def itp(tmp_path: Path) -> list[str]:
    (tmp_path / "throughputs").mkdir()
    (tmp_path / "throughputs" / "bert.csv").write_text("global_batch_size,1,2,8\n64,1,2,6\n")
    header = "job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu\n"
    for name, at in (("x", 0), ("y", 0)):
        (tmp_path / f"{name}.csv").write_text(f"{header}{name},{at},600,bert,{at + 170},64,8\n")
    return ["--throughputs", str(tmp_path / "throughputs"), "--itp", f"{tmp_path / 'x.csv'}:1", "--itp", f"{tmp_path / 'y.csv'}:1"]


@pytest.mark.parametrize("extra", [[], ["--pool"]])
def test_clusters_with_deadlines_are_replayed_apart_and_as_one_network(itp: list[str], extra: list[str]) -> None:
    result = runner.invoke(app, [*itp, *extra, "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["jobs_total"], found["cards_total"], found["deadlines_met"], found["deadlines_met_share"]) == (2, 16, 2, 1.0)
    assert found["completion_seconds"]["max"] == 54 + 8 + 100
    assert (found["promises_made"], found["promises_broken"], found["lost_card_seconds"]) == (2, 0, 2 * 8 * 62)


def test_what_a_restart_costs_can_be_said(itp: list[str]) -> None:
    found = json.loads(runner.invoke(app, [*itp, "--restart", "80", "--rigid", "--json"]).stdout)
    assert (found["deadlines_met"], found["promises_made"], found["completion_seconds"]["max"]) == (0, 0, 180.0)
    assert "deadlines met share" in runner.invoke(app, itp).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--itp", "x.csv:1"], "--itp needs --throughputs FOLDER"),
        (["--throughputs", "x"], "are for --itp FILE:NODES, which is missing"),
        (["--pool", *GENERATE], "are for --itp FILE:NODES, which is missing"),
        (["--itp", "x.csv:1", *GENERATE], "give either --nodes FILE and --pods FILE"),
        (["--itp", "x.csv:1", "--throughputs", "absent"], "absent: has no file MODEL.csv"),
    ],
)
def test_options_of_clusters_that_do_not_go_together_are_refused(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--itp", "x.csv"], "FILE:NODES is needed"),
        (["--itp", "x.csv:0"], "FILE:NODES is needed"),
        (["--itp", ":4"], "FILE:NODES is needed"),
        (["--restart", "soon"], "SECONDS or SECONDS,PER_DOUBLING is allowed"),
        (["--restart", "86401"], "SECONDS or SECONDS,PER_DOUBLING is allowed"),
    ],
)
def test_a_bad_option_of_clusters_is_refused(itp: list[str], arguments: list[str], message: str) -> None:
    result = runner.invoke(app, [*itp, *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_one_network_cannot_have_a_job_twice(itp: list[str]) -> None:
    twice = [*itp[:4], *itp[2:4], "--pool"]
    result = runner.invoke(app, twice)
    assert result.exit_code == 2
    assert "name a job twice" in result.stderr
    assert runner.invoke(app, twice[:-1]).exit_code == 0


MURI = "job_id,num_gpu,submit_time,duration\n0,8,0,100000\n1,8,20000,10000\n2,8,21000,200000\n"
PHILLY = "timestamp,duration,num_gpus,cluster\n2017-10-09 07:00:00,60,8,a\n2017-10-09 07:00:00,60,8,b\n2017-10-09 07:00:30,60,8,a\n"


def test_a_trace_of_muri_has_the_keys_of_every_replay_and_the_policy(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(MURI)
    asked = ["--muri", str(tmp_path / "trace.csv"), "--size", "1x8", "--policy", "order=shortest,checkpoint=15", "--json"]
    result = runner.invoke(app, asked)
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert list(found) == [*KEYS, "policy"]
    assert (found["preemptions"], found["lost_card_seconds"], found["makespan_seconds"]) == (1, 40, 315.0)
    assert found["policy"]["order"] == "shortest"


def test_a_trace_of_philly_says_how_each_virtual_cluster_fared(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(PHILLY)
    (tmp_path / "vc.csv").write_text("vc,node num\na,1\nb,1\n")
    result = runner.invoke(app, ["--philly", str(tmp_path / "jobs.csv"), "--clusters", str(tmp_path / "vc.csv"), "--json"])
    found = json.loads(result.stdout)
    assert {name: each["wait_seconds"]["max"] for name, each in found["clusters"].items()} == {"a": 30.0, "b": 0.0}
    assert (found["jobs_total"], found["cards_total"], found["jobs_left_out"]) == (3, 16, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--muri", "FILE", "--size", "8"], "--size 8 is not allowed; nodes x cards, such as 8x8, is"),
        (["--muri", "FILE", "--policy", "order=best"], "--policy order=best is not allowed"),
        (["--muri", "FILE", "--workload", "FILE"], "give either --nodes FILE"),
        (["--muri", "FILE", "--philly", "FILE"], "give either --muri FILE"),
        (["--philly", "FILE"], "give either --muri FILE"),
        (["--generate", "nodes=1,jobs=1,seed=1", "--policy", "order=age"], "give either --nodes FILE"),
    ],
)
def test_what_is_wrong_with_jobs_that_can_be_interrupted_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "trace.csv").write_text(MURI)
    result = runner.invoke(app, [str(tmp_path / "trace.csv") if each == "FILE" else each for each in arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
