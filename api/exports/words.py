"""What statements say, in zh and en, and how they write amounts and hours."""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal

from scheduler.domain.money import SECONDS_PER_HOUR
from scheduler.domain.reasons import TEXTS as REASONS
from scheduler.domain.reasons import Language

FEN = Decimal("0.01")
HOURS_PLACES = 4

WORDS: Mapping[str, Mapping[Language, str]] = {
    "statement": {"zh": "算力服务月度对账单", "en": "Monthly statement of computing services"},
    "month": {"zh": "账期", "en": "Month"},
    "state": {"zh": "状态", "en": "State"},
    "open": {"zh": "未结账:{closes} 前入账的记录仍会计入", "en": "open: what is posted before {closes} still goes into it"},
    "closed": {"zh": "已结账:此后不再计入任何记录", "en": "closed: no record goes into it any more"},
    "tenant": {"zh": "租户(付款方)", "en": "Tenant (pays)"},
    "provider": {"zh": "算力提供方(收款方)", "en": "Provider (is paid)"},
    "uscc": {"zh": "统一社会信用代码", "en": "USCC"},
    "contract": {"zh": "服务合同", "en": "Contract"},
    "no_contract": {"zh": "无合同", "en": "no contract"},
    "contract_amount": {"zh": "合同金额", "en": "Contract amount"},
    "contract_dates": {"zh": "合同期限", "en": "Contract dates"},
    "all": {"zh": "全部", "en": "all"},
    "summary": {"zh": "汇总", "en": "Summary"},
    "payable": {"zh": "应付金额(元,四舍五入到分)", "en": "To be paid (CNY, rounded to the fen)"},
    "contracted": {"zh": "合同价金额", "en": "Contracted"},
    "list": {"zh": "目录价金额", "en": "List"},
    "adjustments": {"zh": "其中:以前账期调整", "en": "of which adjustments of earlier months"},
    "voucher_estimate": {"zh": "补贴估算", "en": "Voucher estimate"},
    "voucher_settled": {"zh": "补贴核定", "en": "Voucher settled"},
    "not_settled": {"zh": "尚未核定", "en": "not settled yet"},
    "card_hours": {"zh": "卡时", "en": "Card-hours"},
    "unbilled_card_hours": {"zh": "未计费卡时", "en": "Card-hours not charged"},
    "records": {"zh": "记录数", "en": "Records"},
    "vouchers": {"zh": "补贴项目", "en": "Vouchers"},
    "programme": {"zh": "项目", "en": "Programme"},
    "version": {"zh": "政策版本", "en": "Version"},
    "status": {"zh": "结论", "en": "Status"},
    "estimate": {"zh": "估算", "en": "Estimate"},
    "settled": {"zh": "核定", "en": "Settled"},
    "lines": {"zh": "明细", "en": "Lines"},
    "day": {"zh": "日期", "en": "Day"},
    "adjusts": {"zh": "所属账期", "en": "For month"},
    "kind": {"zh": "类型", "en": "Kind"},
    "reason": {"zh": "未计费原因", "en": "Why not charged"},
    "job": {"zh": "作业", "en": "Job"},
    "job_name": {"zh": "作业名称", "en": "Job name"},
    "cluster": {"zh": "集群", "en": "Cluster"},
    "item": {"zh": "项目类别", "en": "Item"},
    "model": {"zh": "型号", "en": "Model"},
    "hardware_class": {"zh": "硬件类别", "en": "Class"},
    "unit_seconds": {"zh": "计量秒数", "en": "Unit-seconds"},
    "card_seconds": {"zh": "卡秒", "en": "Card-seconds"},
    "total": {"zh": "合计", "en": "Total"},
    "nothing": {"zh": "本账期无费用记录。", "en": "Nothing was charged in this month."},
    "usage": {"zh": "用量", "en": "usage"},
    "unbilled": {"zh": "未计费", "en": "not charged"},
    "purchase": {"zh": "采购", "en": "purchase"},
    "reversal": {"zh": "冲正", "en": "taken back"},
    "replacement": {"zh": "更正", "en": "replaced"},
    "eligible": {"zh": "符合", "en": "eligible"},
    "needs_review": {"zh": "待审核", "en": "needs review"},
    "domestic": {"zh": "国产", "en": "domestic"},
    "foreign": {"zh": "国外", "en": "foreign"},
    "unknown": {"zh": "未知", "en": "unknown"},
    "accelerator": {"zh": "加速卡", "en": "accelerator"},
    "cpu": {"zh": "CPU", "en": "CPU"},
    "memory": {"zh": "内存", "en": "memory"},
    "storage": {"zh": "存储", "en": "storage"},
    "network": {"zh": "网络", "en": "network"},
    "security": {"zh": "安全", "en": "security"},
    "support": {"zh": "技术支持", "en": "support"},
    "corpus": {"zh": "语料", "en": "corpus"},
    "model_service": {"zh": "模型服务", "en": "model service"},
    "currency_note": {
        "zh": "金额单位为人民币元,精确到 0.000001 元;时间为北京时间。",
        "en": "Amounts are CNY, exact to 0.000001; days and months are those of Asia/Shanghai.",
    },
    "voucher_note": {
        "zh": "补贴为系统估算,由主管部门在事后核定并支付给租户,不减少应付提供方的金额。",
        "en": "Vouchers are estimates of ours: government decides on them and pays the tenant afterwards. They lower nothing that "
        "is to be paid to the provider.",
    },
    "adjustment_note": {
        "zh": "标有“所属账期”的行属于此前已结账的账期:记录在该账期结账(次月第 3 日终)之后入账,计入本期。",
        "en": "Lines with an earlier month are for one whose books were closed (at the end of the 3rd day after it) when "
        "they were posted.",
    },
    "check": {"zh": "核对", "en": "How to check this"},
    "check_note": {
        "zh": "本单为下列记录之和。通过 GET /v1/cost-records 或 suanwang ledger verify 可重新验证链条并逐笔相加。",
        "en": "This is the sum of the records below. GET /v1/cost-records serves them; `suanwang ledger verify` walks the chain.",
    },
    "first_sequence": {"zh": "首条记录序号", "en": "First sequence"},
    "last_sequence": {"zh": "末条记录序号", "en": "Last sequence"},
    "records_sha256": {"zh": "记录哈希摘要 (SHA-256)", "en": "SHA-256 of the records' hashes"},
    "read_until": {"zh": "账本读至序号", "en": "Journal read up to"},
    "head_hash": {"zh": "该处链头哈希", "en": "Hash of the chain there"},
    "signed": {"zh": "盖章 / 签字", "en": "Seal / signature"},
    "date": {"zh": "日期", "en": "Date"},
}


def word(key: str | None, language: Language) -> str:
    """A word in a language; nothing for nothing, and what has no word is shown as it is."""
    if key is None:
        return ""
    return WORDS[key][language] if key in WORDS else key


def reason_text(code: str | None, language: Language) -> str:
    """Why time is not charged. A text that wants numbers, which a sum of records has none of, is shown by its code."""
    if code is None:
        return ""
    text = REASONS[code][language] if code in REASONS else code
    return code if "{" in text else text


def grouped(amount: str) -> str:
    """An amount with commas between thousands."""
    return f"{Decimal(amount):,}"


def to_the_fen(amount: str) -> str:
    """An amount rounded half up to two places, with commas."""
    return f"{Decimal(amount).quantize(FEN, ROUND_HALF_UP):,}"


def hours(seconds: int) -> str:
    """Seconds as hours with four places, for reading: what is exact are the seconds."""
    return f"{Decimal(seconds) / SECONDS_PER_HOUR:,.{HOURS_PLACES}f}"
