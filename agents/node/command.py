"""`suanwang agent node`: report this machine to a city until stopped, or look once and print what was seen."""

import logging
import socket
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Annotated, NoReturn
from uuid import uuid4

import typer
from pydantic import HttpUrl, TypeAdapter, ValidationError

from agents.city import City, read_token
from agents.node import agent, probes
from agents.node.collect import NodeIdentity, normalise_hostname
from agents.node.table import print_report
from agents.node.watch import Watch
from agents.signals import stop_on_signals
from scheduler.contract.inventory import NodeReport
from scheduler.domain.hardware import shipped_catalogue


def node(
    city: Annotated[str | None, typer.Option(metavar="URL", help="The city to report to.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File that holds the cluster's token.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label of this node; repeatable.")] = None,
    hostname: Annotated[str | None, typer.Option(help="Name of this node, instead of the machine's own.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, print, and exit; needs no city.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the report as JSON.")] = False,
) -> None:
    """See this machine's accelerators and report them to the city."""
    identity = _identity(hostname, label or [])
    watch, catalogue = Watch(probes.shipped()), shipped_catalogue()

    def observe(sequence: int) -> NodeReport:
        return agent.once(identity, watch, catalogue, sequence=sequence, now=datetime.now(UTC))

    if once:
        _print(observe(0), as_json)
        return
    if as_json:
        _refuse("--json goes with --once")
    if city is None or token_file is None:
        _refuse("--city and --token-file are needed (or --once, to look without a city)")
    _require_url(city)
    _require_token(token_file)
    _log_to_stderr()
    with stop_on_signals() as stop:
        agent.run(observe, lambda: City(city, read_token(token_file)), stop, Random())  # noqa: S311 -- jitter is no secret


def _identity(hostname: str | None, labels: list[str]) -> NodeIdentity:
    try:
        return NodeIdentity(
            hostname=hostname or normalise_hostname(socket.gethostname()),
            boot=uuid4().hex,
            agent_version=version("suanwang"),
            labels=dict(_label(text) for text in labels),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        _refuse(f"--{str(problem['loc'][0]).removesuffix('s')} {problem['input']!r}: {problem['msg']}")


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        _refuse(f"--label {text!r}: write it as KEY=VALUE")
    return key, value


def _require_url(city: str) -> None:
    try:
        TypeAdapter(HttpUrl).validate_python(city)
    except ValidationError as error:
        _refuse(f"--city {city!r}: {error.errors()[0]['msg']}")


def _require_token(path: Path) -> None:
    try:
        read_token(path)
    except OSError as error:
        _refuse(f"--token-file {str(path)!r}: {error.strerror}")
    except ValueError as error:
        _refuse(f"--token-file: {error}")


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _print(report: NodeReport, as_json: bool) -> None:
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        print_report(report)


def _refuse(why: str) -> NoReturn:
    typer.echo(f"suanwang agent node: {why}", err=True)
    raise typer.Exit(2)
