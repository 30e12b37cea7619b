"""The parts of a city as processes of their own: `api`, `dispatcher`, `relay`, and the two commands that prepare a database."""

import logging
import secrets
import socket
import sys
import time
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import httpx
import typer
from prometheus_client import CollectorRegistry
from redis.backoff import EqualJitterBackoff

from agents.signals import stop_on_signals
from agents.standing import Standing, serve_standing
from api.city import DEFAULT_PUBLIC_URL
from api.cli.catalogue import CatalogueOption, catalogue_in_force
from api.cli.errors import UsageProblemError
from api.cli.stores import (
    DatabaseFile,
    DatabaseUrl,
    RedisFile,
    RedisUrl,
    WaitSeconds,
    await_schema,
    database_url,
    make_secret,
    open_city,
    open_database,
    redis_client,
    redis_url,
    waiting,
)
from api.routers.registry import store_token
from api.serving import serve
from scheduler.contract.registry import Role, TokenRequest
from scheduler.service.dispatcher import Dispatcher, Pace, make_id, utc_now
from scheduler.service.expiry import Patience
from scheduler.service.metrics import RoundMetrics
from scheduler.service.moments import Moments
from scheduler.service.relay import WINDOW, Relay, RelayMetrics
from scheduler.store.database import CITY, Database
from scheduler.store.migrate import ForeignSchemaError, Schema
from scheduler.store.migrate import migrate as migrate_database
from scheduler.store.stream import CostStream

BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 15.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

PublicUrl = Annotated[
    str,
    typer.Option(
        "--public-url",
        envvar="SUANWANG_PUBLIC_URL",
        show_envvar=True,
        help="The city's address as others know it: the source of events.",
    ),
]
ProbeHost = Annotated[str, typer.Option("--probe-host", help="Address for /startupz, /readyz, /livez and /metrics.")]
ProbePort = Annotated[int | None, typer.Option("--probe-port", min=1, max=65_535, help="Port for those; none without it.")]


def api(
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    redis: RedisUrl = None,
    redis_file: RedisFile = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8471,
    public_url: PublicUrl = DEFAULT_PUBLIC_URL,
    catalogue: CatalogueOption = None,
    wait_seconds: WaitSeconds = 0,
) -> None:
    """Serve the API."""
    check_port(host, port)
    source, stores = checked_url(public_url), (database_url(database, database_file), redis_url(redis, redis_file))
    known = catalogue_in_force(catalogue)
    opened = waiting(lambda: open_city(*stores), wait_seconds)
    city = replace(opened, public_url=source, catalogue=known, moments=Moments(known))
    serve(city, host, port)


def dispatcher(
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    redis: RedisUrl = None,
    redis_file: RedisFile = None,
    turn_seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Between two scheduling rounds.")] = 0.5,
    meter_seconds: Annotated[int, typer.Option(min=1, max=3600, help="The longest a run goes without a cost line.")] = 3600,
    grant_seconds: Annotated[int, typer.Option(min=5, max=3600, help="For a live cluster to start a grant.")] = 120,
    grace_seconds: Annotated[int, typer.Option(min=31, max=86_400, help="For a silent cluster to come back.")] = 600,
    probe_host: ProbeHost = "127.0.0.1",
    probe_port: ProbePort = None,
    catalogue: CatalogueOption = None,
    wait_seconds: WaitSeconds = 0,
) -> None:
    """Schedule, meter and watch, while this process leads."""
    log_to_stderr()
    stores, known = (database_url(database, database_file), redis_url(redis, redis_file)), catalogue_in_force(catalogue)
    pace = Pace(
        turn=timedelta(seconds=turn_seconds),
        meter=timedelta(seconds=meter_seconds),
        patience=Patience(timedelta(seconds=grant_seconds), timedelta(seconds=grace_seconds)),
    )
    holder, metrics, standing = f"{socket.gethostname()}-{secrets.token_hex(4)}", RoundMetrics(), Standing(time.monotonic)
    _serve_standing(probe_host, probe_port, standing, metrics.registry)
    city = waiting(lambda: open_city(*stores), wait_seconds)
    with stop_on_signals() as stop:
        if await_schema(city.database, stop):
            Dispatcher(city.database, city.live, holder, pace, utc_now, metrics, known).run(stop, standing.beat)


def relay(
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    redis: RedisUrl = None,
    redis_file: RedisFile = None,
    public_url: PublicUrl = DEFAULT_PUBLIC_URL,
    window: Annotated[int, typer.Option(min=1, max=10_000_000, help="Records kept in the stream; older ones over HTTP.")] = WINDOW,
    probe_host: ProbeHost = "127.0.0.1",
    probe_port: ProbePort = None,
    wait_seconds: WaitSeconds = 0,
) -> None:
    """Copy cost records into the Redis stream that ledgers read. Any number may run."""
    log_to_stderr()
    source, metrics, standing = checked_url(public_url), RelayMetrics(), Standing(time.monotonic)
    url, stream = database_url(database, database_file), CostStream(redis_client(redis_url(redis, redis_file)), window)
    _serve_standing(probe_host, probe_port, standing, metrics.registry)
    store = waiting(lambda: open_database(url), wait_seconds)
    copier = Relay(store, stream, source, metrics, EqualJitterBackoff(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS))
    with stop_on_signals() as stop:
        if await_schema(store, stop):
            copier.run(stop, standing.beat)


def migrate(database: DatabaseUrl = None, database_file: DatabaseFile = None, wait_seconds: WaitSeconds = 0) -> None:
    """Bring a database to this release's schema. Leaves that of a later release as it is."""
    url = database_url(database, database_file)
    try:
        schema = migrate_database(waiting(lambda: open_database(url), wait_seconds))
    except ForeignSchemaError as error:
        raise UsageProblemError(f"{error}: correct --database") from error
    later = schema is Schema.LATER
    typer.echo("the schema is of a later release and was left as it is" if later else "the schema is this release's")


def token(
    role: Annotated[Role, typer.Option(help="What the token may do.")],
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    subject: Annotated[str | None, typer.Option(help="Its tenant or cluster, for the two bound roles.")] = None,
    note: Annotated[str, typer.Option(help="What it is for.")] = "issued at the command line",
) -> None:
    """Issue a token directly in the database: how a new city gets its first. Prints the secret once."""
    try:
        request = TokenRequest(role=role, subject=subject, note=note)
    except ValueError as error:
        raise UsageProblemError(
            f"--subject: is required for tenant and agent tokens and not allowed for others ({role})"
        ) from error
    typer.echo(issue_token(open_database(database_url(database, database_file)), request))


def issue_token(database: Database, request: TokenRequest) -> str:
    """Store a token directly in a database and return its secret."""
    now = utc_now()
    with database.write(CITY) as session:
        return store_token(session, request, make_id("tok", now), make_secret(), now).token


def _serve_standing(host: str, port: int | None, standing: Standing, registry: CollectorRegistry) -> None:
    if port is not None:
        check_port(host, port, "--probe-port")
    serve_standing(host, port, standing, registry)


def log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("alembic.runtime").setLevel(logging.WARNING)  # it has something to say whenever a schema is looked at


def check_port(host: str, port: int, option: str = "--port") -> None:
    """Raises UsageProblemError when something listens there already, before anything is started."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageProblemError(
                f"{host}:{port} cannot be listened on ({error.strerror}): choose another with {option}"
            ) from error


def checked_url(url: str) -> str:
    """The address of a city as its events say it. Raises UsageProblemError for what is no absolute URL."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL:
        found = httpx.URL()
    if found.scheme not in ("http", "https") or not found.host or found.query or found.fragment:
        raise UsageProblemError(f"--public-url {url} is not allowed; an address such as https://suanwang.example.cn is")
    return str(found).rstrip("/")
