"""The parts of a city as processes of their own: `api`, `dispatcher`, and the two commands that prepare a database."""

import logging
import secrets
import socket
import sys
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import httpx
import typer
import uvicorn
from prometheus_client import start_http_server
from redis import Redis, RedisError
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.retry import Retry
from sqlalchemy.exc import ArgumentError, OperationalError

from agents.signals import stop_on_signals
from api.app import create_app
from api.city import DEFAULT_PUBLIC_URL, City
from api.cli.errors import UsageProblemError
from api.cli.probes import start_probes
from api.routers.registry import store_token
from scheduler.contract.registry import Role, TokenRequest
from scheduler.service.dispatcher import Dispatcher, Pace, make_id, utc_now
from scheduler.service.expiry import Patience
from scheduler.service.metrics import RoundMetrics
from scheduler.service.relay import WINDOW, Relay, RelayMetrics
from scheduler.store.database import CITY, Database
from scheduler.store.live import Live
from scheduler.store.migrate import migrate as migrate_database
from scheduler.store.stream import CostStream

SECRET_BYTES = 32
REDIS_TIMEOUT_SECONDS = 2
BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 15.0
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

DatabaseUrl = Annotated[str, typer.Option("--database", envvar="SUANWANG_DATABASE_URL", show_envvar=True, help="SQLAlchemy URL.")]
PublicUrl = Annotated[
    str,
    typer.Option(
        "--public-url",
        envvar="SUANWANG_PUBLIC_URL",
        show_envvar=True,
        help="The city's address as others know it: the source of events.",
    ),
]
RedisUrl = Annotated[str, typer.Option("--redis", envvar="SUANWANG_REDIS_URL", show_envvar=True, help="Redis or Valkey URL.")]


def api(
    database: DatabaseUrl,
    redis: RedisUrl,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8471,
    public_url: PublicUrl = DEFAULT_PUBLIC_URL,
) -> None:
    """Serve the API."""
    check_port(host, port)
    city = replace(open_city(database, redis), public_url=checked_url(public_url))
    uvicorn.run(create_app(city), host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5)


def dispatcher(
    database: DatabaseUrl,
    redis: RedisUrl,
    turn_seconds: Annotated[float, typer.Option(min=0.05, max=60, help="Between two scheduling rounds.")] = 0.5,
    meter_seconds: Annotated[int, typer.Option(min=1, max=3600, help="The longest a run goes without a cost line.")] = 3600,
    grant_seconds: Annotated[int, typer.Option(min=5, max=3600, help="For a live cluster to start a grant.")] = 120,
    grace_seconds: Annotated[int, typer.Option(min=31, max=86_400, help="For a silent cluster to come back.")] = 600,
    metrics_host: Annotated[str, typer.Option(help="Address for /metrics.")] = "127.0.0.1",
    metrics_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port for /metrics; none without it.")] = None,
) -> None:
    """Schedule, meter and watch, while this process leads."""
    if metrics_port is not None:
        check_port(metrics_host, metrics_port, "--metrics-port")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    city = open_city(database, redis)
    pace = Pace(
        turn=timedelta(seconds=turn_seconds),
        meter=timedelta(seconds=meter_seconds),
        patience=Patience(timedelta(seconds=grant_seconds), timedelta(seconds=grace_seconds)),
    )
    holder, metrics = f"{socket.gethostname()}-{secrets.token_hex(4)}", RoundMetrics()
    if metrics_port is not None:
        start_http_server(metrics_port, metrics_host, metrics.registry)
    with stop_on_signals() as stop:
        Dispatcher(city.database, city.live, holder, pace, utc_now, metrics).run(stop)


def relay(
    database: DatabaseUrl,
    redis: RedisUrl,
    public_url: PublicUrl = DEFAULT_PUBLIC_URL,
    window: Annotated[int, typer.Option(min=1, max=10_000_000, help="Records kept in the stream; older ones over HTTP.")] = WINDOW,
    probe_host: Annotated[str, typer.Option(help="Address for /livez, /readyz and /metrics.")] = "127.0.0.1",
    probe_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port for those; none without it.")] = None,
) -> None:
    """Copy cost records into the Redis stream that ledgers read. Any number may run."""
    if probe_port is not None:
        check_port(probe_host, probe_port, "--probe-port")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    source, metrics = checked_url(public_url), RelayMetrics()
    stream = CostStream(redis_client(redis), window)
    copier = Relay(open_database(database), stream, source, metrics, EqualJitterBackoff(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS))
    if probe_port is not None:
        start_probes(probe_host, probe_port, metrics.registry, lambda: copier.is_ready)
    with stop_on_signals() as stop:
        copier.run(stop)


def migrate(database: DatabaseUrl) -> None:
    """Bring a database to this release's schema."""
    migrate_database(open_database(database))


def token(
    database: DatabaseUrl,
    role: Annotated[Role, typer.Option(help="What the token may do.")],
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
    typer.echo(issue_token(open_database(database), request))


def issue_token(database: Database, request: TokenRequest) -> str:
    """Store a token directly in a database and return its secret."""
    now = utc_now()
    with database.write(CITY) as session:
        return store_token(session, request, make_id("tok", now), make_secret(), now).token


def open_city(database: str, redis: str) -> City:
    """A city's stores by URL. Raises UsageProblemError where one does not answer."""
    client = redis_client(redis)
    try:
        client.ping()
    except RedisError as error:
        raise UsageProblemError(f"Redis does not answer ({type(error).__name__}): start it, or correct --redis") from error
    return City(open_database(database), Live(client), utc_now, make_id, make_secret)


def redis_client(url: str) -> Redis:
    """A client that connects when it is first used. Raises UsageProblemError for a URL that is none."""
    deadlines = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    try:
        return Redis.from_url(url, **deadlines, retry=Retry(NoBackoff(), 0))  # whoever asked decides whether to ask again
    except ValueError as error:
        raise UsageProblemError("that is no Redis URL: correct --redis, such as redis://127.0.0.1:6379/0") from error


def open_database(url: str) -> Database:
    """Raises UsageProblemError for a URL that is none, or a database that cannot be opened."""
    try:
        database = Database(url)
        with database.engine.connect():
            return database
    except (ArgumentError, OperationalError, ImportError) as error:
        raise UsageProblemError(f"the database cannot be opened ({type(error).__name__}): correct --database") from error


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


def make_secret() -> str:
    return secrets.token_urlsafe(SECRET_BYTES)
