"""`suanwang up`: the embedded city, left running until Ctrl-C."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from agents.signals import stop_on_signals
from api.cli.embedded import Settings, running
from api.cli.errors import UsageProblemError
from api.cli.folder import DEFAULT, open_folder
from api.cli.servers import LOG_FORMAT

WATCH_SECONDS = 1.0

log = logging.getLogger(__name__)


def up(
    data: Annotated[Path, typer.Option(help="Folder for everything the city keeps.")] = DEFAULT,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0 picks a free one.")] = 8471,
) -> None:
    """Start a whole city on this machine and keep it running. Ctrl-C stops all of it; the next start goes on where it was."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    folder = open_folder(data)
    with (
        running(folder, Settings(port=port), lambda part: typer.echo(f"starting {part} …", err=True)) as city,
        stop_on_signals() as stop,
    ):
        typer.echo(f"A city is up at {city.url}; its tokens are in {folder.part('tokens')}. Try, in another terminal:")
        typer.echo(f"  suanwang inventory --data {data}")
        typer.echo(f"  suanwang submit JOB.yaml --data {data} --as tenant-lingxi")
        typer.echo(f"  suanwang ledger follow --data {data}")
        typer.echo("Ctrl-C stops it.")
        while not stop.wait(WATCH_SECONDS):
            for name in city.children.restart_dead():
                log.warning("%s had died and was started again; see %s", name, city.children[name].log)
            for child in city.children.given_up():
                raise UsageProblemError(f"{child.name} keeps dying: see {child.log}")
        typer.echo("stopping …", err=True)
