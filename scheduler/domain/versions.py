"""Versions of drivers and toolkits, and ranges of them: `535.104.05`, `24.1.rc2`, `8.0.RC3.alpha002`; `>=12.2,<13`.

Vendors do not write them as Python packages are versioned (PEP 440 knows no `RC3.alpha002`), so the order is our own, and plain:
numbers compare as numbers, whatever their zeros (`104.05` is `104.5`, `24.1` is `24.1.0`), and what a word such as `rc` or `alpha`
introduces comes before the version without it (`24.1.rc2` before `24.1`, `8.0.RC3.alpha002` before `8.0.RC3`).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import eq, ge, gt, le, lt, ne

MAX_CHARACTERS = 64
"""Of a version, and of a whole range."""

MAX_KNOWN = 4096
"""Versions and ranges that are remembered once they have been read."""

_WORDS = {"dev": 0, "alpha": 1, "a": 1, "beta": 2, "b": 2, "rc": 3}
"""What comes before a release, earliest first."""

_WORD, _END, _NUMBER = 0, 1, 2
_PARTS = re.compile(r"[0-9]+|[a-z]+")
_SHAPE = re.compile(r"v?[0-9]+([.+_-]?[0-9a-z]+)*", re.ASCII)
_CLAUSE = re.compile(r"(>=|<=|==|!=|>|<)\s*(\S+)", re.ASCII)
_OPERATORS: Mapping[str, Callable[["Version", "Version"], bool]] = {">=": ge, "<=": le, "==": eq, "!=": ne, ">": gt, "<": lt}


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version by what orders it. Make one with `parse_version`."""

    key: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class VersionRange:
    """All of some comparisons, such as `>=12.2,<13`. Ranges of equal `text` are equal."""

    text: str

    def holds(self, version: Version) -> bool:
        return all(_OPERATORS[operator](version, bound) for operator, bound in _clauses(self.text))


@lru_cache(maxsize=MAX_KNOWN)
def parse_version(text: str) -> Version | None:
    """None for what is no version: nothing is known about its order, so no range holds for it."""
    plain = text.strip().lower()
    if len(plain) > MAX_CHARACTERS or not _SHAPE.fullmatch(plain):
        return None
    key: list[tuple[int, int]] = []
    for part in _PARTS.findall(plain.removeprefix("v")):
        if part.isdigit():
            key.append((_NUMBER, int(part)))
        elif part in _WORDS:
            key = [*_without_zeros(key), (_WORD, _WORDS[part])]
        else:
            return None
    return Version((*_without_zeros(key), (_END, 0)))


def parse_range(text: str) -> VersionRange:
    """Raises ValueError naming what is allowed."""
    clauses = [clause.strip() for clause in text.split(",")]
    for clause in clauses:
        found = _CLAUSE.fullmatch(clause)
        if len(text) > MAX_CHARACTERS or found is None or parse_version(found[2]) is None:
            raise ValueError(f"{text!r} is not a range of versions: write for example >=535.104, or >=12.2,<13")
    return VersionRange(",".join(clause.replace(" ", "") for clause in clauses))


@lru_cache(maxsize=MAX_KNOWN)
def _clauses(text: str) -> tuple[tuple[str, Version], ...]:
    found = [_CLAUSE.fullmatch(clause) for clause in text.split(",")]
    return tuple((each[1], version) for each in found if each and (version := parse_version(each[2])))


def _without_zeros(key: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same without zeros at its end: they say nothing."""
    while key and key[-1] == (_NUMBER, 0):
        key = key[:-1]
    return key
