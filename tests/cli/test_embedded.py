"""The embedded city as a user runs it: real processes, hurt in the middle of their work."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from scheduler.billing.reconcile import Books
from scheduler.domain.states import JobState
from scheduler.store.stream import STREAM
from tests.cli.city import UpCity, gone, up, wait

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpCity]:
    with up(tmp_path_factory.mktemp("city") / "data") as running:
        yield running


def gang(name: str, **hardware: Any) -> dict[str, Any]:
    return {
        "name": name,
        "entrypoint": ["python", "train.py"],
        "hardware": {"class": "domestic", "models": ["910B3"], "nodes": 2, "per_node": 8, **hardware},
        "max_runtime": "1h",
        "activity": "finetune",
    }


def test_killing_the_dispatcher_loses_no_job_and_no_record(city: UpCity) -> None:
    """More gangs than fit at once, and the dispatcher killed twice while they run."""
    with city.client("tenant-qiantang") as tenant, city.client("ledger") as ledger:
        before = sum(1 for _ in ledger.cost_records())
        jobs = [tenant.submit(gang(f"survivor-{number}", nodes=5)).id for number in range(6)]
        wait(lambda: any(tenant.job(job).state == "running" for job in jobs))
        for _ in range(2):
            victim = city.part("dispatcher")
            victim.kill()
            assert gone([victim])
            jobs.append(tenant.submit(gang(f"meanwhile-{victim.pid}")).id)
            wait(lambda: city.part("dispatcher").pid != 0)
        wait(lambda: all(tenant.job(job).state == "succeeded" for job in jobs), 90)
        wait(lambda: all(tenant.costs(job).state == "final" for job in jobs))

        assert [tenant.job(job).attempts for job in jobs] == [1] * len(jobs)
        books = Books()
        records = list(ledger.cost_records())
        assert all(books.take(record) for record in records)
        assert all(books.identities().values())
        charged = Counter(record["job"] for record in records[before:])
        assert set(charged) == set(jobs)
        for job in jobs:
            attempt = tenant.attempts(job).attempts[0]
            assert attempt.started_at and attempt.finished_at
            seconds = int(attempt.finished_at.timestamp()) - int(attempt.started_at.timestamp())
            assert books.jobs[job].card_seconds == seconds * attempt.cards


def test_flushing_redis_loses_no_job_and_no_record(city: UpCity) -> None:
    config = dict(line.split(" ", 1) for line in (city.folder.root / "valkey" / "valkey.conf").read_text().splitlines())
    redis = Redis(host="127.0.0.1", port=int(config["port"]), password=config["requirepass"])
    with city.client("tenant-qiantang") as tenant:
        job = tenant.submit(gang("flushed")).id
        wait(lambda: tenant.job(job).state == "running")
        redis.flushall()
        later = tenant.submit(gang("after-the-flush")).id
        wait(lambda: tenant.job(job).state == "succeeded" and tenant.job(later).state == "succeeded")
        assert tenant.job(job).attempts == tenant.job(later).attempts == 1
    redis.close()


def test_commands_print_what_the_api_answers(city: UpCity, tmp_path: Path) -> None:
    spec = tmp_path / "job.yaml"
    spec.write_text(
        "name: from-the-command-line\nentrypoint: [python, train.py]\nmax_runtime: 1h\nactivity: finetune\n"
        "hardware: {class: foreign, models: [A100-SXM4-80GB], nodes: 1, per_node: 8}\n"
    )
    quoted = city.json("quote", str(spec), "--as", "tenant-qiantang", "--output", "json")
    assert (quoted["verdict"], quoted["options"][0]["cluster"]) == ("fit", "sz-nanshan-nvidia")
    assert "A100-SXM4-80GB" in city.run("quote", str(spec), "--as", "tenant-qiantang", "--lang", "zh").stdout
    submitted = city.json("submit", str(spec), "--as", "tenant-qiantang", "--output", "json")
    assert submitted["state"] == "queued"
    job = submitted["id"]
    wait(lambda: city.json("job", job, "--output", "json")["state"] == "succeeded")
    assert city.json("explain", job, "--output", "json")["placed"]["cluster"] == "sz-nanshan-nvidia"
    assert "finished successfully" in city.run("explain", job).stdout
    assert job in [each["id"] for each in city.json("jobs", "--output", "json")["jobs"]]
    wait(lambda: city.json("costs", job, "--output", "json")["state"] == "final")
    assert city.json("costs", job, "--output", "json")["records"][0]["model"] == "A100-SXM4-80GB"
    assert {row["hardware_class"] for row in city.json("inventory", "--output", "json")["totals"]} >= {"domestic", "foreign"}
    assert "recorded" in city.run("logs", job).stdout
    assert "foreign A100-SXM4-80GB" in city.run("jobs").stdout
    assert city.json("ledger", "verify", "--json")["ok"] is True
    assert "records verified" in city.run("ledger", "follow", "--once").stdout


def test_an_array_is_one_job_whose_tasks_know_their_index(city: UpCity, tmp_path: Path) -> None:
    """On this machine's Ray, one at a time; and a hundred thousand on a recorded site, cancelled while some run."""
    spec = tmp_path / "array.yaml"
    spec.write_text(
        "name: sweep\nmax_runtime: 5m\nactivity: finetune\nhardware: {per_node: 0, cpus: 1}\narray: {size: 3, parallelism: 1}\n"
        "entrypoint: [sh, -c, 'i=$SUANWANG_ARRAY_INDEX; echo task $i of $SUANWANG_ARRAY_SIZE; test $i != 1']\n"
    )
    job = city.json("submit", str(spec), "--as", "tenant-lingxi", "--output", "json")["id"]
    wait(lambda: city.json("job", job, "--output", "json")["state"] == "failed", 120)
    shown = city.json("job", job, "--output", "json")
    assert (shown["tasks"], shown["attempts"]) == ({"succeeded": 2, "failed": 1}, 3)
    wait(lambda: "task 2 of 3" in city.run("logs", job, "--task", "2").stdout)
    assert "1 of 3 tasks failed" in city.run("job", job).stdout
    assert [each["index"] for each in city.json("tasks", job, "--state", "failed", "--output", "json")["tasks"]] == [1]
    assert "task 1 failed" in city.run("job", job, "--task", "1").stdout
    assert "1 failed, 2 succeeded" in city.run("jobs").stdout
    wait(lambda: city.json("costs", job, "--output", "json")["state"] == "final")
    assert city.json("ledger", "verify", "--json")["ok"] is True

    with city.client("tenant-qiantang") as tenant:
        wide = tenant.submit({**gang("wide", nodes=1), "array": {"size": 100_000, "parallelism": 7}}).id
        wait(lambda: (tenant.job(wide).tasks or {}).get(JobState.RUNNING) == 7)
        assert sum((tenant.job(wide).tasks or {}).values()) == 100_000
        tenant.cancel(wide)
        wait(lambda: tenant.job(wide).state == "cancelled")
        assert len(tenant.tasks(wide).tasks) == tenant.tasks(wide).begun == tenant.job(wide).attempts


def test_a_refused_job_is_one_readable_message(city: UpCity, tmp_path: Path) -> None:
    spec = tmp_path / "job.yaml"
    spec.write_text("name: wrong\nentrypoint: [x]\nmax_runtime: 1h\nactivity: finetune\nhardware: {nodes: 0}\ncolour: red\n")
    result = city.run("submit", str(spec), "--as", "tenant-qiantang", "--lang", "zh")
    assert result.returncode == 2
    assert "hardware" in result.stderr
    assert "colour: 不允许的未知字段" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_city_in_the_same_folder_or_port_is_refused(city: UpCity, tmp_path: Path) -> None:
    result = city.run("up", "--port", "0")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "already running" in result.stderr
    port = city.folder.url().rsplit(":", 1)[1]
    from tests.cli.city import suanwang

    result = suanwang("up", "--data", str(tmp_path / "other"), "--port", port)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "choose another with --port" in result.stderr


def test_ctrl_c_stops_every_process_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with up(tmp_path / "data") as first:
        with first.client("tenant-lingxi") as tenant:
            waiting = tenant.submit({**gang("waits"), "hardware": {"nodes": 1, "per_node": 8, "memory_gib": 999}}).id
        family = first.family()
        assert len(family) > 10, "Ray's processes among them"
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.process.wait(30) in (0, 130, 1)
        assert gone(family)
    with up(tmp_path / "data") as second:
        with second.client("tenant-lingxi") as tenant:
            assert tenant.job(waiting).state == "queued"
        family = second.family()
        second.process.kill()
        assert gone(family, 30), "not even a killed city leaves a process behind"


def test_a_ledger_follows_through_the_stream_and_sees_nothing_else(city: UpCity, tmp_path: Path) -> None:
    address = city.folder.token("ledger-redis")
    with Redis.from_url(address) as redis:
        for forbidden in ("GET suanwang:nodes:heard", f"DEL {STREAM}", f"XADD {STREAM} * a b", "KEYS *", "FLUSHALL"):
            with pytest.raises(NoPermissionError):
                redis.execute_command(*forbidden.split(" "))
    tokens, mine = city.folder.root / "tokens", tmp_path / "ledger.db"
    script = Path(__file__).parents[2] / "deploy" / "ledger-consumer" / "consumer.py"
    command = [sys.executable, str(script), city.folder.url(), str(tokens / "ledger"), str(tokens / "ledger-redis"), str(mine)]
    consumer = subprocess.Popen(command)
    try:
        with city.client("tenant-qiantang") as tenant, city.client("ledger") as ledger:
            job = tenant.submit(gang("followed")).id
            wait(lambda: tenant.job(job).state == "succeeded" and tenant.costs(job).state == "final", 90)
            expected = [(record["sequence"], record["hash"]) for record in ledger.cost_records()]
        wait(lambda: _kept(mine) == expected)
    finally:
        consumer.kill()
        consumer.wait()


def _kept(ledger: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(ledger)) as connection:
        return connection.execute("SELECT sequence, hash FROM records ORDER BY sequence").fetchall()
