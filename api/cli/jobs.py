"""An enterprise's commands: submit, look, cancel, costs, inventory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml
from pydantic import BaseModel

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption, connect
from api.cli.errors import UsageProblemError
from api.cli.tables import UNITS, card_hours, console, counted_tasks, print_inventory, print_jobs, print_tasks
from api.client import ApiProblemError, ApiUnreachableError, Client
from scheduler.contract.cost import CostRecord, RecordKind
from scheduler.contract.job import JobView

MAX_SPEC_BYTES = 1_048_576
DEFAULT_TOKEN = "operator"  # noqa: S105 - the name of a token's file, not a token

Output = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="For people, or exactly what the API answers.")]
As = Annotated[str, typer.Option("--as", help="Which of the embedded city's tokens to use.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]


def submit(
    spec_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job, as YAML or JSON.")],
    as_: As,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    language: LanguageOption = "en",
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Makes submitting again safe.")] = None,
    output: Output = "table",
) -> None:
    """Submit a job."""
    spec = read_spec(spec_file)
    with city_of(data, url, token_file, as_, language) as city:
        _show_job(city.submit(spec, key), output)


def jobs(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    output: Output = "table",
) -> None:
    """List jobs, newest first."""
    with city_of(data, url, token_file, as_, language) as city:
        page = city.jobs(limit, state)
    if output == "json":
        print_json(page)
    else:
        print_jobs(console(), page.jobs)


def job(
    job_id: JobId,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    task: Annotated[int | None, typer.Option(min=0, help="Only the history of this task of an array, by its index.")] = None,
    output: Output = "table",
) -> None:
    """Show one job: where it is, why, and its history."""
    with city_of(data, url, token_file, as_, language) as city:
        view = city.job(job_id)
        events = city.events(job_id, task=task).events if output == "table" else []
    _show_job(view, output)
    for event in events:
        of_task = "" if event.task is None else f" task {event.task}"
        attempt = f" (attempt {event.attempt})" if event.attempt else ""
        typer.echo(f"{event.at:%Y-%m-%d %H:%M:%S}{of_task} {event.state}{attempt}: {event.reason.text}")


def tasks(
    job_id: JobId,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    state: Annotated[str | None, typer.Option(help="Only tasks in this state.")] = None,
    after: Annotated[int, typer.Option(min=-1, help="Only tasks with a higher index.")] = -1,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    output: Output = "table",
) -> None:
    """List the tasks of an array that have begun."""
    with city_of(data, url, token_file, as_, "en") as city:
        page = city.tasks(job_id, limit, after, state)
    if output == "json":
        print_json(page)
    else:
        print_tasks(console(), page)


def cancel(
    job_id: JobId,
    as_: As,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    language: LanguageOption = "en",
    output: Output = "table",
) -> None:
    """Cancel a job."""
    with city_of(data, url, token_file, as_, language) as city:
        _show_job(city.cancel(job_id), output)


def costs(
    job_id: JobId,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    output: Output = "table",
) -> None:
    """Show every cost line of a job and its eligibility tags."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = city.costs(job_id)
    if output == "json":
        print_json(found)
        return
    for record in found.records:
        why = "" if record.kind in (RecordKind.USAGE, RecordKind.PURCHASE) else f" [{record.reason or record.kind}]"
        typer.echo(f"#{record.sequence} {_what(record)} = {record.contracted_amount}{why}")
        for tag in record.eligibility:
            chosen = " (selected)" if tag.selected else ""
            typer.echo(f"    {tag.programme}@{tag.version}: {tag.status}{chosen} {tag.capped} [{', '.join(tag.reason_codes)}]")
    typer.echo(
        f"cost {found.contracted_amount}, voucher estimate {found.voucher_estimate}, net {found.net_amount} CNY ({found.state})"
    )
    if found.voucher_settled is not None:
        typer.echo(f"the ledger has settled {found.voucher_settled} CNY of it")


def _what(record: CostRecord) -> str:
    if record.attempt is None:
        return f"{record.item} of {record.period_end:%Y-%m-%d}: {record.description}"
    hours = f"{card_hours(record.unit_seconds)} {UNITS[record.item]}-hours"
    return f"attempt {record.attempt_number} {record.item} {record.model or ''} {hours} at {record.contracted_price}/h"


def inventory(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    output: Output = "table",
) -> None:
    """Show every card of the network by cluster, class and model."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = city.inventory()
    if output == "json":
        print_json(found)
    else:
        print_inventory(console(), found)


@contextmanager
def city_of(data: Path | None, url: str | None, token_file: Path | None, as_: str, language: str) -> Iterator[Client]:
    """A client whose refusals become one readable message."""
    with connect(data, url, token_file, as_, language) as city:
        try:
            yield city
        except ApiProblemError as error:
            raise UsageProblemError(_problem_text(error, language)) from error
        except ApiUnreachableError as error:
            raise UsageProblemError(f"{error}: is the city running? Start it with `suanwang up`") from error


def _problem_text(error: ApiProblemError, language: str) -> str:
    problem = error.problem
    detail = problem.detail_zh if language == "zh" else problem.detail
    fields = [f"  {e.field}: {(language == 'zh' and e.message_zh) or e.message}" for e in problem.errors]
    return "\n".join([f"{detail} ({problem.code})", *fields])


def read_spec(path: Path) -> dict[str, Any]:
    """A job's document as a file has it. Raises UsageProblemError for what is no mapping of fields."""
    try:
        if path.stat().st_size > MAX_SPEC_BYTES:
            raise UsageProblemError(f"{path}: a job spec may have at most {MAX_SPEC_BYTES} bytes")
        spec = _PlainTimes(path.read_text("utf-8")).get_single_data()
    except OSError as error:
        raise UsageProblemError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise UsageProblemError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(spec, dict):
        raise UsageProblemError(f"{path}: a job spec is a mapping of fields, such as name: my-job")
    return spec


class _PlainTimes(yaml.SafeLoader):
    """YAML in which a time stays the text it is, as it would be in JSON: what it means is for the city to say."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the loader reads it from the class
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _show_job(view: JobView, output: str) -> None:
    if output == "json":
        print_json(view)
        return
    typer.echo(f"{view.id} {view.spec.name}: {view.state}{f' in {view.cluster}' if view.cluster else ''}")
    if view.tasks is not None:
        typer.echo(f"  tasks: {counted_tasks(view.tasks)}")
    for reason in view.reasons:
        typer.echo(f"  {reason.code}: {reason.text}")
    if view.at_risk is not None:
        typer.echo(f"  {view.at_risk.reason.text}")


def print_json(model: BaseModel) -> None:
    """Exactly what the API answered."""
    typer.echo(json.dumps(model.model_dump(mode="json", by_alias=True), ensure_ascii=False, indent=2))
