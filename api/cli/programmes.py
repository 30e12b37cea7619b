"""`suanwang programmes`: the voucher programmes this release ships, and what they say of one case, without a server."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from api.cli.documents import BAD_INPUT, checked, field_errors, read_document, refusal
from api.cli.retag import replay
from api.faults import fault_error
from scheduler.contract.cost import Tag
from scheduler.domain.faults import Fault
from scheduler.domain.reasons import Language
from scheduler.subsidy.elsewhere import routed_elsewhere
from scheduler.subsidy.evaluation import Evaluation, evaluate
from scheduler.subsidy.facts import parse_case
from scheduler.subsidy.programme import PolicyVersion, check_versions, parse_policy, shipped_policies
from scheduler.subsidy.reasons import texts
from scheduler.subsidy.schema import Noun, schema_text
from scheduler.subsidy.trace import MAX_TRACED_LINES, Traces, traces

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
_WHOLE = _AMOUNTS | {"programme", "status", "version"}
LanguageOption = Annotated[Language, typer.Option("--lang", help="Language of the texts.")]


@app.command("evaluate")
def evaluate_case(
    case: Annotated[Path, typer.Argument(metavar="CASE.yaml", help="The case to judge: its facts and cost lines.")],
    as_json: Annotated[
        bool, typer.Option("--json", help=f"Print the evaluation as JSON, with the steps of the first {MAX_TRACED_LINES} lines.")
    ] = False,
    programme: Annotated[
        Path | None, typer.Option("--programme", metavar="FILE", help="Judge its programme by this policy version only.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help=f"Say how each tag came about, rule by rule, of the first {MAX_TRACED_LINES} lines.")
    ] = False,
    lang: LanguageOption = "en",
) -> None:
    """Say for each line of a case which programmes would pay how much, and why. No server is needed."""
    policies = _policies(programme, lang)
    judged = read_document(case, parse_case, lang)
    try:
        evaluation = evaluate(judged, policies, routed_elsewhere())
    except Fault as fault:
        raise refusal(case, [fault_error(fault.field, fault)], lang) from None
    steps = traces(judged, policies, evaluation)
    if as_json:
        typer.echo(json.dumps(_with_traces(evaluation, steps), ensure_ascii=False, indent=2))
    else:
        _print(evaluation, steps if explain else None, lang)


@app.command("check")
def check_files(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Policy versions to check, as YAML.")],
    lang: LanguageOption = "en",
) -> None:
    """Say all that is wrong with policy versions, each by itself and beside the shipped ones. The API refuses the same."""
    wrong = False
    versions: dict[tuple[str, str], PolicyVersion] = {(each.programme, each.version): each for each in shipped_policies()}
    given: dict[tuple[str, str], PolicyVersion] = {}
    for path in files:
        try:
            version = checked(path, parse_policy)
            key = (version.programme, version.version)
            if given.setdefault(key, version) != version:
                raise Fault("same_version_twice", field="version", programme=version.programme, value=version.version)
            check_versions({**versions, **given}.values())
        except (Fault, ValidationError) as error:
            wrong = True
            refusal(path, field_errors(error), lang)
        else:
            typer.echo(f"{path}: {version.programme} {version.version} ✓")
    if wrong:
        raise typer.Exit(BAD_INPUT)


@app.command("schema")
def print_schema(noun: Annotated[Noun, typer.Argument(help="Which document.")]) -> None:
    """Print the JSON Schema of a policy version or of a case, for editors and other programs."""
    typer.echo(schema_text(noun), nl=False)


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


def _policies(path: Path | None, lang: Language) -> tuple[PolicyVersion, ...]:
    """The shipped versions; those of the programme a file was given for make way for it, and it decides whether adopted or not."""
    if path is None:
        return shipped_policies()
    given = read_document(path, parse_policy, lang).model_copy(update={"adopted": True})
    return (*(version for version in shipped_policies() if version.programme != given.programme), given)


def _with_traces(evaluation: Evaluation, steps: Traces) -> dict[str, Any]:
    """An evaluation as JSON, with `trace` beside the keys of every tag of the lines that have steps."""
    document = evaluation.model_dump(mode="json")
    for line, of_line in zip(document["lines"], steps, strict=False):
        for tag, of_tag in zip(line["tags"], of_line, strict=True):
            tag["trace"] = [step.model_dump(mode="json", exclude_none=True) for step in of_tag]
    return document


def _table(lang: Language, *columns: str) -> Table:
    """A table that fits 80 columns with every amount and identifier whole."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in _AMOUNTS else "left"
        table.add_column(_WORDS[column][lang], justify=justify, no_wrap=column in _WHOLE, overflow="fold")
    return table


def _print(evaluation: Evaluation, steps: Traces | None, lang: Language) -> None:
    """A table of every tag and total, amounts to the fen, and under it the reasons of each tag in words, or its steps."""
    console = Console()
    table = _table(lang, "programme", "status", "rate", "uncapped", "capped", "selected")
    for line in evaluation.lines:
        table.add_row(f"[bold]{_WORDS['line'][lang]} {line.index}: {line.item}[/]")
        for tag in line.tags:
            amounts = (tag.rate, _to_the_fen(tag.uncapped), _to_the_fen(tag.capped), "✓" if tag.selected else "")
            table.add_row(tag.programme, _WORDS[tag.status][lang], *amounts)
        table.add_section()
    table.add_row(f"[bold]{_WORDS['total'][lang]}[/]")
    for programme, total in evaluation.totals.items():
        claimed = _to_the_fen(evaluation.selected.get(programme, "0.000000"))
        amounts = ("", _to_the_fen(total.uncapped), _to_the_fen(total.capped), claimed)
        table.add_row(programme, _WORDS[total.status][lang], *amounts)
    console.print(table)
    for line in evaluation.lines:
        console.print(f"{_WORDS['line'][lang]} {line.index}: {line.item} {_to_the_fen(line.amount)}", style="bold", highlight=False)
        for number, tag in enumerate(line.tags):
            if steps is None or line.index >= len(steps):
                reasons = "; ".join(_reason(code, tag, lang) for code in tag.reason_codes)
                console.print(f"  {tag.programme} {tag.version}: {reasons}", markup=False, highlight=False)
                continue
            console.print(f"  {tag.programme} {tag.version}", markup=False, highlight=False)
            for step in steps[line.index][number]:
                console.print(f"    {step.zh if lang == 'zh' else step.en}", markup=False, highlight=False)


def _reason(code: str, tag: Tag, lang: Language) -> str:
    return f"{texts(code, lang)}: {', '.join(tag.missing)}" if code == "facts_missing" else texts(code, lang)


def _to_the_fen(amount: str) -> str:
    """An amount of six places rounded down to two."""
    return amount[:-4]
