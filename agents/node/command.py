"""`suanwang agent node`: report this machine to a city until stopped, or look once and print what was seen."""

import socket
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn
from uuid import uuid4

import typer
from pydantic import Field, HttpUrl, TypeAdapter, ValidationError

from agents.node import agent, loop, probes
from agents.node.collect import NodeIdentity, normalise_hostname
from agents.node.table import print_report
from agents.node.watch import Watch
from agents.terms import read_token
from scheduler.contract.base import Key, Text, Wire
from scheduler.contract.inventory import NodeName, NodeReport
from scheduler.domain.hardware import shipped_catalogue


class _Typed(Wire):
    """What an operator may call a node."""

    hostname: NodeName
    labels: Annotated[dict[Key, Text], Field(max_length=32)]


def node(
    city: Annotated[str | None, typer.Option(metavar="URL", help="The city to report to.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File that holds the cluster's token.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label of this node; repeatable.")] = None,
    hostname: Annotated[str | None, typer.Option(help="Name of this node, instead of the machine's own.")] = None,
    probe_host: Annotated[str, typer.Option(help="Address for /startupz, /readyz, /livez and /metrics.")] = "127.0.0.1",
    probe_port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port for those; none without it.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, print, and exit; needs no city.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print the report as JSON.")] = False,
    first_within: Annotated[
        float,
        typer.Option(
            min=0,
            max=300,
            metavar="SECONDS",
            help="The first report comes after a random part of this, so that a fleet switched on at once does not report at once.",
        ),
    ] = agent.FIRST_WITHIN_SECONDS,
) -> None:
    """See this machine's accelerators and report them to the city."""
    identity = _identity(hostname, label or [])
    if once:
        watch, catalogue = Watch(probes.shipped()), shipped_catalogue()
        seen = agent.once(identity, watch, catalogue, sequence=0, now=datetime.now(UTC))
        _print(NodeReport.model_validate(seen), as_json)
        return
    if as_json:
        _refuse("--json goes with --once")
    if city is None or token_file is None:
        _refuse("--city and --token-file are needed (or --once, to look without a city)")
    _require_url(city)
    _require_token(token_file)
    loop.become(
        loop.Order(
            city=city,
            token_file=str(token_file),
            hostname=identity.hostname,
            boot=identity.boot,
            agent_version=identity.agent_version,
            first_within_seconds=first_within,
            probe_host=probe_host,
            probe_port=probe_port,
            labels=identity.labels,
        )
    )


def _identity(hostname: str | None, labels: list[str]) -> NodeIdentity:
    try:
        typed = _Typed(hostname=hostname or normalise_hostname(socket.gethostname()), labels=dict(_label(text) for text in labels))
    except ValidationError as error:
        problem = error.errors()[0]
        _refuse(f"--{str(problem['loc'][0]).removesuffix('s')} {problem['input']!r}: {problem['msg']}")
    return NodeIdentity(typed.hostname, boot=uuid4().hex, agent_version=version("suanwang"), labels=typed.labels)


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


def _print(report: NodeReport, as_json: bool) -> None:
    if as_json:
        typer.echo(report.model_dump_json(indent=2))
    else:
        print_report(report)


def _refuse(why: str) -> NoReturn:
    typer.echo(f"suanwang agent node: {why}", err=True)
    raise typer.Exit(2)
