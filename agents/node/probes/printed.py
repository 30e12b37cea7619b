"""Values as vendors' tools print them: numbers with units, tables, `key : value` pages and `--query-gpu` lines.

What a tool does not print, or prints as `N/A`, `-` or `[Not Supported]`, is None: absent, never zero.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

MIB = 2**20
UNCORRECTED_ECC = "uncorrected_ecc_errors"

ADDRESS = re.compile(r"\b(?:[0-9a-f]{4}|[0-9a-f]{8}):[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b", re.IGNORECASE)
"""A PCI address; some tools write its domain with eight digits."""

_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)")
_INDEX_AND_NAME = re.compile(r"(\d+)\s+(\S.*?)(?:\s+(?:N/A|On|Off))?")
_POWER_LIMIT = re.compile(r"/\s*\d+(?:\.\d+)?\s*W\b")
_MEMORY = re.compile(r"(\d+)\s*(?:MiB)?\s*/\s*(\d+)\s*MiB")


def number(said: object) -> float | None:
    """The number a value starts with, whatever its unit; None for what is no number. Tools write -1 for "not supported"."""
    found = _NUMBER.match(str(said))
    return float(found[1]) if found else None


def whole(said: object, unit: int = 1) -> int | None:
    """The number a value starts with, in units of `unit` (`MIB` gives bytes, 1000 gives milliwatts of watts)."""
    value = number(said)
    return None if value is None else round(value * unit)


def some(said: object, unit: int = 1) -> int | None:
    """As `whole`, for what cannot be nothing, such as the size of a memory: a zero there means that it is not known."""
    return whole(said, unit) or None


def pci_address(said: object) -> str | None:
    """The PCI address in a text as the kernel writes it: domain of four digits, lower case."""
    found = ADDRESS.search(str(said))
    if found is None:
        return None
    domain, rest = found[0].lower().split(":", 1)
    return f"{domain[-4:]}:{rest}"


def cells(line: str) -> list[str]:
    """The cells of one row of a table drawn with bars; none for its rules and for anything else."""
    line = line.strip()
    return [cell.strip() for cell in line[1:-1].split("|")] if len(line) > 1 and line[0] == line[-1] == "|" else []


def query(printed: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """Lines of `--query-gpu=COLUMNS --format=csv,noheader`, by column. Raises ValueError for a line of another length."""
    rows = [[field.strip() for field in row] for row in csv.reader(printed.splitlines()) if any(field.strip() for field in row)]
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"{len(columns)} columns were asked for and {len(row)} came: {', '.join(row)[:120]!r}")
    return [dict(zip(columns, row, strict=True)) for row in rows if row[0] != columns[0]]


def pages(printed: str, start: re.Pattern[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Pages of `key : value` lines, one per card: a line that matches `start` opens it and its first group is the index.

    Keys are in lower case, below the heading they stand under: `Memory` and `Total : 8 MiB` are `memory/total`.
    """
    index, page, heading = None, dict[str, str](), ""
    for line in printed.splitlines():
        opened = start.match(line)
        if opened:
            if index is not None:
                yield index, page
            index, page, heading = int(opened[1]), {}, ""
            continue
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not value:
            heading = key.lower() if key else heading
        else:
            page.setdefault(f"{heading}/{key.lower()}", value)
    if index is not None:
        yield index, page


def smi_rows(printed: str) -> Iterator[dict[str, str | None]]:
    """Cards of a table in the manner of nvidia-smi, two rows each. Raises ValueError where a card's second row is missing.

    Versions and vendors differ in what stands where, so a value is known by its shape and not by its column: a new column
    shifts nothing. Keys: index, name, address, memory_used, memory, busy, watts, celsius, and the last cells of
    the rows, `corner` and `state`.
    """
    lines = [row for row in map(cells, printed.splitlines()) if row]
    for position, row in enumerate(lines):
        card, address = _INDEX_AND_NAME.fullmatch(row[0]), pci_address(" ".join(row))
        if card is None or address is None:
            continue
        below = " | ".join(lines[position + 1]) if position + 1 < len(lines) else ""
        memory = _MEMORY.search(below)
        if memory is None:
            raise ValueError(f"the table ends within card {card[1]}")
        yield {
            "index": card[1],
            "name": card[2],
            "address": address,
            "memory_used": memory[1],
            "memory": memory[2],
            # The last one: a fan's percentage stands before it.
            "busy": _last(r"\b(\d+)\s*%", " | ".join((*row, below))),
            "watts": _first(r"\b(\d+(?:\.\d+)?)\s*W\b", _POWER_LIMIT.sub("", below)),
            "celsius": _first(r"\b(\d+)\s*C\b", below),
            "corner": row[-1],
            "state": lines[position + 1][-1],
        }


def sections(document: object) -> dict[str, dict[str, Any]]:
    """A JSON document that is an object of objects. Raises ValueError for any other."""
    if not isinstance(document, dict) or not all(isinstance(section, dict) for section in document.values()):
        raise ValueError("an object of objects was expected")
    return document


def section(within: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within an object; an empty one where there is nothing, or something else."""
    found = within.get(name)
    return found if isinstance(found, dict) else {}


def listed(document: object, name: str) -> list[dict[str, Any]]:
    """The objects that a JSON document lists, by itself or as `name`. Raises ValueError for any other."""
    found = document.get(name, []) if isinstance(document, dict) else document
    if not isinstance(found, list) or not all(isinstance(card, dict) for card in found):
        raise ValueError(f"a list of objects was expected, or such a list as {name}")
    return found


def present(found: Mapping[str, object]) -> tuple[str, ...]:
    """The reasons whose count is not nothing and not unknown."""
    return tuple(reason for reason, count in found.items() if count)


def header(printed: str, label: str) -> str | None:
    """The word after `label` and a colon, wherever it stands: versions in a table's head."""
    found = re.search(rf"{re.escape(label)}\s*:\s*([^\s|]+)", printed)
    return found[1] if found else None


def _first(pattern: str, text: str) -> str | None:
    return next(iter(re.findall(pattern, text)), None)


def _last(pattern: str, text: str) -> str | None:
    return next(reversed(re.findall(pattern, text)), None)


def joined(errors: Iterable[str]) -> str | None:
    return "; ".join(errors) or None
