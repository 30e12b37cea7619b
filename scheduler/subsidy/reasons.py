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
    "not_in_scope": {
        "en": "this scheme pays for loans, buildings, projects or rewards, not for what a job costs: it is claimed elsewhere",
        "zh": "该项目支持贷款、建设、项目或奖励,不支持作业费用,须另行申请",
    },
    "item_excluded": {"en": "the programme expressly leaves this kind of item out", "zh": "该补贴项目明确不含此类费用"},
    "item_unclear": {
        "en": "the policy does not say whether this item is part of the compute contract's amount",
        "zh": "政策未明确此类费用是否计入算力合同金额",
    },
    "activity_not_covered": {"en": "the programme does not cover this activity", "zh": "该补贴项目不覆盖此类用途"},
    "activity_unclear": {
        "en": "the policy does not say whether this activity is covered",
        "zh": "政策未明确此类用途是否适用",
    },
    "applicant_type_not_covered": {"en": "this type of applicant may not apply", "zh": "此类申请主体不在申领范围内"},
    "applicant_city_not_covered": {"en": "the applicant is not in the programme's city", "zh": "申请主体不在该项目所在城市"},
    "applicant_city_unclear": {
        "en": "the applicant is elsewhere; the policy does not say whether it may apply",
        "zh": "申请主体在其他地区,政策未明确其能否申领",
    },
    "applicant_industry_not_covered": {
        "en": "the applicant's industry is not among those the programme supports",
        "zh": "申请主体所属行业不在支持范围内",
    },
    "applicant_kind_unclear": {
        "en": "the sources differ on whether private or small and medium enterprises are meant",
        "zh": "各来源对支持对象是民营企业还是中小企业说法不一",
    },
    "applicant_dishonest": {"en": "the applicant has a record of dishonesty", "zh": "申请主体存在失信记录"},
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
    "provider_below_capacity": {
        "en": "the provider's capacity is below what the programme asks of a compute centre, unless it qualifies otherwise",
        "zh": "算力提供方规模低于项目对智算中心的要求,除非以其他方式符合条件",
    },
    "model_not_registered": {"en": "the model is not filed with the Cyberspace Administration", "zh": "所用模型未经国家网信办备案"},
    "not_ordered_on_platform": {
        "en": "the purchase was not made on the platform the programme names",
        "zh": "未通过项目规定的平台采购",
    },
    "outside_contract_dates": {
        "en": "the spend lies outside the contract's dates",
        "zh": "费用发生时间不在合同期限内",
    },
    "contract_too_early": {
        "en": "the contract was signed before the first day the programme accepts",
        "zh": "合同签订日期早于项目接受的最早日期",
    },
    "contract_over_a_year": {"en": "the contract's term is more than a year", "zh": "合同周期超过一年"},
    "contract_claimed_before": {
        "en": "a voucher was claimed on this contract before; one claim per contract",
        "zh": "该合同已申领过,同一合同仅能申领一次",
    },
    "contract_claimed_elsewhere": {
        "en": "another programme pays for this contract, and one of the two must be the only one",
        "zh": "该合同已由其他补贴项目支持,两者不可同时享受",
    },
    "contract_below_threshold": {
        "en": "the contract alone is below the least annual rent the programme asks for",
        "zh": "仅凭该合同未达到项目要求的年度租用金额下限",
    },
    "other_public_funds_excluded": {
        "en": "other public money was received for the same spend, which the programme excludes",
        "zh": "同一支出已获其他财政资金支持,不符合项目要求",
    },
    # which rate
    "rate_base": {"en": "the programme's general rate", "zh": "适用一般补贴比例"},
    "rate_startup": {"en": "the rate for startups", "zh": "适用初创企业补贴比例"},
    "rate_domestic": {"en": "the rate for domestic facilities", "zh": "适用国产算力设施补贴比例"},
    "rate_maas": {
        "en": "the rate for services and agents on a registered multimodal base model",
        "zh": "适用依托经备案多模态基础大模型的模型服务、智能体开发补贴比例",
    },
    "rate_sme": {
        "en": "the rate for small and medium enterprises with small contracts in the year",
        "zh": "适用年合同金额较小的中小企业补贴比例",
    },
    "rate_joint": {
        "en": "what city and district together may pay early and small applicants",
        "zh": "适用市区协同“补早补小”补贴比例",
    },
    "rate_unknown": {"en": "no rate of this programme is known", "zh": "未查得该补贴项目的补贴比例"},
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
    "claim_cap_reached": {"en": "cut at the most one claim may be", "zh": "已达单次申领上限,超出部分不计"},
    "other_public_funds": {
        "en": "cut: with other public money for the same spend, together at most the policy's share of the contract",
        "zh": "同一支出已获其他财政资金支持,合计不得超过合同金额的规定比例,超出部分不计",
    },
    "above_usual_amount": {
        "en": "more than is usually paid in a year; up to the cap somebody must decide",
        "zh": "超出通常年度额度,在上限以内的部分需人工审定",
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
