"""`suanwang programmes`: the voucher programmes this release ships, and what they say of one case, without a server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from api.cli.retag import replay
from scheduler.contract.cost import Tag
from scheduler.domain.reasons import Language
from scheduler.subsidy.document import load_document
from scheduler.subsidy.facts import parse_case
from scheduler.subsidy.programme import PolicyVersion, parse_policy, shipped_policies
from scheduler.subsidy.reasons import texts
from scheduler.subsidy.tagging import Evaluation, evaluate

MAX_DOCUMENT_BYTES = 4 * 2**20
BAD_INPUT = 2

app = typer.Typer(no_args_is_help=True, help="Voucher programmes: what they are, and what they say of a case.")
app.command()(replay)

_WORDS: dict[str, dict[Language, str]] = {
    "line": {"en": "line", "zh": "费用行"},
    "programme": {"en": "programme", "zh": "补贴项目"},
    "name": {"en": "name", "zh": "名称"},
    "version": {"en": "version", "zh": "版本"},
    "status": {"en": "status", "zh": "结论"},
    "rate": {"en": "rate", "zh": "比例"},
    "uncapped": {"en": "before caps", "zh": "封顶前"},
    "capped": {"en": "estimate", "zh": "估算补贴"},
    "selected": {"en": "selected", "zh": "选用"},
    "total": {"en": "total", "zh": "合计"},
    "valid": {"en": "in force", "zh": "有效期"},
    "confidence": {"en": "confidence", "zh": "可信度"},
    "adopted": {"en": "decides by itself", "zh": "自动适用"},
    "eligible": {"en": "eligible", "zh": "符合"},
    "ineligible": {"en": "ineligible", "zh": "不符合"},
    "needs_review": {"en": "needs review", "zh": "待审核"},
    "not_in_scope": {"en": "not in scope", "zh": "不在范围内"},
    "high": {"en": "high", "zh": "高"},
    "medium": {"en": "medium", "zh": "中"},
    "low": {"en": "low", "zh": "低"},
}

_AMOUNTS = frozenset({"rate", "uncapped", "capped", "selected"})
_WHOLE = _AMOUNTS | {"line", "programme", "status", "version"}
_MESSAGES = {
    "unexpected_keyword_argument": "unknown key; correct its spelling or remove it",
    "extra_forbidden": "unknown key; correct its spelling or remove it",
    "missing": "required, but not given",
    "missing_argument": "required, but not given",
    "dataclass_type": "a mapping of fields to values is allowed here",
    "model_type": "a mapping of fields to values is allowed here",
}

Document = TypeVar("Document")
LanguageOption = Annotated[Language, typer.Option("--lang", help="Language of the texts.")]


@app.command("evaluate")
def evaluate_case(
    case: Annotated[Path, typer.Argument(metavar="CASE.yaml", help="The case to judge: its facts and cost lines.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON.")] = False,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="FILE", help="Judge its programme by this policy version only.")
    ] = None,
    lang: LanguageOption = "en",
) -> None:
    """Say for each line of a case which programmes would pay how much, and why."""
    try:
        evaluation = evaluate(_read(case, parse_case), _policies(policy))
    except ValueError as error:
        raise _refusal(case, str(error)) from None
    if as_json:
        typer.echo(json.dumps(evaluation.model_dump(mode="json"), ensure_ascii=False, indent=2))
    else:
        _print(evaluation, lang)


@app.command("list")
def list_programmes(lang: LanguageOption = "en") -> None:
    """List the policy versions this release ships, when they are in force and how sure we are of them."""
    table = _table(lang, "programme", "version", "name", "valid", "adopted", "confidence")
    for version in shipped_policies():
        table.add_row(
            version.programme,
            version.version,
            version.name.zh if lang == "zh" else version.name.en,
            f"{version.valid_from} – {version.valid_until or ''}",
            "✓" if version.adopted else "",
            _WORDS[version.confidence][lang],
        )
    Console().print(table)


def _policies(policy: Path | None) -> tuple[PolicyVersion, ...]:
    """The shipped versions; those of the programme a file was given for make way for it."""
    if policy is None:
        return shipped_policies()
    given = _read(policy, parse_policy)
    return (*(version for version in shipped_policies() if version.programme != given.programme), given)


def _read(path: Path, parse: Callable[[Any], Document]) -> Document:
    """A checked YAML document. Ends the command with one message where it cannot be read or is not what is allowed."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        if len(content) > MAX_DOCUMENT_BYTES:
            raise _refusal(path, f"larger than the {MAX_DOCUMENT_BYTES} bytes that are allowed")
        return parse(load_document(content))
    except OSError as error:
        raise _refusal(path, error.strerror or "cannot be read") from None
    except ValidationError as error:
        raise _refusal(path, _first(error)) from None
    except ValueError as error:
        raise _refusal(path, str(error)) from None


def _first(error: ValidationError) -> str:
    """The first thing wrong, with the field it is wrong in."""
    found = error.errors()[0]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    message = _MESSAGES.get(found["type"], found["msg"].removeprefix("Value error, "))
    return f"{field}: {message}" if field else message


def _refusal(path: Path, message: str) -> typer.Exit:
    typer.echo(f"{path}: {message}", err=True)
    return typer.Exit(BAD_INPUT)


def _table(lang: Language, *columns: str) -> Table:
    """A table that fits 80 columns with every amount and identifier whole."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _AMOUNTS else "left"
        table.add_column(_WORDS[column][lang], justify=justify, no_wrap=column in _WHOLE, overflow="fold")
    return table


def _print(evaluation: Evaluation, lang: Language) -> None:
    """A table of every tag and total, amounts to the fen, and under it the reasons of each tag in words."""
    console = Console()
    table = _table(lang, "line", "programme", "status", "rate", "uncapped", "capped", "selected")
    for line in evaluation.lines:
        for tag in line.tags:
            amounts = (tag.rate, _to_the_fen(tag.uncapped), _to_the_fen(tag.capped), "✓" if tag.selected else "")
            table.add_row(str(line.index), tag.programme, _WORDS[tag.status][lang], *amounts)
    table.add_section()
    for programme, total in evaluation.totals.items():
        claimed = _to_the_fen(evaluation.selected.get(programme, "0.000000"))
        amounts = ("", _to_the_fen(total.uncapped), _to_the_fen(total.capped), claimed)
        table.add_row(_WORDS["total"][lang], programme, _WORDS[total.status][lang], *amounts)
    console.print(table)
    for line in evaluation.lines:
        console.print(f"{_WORDS['line'][lang]} {line.index}: {line.item} {_to_the_fen(line.amount)}", style="bold", highlight=False)
        for tag in line.tags:
            reasons = "; ".join(_reason(code, tag, lang) for code in tag.reason_codes)
            console.print(f"  {tag.programme} {tag.version}: {reasons}", markup=False, highlight=False)


def _reason(code: str, tag: Tag, lang: Language) -> str:
    return f"{texts(code, lang)}: {', '.join(tag.missing)}" if code == "facts_missing" else texts(code, lang)


def _to_the_fen(amount: str) -> str:
    """An amount of six places rounded down to two."""
    return amount[:-4]
