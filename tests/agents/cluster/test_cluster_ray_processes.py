"""The ray launcher against a real Ray of two nodes on this machine, the demo's training script among its jobs."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import psutil
import pytest

from agents.cluster import keeper, local_ray
from agents.cluster.launchers import ray as ray_launcher
from agents.cluster.launchers.ray import RayLauncher
from agents.cluster.local_ray import LocalRay, LocalRayError
from agents.cluster.ray.api import RayApi
from scheduler.contract.sync import RUN_FINAL, Cause, DesiredRun, ObservedRun, Placement, RunState
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import desired

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

CARDS = {"GPU": 4, "NPU": 4, "MLU": 8}
"""What Ray believes each node has."""
DEMO = Path("api/cli/demo").absolute()
TRAIN = ["python", "train.py", "--samples", "20000", "--epochs", "4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A path far too long for a socket in it."""
    return tmp_path_factory.mktemp("a-data-folder-" + "far-down-" * 12)


@pytest.fixture(scope="module")
def ray(folder: Path) -> Iterator[LocalRay]:
    """Its head, with cards Ray does not know of."""
    plain = local_ray._environment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_ray, "_environment", lambda *given: {**plain(*given), "RAY_OVERRIDE_RESOURCES": json.dumps(CARDS)})
        with LocalRay(folder / "ray", node_name="here", num_cpus=2, memory_bytes=2**30, stop=Event()) as ray:
            yield ray


# Ray takes no further nodes while it listens on loopback alone, and would look for its head at this machine's other address.
JOIN = """
from ray._private import ray_constants, services
ray_constants.ENABLE_RAY_CLUSTER = True
services.get_node_ip_address = lambda *_: "127.0.0.1"
from ray.scripts.scripts import main
main()
"""


@pytest.fixture(scope="module")
def there(ray: LocalRay) -> Iterator[subprocess.Popen[bytes]]:
    """A second node, at another address of this machine."""
    root = Path(tempfile.mkdtemp(prefix="there"))
    commands = " ".join(word for process in psutil.Process().children(recursive=True) for word in process.cmdline())
    head = re.findall(r"--gcs-address=(127\.0\.0\.1:\d+)", commands)[0]
    options = ["--block", "--node-ip-address=127.0.0.2", "--node-name=there", "--num-cpus=2", "--min-worker-port=0"]
    options += ["--max-worker-port=0", "--dashboard-agent-listen-port=0", "--object-store-memory=100000000"]
    options += ["--include-log-monitor=false", f"--address={head}", f"--temp-dir={root / 'ray'}", "--num-gpus=4"]
    options += [f"--resources={json.dumps({name: count for name, count in CARDS.items() if name != 'GPU'})}"]
    with (root / "log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", keeper.__file__, sys.executable, "-c", JOIN, "start", *options],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=root,
            env=local_ray._environment(os.environ, root, ray.token_file.absolute()),
            start_new_session=True,
        )
    api = RayApi(ray.address, ray.token)
    deadline = time.monotonic() + 60
    while not any(node.node_name == "there" for node in api.nodes()):
        assert process.poll() is None, (root / "log").read_text()
        assert time.monotonic() < deadline
        Event().wait(0.1)
    api.close()
    yield process
    process.terminate()
    process.communicate()
    shutil.rmtree(root)


@pytest.fixture
def launcher(ray: LocalRay, there: object, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayLauncher]:
    monkeypatch.setattr(ray_launcher, "STOP_GRACE_SECONDS", 1)
    monkeypatch.setattr(ray_launcher, "PLACEMENT_SECONDS", 0.2)
    one = new_launcher(ray, folder)
    yield one
    one.close()


def new_launcher(ray: LocalRay, folder: Path) -> RayLauncher:
    api = RayApi(ray.address, ray.token, alive=ray.is_running)
    return RayLauncher(api, cluster="c1", data=folder, resources=shipped_catalogue().ray_resources, local_roots=[DEMO])


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


def log_of(launcher: RayLauncher, attempt: str, rank: int = 0) -> str:
    return launcher.read_log(attempt, 7, rank=rank, offset=0, max_bytes=65_536).data.decode()


def gang(attempt: str, program: str, *, vendor: str = "cambricon", cards: int = 8) -> DesiredRun:
    """Over both nodes."""
    granted = [Placement(node=name, devices=["card"] * cards, cpus=1) for name in ("here", "there")]
    entrypoint = ["python", "-c", program]
    return desired(attempt, 7, entrypoint=entrypoint, vendor=vendor, per_node=cards, placements=granted)


STUBBORN = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"


def pids_of(launcher: RayLauncher, attempt: str) -> list[int]:
    """Of a gang of STUBBORN programs, once both have printed theirs."""
    deadline = time.monotonic() + 20
    while not all(printed := [log_of(launcher, attempt, rank) for rank in range(2)]):
        assert time.monotonic() < deadline
        Event().wait(0.1)
    return [int(each) for each in printed]


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
    program = (
        "import os, time; print(os.environ['ASCEND_RT_VISIBLE_DEVICES'], flush=True); "
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    )
    granted = [Placement(node="here", devices=["a", "b"], cpus=1, host_memory_gib=1)]
    launcher.launch(desired("att-s", 7, entrypoint=["python", "-c", program], vendor="huawei", per_node=2, placements=granted))
    wait_for(launcher, "att-s", lambda run: run.state is RunState.RUNNING and pid_file.exists())
    asked = time.monotonic()
    assert log_of(launcher, "att-s") == "0,1\n", "which two of its cards, Ray says"
    launcher.stop("att-s", 7)
    assert time.monotonic() - asked < 2, "stopping is asynchronous"
    seen = wait_for(launcher, "att-s", ended)
    assert seen.state is RunState.STOPPED
    assert seen.finished_at is not None
    assert not psutil.pid_exists(int(pid_file.read_text()))
    launcher.stop("att-s", 7)


def test_a_gang_meets_at_its_rank_0_and_each_rank_has_a_log(launcher: RayLauncher) -> None:
    meet = (
        "import os, socket\n"
        "rank, at = int(os.environ['RANK']), (os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT']))\n"
        "if rank == 0:\n"
        "    listening = socket.create_server(at)\n"
        "    print('met', listening.accept()[0].recv(99).decode(), 'of', os.environ['WORLD_SIZE'], 'at', at[0])\n"
        "else:\n"
        "    for _ in range(500):\n"
        "        try:\n"
        "            other = socket.create_connection(at)\n"
        "        except ConnectionRefusedError:\n"
        "            __import__('time').sleep(0.02)\n"
        "        else:\n"
        "            break\n"
        "    other.sendall(b'rank 1')\n"
        "    print('rank', rank, 'sees', os.environ['CUDA_VISIBLE_DEVICES'])\n"
    )
    launcher.launch(gang("att-g", meet, vendor="nvidia", cards=3))
    seen = wait_for(launcher, "att-g", ended)
    assert (seen.state, seen.exit_code, seen.ranks) == (RunState.SUCCEEDED, 0, 2), seen
    assert log_of(launcher, "att-g", 0) == "met rank 1 of 2 at 127.0.0.1\n"
    assert log_of(launcher, "att-g", 1) == "rank 1 sees 0,1,2\n"
    assert seen.started_at is not None


def test_one_rank_that_fails_ends_the_gang_and_is_named(launcher: RayLauncher, folder: Path) -> None:
    up = folder / "rank-0-is-up"
    failing = (
        "import os, pathlib, signal, sys, time\n"
        f"up = pathlib.Path({str(up)!r})\n"
        "if os.environ['RANK'] == '1':\n"
        "    while not up.exists(): time.sleep(0.02)\n"
        "    sys.exit('oops ' + os.environ['MLU_VISIBLE_DEVICES'])\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True); up.touch(); time.sleep(600)"
    )
    launcher.launch(gang("att-x", failing))
    seen = wait_for(launcher, "att-x", ended)
    assert (seen.state, seen.exit_code, seen.cause) == (RunState.FAILED, 1, None)
    assert seen.detail == "rank 1 on there exited with code 1"
    assert log_of(launcher, "att-x", 1) == "oops 0,1,2,3,4,5,6,7\n"
    assert not psutil.pid_exists(int(log_of(launcher, "att-x", 0))), "it ignored the signal, and had a second"


def test_a_gang_is_stopped_everywhere_and_one_without_room_is_given_up(launcher: RayLauncher) -> None:
    launcher.launch(gang("att-s1", STUBBORN))
    wait_for(launcher, "att-s1", lambda run: run.state is RunState.RUNNING)
    launcher.launch(gang("att-s2", STUBBORN, cards=1))
    waiting = wait_for(launcher, "att-s2", ended)
    assert (waiting.cause, waiting.started_at) == (Cause.NOT_PLACED, None)
    assert waiting.detail == "Ray had no room for the whole gang on here, there in 0 s"
    programs = pids_of(launcher, "att-s1")
    launcher.stop("att-s1", 7)
    assert wait_for(launcher, "att-s1", ended).state is RunState.STOPPED
    assert not any(map(psutil.pid_exists, programs))


def test_ranks_do_not_outlive_a_driver_that_is_killed(launcher: RayLauncher) -> None:
    launcher.launch(gang("att-k", STUBBORN))
    wait_for(launcher, "att-k", lambda run: run.state is RunState.RUNNING)
    programs = pids_of(launcher, "att-k")
    [driver] = [
        each for each in psutil.Process().children(recursive=True) if "gang" in each.cmdline() and "att-k" in str(each.cmdline())
    ]
    driver.kill()
    seen = wait_for(launcher, "att-k", ended)
    assert (seen.state, seen.exit_code, seen.cause) == (RunState.FAILED, 137, None)
    deadline = time.monotonic() + 20
    while any(map(psutil.pid_exists, programs)):
        assert time.monotonic() < deadline, "they hold the cards"
        Event().wait(0.05)


def test_the_api_is_closed_to_others_and_its_token_to_other_users(
    ray: LocalRay, folder: Path, there: subprocess.Popen[bytes]
) -> None:
    assert ray.token_file.stat().st_mode & 0o777 == 0o600
    assert (folder / "ray").stat().st_mode & 0o777 == 0o700
    second = {there.pid, *(process.pid for process in psutil.Process(there.pid).children(recursive=True))}
    for process in psutil.Process().children(recursive=True):
        if process.pid in second:
            continue  # it is not one we start for anybody
        try:
            command = process.cmdline()
            listening = [socket.laddr.ip for socket in process.net_connections("inet") if socket.status == psutil.CONN_LISTEN]
        except psutil.NoSuchProcess:
            continue
        assert ray.token not in " ".join(command)
        assert all(address in ("127.0.0.1", "::1", "::ffff:127.0.0.1") for address in listening), process


def test_a_node_that_dies_is_told_as_lost(launcher: RayLauncher, there: subprocess.Popen[bytes]) -> None:
    launcher.launch(gang("att-n", STUBBORN))
    wait_for(launcher, "att-n", lambda run: run.state is RunState.RUNNING)
    programs = pids_of(launcher, "att-n")
    os.killpg(there.pid, signal.SIGKILL)
    there.terminate()
    seen = wait_for(launcher, "att-n", ended)
    assert (seen.state, seen.cause) == (RunState.FAILED, Cause.NODE_LOST), seen
    assert seen.detail is not None
    assert seen.detail.startswith("rank 1 on there: its node, or Ray on it, died")
    assert not psutil.pid_exists(programs[0])


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
        LocalRay(tmp_path, node_name="here", num_cpus=1, memory_bytes=2**30, stop=Event())
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
