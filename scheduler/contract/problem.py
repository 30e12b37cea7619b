"""Errors as RFC 9457 problem documents with stable codes."""

from pydantic import Field

from scheduler.contract.base import Wire


class FieldError(Wire):
    """One thing wrong with one field: where, a stable code where there is one, and what is allowed."""

    field: str
    code: str | None = None
    message: str
    message_zh: str | None = None


class Problem(Wire):
    """`application/problem+json`: `code` is stable; `detail` and `detail_zh` are for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    detail_zh: str
    errors: list[FieldError] = Field(default_factory=list)
