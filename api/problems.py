"""Every error the API answers, as RFC 9457 problem documents with stable codes and texts in en and zh.

Raise `ProblemError(code, ...)`; the handlers here do the rest. An unexpected error is logged and answered without a word of it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from redis import RedisError
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException

from api.faults import field_error
from scheduler.contract.problem import FieldError, Problem

log = logging.getLogger(__name__)

MAX_FIELD_ERRORS = 50
STORE_RETRY_SECONDS = 5
"""Asked for of whom a silent store keeps from being answered: long enough for it to be started again."""

CODES: Mapping[str, tuple[int, str, str, str]] = {
    "malformed_json": (400, "Malformed JSON", "the body is not JSON: {what}", "请求体不是合法的 JSON:{what}"),
    "unauthenticated": (
        401,
        "No valid token",
        "send a valid bearer token: Authorization: Bearer …",
        "请提供有效令牌:Authorization: Bearer …",
    ),
    "forbidden": (
        403,
        "Not for this role",
        "this needs the role {needed}; the token has {role}",
        "该操作需要角色 {needed},当前令牌角色为 {role}",
    ),
    "not_found": (404, "Not found", "there is no {noun} {id}", "不存在 {noun} {id}"),
    "no_such_path": (404, "No such path", "nothing is served at this path", "该路径不存在"),
    "method_not_allowed": (405, "Method not allowed", "this path does not take {method}", "该路径不支持 {method}"),
    "already_exists": (409, "Already exists", "{noun} {id} exists with other content", "{noun} {id} 已存在且内容不同"),
    "versions_overlap": (
        409,
        "Versions overlap",
        "{programme} {one} and {other} would both decide on {day}; change dates, or let the later name the earlier in `supersedes`",
        "{programme} 的 {one} 与 {other} 两个版本在 {day} 均有效;请调整日期,或由后者在 `supersedes` 中注明前者",
    ),
    "body_too_large": (413, "Body too large", "at most {limit} bytes are allowed", "请求体最多允许 {limit} 字节"),
    "unsupported_media_type": (
        415,
        "Not JSON by its type",
        "send the body as JSON, with Content-Type: application/json",
        "请以 JSON 发送请求体,并设置 Content-Type: application/json",
    ),
    "invalid_request": (
        422,
        "Invalid request",
        "{count} field(s) are not as allowed; see errors",
        "{count} 个字段不符合要求,见 errors",
    ),
    "unknown_reference": (422, "Unknown reference", "{field}: there is no {noun} {id}", "{field}:不存在 {noun} {id}"),
    "programme_not_in_scope": (
        422,
        "Not a cost of a job",
        "{field}: {programme} pays for {what}, not for what a job costs (not_in_scope); it is claimed elsewhere",
        "{field}:{programme} 支持{what_zh},不支持作业费用(not_in_scope),须另行申请",
    ),
    "deadline_in_past": (
        422,
        "Deadline in the past",
        "deadline: {deadline} is past; a moment after {now} is needed",
        "deadline:{deadline} 已过去,须为 {now} 之后的时间",
    ),
    "expense_in_future": (
        422,
        "Expense in the future",
        "incurred_on: {day} has not come in China, where it is {today}",
        "incurred_on:{day} 尚未到来,北京时间今日为 {today}",
    ),
    "expense_outside_contract": (
        422,
        "Outside the contract's dates",
        "incurred_on: {day} lies outside contract {contract}, which is of {start} until {end}",
        "incurred_on:{day} 不在合同 {contract} 的期限({start} 至 {end})内",
    ),
    "expense_beyond_contract": (
        422,
        "Beyond the contract's amount",
        "amount: contract {contract} has {left} CNY left",
        "amount:合同 {contract} 余额为 {left} 元",
    ),
    "expense_already_posted": (
        409,
        "Already posted",
        "evidence_sha256: expense {id} of this contract was posted with the same evidence",
        "evidence_sha256:该合同已凭同一凭证入账费用 {id}",
    ),
    "too_many_expenses": (
        409,
        "Too many expenses",
        "contract {contract} has {limit} expenses, and may have no more",
        "合同 {contract} 已有 {limit} 笔费用,不得再增加",
    ),
    "price_in_past": (
        422,
        "Price in the past",
        "effective_from: {effective_from} is past; time that is over keeps its price: {now} or later is needed",
        "effective_from:{effective_from} 已过去;已过去的时间价格不变,须不早于 {now}",
    ),
    "price_in_posted_time": (
        422,
        "Price in posted time",
        "effective_from: {effective_from} lies before {posted}, up to which cost lines are posted, which cannot change",
        "effective_from:{effective_from} 早于 {posted},该集群的费用行已入账至该时间,不可更改",
    ),
    "job_never_fits": (422, "Larger than any cluster", "{reason}; nothing was stored", "{reason_zh};未保存"),
    "idempotency_key_reused": (
        422,
        "Idempotency-Key reused",
        "this Idempotency-Key came with another body before; use a new key for a new request",
        "该 Idempotency-Key 曾用于不同的请求体,请为新请求使用新的键",
    ),
    "cluster_taken": (
        409,
        "Another agent speaks for it",
        "agent {agent} speaks for {cluster}; stop one of the two, or wait: after {seconds} s of its silence another may take over",
        "集群 {cluster} 由代理 {agent} 负责;请停止其中一个。该代理静默 {seconds} 秒后方可由其他代理接替",
    ),
    "job_finished": (409, "Job has finished", "job {id} has ended as {state}", "作业 {id} 已以 {state} 结束"),
    "queue_full": (
        429,
        "Queue full",
        "at most {limit} of your jobs may wait at a time; submit again when some have started",
        "最多允许 {limit} 个作业排队,请在部分作业启动后再提交",
    ),
    "too_many_reports": (
        429,
        "Too many reports at once",
        "more nodes report at once than are taken; report again in {seconds} s",
        "同时上报的节点过多,请在 {seconds} 秒后重试",
    ),
    "window_never_fits": (
        422,
        "More nodes than there are",
        "{cluster} has at most {there} nodes as asked for, together, and {asked} are asked for; nothing was stored",
        "集群 {cluster} 中符合要求且可一并使用的节点最多为 {there} 个,而要求 {asked} 个;未保存",
    ),
    "window_overlaps": (
        409,
        "Overlaps other windows",
        "other windows have nodes of it in {cluster} for some of the time: {windows}; cancel them or choose another time",
        "集群 {cluster} 中的相关节点在部分时段已属于其他窗口:{windows};请取消这些窗口或另选时间",
    ),
    "window_over": (409, "Window is over", "window {id} is over: there is nothing to give back", "窗口 {id} 已结束,无可归还"),
    "too_many_windows": (
        409,
        "Too many windows",
        "at most {limit} windows may be open or ahead at a time; cancel one that is not needed",
        "最多允许 {limit} 个进行中或待开始的窗口,请取消不再需要的窗口",
    ),
    "settlement_id_reused": (
        422,
        "Settlement id reused",
        "settlement {id} came with other content before; a new decision is a settlement of its own with a higher revision",
        "结算 {id} 此前已以不同内容提交;新的决定须使用新的 id 和更高的 revision",
    ),
    "settlement_of_unknown_record": (
        422,
        "Settlement of an unknown record",
        "there is no cost record {record}; name one by the id the feed gives it",
        "不存在费用记录 {record},请使用费用流中的记录 id",
    ),
    "settlement_of_reversal": (
        422,
        "Settlement of a reversal",
        "record {record} takes {reverses} back and is not paid for: settle that one",
        "记录 {record} 是对 {reverses} 的冲销,不单独结算:请结算后者",
    ),
    "settlement_without_answer": (
        422,
        "Programme did not answer",
        "programme {programme} did not answer for record {record}; these did: {answered}",
        "补贴项目 {programme} 未对记录 {record} 作出判定;已判定的项目:{answered}",
    ),
    "settlement_pays_nothing": (
        422,
        "Nothing is paid",
        "what is {decision} pays nothing: amount must be 0, and it is {amount}",
        "决定为 {decision} 时不支付:amount 须为 0,而给出的是 {amount}",
    ),
    "settlement_beyond_record": (
        422,
        "More than the record",
        "{amount} is more than record {record} costs: at most {contracted} is allowed",
        "{amount} 超过记录 {record} 的合同金额:最多允许 {contracted}",
    ),
    "settlement_revision_taken": (
        409,
        "Revision taken",
        "revision {revision} for record {record} under {programme} is settlement {other}; a later decision needs a higher revision",
        "记录 {record} 在 {programme} 下的 revision {revision} 已由结算 {other} 使用;新的决定须使用更高的 revision",
    ),
    "unstorable_value": (
        422,
        "Value that cannot be stored",
        "a value holds what the database cannot, such as a NUL character",
        "某个值含有数据库无法保存的内容,例如 NUL 字符",
    ),
    "month_not_begun": (
        422,
        "Month has not begun",
        "month: {month} has not begun; a month up to the present one is allowed",
        "month:账期 {month} 尚未开始,须为当前或以前的月份",
    ),
    "statement_too_large": (
        422,
        "Statement too large",
        "this statement has more than the {limit} {noun} that are allowed here; ask by=model, for one tenant or provider, or use "
        "`suanwang statements`",
        "该对账单超过此处允许的 {limit} {noun_zh};请使用 by=model、限定租户或提供方,或使用 suanwang statements",
    ),
    "export_not_installed": (501, "Format not installed", "{what} (where the API runs)", "服务端未安装该格式所需组件:{what}"),
    "tenant_needed": (
        422,
        "Tenant needed",
        "tenant: say whose application it is; tenants choose the ids of their applications",
        "tenant:请指明申领所属租户,申领编号由各租户自定",
    ),
    "nothing_claimed": (404, "Nothing claimed", "no cost record belongs to the claim {what}", "没有费用记录属于申领 {what}"),
    "claim_too_large": (
        422,
        "Claim too large",
        "this claim has more than the {limit} records that are allowed here; use `suanwang claim-pack`",
        "该申领超过此处允许的 {limit} 条记录,请使用 suanwang claim-pack",
    ),
    "internal_error": (500, "Internal error", "something went wrong on our side; it has been logged", "服务内部错误,已记录"),
    "too_many_waiting": (
        503,
        "Too many requests wait",
        "too many requests wait for a change here; ask again shortly, or without waiting",
        "等待变化的请求过多,请稍后重试,或不带等待时间请求",
    ),
    "store_unavailable": (503, "Store unavailable", "a store is not answering; try again shortly", "存储暂不可用,请稍后重试"),
}
"""By code: status, title, detail in en and in zh."""

_MISFITS = frozenset({"model_type", "tuple_type"})
"""What the alternatives of a union say that were not meant at all, such as a list where one object was given."""

_UNREADABLE = {
    RecursionError: "it is nested too deeply",
    UnicodeDecodeError: "it is not UTF-8",
    ValueError: "a number in it is too long",
}


class ProblemError(Exception):
    """An error the caller can do something about. Raises KeyError for a code that is not registered."""

    retry_after_seconds: int | None = None
    """Set where the caller may try again, after so long."""

    def __init__(self, code: str, errors: Sequence[FieldError] = (), **numbers: str | int) -> None:
        status, title, en, zh = CODES[code]
        self.problem = Problem(
            type=f"urn:suanwang:problem:{code}",
            title=title,
            status=status,
            code=code,
            detail=en.format_map(numbers),
            detail_zh=zh.format_map(numbers),
            errors=list(errors),
        )
        super().__init__(self.problem.detail)

    def after(self, seconds: int) -> Self:
        """The same, with when to try again."""
        self.retry_after_seconds = seconds
        return self

    def response(self) -> JSONResponse:
        headers = {"WWW-Authenticate": "Bearer"} if self.problem.status == 401 else {}
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.retry_after_seconds)
        return JSONResponse(self.problem.model_dump(), self.problem.status, headers=headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem document."""

    @app.exception_handler(ProblemError)
    def _(_: Request, error: ProblemError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    def _(_: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error.errors(), error.body).response()

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 405:
            refusal = ProblemError("method_not_allowed", method=request.method).response()
            refusal.headers.update(error.headers or {})  # RFC 9110 wants the methods that are allowed
            return refusal
        if error.status_code == 400:  # the framework's answer to a body it could not read, for other reasons than its syntax
            return ProblemError("malformed_json", what=_UNREADABLE.get(type(error.__cause__), "it cannot be read")).response()
        return ProblemError("no_such_path" if error.status_code == 404 else "internal_error").response()

    @app.exception_handler(DataError)
    def _(_request: Request, _error: DataError) -> JSONResponse:
        """A value no validation of ours minds and the database cannot hold, such as a NUL in text."""
        return ProblemError("unstorable_value").response()

    @app.exception_handler(PoolTimeoutError)
    @app.exception_handler(OperationalError)
    @app.exception_handler(RedisError)
    def _(request: Request, error: Exception) -> JSONResponse:
        log.warning("%s %s: a store is not answering (%s)", request.method, request.url.path, type(error).__name__)
        return ProblemError("store_unavailable").after(STORE_RETRY_SECONDS).response()

    @app.exception_handler(Exception)
    def _(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return ProblemError("internal_error").response()


def unknown_reference(field: str, noun: str, id_: str) -> ProblemError:
    """A field names something that is not registered."""
    error = FieldError(
        field=field, code="unknown_reference", message=f"there is no {noun} {id_}", message_zh=f"不存在 {noun} {id_}"
    )
    return ProblemError("unknown_reference", [error], field=field, noun=noun, id=id_)


def invalid_part(error: ValidationError, field: str, value: object) -> ProblemError:
    """What is wrong with one field of a body, checked by a handler on its own."""
    return _invalid([{**fault, "loc": ("body", field, *fault["loc"])} for fault in error.errors()], {field: value})


def _invalid(found: Sequence[Mapping[str, Any]], body: object) -> ProblemError:
    first = found[0]
    if first["type"] == "json_invalid":
        return ProblemError("malformed_json", what=f"{first['ctx']['error']} at character {first['loc'][1]}")
    if isinstance(body, bytes):
        return ProblemError("unsupported_media_type")
    placed = [(_path(error, body), error) for error in found]
    meant = [(path, error) for path, error in placed if not _is_echo(path, error["type"], placed)]
    errors = [field_error(".".join(path) or "body", error) for path, error in meant[:MAX_FIELD_ERRORS]]
    return ProblemError("invalid_request", errors, count=len(meant))


def _path(error: Mapping[str, Any], body: object) -> tuple[str, ...]:
    """Where an error is, as the caller wrote it: parts that only name an alternative of a union are left out."""
    source, *parts = error["loc"]
    if source != "body":
        return tuple(map(str, parts))
    path = []
    for part in parts:
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and isinstance(part, int) and part < len(body)):
            body = body[part]
            path.append(str(part))
    if error["type"] == "missing" and parts:
        path.append(str(parts[-1]))
    return tuple(path)


def _is_echo(path: tuple[str, ...], kind: str, placed: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]) -> bool:
    """Whether an error only follows from another: a list is too short for its bad item, an alternative does not fit."""
    return any(
        other[: len(path)] == path and (len(other) > len(path) or (kind in _MISFITS and error["type"] not in _MISFITS))
        for other, error in placed
    )
