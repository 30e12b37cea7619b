"""What pydantic finds wrong with a document, as field errors with stable codes and texts in en and zh: for API and command."""

from collections.abc import Iterator, Mapping
from typing import Any

from scheduler.contract.problem import FieldError
from scheduler.domain.faults import Fault

MAX_FIELD_CHARACTERS = 200

_BY_TYPE: Mapping[str, tuple[str, str | None]] = {
    "missing": ("missing_key", "缺少该字段"),
    "missing_argument": ("missing_key", "缺少该字段"),
    "missing_keyword_only_argument": ("missing_key", "缺少该字段"),
    "extra_forbidden": ("unknown_key", "不允许的未知字段"),
    "unexpected_keyword_argument": ("unknown_key", "不允许的未知字段"),
    "greater_than_equal": ("out_of_range", "须不小于 {ge}"),
    "less_than_equal": ("out_of_range", "须不大于 {le}"),
    "string_pattern_mismatch": ("malformed", "须匹配 {pattern}"),
    "string_too_long": ("wrong_length", "最长 {max_length} 个字符"),
    "string_too_short": ("wrong_length", "最短 {min_length} 个字符"),
    "too_long": ("wrong_length", "最多 {max_length} 项"),
    "too_short": ("wrong_length", "至少 {min_length} 项"),
    "enum": ("not_a_choice", "须为 {expected} 之一"),
    "literal_error": ("not_a_choice", "须为 {expected} 之一"),
    "int_type": ("wrong_type", "须为整数"),
    "int_parsing": ("wrong_type", "须为整数"),
    "int_parsing_size": ("wrong_type", "须为整数,且不可过大"),
    "int_from_float": ("wrong_type", "须为整数"),
    "finite_number": ("wrong_type", "须为有限的数"),
    "bool_type": ("wrong_type", "须为 true 或 false"),
    "bool_parsing": ("wrong_type", "须为 true 或 false"),
    "string_type": ("wrong_type", "须为字符串"),
    "string_unicode": ("wrong_type", "须为合法的 Unicode 字符串"),
    "dict_type": ("wrong_type", "须为对象"),
    "model_type": ("wrong_type", "须为对象"),
    "model_attributes_type": ("wrong_type", "须为对象"),
    "dataclass_type": ("wrong_type", "须为对象"),
    "list_type": ("wrong_type", "须为列表"),
    "tuple_type": ("wrong_type", "须为列表"),
    "date_parsing": ("malformed", "须为日期,例如 2026-11-30"),
    "date_from_datetime_parsing": ("malformed", "须为日期,例如 2026-11-30"),
    "date_from_datetime_inexact": ("malformed", "须为日期,例如 2026-11-30"),
    "date_type": ("malformed", "须为日期,例如 2026-11-30"),
    "timezone_aware": ("timezone_aware", "时间须带时区"),
}
"""By pydantic's type of an error: our code, and the text in zh."""

_MESSAGES = {
    "unexpected_keyword_argument": "unknown key; correct its spelling or remove it",
    "extra_forbidden": "unknown key; correct its spelling or remove it",
    "missing": "required, but not given",
    "missing_argument": "required, but not given",
    "missing_keyword_only_argument": "required, but not given",
    "dataclass_type": "a mapping of fields to values is allowed here",
    "model_type": "a mapping of fields to values is allowed here",
}
"""Where pydantic speaks of arguments and models, what a reader of a document understands."""


def field_error(field: str, error: Mapping[str, Any]) -> FieldError:
    """One of pydantic's errors, about `field`."""
    context = error.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, Fault):
        return fault_error(field, cause)
    code, zh = _BY_TYPE.get(error["type"], ("not_allowed", None))
    return FieldError(
        field=field[:MAX_FIELD_CHARACTERS],
        code=code,
        message=str(error["msg"]).removeprefix("Value error, "),
        message_zh=zh.format_map(context) if zh else None,
    )


def fault_error(field: str, fault: Fault) -> FieldError:
    return FieldError(field=field[:MAX_FIELD_CHARACTERS], code=fault.code, message=fault.text("en"), message_zh=fault.text("zh"))


def document_errors(found: list[Any]) -> Iterator[FieldError]:
    """Everything wrong with a document, each with its field as its author would point at it: `lines[0].amount`.

    What only follows from another is left out: a list is said to be too short when its one item is not as allowed.
    """
    places = [error["loc"] for error in found]
    for error in found:
        if any(len(place) > len(error["loc"]) and place[: len(error["loc"])] == error["loc"] for place in places):
            continue
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
        plain = field_error(field, error)
        yield plain.model_copy(update={"message": _MESSAGES.get(error["type"], plain.message)})
