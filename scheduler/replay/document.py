"""A YAML file read strictly into a model, or refused in one line: the file, the field, and what is allowed there."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from scheduler.replay.trace import TraceError
from scheduler.subsidy.document import load_document

MAX_FILE_BYTES = 4 * 2**20
MAX_MILLI = 10**15

_QUANTITY = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?(m?)", re.ASCII)

Model = TypeVar("Model", bound=BaseModel)


def _milli(value: object) -> object:
    """Thousandths of what Kubernetes writes as `20`, `"1.5"` or `"500m"`."""
    found = _QUANTITY.fullmatch(str(value)) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    if found is None or (found[2] and found[3]):
        raise ValueError("a number with at most three decimals, such as 20 or 1.5, or thousandths such as '500m' is")
    return int(found[1]) if found[3] else int(Decimal(f"{found[1]}.{found[2] or 0}") * 1000)


Milli = Annotated[int, BeforeValidator(_milli), Field(ge=0, le=MAX_MILLI)]
"""Thousandths of a core or a card."""


def load(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds. Raises TraceError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise TraceError(f"{path}: is larger than {MAX_FILE_BYTES // 2**20} MiB, the most that is allowed")
    try:
        document = load_document(content)
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise TraceError(f"{path}: must hold a mapping of keys to values, not a {type(document).__name__}")
    return document


def parse(path: Path, document: dict[str, Any], model: type[Model]) -> Model:
    """The document as `model`. Raises TraceError naming the first field that is not as it should be."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise broken(path, ".".join(str(part) for part in first["loc"]), _found(first["input"]), first["msg"]) from error


def broken(path: Path, field: str, found: str, allowed: str) -> TraceError:
    """What is wrong with one field."""
    return TraceError(f"{path}, {field}: {found} is not allowed: {allowed}")


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
