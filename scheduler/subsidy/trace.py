"""How a tag came about, step by step, for a person to read: every rule with its words, the rate, and each cut of the amount.

The steps are computed again from what decided the tag (version, facts, line, day) and what the tag says was left of each limit,
so a tag of years ago is explained by the same function as one of now.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from scheduler.contract.base import Money, Wire
from scheduler.contract.cost import Tag, TagStatus
from scheduler.domain.money import format_cny, parse_cny
from scheduler.domain.reasons import Language
from scheduler.subsidy.evaluation import Evaluation
from scheduler.subsidy.facts import FACTS, Case, Facts, Kind, Line, Situation, Unknown
from scheduler.subsidy.programme import Condition, Confidence, Evidence, PolicyVersion, Rate, Rule, all_hold
from scheduler.subsidy.reasons import texts
from scheduler.subsidy.tagging import CARRYING, choose_rate, claim_limit

MAX_TRACED_LINES = 200
"""Steps are a hundred times the size of a tag: 200 lines under all programmes are some 20 MB of JSON."""
LANGUAGES: tuple[Language, Language] = ("en", "zh")
Traces = list[list[list["TraceStep"]]]
_HOLDS: Mapping[bool | None, str] = {True: "✓", False: "✗", None: "?"}


class TraceStep(Wire):
    """One step. `holds` is None where it depends on facts that are `missing`, or nothing is asked.

    `found` and `asked` are the fact's value and what the policy wants of it; `before`, `limit` and `after` are CNY, of steps that
    change the amount. `words` are those the step rests on, in `source`, as sure as `confidence` says.
    """

    kind: Literal["version", "rule", "rate", "amount", "result"]
    code: str | None = None
    fact: str | None = None
    found: str | None = None
    asked: str | None = None
    holds: bool | None = None
    missing: tuple[str, ...] = ()
    words: str | None = None
    source: str | None = None
    confidence: Confidence | None = None
    before: Money | None = None
    limit: Money | None = None
    after: Money | None = None
    en: str
    zh: str


def trace(policy: PolicyVersion, facts: Facts, line: Line, on: date, tag: Tag) -> list[TraceStep]:
    """The steps from a line to its tag under `policy`, judged on a day (Asia/Shanghai).

    `facts` and `line` are those the tag was made from; the amounts are the tag's own.
    """
    situation = Situation(policy.programme, facts, line)
    steps = [_version(policy, on), *(_rule(policy, rule, situation) for rule in policy.requires)]
    if tag.status in CARRYING:
        steps += [*_rates(policy, situation), *_amounts(policy, facts, line, tag)]
    return [*steps, _result(tag)]


def traces(case: Case, policies: Sequence[PolicyVersion], evaluation: Evaluation) -> Traces:
    """The steps of the tags of an evaluated case: by line, then by tag, of the first `MAX_TRACED_LINES` lines.

    What is routed elsewhere has but its answer.
    """
    versions = {(policy.programme, policy.version): policy for policy in policies}
    return [
        [
            trace(policy, case, line, case.on, tag) if (policy := versions.get((tag.programme, tag.version))) else [_result(tag)]
            for tag in tagged.tags
        ]
        for line, tagged in zip(case.lines[:MAX_TRACED_LINES], evaluation.lines[:MAX_TRACED_LINES], strict=True)
    ]


def _version(policy: PolicyVersion, on: date) -> TraceStep:
    holds = policy.in_force(on)
    mark, span = _HOLDS[holds], f"{policy.valid_from} – {policy.valid_until or ''}".rstrip()
    sources = "; ".join(f"{key}: {source.title}" for key, source in policy.sources.items())
    return TraceStep(
        kind="version",
        code=None if holds else "policy_not_in_force",
        found=on.isoformat(),
        asked=span,
        holds=holds,
        confidence=policy.confidence,
        en=f"{mark} {policy.name.en}, {policy.programme} {policy.version}: judged on {on}, in force {span} [{sources}]",
        zh=f"{mark} {policy.name.zh},{policy.programme} {policy.version}:判定日 {on},有效期 {span} [{sources}]",
    )


def _rule(policy: PolicyVersion, rule: Rule, situation: Situation) -> TraceStep:
    verdict = rule.check(situation)
    mark, cited = _HOLDS[verdict.holds], _cited(rule)
    failed = {"en": "", "zh": ""}
    if verdict.holds is False:
        failed = {language: f" → {_STATUS[rule.otherwise][language]}: {texts(rule.code, language)}" for language in LANGUAGES}
    return TraceStep(
        kind="rule",
        code=rule.code,
        fact=rule.fact,
        found=_found(rule, situation, "en") if verdict.holds is not None else None,
        asked=_asked(rule, "en"),
        holds=verdict.holds,
        missing=verdict.missing,
        **_rests_on(policy, rule),
        en=f"{mark} {_tested(rule, situation, 'en')}{failed['en']} {cited}",
        zh=f"{mark} {_tested(rule, situation, 'zh')}{failed['zh']} {cited}",
    )


def _rates(policy: PolicyVersion, situation: Situation) -> Iterator[TraceStep]:
    """Every rate up to the one that decides, and what was taken."""
    choice = choose_rate(policy, situation)
    considered = policy.rates[: policy.rates.index(choice.possible[-1]) + 1]
    yield from (_rate(policy, rate, situation) for rate in considered)
    yield TraceStep(
        kind="rate",
        code=choice.codes[0],
        found=_percent(choice.rate, "en"),
        holds=choice.settled,
        missing=choice.missing,
        en=f"= {_percent(choice.rate, 'en')}: {texts(choice.codes[0], 'en')}",
        zh=f"= {_percent(choice.rate, 'zh')}:{texts(choice.codes[0], 'zh')}",
    )


def _rate(policy: PolicyVersion, rate: Rate, situation: Situation) -> TraceStep:
    verdict = all_hold(rate.when, situation)
    disputed = rate.disputed and verdict.holds is not False
    holds = None if disputed else verdict.holds
    said = {
        language: "; ".join(_tested(condition, situation, language) for condition in rate.when)
        or {"en": "whatever is left", "zh": "其余情形"}[language]
        for language in LANGUAGES
    }
    if disputed:
        said = {"en": f"{said['en']}; the text does not settle it", "zh": f"{said['zh']};政策文本未定"}
    return TraceStep(
        kind="rate",
        code=rate.code,
        found=_percent(rate.rate, "en"),
        holds=holds,
        missing=verdict.missing,
        **_rests_on(policy, rate),
        en=f"{_HOLDS[holds]} {_percent(rate.rate, 'en')} ({rate.code}): {said['en']} {_cited(rate)}",
        zh=f"{_HOLDS[holds]} {_percent(rate.rate, 'zh')} ({rate.code}):{said['zh']} {_cited(rate)}",
    )


def _amounts(policy: PolicyVersion, facts: Facts, line: Line, tag: Tag) -> Iterator[TraceStep]:
    """What becomes of the amount. A limit whose use is not known counts as untouched, as it did for the tag."""
    base, uncapped, capped = parse_cny(tag.base), parse_cny(tag.uncapped), parse_cny(tag.capped)
    yield _cut("contract_amount_reached", line.amount, _left(tag.contract_remaining_before, facts.contract.amount), base)
    yield TraceStep(
        kind="amount",
        before=tag.base,
        found=tag.rate,
        after=tag.uncapped,
        en=f"{tag.base} × {tag.rate} = {tag.uncapped}, before limits",
        zh=f"{tag.base} × {tag.rate} = {tag.uncapped}(封顶前)",
    )
    opening, claim_code = claim_limit(policy, facts)
    limits = [
        (claim_code, _left(tag.claim_remaining_before, opening)),
        ("cap_reached", _left(tag.cap_remaining_before, policy.cap.amount if policy.cap else None)),
        ("pool_reached", _left(tag.pool_remaining_before, policy.pool.amount if policy.pool else None)),
    ]
    before = uncapped
    for code, limit in limits:
        if limit is not None:
            after = max(capped, min(before, limit))
            yield _cut(code, before, limit, after)
            before = after


def _cut(code: str, before: int, limit: int | None, after: int) -> TraceStep:
    """One limit, and what it leaves of an amount. None is no limit."""
    was, left, now = format_cny(before), "–" if limit is None else format_cny(limit), format_cny(after)
    what = _LIMITS[code]
    cut = {"en": "", "zh": ""}
    if after < before:
        cut = {"en": f": {texts(code, 'en')}", "zh": f":{texts(code, 'zh')}"}
    return TraceStep(
        kind="amount",
        code=code if after < before else None,
        before=was,
        limit=None if limit is None else left,
        after=now,
        holds=after == before,
        en=f"{was} → {now}; {what['en']} left: {left}{cut['en']}",
        zh=f"{was} → {now};{what['zh']}余额:{left}{cut['zh']}",
    )


def _result(tag: Tag) -> TraceStep:
    chosen = {"en": ", selected", "zh": ",已选用"} if tag.selected else {"en": "", "zh": ""}
    missing = f" ({', '.join(tag.missing)})" if tag.missing else ""
    reasons = {language: "; ".join(texts(code, language) for code in tag.reason_codes) for language in LANGUAGES}
    return TraceStep(
        kind="result",
        after=tag.capped,
        missing=tuple(tag.missing),
        en=f"= {_STATUS[tag.status]['en']}, {tag.capped}{chosen['en']}: {reasons['en']}{missing}",
        zh=f"= {_STATUS[tag.status]['zh']},{tag.capped}{chosen['zh']}:{reasons['zh']}{missing}",
    )


def _tested(condition: Condition, situation: Situation, language: Language) -> str:
    asked, found = _asked(condition, language), _found(condition, situation, language)
    return f"{condition.fact}: {found} (asked: {asked})" if language == "en" else f"{condition.fact}:{found}(要求:{asked})"


def _found(condition: Condition, situation: Situation, language: Language) -> str:
    value = FACTS[condition.fact].read(situation)
    if isinstance(value, Unknown):
        return f"{'not known' if language == 'en' else '未知'} ({', '.join(value.facts)})"
    return _shown(condition, value, language)


def _asked(condition: Condition, language: Language) -> str:
    if condition.is_ is not None:
        return _shown(condition, condition.is_, language)
    if condition.any_of is not None:
        return " | ".join(condition.any_of)
    sign, bound = ("≥", condition.at_least) if condition.at_least is not None else ("≤", condition.at_most)
    return f"{sign} {_shown(condition, bound, language)}"


def _shown(condition: Condition, value: Any, language: Language) -> str:
    if isinstance(value, bool):
        return {"en": ("no", "yes"), "zh": ("否", "是")}[language][value]
    return format_cny(value) if FACTS[condition.fact].kind is Kind.MONEY else str(value)


def _percent(rate: Decimal | None, language: Language) -> str:
    if rate is None:
        return {"en": "unknown rate", "zh": "比例未知"}[language]
    return f"{(rate * 100).normalize():f} %"


def _rests_on(policy: PolicyVersion, evidence: Evidence) -> dict[str, Any]:
    return {"words": evidence.text, "source": policy.sources[evidence.source].title, "confidence": evidence.confidence}


def _cited(evidence: Evidence) -> str:
    """The words with the key of their source, whose title stands in the first step."""
    return f"「{evidence.text}」 [{evidence.source}, {evidence.confidence}]"


def _left(of_tag: str | None, opening: int | None) -> int | None:
    return opening if of_tag is None else parse_cny(of_tag)


_STATUS: Mapping[TagStatus, Mapping[Language, str]] = {
    TagStatus.ELIGIBLE: {"en": "eligible", "zh": "符合"},
    TagStatus.INELIGIBLE: {"en": "ineligible", "zh": "不符合"},
    TagStatus.NEEDS_REVIEW: {"en": "needs review", "zh": "待审核"},
    TagStatus.NOT_IN_SCOPE: {"en": "not in scope", "zh": "不在范围内"},
}
_LIMITS: Mapping[str, Mapping[Language, str]] = {
    "contract_amount_reached": {"en": "of the contract", "zh": "合同金额"},
    "claim_cap_reached": {"en": "of this claim", "zh": "单次申领"},
    "other_public_funds": {"en": "beside other public money", "zh": "与其他财政资金合计"},
    "cap_reached": {"en": "of the applicant's year", "zh": "申请主体年度上限"},
    "pool_reached": {"en": "of the year's pool", "zh": "年度资金池"},
}
