"""Rows of a CSV file, read strictly: the first broken one is refused with the file, the row as an editor numbers it, the column and
what is allowed there. Columns nobody asks for are ignored."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from scheduler.replay.trace import TraceError


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, with what an error about it needs to say."""

    path: Path
    number: int
    cells: Mapping[str, str]

    def broken(self, column: str, allowed: str) -> TraceError:
        found = self.cells[column]
        return TraceError(f"{self.path}, row {self.number}, column {column}: {found!r} is not allowed; {allowed}")

    def text(self, column: str) -> str:
        if not self.cells[column]:
            raise self.broken(column, "a name is needed")
        return self.cells[column]

    def integer(self, column: str, *, most: int, least: int = 0, least_is: str = "") -> int:
        """The whole number of a cell; `least_is` says in words what the lower bound is."""
        cell = self.cells[column]
        if not (cell.isascii() and cell.isdigit() and len(cell) <= len(str(most)) and least <= int(cell) <= most):
            raise self.broken(column, f"a whole number from {least}{least_is} to {most} is")
        return int(cell)


def read_rows(
    path: Path, needed: Sequence[str], unique: str | None = None, why: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Row]:
    """The rows of a CSV file that has at least the columns `needed`, no cell too few or too many, and no value of `unique`, where
    given, twice.

    `why` says of some columns what they are needed for. Raises TraceError.
    """
    first_seen: dict[str, int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header, needed, why)
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    raise TraceError(f"{path}, row {reader.line_num}: {_miscount(header, cells)}")
                line = Row(path, reader.line_num, dict(zip(header, cells, strict=True)))
                before = first_seen.setdefault(str(line.number) if unique is None else line.cells[unique], line.number)
                if unique is not None and before != line.number:
                    raise line.broken(unique, f"row {before} has the same name, and each must be unique")
                yield line
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not a CSV file in UTF-8 (byte {error.start} of what was being read)") from error
    except csv.Error as error:
        raise TraceError(f"{path}, row {reader.line_num}: not CSV: {error}") from error
    if not first_seen:
        raise TraceError(f"{path}: has a header but no rows; at least one is needed")


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str], why: Mapping[str, str]) -> None:
    missing = [column for column in needed if column not in header]
    if missing:
        said = "".join(f"; {reason}" for reason in dict.fromkeys(why[column] for column in missing if column in why))
        raise TraceError(f"{path}, row 1: no column {', '.join(missing)}; needed are {', '.join(needed)}{said}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise TraceError(f"{path}, row 1: column {', '.join(twice)} appears more than once")


def _miscount(header: Sequence[str], cells: Sequence[str]) -> str:
    if len(cells) < len(header):
        return f"column {header[len(cells)]} is missing: {len(cells)} cells where the header has {len(header)}"
    return f"{len(cells)} cells where the header has {len(header)}"
