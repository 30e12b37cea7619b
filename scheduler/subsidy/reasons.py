"""Reason codes of voucher tags: stable identifiers with texts in zh and en. A policy may only use codes registered here."""

from collections.abc import Mapping

from scheduler.domain.reasons import Language


def texts(code: str, language: Language = "en") -> str:
    """The text of a code. Raises KeyError for a code that is not registered."""
    return TEXTS[code][language]


TEXTS: Mapping[str, Mapping[Language, str]] = {
    # what is not covered, or not clearly so
    "policy_not_in_force": {
        "en": "this version of the policy is not in force on the day of the claim",
        "zh": "申领当日该政策版本不在有效期内",
    },
    "item_not_covered": {"en": "the programme does not pay for this kind of item", "zh": "该补贴项目不覆盖此类费用"},
    "item_unclear": {
        "en": "the policy does not say whether this item is part of the compute contract's amount",
        "zh": "政策未明确此类费用是否计入算力合同金额",
    },
    "activity_not_covered": {"en": "the programme does not cover this activity", "zh": "该补贴项目不覆盖此类用途"},
    "applicant_type_not_covered": {"en": "this type of applicant may not apply", "zh": "此类申请主体不在申领范围内"},
    "applicant_city_not_covered": {"en": "the applicant is not in the programme's city", "zh": "申请主体不在该项目所在城市"},
    "applicant_is_provider": {
        "en": "the applicant is itself a registered provider",
        "zh": "申请主体本身为入库服务机构",
    },
    "provider_not_registered": {
        "en": "the provider is not on the programme's list for the contract's service item",
        "zh": "算力提供方未就合同服务项目入库",
    },
    "provider_listed_late": {
        "en": "the provider was listed for the service item only after the contract was signed",
        "zh": "算力提供方在合同签订之后才就该服务项目入库",
    },
    "provider_affiliated": {"en": "provider and applicant are affiliated", "zh": "算力提供方与申请主体存在关联关系"},
    "provider_city_unclear": {
        "en": "the provider is in another city; the policy does not say whether its capacity counts",
        "zh": "算力提供方在其他城市,政策未明确其算力是否适用",
    },
    "outside_contract_dates": {
        "en": "the spend lies outside the contract's dates",
        "zh": "费用发生时间不在合同期限内",
    },
    "contract_below_threshold": {
        "en": "the contract alone is below the least annual rent the programme asks for",
        "zh": "仅凭该合同未达到项目要求的年度租用金额下限",
    },
    "other_public_funds": {
        "en": "other public money was received for the same spend; together they may not exceed the policy's share",
        "zh": "同一支出已获其他财政资金支持,合计不得超过政策规定比例",
    },
    # which rate
    "rate_base": {"en": "the programme's general rate", "zh": "适用一般补贴比例"},
    "rate_startup": {"en": "the rate for startups", "zh": "适用初创企业补贴比例"},
    "rate_domestic": {"en": "the rate for domestic facilities", "zh": "适用国产算力设施补贴比例"},
    "rate_maas": {
        "en": "the rate for services and agents on a registered multimodal base model",
        "zh": "适用依托经备案多模态基础大模型的模型服务、智能体开发补贴比例",
    },
    "rate_other": {"en": "the rate for other facilities", "zh": "适用其他算力设施补贴比例"},
    "rate_undecided": {
        "en": "several rates are possible; the estimate uses the lowest of them",
        "zh": "有多个可能的补贴比例,按其中最低者估算",
    },
    # what is not known
    "facts_missing": {"en": "facts a rule needs are not known", "zh": "缺少规则所需的事实"},
    # what cut the amount
    "contract_amount_reached": {
        "en": "the rate applies at most to the contract's amount, which is used up",
        "zh": "补贴基数以合同金额为限,合同金额已用尽",
    },
    "cap_reached": {"en": "cut at the applicant's annual cap", "zh": "已达申请主体年度上限,超出部分不计"},
    "cap_may_be_relaxed": {
        "en": "the annual cap may be relaxed for this applicant; beyond it somebody must decide",
        "zh": "该申请主体的年度上限可以放宽,超出部分需人工审定",
    },
    "pool_reached": {"en": "cut at what is left of the annual pool", "zh": "年度资金池余额不足,超出部分不计"},
    # what the tenant decided
    "voucher_declined": {"en": "the tenant declined vouchers for this line", "zh": "租户已声明该费用不申领补贴"},
}
