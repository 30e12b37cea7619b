"""The ray launcher against a real Ray on this machine, the demo's training script as its jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest

from agents.cluster.launchers.ray import RayLauncher
from agents.cluster.local_ray import LocalRay, LocalRayError
from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun, Placement, RunState
from tests.agents.cluster.doubles import desired

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

DEMO = Path("api/cli/demo").absolute()
TRAIN = ["python", "train.py", "--samples", "20000", "--epochs", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path far too long for a socket in it."""
    return tmp_path_factory.mktemp("a-data-folder-" + "far-down-" * 12)


@pytest.fixture(scope="module")
def ray(folder: Path) -> Iterator[LocalRay]:
    with LocalRay(folder / "ray", num_cpus=2, stop=Event()) as ray:
        yield ray


@pytest.fixture
def launcher(ray: LocalRay, folder: Path) -> Iterator[RayLauncher]:
    one = new_launcher(ray, folder)
    yield one
    one.close()


def new_launcher(ray: LocalRay, folder: Path) -> RayLauncher:
    return RayLauncher(ray.address, ray.token, cluster="c1", data=folder, local_roots=[DEMO], alive=ray.is_running)


def training(attempt: str, job: str, entrypoint: list[str], number: int = 1) -> DesiredRun:
    return desired(
        attempt,
        7,
        job=job,
        number=number,
        entrypoint=entrypoint,
        working_dir=str(DEMO),
        checkpoint_path="/ckpt",
        placements=[Placement(node="here", devices=[], cpus=1)],
    )


def wait_for(launcher: RayLauncher, attempt: str, wanted: Callable[[ObservedRun], bool]) -> ObservedRun:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in launcher.observe():
            if run.attempt == attempt and wanted(run):
                return run
        Event().wait(0.2)
    raise AssertionError(f"{attempt}: {launcher.observe()}")


def ended(run: ObservedRun) -> bool:
    return run.state in RUN_FINAL


def log_of(launcher: RayLauncher, attempt: str) -> str:
    return launcher.read_log(attempt, 7, rank=0, offset=0, max_bytes=65_536).data.decode()


def test_training_runs_to_its_end_and_is_recovered_and_forgotten(launcher: RayLauncher, ray: LocalRay, folder: Path) -> None:
    run = training("att:ok.1", "job-ok", TRAIN)
    before = time.time()
    launcher.launch(run)
    launcher.launch(run)
    seen = wait_for(launcher, "att:ok.1", ended)
    assert (seen.state, seen.exit_code) == (RunState.SUCCEEDED, 0)
    assert seen.started_at is not None
    assert seen.finished_at is not None
    assert before < seen.started_at.timestamp() < seen.finished_at.timestamp() < time.time()
    assert seen.checkpoint_at is not None
    log = log_of(launcher, "att:ok.1")
    assert "epoch 4/4 loss" in log
    assert launcher.read_log("att:ok.1", 7, rank=0, offset=10, max_bytes=20).data == log.encode()[10:30]
    assert (folder / "checkpoints" / "job-ok" / "ckpt" / "checkpoint.npz").exists()

    restarted = new_launcher(ray, folder)
    assert [one for one in restarted.observe() if one.attempt == "att:ok.1"] == [seen]
    restarted.forget("att:ok.1", 7)
    assert all(one.attempt != "att:ok.1" for one in restarted.observe())
    restarted.close()


def test_a_failure_is_told_and_the_next_attempt_resumes(launcher: RayLauncher) -> None:
    failing = [*TRAIN, "--fail-at-epoch", "3"]
    launcher.launch(training("att-f1", "job-f", failing))
    seen = wait_for(launcher, "att-f1", ended)
    assert (seen.state, seen.exit_code, seen.cause) == (RunState.FAILED, 1, None)
    assert "failing on the first attempt" in log_of(launcher, "att-f1")
    launcher.launch(training("att-f2", "job-f", failing, number=2))
    assert wait_for(launcher, "att-f2", ended).state is RunState.SUCCEEDED
    log = log_of(launcher, "att-f2")
    assert "resuming after epoch 2" in log
    assert "epoch 1/4" not in log


def test_a_running_job_is_stopped_and_its_program_is_gone(launcher: RayLauncher, folder: Path) -> None:
    pid_file = folder / "pid"
    program = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    launcher.launch(training("att-s", "job-s", ["python", "-c", program]))
    wait_for(launcher, "att-s", lambda run: run.state is RunState.RUNNING and pid_file.exists())
    asked = time.monotonic()
    launcher.stop("att-s", 7)
    assert time.monotonic() - asked < 2, "stopping is asynchronous"
    seen = wait_for(launcher, "att-s", ended)
    assert seen.state is RunState.STOPPED
    assert seen.finished_at is not None
    assert not psutil.pid_exists(int(pid_file.read_text()))
    launcher.stop("att-s", 7)


def test_the_api_is_closed_to_others_and_its_token_to_other_users(ray: LocalRay, folder: Path) -> None:
    assert ray.token_file.stat().st_mode & 0o777 == 0o600
    assert (folder / "ray").stat().st_mode & 0o777 == 0o700
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline()
            listening = [socket.laddr.ip for socket in process.net_connections("inet") if socket.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
        assert ray.token not in " ".join(command)
        assert all(address in ("127.0.0.1", "::1", "::ffff:127.0.0.1") for address in listening), process


def test_closing_leaves_no_process(launcher: RayLauncher, ray: LocalRay) -> None:
    launcher.launch(training("att-last", "job-last", ["python", "-c", "import time; time.sleep(600)"]))
    wait_for(launcher, "att-last", lambda run: run.state is RunState.RUNNING)
    family = psutil.Process().children(recursive=True)
    assert len(family) > 10
    asked = time.monotonic()
    ray.close()
    assert time.monotonic() - asked < 5
    assert not [process for process in family if alive(process)]


def test_a_ray_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cluster.local_ray.OBJECT_STORE_BYTES", 1_000)
    monkeypatch.setattr("agents.cluster.local_ray.ATTEMPTS", 1)
    with pytest.raises(LocalRayError, match=r"Ray did not start: ValueError: .* minimum allowed") as caught:
        LocalRay(tmp_path, num_cpus=1, stop=Event())
    assert "\n" not in str(caught.value)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_nothing_outlives_a_killed_owner(tmp_path: Path) -> None:
    """Any command stands for Ray here: what counts is the keeper, and children that hide in sessions of their own."""
    hiding = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); print('up', flush=True)"
    keeper = Path("agents/cluster/keeper.py").absolute()
    owner = (
        "import subprocess, sys, time; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True); "
        "time.sleep(600)"
    )
    family_of = [sys.executable, "-c", owner, sys.executable, "-P", str(keeper), sys.executable, "-c", f"{hiding}; time.sleep(600)"]
    with subprocess.Popen(family_of, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 3
        os.kill(process.pid, signal.SIGKILL)
        process.stdout.read()
        deadline = time.monotonic() + 10
        while any(alive(one) for one in family) and time.monotonic() < deadline:
            Event().wait(0.05)
        assert not [one for one in family if alive(one)]
