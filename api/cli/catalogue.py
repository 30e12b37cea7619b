"""`suanwang catalogue`: what the city takes cards for, and whether a file of an operator's own can take its place."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from api.cli.documents import BAD_INPUT, checked, field_errors, read_document, refusal
from api.cli.errors import UsageProblemError
from api.cli.jobs import Output
from api.cli.programmes import LanguageOption
from api.cli.tables import console
from scheduler.contract.catalogue import ModelRow, catalogue_view, read_catalogue
from scheduler.domain.faults import Fault
from scheduler.domain.hardware import Catalogue, shipped_catalogue
from scheduler.domain.reasons import Language

app = typer.Typer(no_args_is_help=True, help="The hardware catalogue: what a card is, and of which class.")

CatalogueOption = Annotated[
    Path | None,
    typer.Option(
        "--catalogue",
        metavar="FILE",
        envvar="SUANWANG_CATALOGUE",
        show_envvar=True,
        help="Catalogue of the city's own, instead of the shipped one or extending it; the same for the API and the dispatcher.",
    ),
]

_WORDS: dict[str, dict[Language, str]] = {
    "vendor": {"en": "vendor", "zh": "厂商"},
    "model": {"en": "model", "zh": "型号"},
    "class": {"en": "class", "zh": "类别"},
    "domestic": {"en": "domestic", "zh": "国产"},
    "foreign": {"en": "foreign", "zh": "国外"},
    "memory": {"en": "GiB", "zh": "显存 GiB"},
    "tflops": {"en": "TFLOPS", "zh": "TFLOPS"},
    "link": {"en": "link, GB/s", "zh": "互联 GB/s"},
    "confidence": {"en": "confidence", "zh": "可信度"},
    "verified_on": {"en": "verified on", "zh": "核对日期"},
    "source": {"en": "source", "zh": "来源"},
    "high": {"en": "high", "zh": "高"},
    "medium": {"en": "medium", "zh": "中"},
    "low": {"en": "low", "zh": "低"},
    "version": {"en": "catalogue", "zh": "目录版本"},
    "models": {"en": "models", "zh": "个型号"},
}
_RIGHT = frozenset({"memory", "tflops", "link"})


@app.command("list")
def list_models(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="A catalogue's file instead of the shipped one.")] = None,
    output: Output = "table",
    lang: LanguageOption = "en",
) -> None:
    """List what a catalogue knows: each model with its class, its figures and where they are from. No server is needed."""
    view = catalogue_view(shipped_catalogue() if file is None else read_document(file, read_catalogue, lang))
    if output == "json":
        typer.echo(view.model_dump_json(indent=2, by_alias=True))
        return
    table = Table(box=SIMPLE_HEAD, title=f"{_WORDS['version'][lang]} {view.version}", title_justify="left")
    for name in ("vendor", "model", "class", "memory", "tflops", "link", "confidence", "verified_on"):
        table.add_column(_WORDS[name][lang], justify="right" if name in _RIGHT else "left", no_wrap=name == "model")
    table.add_column(_WORDS["source"][lang], overflow="fold")
    for row in view.models:
        table.add_row(*map(escape, _cells(row, lang)))
    console().print(table)


@app.command("check")
def check_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Catalogues to check, as YAML.")],
    lang: LanguageOption = "en",
) -> None:
    """Say all that is wrong with catalogues, naming row and field. The API and the dispatcher refuse the same at their start."""
    wrong = False
    for path in files:
        try:
            catalogue = checked(path, read_catalogue)
        except (Fault, ValidationError) as error:
            wrong = True
            refusal(path, field_errors(error), lang)
        else:
            typer.echo(f"{path}: {catalogue.version}, {len(catalogue.entries)} {_WORDS['models'][lang]} ✓")
    if wrong:
        raise typer.Exit(BAD_INPUT)


def catalogue_in_force(file: Path | None) -> Catalogue:
    """The shipped catalogue, or that of a file. Raises UsageProblemError saying all that is wrong with it, with rows and fields."""
    if file is None:
        return shipped_catalogue()
    try:
        return checked(file, read_catalogue)
    except (Fault, ValidationError) as error:
        said = "; ".join(f"{each.field}: {each.message}" if each.field else each.message for each in field_errors(error))
        raise UsageProblemError(f"--catalogue {file}: {said}") from error


def _cells(row: ModelRow, lang: Language) -> tuple[str, ...]:
    link = " ".join(str(part) for part in (row.link, row.link_gigabytes_per_second) if part)
    return (
        row.vendor,
        row.model,
        _WORDS[row.hardware_class][lang],
        str(row.memory_gib),
        _known(row.tflops_fp16),
        link or "–",
        _WORDS[row.confidence][lang],
        str(row.verified_on or "–"),
        row.source,
    )


def _known(figure: Any) -> str:
    return "–" if figure is None else f"{figure:g}"
