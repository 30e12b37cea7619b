"""A whole case: every line under the programmes it asks for, in order, and what would be claimed."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np

from scheduler.contract.base import Wire
from scheduler.contract.cost import Item, Tag, TagStatus
from scheduler.domain.faults import Fault
from scheduler.domain.money import MICROS_PER_CNY, format_cny, parse_cny
from scheduler.subsidy.batch import tag_batch
from scheduler.subsidy.elsewhere import Elsewhere
from scheduler.subsidy.facts import ALL_PROGRAMMES, Case
from scheduler.subsidy.programme import PolicyVersion, applicable
from scheduler.subsidy.tagging import STRENGTH, Allowance, judge, rivals, select, tag_line

_MICROS_PER_FEN = MICROS_PER_CNY // 100


class TaggedLine(Wire):
    """A line of a case and every programme's answer to it. `index` counts from 0."""

    index: int
    item: Item
    amount: str
    tags: list[Tag]


class Total(Wire):
    """One programme over all lines. `status` is the weakest of its lines that carry money, the strongest of all if none does."""

    capped: str
    uncapped: str
    status: TagStatus


class Evaluation(Wire):
    """A whole case. `selected` is what would be claimed, per programme, rounded down to the fen."""

    lines: list[TaggedLine]
    totals: dict[str, Total]
    selected: dict[str, str]


def evaluate(case: Case, policies: Sequence[PolicyVersion], elsewhere: Mapping[str, Elsewhere] | None = None) -> Evaluation:
    """Every line of a case under the programme it names, or all, in order; each programme has limits of its own.

    A case that names a programme applies to it; one of those routed `elsewhere` answers that it is not in scope. Of several
    eligible ones at most one is selected for a line, and where one of them must be alone on a contract, the one with the highest
    estimate over all lines has it alone. Raises Fault for a programme or version that is not known.
    """
    if elsewhere and case.programme in elsewhere:
        ruling, nothing = elsewhere[case.programme].ruling, Allowance(None, None, None)
        return _evaluation(case, {case.programme: [tag_line(ruling, line.amount, nothing)[0] for line in case.lines]}, frozenset())
    versions = named_versions(case, policies)
    tagged = {version.programme: tags_under(version, case) for version in versions}
    return _evaluation(case, tagged, _barred(case, versions, tagged))


def tags_under(policy: PolicyVersion, case: Case) -> list[Tag]:
    """The tags of a case's lines under one version, in order, from what its `used` facts leave of each limit."""
    tags: list[Tag] = []
    left = Allowance.opening(policy, case)
    judged = ((judge(policy, case, line, case.on), line.amount) for line in case.lines)
    for ruling, alike in groupby(judged, key=itemgetter(0)):
        batch = tag_batch(ruling, np.array([amount for _, amount in alike], np.int64), left)
        tags.extend(batch.each())
        left = batch.left
    return tags


def named_versions(case: Case, policies: Sequence[PolicyVersion]) -> tuple[PolicyVersion, ...]:
    """The versions a case asks for. Raises Fault naming the field and what is allowed."""
    if case.programme == ALL_PROGRAMMES:
        return applicable(policies, case.on)
    versions = [version for version in policies if version.programme == case.programme]
    if not versions:
        allowed = ", ".join([ALL_PROGRAMMES, *sorted({version.programme for version in policies})])
        raise Fault("programme_unknown", field="programme", value=case.programme, allowed=allowed)
    named = applicable(versions, case.on) if case.version is None else [v for v in versions if v.version == case.version]
    if not named:
        allowed = ", ".join(version.version for version in versions)
        names = {"programme": case.programme, "value": case.version or "", "allowed": allowed}
        raise Fault("version_unknown", field="version", **names)
    return tuple(named)


def _barred(case: Case, versions: Sequence[PolicyVersion], tagged: Mapping[str, Sequence[Tag]]) -> frozenset[str]:
    """The programmes that may not claim on the case's contract: the highest estimate goes first, and whom it bars stays out."""
    if case.programme != ALL_PROGRAMMES:
        return frozenset()
    estimates = {
        programme: _sum(tag.capped for tag in tags if tag.status is TagStatus.ELIGIBLE) for programme, tags in tagged.items()
    }
    claiming: list[str] = []
    for programme in sorted(estimates, key=lambda each: (-estimates[each], each)):
        if estimates[programme] > 0 and programme not in rivals(versions, claiming):
            claiming.append(programme)
    return rivals(versions, claiming)


def _evaluation(case: Case, tagged: Mapping[str, Sequence[Tag]], barred: frozenset[str]) -> Evaluation:
    applied = None if case.programme == ALL_PROGRAMMES else case.programme
    lines = [
        TaggedLine(
            index=index,
            item=line.item,
            amount=format_cny(line.amount),
            tags=select([tags[index] for tags in tagged.values()], applied, barred=barred),
        )
        for index, line in enumerate(case.lines)
    ]
    chosen = [tag for line in lines for tag in line.tags if tag.selected]
    claimed = {programme: _sum(tag.capped for tag in chosen if tag.programme == programme) for programme in tagged}
    return Evaluation(
        lines=lines,
        totals={programme: _total(tags) for programme, tags in tagged.items()},
        selected={programme: format_cny(micros - micros % _MICROS_PER_FEN) for programme, micros in claimed.items() if micros},
    )


def _sum(amounts: Iterable[str]) -> int:
    return sum(parse_cny(amount) for amount in amounts)


def _total(tags: Sequence[Tag]) -> Total:
    carrying = [tag.status for tag in tags if parse_cny(tag.uncapped) > 0]
    return Total(
        capped=format_cny(_sum(tag.capped for tag in tags)),
        uncapped=format_cny(_sum(tag.uncapped for tag in tags)),
        status=min(carrying, key=STRENGTH.__getitem__) if carrying else max((tag.status for tag in tags), key=STRENGTH.__getitem__),
    )
