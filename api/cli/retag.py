"""`suanwang programmes replay`: past records under another version of a programme, and what that would have changed."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption, connect, open_existing
from api.cli.documents import read_document
from api.cli.errors import UsageProblemError
from api.cli.tables import console
from scheduler.contract.cost import CostRecord
from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Language
from scheduler.subsidy.programme import parse_policy
from scheduler.subsidy.reasons import texts
from scheduler.subsidy.replay import Context, Difference, Outcome, Replay, Sums

CONTEXTS_KEPT = 10_000
LINES_SHOWN = 50

Source = tuple[Iterator[Mapping[str, Any]], Callable[[str], Mapping[str, Any]]]
"""Records in order, and the facts behind them by hash."""


def replay(
    programme: Annotated[Path, typer.Option("--programme", metavar="FILE", help="The policy version to try, as YAML.")],
    start: Annotated[str, typer.Option("--from", metavar="DAY", help="First day, such as 2026-10-01 (Asia/Shanghai).")],
    end: Annotated[str, typer.Option("--to", metavar="DAY", help="The day after the last.")],
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    lang: LanguageOption = "en",
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object, with every line that differs.")] = False,
) -> None:
    """Tag past records again, as if this version had decided, and show the difference. Nothing is changed.

    With --data the city need not be running; with --url it takes a token of finance or the ledger.
    """
    policy = read_document(programme, parse_policy, lang)
    first, last = _day("--from", start), _day("--to", end)
    if last <= first:
        raise UsageProblemError(f"--to {end}: a day after --from {start} is needed")
    trial = Replay(policy, first, last)
    with _source(data, url, token_file, lang) as (records, facts):
        differences = _run(trial, records, facts)
    if as_json:
        typer.echo(json.dumps(_document(trial, differences), ensure_ascii=False, indent=2))
    else:
        _print(console(), trial, differences, lang)


def _run(trial: Replay, records: Iterator[Mapping[str, Any]], facts: Callable[[str], Mapping[str, Any]]) -> list[Difference]:
    context = lru_cache(CONTEXTS_KEPT)(lambda sha256: Context.parse(facts(sha256)))
    screen = Console(stderr=True)
    columns = (TextColumn("{task.completed} records read"), TimeElapsedColumn())
    found = []
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        task = progress.add_task("", total=None)
        for each in records:
            record = CostRecord.model_validate(each)
            difference = trial.take(record, context(record.context))
            if difference is not None:
                found.append(difference)
            progress.advance(task)
    return found


@contextmanager
def _source(data: Path | None, url: str | None, token_file: Path | None, language: Language) -> Iterator[Source]:
    """The records of a data folder or of a city that answers."""
    if data is not None and url is None:
        from scheduler.service.months import Range, pieces, stored, stored_facts, stored_head  # a single case needs no database
        from scheduler.store.database import Database

        with closing(Database(open_existing(data).database_url)) as database:
            whole = Range(1, stored_head(database).sequence)
            records = (record for piece in pieces(whole, stored(database)) for record in piece)
            yield records, lambda sha256: stored_facts(database, sha256)
    else:
        with connect(data, url, token_file, "ledger", language) as city:
            yield city.cost_records(), city.cost_context


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageProblemError(f"{option} {text}: a day such as 2026-10-01 is allowed") from None


def _document(trial: Replay, differences: list[Difference]) -> dict[str, Any]:
    return {
        "programme": trial.policy.programme,
        "version": trial.policy.version,
        "from": trial.start.isoformat(),
        "to": trial.end.isoformat(),
        "records": trial.records,
        "changed": trial.changed,
        "total": _sums(trial.total()),
        "tenants": {tenant: _sums(sums) for tenant, sums in sorted(trial.tenants.items())},
        "statuses": [{"before": old, "after": new, "records": count} for (old, new), count in sorted(trial.statuses.items())],
        "lines": [_line(each) for each in differences],
    }


def _sums(sums: Sums) -> dict[str, str]:
    return {
        "before": format_cny(sums.before),
        "after": format_cny(sums.after),
        "difference": format_cny(sums.after - sums.before),
        "others_before": format_cny(sums.others_before),
        "others_after": format_cny(sums.others_after),
    }


def _line(each: Difference) -> dict[str, Any]:
    record = each.record
    return {
        "sequence": record.sequence,
        "id": record.id,
        "tenant": record.tenant,
        "job": record.job,
        "item": record.item,
        "amount": record.contracted_amount,
        "before": _outcome(each.before),
        "after": _outcome(each.after),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "reason_codes": list(outcome.reason_codes),
        "rate": outcome.rate,
        "paid": format_cny(outcome.paid),
        "paid_by_others": format_cny(outcome.paid_by_others),
    }


_WORDS: dict[str, dict[Language, str]] = {
    "tenant": {"en": "tenant", "zh": "租户"},
    "before": {"en": "before", "zh": "原估算"},
    "after": {"en": "after", "zh": "新估算"},
    "difference": {"en": "difference", "zh": "差额"},
    "record": {"en": "record", "zh": "记录"},
    "amount": {"en": "amount", "zh": "金额"},
    "why": {"en": "why", "zh": "依据"},
    "all": {"en": "all", "zh": "合计"},
}


def _print(to: Console, trial: Replay, differences: list[Difference], lang: Language) -> None:
    what = f"{trial.policy.programme} {trial.policy.version}, {trial.start} – {trial.end}"
    found = {
        "en": f"{trial.changed} of {trial.records} records differ",
        "zh": f"{trial.records} 条记录中 {trial.changed} 条有变化",
    }
    table = _table(lang, "tenant", "before", "after", "difference", title=f"{what}: {found[lang]}")
    for tenant, sums in [*sorted(trial.tenants.items()), (_WORDS["all"][lang], trial.total())]:
        table.add_row(tenant, format_cny(sums.before), format_cny(sums.after), format_cny(sums.after - sums.before))
    to.print(table)
    lines = _table(lang, "record", "tenant", "amount", "before", "after", "why")
    for each in differences[:LINES_SHOWN]:
        record, codes = each.record, each.after.reason_codes
        amounts = (record.contracted_amount, format_cny(each.before.paid), format_cny(each.after.paid))
        lines.add_row(f"#{record.sequence}", record.tenant, *amounts, "; ".join(texts(code, lang) for code in codes))
    if differences:
        to.print(lines)
    if len(differences) > LINES_SHOWN:
        more = len(differences) - LINES_SHOWN
        to.print({"en": f"and {more} more: --json shows every line", "zh": f"另有 {more} 条:使用 --json 查看全部"}[lang])


def _table(lang: Language, *columns: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(_WORDS[column][lang], justify="right" if column in ("amount", "before", "after", "difference") else "left")
    return table
