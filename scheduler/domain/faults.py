"""What is wrong with a value somebody gave: a stable code, and what is allowed, in zh and en.

A `Fault` is a ValueError, so pydantic carries it from the validator that raised it to whoever shows the errors, with its field.
"""

from collections.abc import Mapping

from scheduler.domain.reasons import Language


class Fault(ValueError):
    """One thing wrong with one value. `found` are the numbers and names its text speaks of; `field` is where it is, if that is not
    for the validation around it to say. Raises KeyError for a code that is not registered."""

    def __init__(self, code: str, *, field: str = "", **found: str | int) -> None:
        self.code, self.field, self.found = code, field, found
        super().__init__(self.text())

    def text(self, language: Language = "en") -> str:
        return TEXTS[self.code][language].format_map(self.found)


TEXTS: Mapping[str, Mapping[Language, str]] = {
    # amounts
    "amount_not_text": {
        "en": "an amount is a decimal string in quotes, such as '12.50', with at most 6 places",
        "zh": "金额须为带引号的十进制字符串,如 '12.50',最多 6 位小数",
    },
    "amount_too_precise": {
        "en": "{value!r} is not an amount: it has {places} decimal places; at most 6 places are allowed",
        "zh": "{value!r} 不是有效金额:有 {places} 位小数,最多允许 6 位",
    },
    "amount_not_finite": {
        "en": "{value!r} is not an amount: a number is needed, as a decimal string such as '12.50' with at most 6 places",
        "zh": "{value!r} 不是有效金额:须为数值,以十进制字符串表示,如 '12.50',最多 6 位小数",
    },
    "amount_with_exponent": {
        "en": "{value!r} is not an amount: an exponent is not allowed; write it out, such as '12.50', with at most 6 places",
        "zh": "{value!r} 不是有效金额:不允许科学计数法,请完整书写,如 '12.50',最多 6 位小数",
    },
    "amount_malformed": {
        "en": "{value!r} is not an amount: a decimal string such as '12.50' with at most 6 places is allowed",
        "zh": "{value!r} 不是有效金额:须为十进制字符串,如 '12.50',最多 6 位小数",
    },
    "amount_too_large": {
        "en": "{value!r} is more than the {limit} CNY one amount may be",
        "zh": "{value!r} 超过单项金额上限 {limit} 元",
    },
    "amount_negative": {
        "en": "{value!r} is below zero: it cannot be negative, an amount of zero or more is allowed",
        "zh": "{value!r} 小于零:金额不得为负",
    },
    "expense_out_of_bounds": {"en": "an expense is more than 0 and at most {most} CNY", "zh": "费用须大于 0 且不超过 {most} 元"},
    # the hardware catalogue
    "catalogue_name_claimed": {
        "en": "{vendor} {name!r} is claimed by two models: {model!r} has it already, and one name leads to one model",
        "zh": "{vendor} 的名称 {name!r} 已属于型号 {model!r},一个名称只能对应一个型号",
    },
    "catalogue_two_classes": {
        "en": "{vendor} is {said} here and {known} elsewhere: all cards of a vendor are of one class",
        "zh": "{vendor} 在此为 {said},别处为 {known}:同一厂商的加速卡只能属于一个类别",
    },
    # who
    "uscc_malformed": {
        "en": "not a unified social credit code: 18 characters of digits and capital letters without I, O, S, V and Z are needed",
        "zh": "不是统一社会信用代码:须为 18 位,由数字及除 I、O、S、V、Z 外的大写字母组成",
    },
    "uscc_check_digit": {
        "en": "not a unified social credit code: its last character, the check digit, does not fit the others",
        "zh": "不是有效的统一社会信用代码:末位校验码不符",
    },
    # days
    "day_malformed": {"en": "a day such as 2025-06-30 is allowed", "zh": "须为日期,如 2025-06-30"},
    "time_malformed": {
        "en": "a time such as 2025-03-01T00:00:00+08:00 is allowed",
        "zh": "须为时间,如 2025-03-01T00:00:00+08:00",
    },
    "budget_of_nobody": {
        "en": "tenant or contract is required: whose budget it is",
        "zh": "须填写 tenant 或 contract,以确定预算归属",
    },
    "dates_reversed": {"en": "{last} may not be before {first}", "zh": "{last} 不得早于 {first}"},
    "count_malformed": {"en": "a whole number of zero or more is allowed", "zh": "须为不小于零的整数"},
    # prices
    "time_of_day": {
        "en": "{value!r} is not a time of day: write for example 22:00 or 07:30",
        "zh": "{value!r} 不是时刻:须写作例如 22:00 或 07:30",
    },
    "price_too_high": {"en": "list_price may be at most {most} CNY an hour", "zh": "list_price 每小时最多 {most} 元"},
    "model_misplaced": {
        "en": "model is required for accelerator prices and not allowed for {item} prices",
        "zh": "加速卡价格须给出 model,{item} 价格不得给出 model",
    },
    "beside_cards_misplaced": {
        "en": "beside_cards is about cpu and memory: an accelerator is the card",
        "zh": "beside_cards 仅适用于 cpu 与 memory 价格",
    },
    "tier_above_list": {
        "en": "{where}{tier} may not be above list_price",
        "zh": "{where}{tier} 不得高于目录价 list_price",
    },
    "tier_above_contracted": {
        "en": "{tier} may not be above contracted_price: nobody would ever pay it",
        "zh": "{tier} 不得高于合同价 contracted_price,否则无人适用",
    },
    "off_peak_empty": {
        "en": "until may not be from: off-peak hours are a part of the day; a price of the whole day is an ordinary price",
        "zh": "until 不得等于 from:闲时须为一天中的一部分时间;全天的价格即为平时价格",
    },
    "off_peak_without_price": {
        "en": "off-peak hours need a price that differs from the ordinary one",
        "zh": "闲时须给出至少一项与平时不同的价格",
    },
    "off_peak_overlap": {
        "en": "off_peak.{first} and off_peak.{second} share hours; one price must hold at any time",
        "zh": "off_peak.{first} 与 off_peak.{second} 时间重叠,任一时刻只能有一个价格",
    },
    "off_peak_above_ordinary": {
        "en": "{where}{tier} may not be above the ordinary {tier}",
        "zh": "{where}{tier} 不得高于平时的 {tier}",
    },
    # files, cases and policies
    "file_unreadable": {"en": "cannot be read: {what}", "zh": "无法读取:{what}"},
    "file_too_large": {"en": "larger than the {limit} bytes that are allowed", "zh": "超过允许的 {limit} 字节"},
    "not_a_document": {"en": "not a YAML document: {what}", "zh": "不是合法的 YAML 文档:{what}"},
    "version_of_all": {
        "en": "version is allowed only where one programme is named",
        "zh": "仅在指定单个补贴项目时可指定版本",
    },
    "programme_unknown": {"en": "{value!r} is not known; allowed: {allowed}", "zh": "未知的补贴项目 {value!r};可用:{allowed}"},
    "version_unknown": {
        "en": "{programme} has no version {value!r} to decide by; name one of: {allowed}",
        "zh": "{programme} 没有可据以判定的版本 {value!r};可指定:{allowed}",
    },
    "rate_malformed": {
        "en": "a rate is a decimal string in quotes from '0' to '1' with at most 4 places, such as '0.50'",
        "zh": "比例须为带引号的十进制字符串,从 '0' 到 '1',最多 4 位小数,如 '0.50'",
    },
    "rate_above_one": {
        "en": "{value!r} is more than the whole: a rate is from '0' to '1', such as '0.50' for 50 %",
        "zh": "{value!r} 大于 1:比例须从 '0' 到 '1',如 50% 写作 '0.50'",
    },
    "rate_below_zero": {
        "en": "{value!r} is below zero: a rate is from '0' to '1', such as '0.50'",
        "zh": "{value!r} 小于零:比例须从 '0' 到 '1',如 '0.50'",
    },
    "last_rate_conditional": {
        "en": "the last of rates must apply to everything left: no when, not disputed",
        "zh": "rates 的最后一项须适用于其余全部情形:不得有 when,也不得为 disputed",
    },
    "source_unknown": {
        "en": "source {value} is not among sources: {allowed}",
        "zh": "来源 {value} 不在 sources 之中:{allowed}",
    },
    "reason_code_unknown": {
        "en": "{value!r} is not a registered reason code; these are: {allowed}",
        "zh": "{value!r} 不是已登记的原因码;可用:{allowed}",
    },
    "fact_unknown": {
        "en": "{value!r} is not a fact a rule may ask for; these are: {allowed}",
        "zh": "{value!r} 不是规则可以查询的事实;可用:{allowed}",
    },
    "test_misfits_fact": {"en": "{fact} needs exactly one of: {allowed}", "zh": "{fact} 须且仅须使用其中之一:{allowed}"},
    "choice_unknown": {
        "en": "{fact} is never {value}; it is one of: {allowed}",
        "zh": "{fact} 不会是 {value};可能的取值:{allowed}",
    },
    "usual_above_cap": {"en": "usual may not be more than the cap itself", "zh": "usual 不得高于上限本身"},
    "versions_overlap": {
        "en": "{programme} {one} and {other} would both decide on {day}; change their dates, or let the later name the earlier "
        "in `supersedes`",
        "zh": "{programme} 的 {one} 与 {other} 两个版本在 {day} 均有效;请调整日期,或由后者在 `supersedes` 中注明前者",
    },
    "same_version_twice": {
        "en": "{programme} {value} is given twice with different content; a version is immutable, give the new one another name",
        "zh": "{programme} {value} 出现两次且内容不同;版本不可更改,请为新版本另取名称",
    },
}
