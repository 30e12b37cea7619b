"""Label and field selectors as a list or a watch is asked with them."""

import re
from typing import Any

Object = dict[str, Any]

_SET = re.compile(r"(?P<name>\S+)\s+(?P<how>in|notin)\s+\((?P<values>[^)]*)\)")


def selects(found: Object, labels: str | None, fields: str | None) -> bool:
    own = found["metadata"].get("labels") or {}
    return all(_label(own, term) for term in _terms(labels)) and all(_field(found, term) for term in _terms(fields))


def _terms(selector: str | None) -> list[str]:
    return [term.strip() for term in re.split(r",(?![^(]*\))", selector or "") if term.strip()]


def _label(own: dict[str, str], term: str) -> bool:
    if chosen := _SET.fullmatch(term):
        values = {value.strip() for value in chosen["values"].split(",")}
        return (own.get(chosen["name"]) in values) == (chosen["how"] == "in")
    if "!=" in term:
        name, value = term.split("!=")
        return own.get(name) != value
    if "=" in term:
        name, value = re.split("==?", term)
        return own.get(name) == value
    return term[1:] not in own if term.startswith("!") else term in own


def _field(found: Object, term: str) -> bool:
    name, value = re.split("==?|!=", term)
    at: Any = found
    for part in name.split("."):
        at = (at or {}).get(part)
    return (str(at or "") == value) == ("!=" not in term)
