"""YAML documents that commands are given, read and checked; what is wrong with one is said a line each, with its code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer
from pydantic import ValidationError

from api.faults import document_errors, fault_error
from scheduler.contract.problem import FieldError
from scheduler.domain.faults import Fault
from scheduler.domain.reasons import Language
from scheduler.subsidy.document import load_document

MAX_DOCUMENT_BYTES = 4 * 2**20
BAD_INPUT = 2
"""The exit code of a command whose input is not as allowed."""

Document = TypeVar("Document")


def read_document(path: Path, parse: Callable[[Any], Document], lang: Language) -> Document:
    """A checked YAML document. Ends the command with one message where it cannot be read or is not what is allowed."""
    try:
        return checked(path, parse)
    except (Fault, ValidationError) as error:
        raise refusal(path, field_errors(error)[:1], lang) from None


def checked(path: Path, parse: Callable[[Any], Document]) -> Document:
    """A checked YAML document. Raises Fault or ValidationError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        raise Fault("file_unreadable", what=error.strerror or type(error).__name__) from None
    if len(content) > MAX_DOCUMENT_BYTES:
        raise Fault("file_too_large", limit=MAX_DOCUMENT_BYTES)
    return parse(load_document(content))


def field_errors(error: Fault | ValidationError) -> list[FieldError]:
    return [fault_error(error.field, error)] if isinstance(error, Fault) else list(document_errors(error.errors()))


def refusal(path: Path, errors: Sequence[FieldError], lang: Language) -> typer.Exit:
    """Say what is wrong with a file, a line each: where, what is allowed, and the code."""
    for error in errors:
        message = (error.message_zh if lang == "zh" else None) or error.message
        where = f"{path}: {error.field}" if error.field else str(path)
        typer.echo(f"{where}: {message} [{error.code}]", err=True)
    return typer.Exit(BAD_INPUT)
