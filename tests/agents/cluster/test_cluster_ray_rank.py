"""The payload's `rank` as it is shipped: unpacked, run by a Python that knows nothing of Suanwang, real processes under it."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest

from agents.cluster.ray.packing import payload
from agents.cluster.ray.payload import rank
from agents.cluster.ray.payload.rank import FOLDER, KEPT_LOGS, SEGMENT_BYTES, SEGMENTS, Log, NoCardsError, make_room

PORT = "@port@"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("payload")
    zipfile.ZipFile(BytesIO(payload()[1])).extractall(folder)
    return folder


def contents() -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(payload()[1])) as package:
        return {name: package.read(name) for name in package.namelist()}


def spec(program: list[str], **changes: Any) -> dict[str, Any]:
    standard = {"attempt": "att-1", "program": program, "folder": "run/0", "owned": False, "grace_seconds": 10}
    return standard | {"port_mark": PORT, "variables": {"MASTER_PORT": PORT, "GREETING": "hello"}, "cards": None} | changes


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@contextmanager
def started(shipped: Path, folder: Path, document: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """It prints to a file in Ray's log folder, as a job's entrypoint does."""
    folder.mkdir(exist_ok=True)
    # A tenant's files are on the path too, under whatever names.
    hostile = folder / "src"
    hostile.mkdir(exist_ok=True)
    (hostile / "json.py").write_text("raise SystemExit('shadowed')")
    with (folder / "job-driver.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-E", str(shipped), "rank", json.dumps(document)],
            stdin=subprocess.PIPE,
            stdout=output,
            cwd=hostile,
            env={**os.environ, "PYTHONPATH": str(hostile)},
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def run(shipped: Path, folder: Path, document: dict[str, Any]) -> int:
    with started(shipped, folder, document) as process:
        return process.wait(30)


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in (folder / "job-driver.log").read_text().splitlines():
        if line.startswith("suanwang: att-1 {"):
            found |= json.loads(line.removeprefix("suanwang: att-1 "))
    return found


def printed(folder: Path, run: str = "run") -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / FOLDER / run / "0").glob("*.log")))


def wait_until(true: Any) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline, "it did not become true"
        Event().wait(0.02)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_payload_needs_nothing_but_python_and_ray() -> None:
    files = {name: data.decode() for name, data in contents().items() if name.endswith(".py")}
    assert {"__main__.py", "suanwang_on_ray/run.py", "suanwang_on_ray/rank.py", "suanwang_on_ray/gang.py"} <= set(files)
    for name, source in files.items():
        for each in ast.walk(ast.parse(source, feature_version=(3, 9))):
            names = [alias.name for alias in each.names] if isinstance(each, ast.Import) else []
            if isinstance(each, ast.ImportFrom) and each.level == 0 and each.module:
                names.append(each.module)
            roots = {each.partition(".")[0] for each in names}
            assert roots <= sys.stdlib_module_names | {"ray", "suanwang_on_ray"}, name


def test_the_same_payload_has_the_same_name() -> None:
    first = payload()
    payload.cache_clear()
    assert payload() == first


def test_a_program_runs_with_its_variables_and_what_it_prints_is_kept_apart(shipped: Path, tmp_path: Path) -> None:
    before = time.time()
    program = ["sh", "-c", 'echo "$GREETING $MASTER_PORT"; echo oops >&2; exit 3']
    assert run(shipped, tmp_path, spec(program)) == 3
    greeting, _, rest = printed(tmp_path).decode().partition(" ")
    assert greeting == "hello"
    assert 1024 < int(rest.split()[0]) < 65536
    assert rest.split()[1] == "oops"
    said = told(tmp_path)
    assert before < said["began"] < time.time()
    assert said["ended"] == {"exit_code": 3}
    assert "oops" not in (tmp_path / "job-driver.log").read_text()


def mlus(count: int) -> dict[str, Any]:
    return {"resource": "MLU", "count": count, "total": 4, "variable": "MLU_VISIBLE_DEVICES"}


def test_ranks_of_a_node_share_out_the_cards_that_ray_only_counts(shipped: Path, tmp_path: Path) -> None:
    program = ["sh", "-c", "echo $MLU_VISIBLE_DEVICES; sleep 600"]
    with started(shipped, tmp_path, spec(program, folder="one/0", cards=mlus(3))) as process:
        wait_until(lambda: printed(tmp_path, "one") == b"0,1,2\n")
        assert run(shipped, tmp_path, spec(["sh", "-c", "echo $MLU_VISIBLE_DEVICES"], folder="two/0", cards=mlus(1))) == 0
        assert printed(tmp_path, "two") == b"3\n"
        process.kill()
        process.wait()
        assert run(shipped, tmp_path, spec(["sh", "-c", "echo $MLU_VISIBLE_DEVICES"], folder="three/0", cards=mlus(4))) == 0
    assert printed(tmp_path, "three") == b"0,1,2,3\n"


def test_cards_that_are_not_free_though_ray_counts_them_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank, "CARDS_SECONDS", 0.0)
    assert rank.cards_of_its_own(tmp_path, mlus(3)) == {"MLU_VISIBLE_DEVICES": "0,1,2"}
    with pytest.raises(NoCardsError, match="only 1 of 2 MLU are free"):
        rank.cards_of_its_own(tmp_path, mlus(2))


def test_a_program_that_is_not_there_never_began(shipped: Path, tmp_path: Path) -> None:
    assert run(shipped, tmp_path, spec(["no-such-program"])) == 127
    said = told(tmp_path)
    assert "began" not in said
    assert said["ended"]["cause"] == "launch_refused"
    assert said["ended"]["detail"] == "cannot be started: no-such-program: No such file or directory"


def test_a_program_killed_by_a_signal_has_the_code_a_container_would_have(shipped: Path, tmp_path: Path) -> None:
    assert run(shipped, tmp_path, spec(["sh", "-c", "kill -9 $$"])) == 137
    assert told(tmp_path)["ended"] == {"exit_code": 137}, "killed, and not for memory"


def test_what_the_kernel_killed_for_memory_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process but for its signals: making the kernel short of memory is not for a test."""
    counts = iter([4, 5])
    monkeypatch.setattr(rank, "oom_kills", lambda: next(counts))
    monkeypatch.setattr(rank, "_wake_on_signals", lambda asked: os.pipe()[0])
    monkeypatch.setattr(rank.Watch, "run", lambda watch: 137)
    monkeypatch.setattr(rank, "PR_SET_CHILD_SUBREAPER", 0)
    assert rank.main(spec(["true"], logs=str(tmp_path))) == 137
    assert '{"ended": {"exit_code": 137, "cause": "out_of_memory"}}' in capfd.readouterr().out


def test_the_kernels_count_can_be_read_here() -> None:
    assert rank.oom_kills() >= 0


def test_one_that_ignores_the_signal_is_killed_after_its_grace_with_all_it_started(shipped: Path, tmp_path: Path) -> None:
    """Ray signals a job's whole tree; here the program and its child would both rather stay, the child in a session of its own."""
    stubborn = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "print(os.getpid(), child.pid, flush=True); time.sleep(600)"
    )
    with started(shipped, tmp_path, spec(python(stubborn), grace_seconds=0.3)) as process:
        wait_until(lambda: printed(tmp_path).endswith(b"\n"))
        program, child = (int(word) for word in printed(tmp_path).split())
        asked = time.monotonic()
        for each in (process.pid, program):
            os.kill(each, signal.SIGTERM)
        assert process.wait(10) == 137
        assert 0.3 <= time.monotonic() - asked < 3
    assert gone(program)
    assert gone(child)


def test_an_owner_who_asks_has_the_signal_passed_on(shipped: Path, tmp_path: Path) -> None:
    tidy = "trap 'echo saving; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    with started(shipped, tmp_path, spec(["sh", "-c", tidy], owned=True)) as process:
        wait_until(lambda: b"up" in printed(tmp_path))
        process.terminate()
        assert process.wait(10) == 0
    assert printed(tmp_path).endswith(b"saving\n")


def test_a_rank_ends_at_once_when_its_owner_is_gone(shipped: Path, tmp_path: Path) -> None:
    with started(shipped, tmp_path, spec(["sh", "-c", "trap '' TERM; echo $$; sleep 600"], owned=True)) as process:
        wait_until(lambda: printed(tmp_path).endswith(b"\n"))
        program = int(printed(tmp_path))
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 137
    assert gone(program)


def test_a_program_does_not_outlive_the_one_who_watches_it(shipped: Path, tmp_path: Path) -> None:
    with started(shipped, tmp_path, spec(["sh", "-c", "sleep 600 & echo $$ $!; wait"])) as process:
        wait_until(lambda: printed(tmp_path).endswith(b"\n"))
        family = [int(word) for word in printed(tmp_path).split()]
        process.kill()
        wait_until(lambda: all(map(gone, family)))


def test_what_a_program_leaves_running_ends_with_it(shipped: Path, tmp_path: Path) -> None:
    leaving = "setsid sleep 600 & echo $!; sleep 0.1"
    assert run(shipped, tmp_path, spec(["sh", "-c", leaving])) == 0
    assert gone(int(printed(tmp_path)))


def test_a_program_that_prints_for_ever_fills_no_disk(shipped: Path, tmp_path: Path) -> None:
    total = (SEGMENTS + 4) * SEGMENT_BYTES + 1000
    program = f"import sys\nfor n in range({total} // 1000 + 1): sys.stdout.write(f'{{n:0999d}}\\n')"
    assert run(shipped, tmp_path, spec(python(program))) == 0
    kept = sorted((tmp_path / FOLDER / "run" / "0").glob("*.log"))
    assert len(kept) == SEGMENTS
    assert all(path.stat().st_size == SEGMENT_BYTES for path in kept[:-1])
    first = int(kept[0].stem) * SEGMENT_BYTES
    assert first > 0
    whole = b"".join(b"%0999d\n" % n for n in range(total // 1000 + 1))
    assert printed(tmp_path) == whole[first:]


def test_a_node_keeps_the_logs_of_so_many_ranks_and_none_in_use_is_removed(tmp_path: Path) -> None:
    in_use = Log(tmp_path / "run-0" / "0")
    for number in range(1, KEPT_LOGS + 3):
        ended = tmp_path / f"run-{number}" / "0"
        ended.mkdir(parents=True)
        os.utime(ended, (number, number))
    os.utime(tmp_path / "run-0" / "0", (0, 0))
    make_room(tmp_path)
    left = {path.parent.name for path in tmp_path.glob("*/*")}
    assert len(left) == KEPT_LOGS - 1
    assert "run-0" in left
    assert "run-1" not in left
    assert f"run-{KEPT_LOGS + 2}" in left
    assert not (tmp_path / "run-1").exists()
    in_use.write(b"still here")
    assert (tmp_path / "run-0" / "0" / "00000000.log").read_bytes() == b"still here"


def test_a_full_disk_ends_the_log_and_not_the_program(shipped: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the kernel refuses to write there too."""
    limited = [
        sys.executable,
        "-c",
        "import resource, signal, sys, os; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    document = spec(["sh", "-c", "trap '' XFSZ; head -c 300000 /dev/zero; exit 5"])
    output = tmp_path / "job-driver.log"
    with output.open("wb") as file:
        command = [*limited, sys.executable, "-E", str(shipped), "rank", json.dumps(document)]
        assert subprocess.run(command, stdout=file, stdin=subprocess.DEVNULL, timeout=30, check=False).returncode == 5
    assert "its log ends here: File too large" in output.read_text()
    assert len(printed(tmp_path)) == 100_000
    assert told(tmp_path)["ended"] == {"exit_code": 5}
