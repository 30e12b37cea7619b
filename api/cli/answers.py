"""`suanwang quote` and `suanwang explain`: where, when, for how much, why not, and what would help."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, JobId, Output, city_of, print_json, read_spec
from api.cli.tables import console
from scheduler.billing.pricebook import NOT_ESTABLISHED
from scheduler.contract.answers import Explanation, PlacementOption, QueuePosition, Situation, StagingEstimate, StartEstimate
from scheduler.contract.base import Moment
from scheduler.domain.clock import format_duration
from scheduler.domain.money import format_cny, parse_cny

_WORDS = {
    "en": {
        "why": "why",
        "position": "position",
        "start": "start",
        "deadline": "deadline",
        "keeps": "would keep it",
        "helps": "would help",
        "elsewhere": "why not",
        "placed": "is in",
        "places": "places, in the order the scheduler would choose (CNY; the voucher is an estimate, the ledger decides)",
        "headings": "cluster,class,model,nodes,cards,starts by,data there in,list/h,contracted/h,net/h,whole run,net,price,voucher",
        "off_peak": "off-peak",
        "cheaper": "could be cheaper in",
        "now": "now",
        "unknown": "unknown",
        "range": "between {earliest} and {latest}",
        "recorded": "recorded",
        "limited": "the queue is long: not everything was tried",
        "stops": "makes room in",
        "net": "CNY/h net",
        "colon": ": ",
    },
    "zh": {
        "why": "原因",
        "position": "排队",
        "start": "启动",
        "deadline": "截止",
        "keeps": "可赶上",
        "helps": "可行调整",
        "elsewhere": "为何不去",
        "placed": "位于",
        "places": "可行位置,按调度器的选择顺序(元;补贴为估算,以台账认定为准)",
        "headings": "集群,类别,型号,节点,卡,最迟启动,数据到位,目录价/时,合同价/时,净价/时,全程合同价,全程净价,适用价格,补贴",
        "off_peak": "闲时",
        "cheaper": "或可更便宜于",
        "now": "现在",
        "unknown": "未知",
        "range": "介于 {earliest} 与 {latest} 之间",
        "recorded": "回放",
        "limited": "队列较长,未尝试全部可能",
        "stops": "腾出位置于",
        "net": "元/时(净价)",
        "colon": ":",
    },
}
_TIERS_ZH = {"contracted": "合同价", "preferential": "优惠价", "sme": "中小企业价"}
_CLASSES_ZH = {"domestic": "国产", "foreign": "国外", "unknown": "未知"}


def quote(
    spec_file: Annotated[Path, typer.Argument(metavar="JOB.yaml", help="The job, as YAML or JSON.")],
    as_: As,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    language: LanguageOption = "en",
    output: Output = "table",
) -> None:
    """Say where a job could go, when, and for how much, without submitting it."""
    spec = read_spec(spec_file)
    with city_of(data, url, token_file, as_, language) as city:
        found = city.quote(spec)
    if output == "json":
        print_json(found)
        return
    typer.echo(f"{spec.get('name')}: {found.verdict}")
    print_situation(console(), found, language)


def explain(
    job_id: JobId,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    output: Output = "table",
) -> None:
    """Say why a job is where it is, or why it waits, when it starts, and what would help."""
    with city_of(data, url, token_file, as_, language) as city:
        found = city.explanation(job_id)
    if output == "json":
        print_json(found)
        return
    typer.echo(f"{found.job}: {found.state}")
    print_situation(console(), found, language)


def print_situation(to: Console, found: Situation, language: str) -> None:
    """Lines for what is words, a table for what is prices."""
    for line in lines(found, language):
        to.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
    if found.options:
        to.print(_places(found.options, language))


def lines(found: Situation, language: str) -> Iterator[str]:
    """What there is to say in words, a line each."""
    words = _WORDS[language]
    colon = words["colon"]
    if isinstance(found, Explanation) and found.placed:
        yield f"{words['placed']}{colon}{found.placed.cluster} ({', '.join(found.placed.nodes)})"
    if isinstance(found, Explanation) and found.at_risk:
        yield found.at_risk.reason.text
    for reason in found.reasons:
        yield f"{words['why']}{colon}{reason.text}"
    for text in _position(found.position):
        yield f"{words['position']}{colon}{text}"
    if found.start:
        yield f"{words['start']}{colon}{_start(found.start, found.as_of, language)}"
    if found.deadline:
        yield f"{words['deadline']}{colon}{found.deadline.reason.text}"
        for keeps in found.deadline.changes:
            yield f"{words['keeps']}{colon}{keeps.text}"
    for change in found.changes:
        where = f"{words['stops']} {change.cluster}" if change.stops else change.cluster
        price = f", {cny(change.per_hour.net_amount)} {words['net']}" if change.per_hour else ""
        yield f"{words['helps']}{colon}{change.reason.text} → {where}{price}"
    yield from _of_places(found, words)
    if found.limited:
        yield words["limited"]


def _of_places(found: Situation, words: Mapping[str, str]) -> Iterator[str]:
    for cluster, text in _cheaper(found.options):
        yield f"{words['cheaper']} {cluster}{words['colon']}{text}"
    for place in found.elsewhere:
        yield f"{words['elsewhere']} {place.cluster}{words['colon']}{'; '.join(reason.text for reason in place.reasons)}"


def _cheaper(options: list[PlacementOption]) -> dict[tuple[str, str], None]:
    """What would make a place cheaper if it were established, each said once."""
    return {
        (option.cluster, reason.text): None
        for option in options
        for share in option.prices
        for reason in share.reasons
        if reason.code in NOT_ESTABLISHED
    }


def _tiers(option: PlacementOption, words: Mapping[str, str], tiers: Mapping[str, str]) -> str:
    """The tiers of what the place is for, and how much of the run is off-peak."""
    shares = [share for share in option.prices if share.item == option.prices[0].item]
    names = ", ".join(dict.fromkeys(tiers.get(share.tier, share.tier) for share in shares))
    total, off_peak = (sum(share.unit_seconds for share in found) for found in (shares, [each for each in shares if each.off_peak]))
    return f"{names}, {words['off_peak']} {100 * off_peak // total} %" if off_peak else names or "–"


def _position(position: QueuePosition | None) -> list[str]:
    if position is None:
        return []
    return [position.text, position.past_use.text] if position.past_use else [position.text]


def cny(amount: str) -> str:
    """An exact amount as people read it, rounded down to the fen."""
    micros = parse_cny(amount)
    return format_cny(micros - micros % 10_000)[:-4]


def _start(start: StartEstimate, as_of: Moment, language: str) -> str:
    words = _WORDS[language]
    if start.method == "now" or start.earliest is None:
        return start.text
    earliest = words["now"] if start.earliest == as_of else _moment(start.earliest)
    latest = words["unknown"] if start.latest is None else _moment(start.latest)
    between = words["range"].format(earliest=earliest, latest=latest)
    return f"{between} ({start.text})"


def _starts(option: PlacementOption, words: Mapping[str, str]) -> str:
    if option.now:
        return words["now"]
    return words["unknown"] if option.starts_at is None else _moment(option.starts_at)


def _brought(staging: StagingEstimate, words: Mapping[str, str]) -> str:
    if staging.seconds is None:
        return words["unknown"]
    cost = f", {cny(staging.cost)}" if staging.cost is not None and parse_cny(staging.cost) else ""
    return f"{format_duration(staging.seconds)}{cost}"


def _moment(moment: Moment) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _places(options: list[PlacementOption], language: str) -> Table:
    words = _WORDS[language]
    table = Table(title=words["places"], title_justify="left")
    for position, heading in enumerate(words["headings"].split(",")):
        right = 3 <= position <= 11
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=right and position != 5)
    for option in options:
        hardware_class = str(option.hardware_class or "CPU")
        voucher = option.voucher
        label = f" ({words['recorded']})" if option.recorded else ""
        table.add_row(
            f"{option.cluster}{label}",
            _CLASSES_ZH.get(hardware_class, hardware_class) if language == "zh" else hardware_class,
            " ".join(filter(None, (option.model, option.mig))) or f"{option.cores} CPU",
            str(option.nodes),
            str(option.cards),
            _starts(option, words),
            _brought(option.staging, words),
            cny(option.per_hour.list_amount),
            cny(option.per_hour.contracted_amount),
            cny(option.per_hour.net_amount),
            cny(option.whole_run.contracted_amount),
            cny(option.whole_run.net_amount),
            _tiers(option, words, _TIERS_ZH if language == "zh" else {}),
            f"{voucher.programme} {voucher.status} {cny(voucher.estimate)}" if voucher else "–",
        )
    return table
