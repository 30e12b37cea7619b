"""`suanwang demo`: a whole city for a minute, its main job from end to end, and a check of everything that was promised."""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from api.cli.demo import checks
from api.cli.demo.story import Story, walk
from api.cli.embedded import EmbeddedCity, Settings, running
from api.cli.errors import UsageProblemError
from api.cli.folder import DEFAULT, Folder, held, open_folder
from api.cli.ledger import read_feed
from api.cli.tables import console, print_inventory, print_jobs
from scheduler.service.dispatcher import utc_now
from scheduler.service.tags import claim_day

METER_SECONDS = 5
_MARK = "demo"


def demo(
    data: Annotated[Path, typer.Option(help="Folder for everything the demo keeps; a former demo in it is replaced.")] = DEFAULT
    / "demo",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0 picks a free one.")] = 0,
) -> None:
    """Bring up a city, run a dozen jobs through it, and check that every promise held. Takes about a minute."""
    out = console()
    folder = _fresh(data)
    with running(
        folder, Settings(port=port, meter_seconds=METER_SECONDS), lambda part: out.print(f"[dim]starting {part} …[/]")
    ) as city:
        with city.client("operator") as operator:
            out.print(f"[bold]A city is up[/] at {city.url}; it keeps everything in {folder.root}")
            print_inventory(out, operator.inventory())
        story = Story(city, lambda line: out.print(f"  {line}", highlight=False, soft_wrap=True))
        walk(story, str(files("api.cli.demo")))
        found = _conclude(out, city, story)
    if not all(check.held for check in found):
        raise typer.Exit(1)
    out.print(f"[bold]Everything held.[/] Go on in the same city with: suanwang up --data {data}")


def _conclude(out: Console, city: EmbeddedCity, story: Story) -> list[checks.Check]:
    with city.client("ledger") as ledger:
        books = read_feed(ledger)
    print_jobs(
        out,
        list(story.jobs.values()),
        "what every job cost (CNY, posted so far; the voucher is an estimate, the ledger decides)",
    )
    out.print(f"ledger: {books.head.sequence} records verified, chain head {books.head.hash[:16]}…, {books.total()} CNY in all")
    found = checks.run(story, books, claim_day(utc_now()))
    for check in found:
        mark = "[green]✓[/]" if check.held else "[red]✗[/]"
        out.print(f"{mark} {check.name}: {check.found}", highlight=False, soft_wrap=True)
    return found


def _fresh(data: Path) -> Folder:
    """An empty folder, or one that a former demo made: that is emptied. Anything else is left alone."""
    folder = open_folder(data)
    mark = folder.root / _MARK
    if any(folder.root.iterdir()) and not mark.exists():
        raise UsageProblemError(f"{folder.root} holds something that no demo made: choose an empty folder with --data")
    with held(folder):
        for entry in folder.root.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    mark.touch()
    return folder
