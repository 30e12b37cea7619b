"""FOCUS rows as files, written batch by batch: CSV with the standard library, Parquet with the extra `exports`."""

import csv
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from io import TextIOWrapper
from types import ModuleType
from typing import IO, Any

from scheduler.billing.focus import COLUMNS, QUANTITY_PLACES, VERSION, Kind, Row
from scheduler.billing.plain_text import inert
from scheduler.domain.money import MICROS_PER_CNY

ROWS_PER_GROUP = 60_000
"""Rows of a Parquet row group: what is held in memory as columns."""

DECIMAL_DIGITS = 38
"""Of a decimal128."""

Batches = Iterable[Sequence[Row]]


class MissingExtraError(Exception):
    """A format needs a package that is not installed; the message says which and how to get it."""

    def __init__(self, package: str) -> None:
        super().__init__(f"this needs {package}, which is not installed: pip install 'suanwang[exports]'")


def need(module: str) -> ModuleType:
    """A module of the extra `exports`. Raises MissingExtraError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(module.partition(".")[0]) from error


def write_csv(batches: Batches, out: IO[bytes]) -> None:
    """A heading and a line a row: UTF-8, CRLF, quoted where needed (RFC 4180); text that looks like a formula is made inert."""
    text = TextIOWrapper(out, "utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    writer.writerow(column.name for column in COLUMNS)
    plain = [column.kind is Kind.TEXT for column in COLUMNS]
    for batch in batches:
        writer.writerows(
            [inert(value) if is_text and value else value for is_text, value in zip(plain, row, strict=True)] for row in batch
        )
    text.flush()
    text.detach()


def write_parquet(batches: Batches, out: IO[bytes]) -> None:
    """Typed columns, zstd, in row groups of about `ROWS_PER_GROUP`: amounts are decimal128 with six places, times UTC timestamps.

    Raises MissingExtraError without pyarrow.
    """
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    schema = _schema(arrow)
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        group: list[Any] = []
        for batch in batches:
            if batch:
                group.append(_record_batch(arrow, schema, batch))
            if sum(each.num_rows for each in group) >= ROWS_PER_GROUP:
                writer.write_table(arrow.Table.from_batches(group, schema))
                group = []
        if group:
            writer.write_table(arrow.Table.from_batches(group, schema))


FORMATS: dict[str, Callable[[Batches, IO[bytes]], None]] = {"csv": write_csv, "parquet": write_parquet}


def _schema(arrow: ModuleType) -> Any:
    places = len(str(MICROS_PER_CNY)) - 1
    types = {
        Kind.TEXT: arrow.string(),
        Kind.MOMENT: arrow.timestamp("ms", tz="UTC"),
        Kind.AMOUNT: arrow.decimal128(DECIMAL_DIGITS, places),
        Kind.QUANTITY: arrow.decimal128(DECIMAL_DIGITS, QUANTITY_PLACES),
        Kind.INTEGER: arrow.int64(),
        Kind.FLAG: arrow.bool_(),
    }
    fields = [arrow.field(column.name, types[column.kind], nullable=column.nullable) for column in COLUMNS]
    return arrow.schema(fields, metadata={"focus_version": VERSION})


def _record_batch(arrow: ModuleType, schema: Any, rows: Sequence[Row]) -> Any:
    """Columns of a batch: each is read from its text by Arrow itself, exactly or not at all."""
    arrays = []
    for values, field in zip(zip(*rows, strict=True), schema, strict=True):
        column = arrow.array(values, arrow.string())
        arrays.append(column if field.type == arrow.string() else column.cast(field.type))
    return arrow.RecordBatch.from_arrays(arrays, schema=schema)
