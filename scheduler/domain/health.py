"""What ails a card, in words: the codes that probes, the watch and the city give as `health_reasons`, in zh and en.

A newer agent may tell a code that is not here; it is then shown as it is. Xid errors carry their number (`xid_79`).
"""

import re
from collections.abc import Mapping

from scheduler.domain.reasons import Language

_XID = re.compile(r"xid_([0-9]{1,5})")

TEXTS: Mapping[str, Mapping[Language, str]] = {
    "gpu_lost": {"en": "it has fallen off the bus", "zh": "已从总线掉卡"},
    "not_identified": {"en": "its driver no longer tells who it is", "zh": "驱动已无法识别该卡"},
    "no_longer_listed": {"en": "its tool no longer lists it", "zh": "厂商工具已不再列出该卡"},
    "not_available": {"en": "its tool calls it unavailable", "zh": "厂商工具标记为不可用"},
    "reset_required": {"en": "it needs a reset", "zh": "需要复位"},
    "uncorrected_ecc_errors": {"en": "memory errors that ECC could not correct", "zh": "存在 ECC 无法纠正的显存错误"},
    "row_remap_pending": {"en": "memory rows are to be remapped at its next reset", "zh": "显存行待下次复位时重映射"},
    "row_remap_failed": {"en": "memory rows could not be remapped: it is to be replaced", "zh": "显存行重映射失败,应更换该卡"},
    "mig_unreadable": {"en": "it is in MIG mode and does not tell how it is cut", "zh": "处于 MIG 模式但无法读取切分方式"},
    "over_temperature": {"en": "it is too hot and slows down", "zh": "温度过高,已降频"},
    "compute_prohibited": {"en": "its compute mode lets nobody compute", "zh": "计算模式设为禁止计算"},
    "npu_warning": {"en": "its tool warns (npu-smi: Warning)", "zh": "厂商工具告警(npu-smi:Warning)"},
    "npu_alarm": {"en": "its tool sounds an alarm (npu-smi: Alarm)", "zh": "厂商工具报警(npu-smi:Alarm)"},
    "npu_critical": {"en": "its tool calls it critical (npu-smi: Critical)", "zh": "厂商工具报严重故障(npu-smi:Critical)"},
    "npu_health_unknown": {
        "en": "its tool has a word for its health that is not known here",
        "zh": "厂商工具给出的健康状态无法识别",
    },
    "not_healthy": {"en": "its tool calls it unhealthy", "zh": "厂商工具标记为不健康"},
    "replacement_advised": {"en": "its tool advises to replace it", "zh": "厂商工具建议更换"},
    "power_cable": {"en": "its power cable is not as it should be", "zh": "供电线缆异常"},
    "memory_size_unknown": {"en": "nobody tells how much memory it has", "zh": "无法读取显存容量"},
    "not_read": {"en": "its tool's answer broke off before it", "zh": "厂商工具输出中断,未读到该卡"},
    "probe_failed": {"en": "its probe has not answered for 30 s", "zh": "探针已超过 30 秒未应答"},
    "uuid_on_two_nodes": {"en": "another node reported the same card first", "zh": "另一节点已先上报同一张卡"},
}


def health_text(code: str, language: Language) -> str:
    """A code's text, with the code, which the driver's documentation and our own know: or the code alone where it has no text."""
    xid = _XID.fullmatch(code)
    if xid is not None:
        return {"en": f"Xid error {xid[1]}", "zh": f"Xid 错误 {xid[1]}"}[language]
    return f"{TEXTS[code][language]} [{code}]" if code in TEXTS else code
