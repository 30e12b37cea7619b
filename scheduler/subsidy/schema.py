"""What a policy version and a case may say, as JSON Schema (draft 2020-12), generated from the models that read them.

Editors complete and check a YAML file against these; the models remain the judge, as a schema cannot say that a source is one of
those listed, or that an end is not before its start.
"""

import json
from typing import Any, Literal

from pydantic import TypeAdapter

from scheduler.subsidy.facts import AMOUNT_SCHEMA, COUNT_SCHEMA, DAY_SCHEMA, FACTS, Case, Fact, Kind
from scheduler.subsidy.programme import PolicyVersion
from scheduler.subsidy.reasons import TEXTS

Noun = Literal["programme", "case"]
Json = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLES: dict[Noun, str] = {
    "programme": "Suanwang policy version: one dated, immutable version of a voucher programme",
    "case": "Suanwang evaluation case: every fact a voucher rule may ask for, and the cost lines to judge",
}
_BOUNDS = {Kind.MONEY: AMOUNT_SCHEMA, Kind.COUNT: COUNT_SCHEMA, Kind.DAY: DAY_SCHEMA}


def schema(noun: Noun) -> Json:
    """The schema of a document, complete in itself."""
    described: Json = TypeAdapter(PolicyVersion if noun == "programme" else Case).json_schema(by_alias=True)
    if noun == "programme":
        for name in ("Condition", "Rule"):
            _describe_condition(described["$defs"][name])
        for part in described["$defs"].values():
            if "code" in part.get("properties", {}):
                part["properties"]["code"] = {"enum": sorted(TEXTS), "title": "Reason code"}
    return {"$schema": _DIALECT, **described, "title": _TITLES[noun]}


def schema_text(noun: Noun) -> str:
    """The schema as the repository keeps it and the command prints it."""
    return json.dumps(schema(noun), indent=2, ensure_ascii=False) + "\n"


def _describe_condition(described: Json) -> None:
    """A condition names a fact, and what may be asked of that fact follows from its kind."""
    properties = described["properties"]
    properties["fact"] = {"enum": sorted(FACTS)}
    properties["is"] = {"type": "boolean"}
    properties["in"] = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 64}
    properties["at_least"] = properties["at_most"] = {"anyOf": [AMOUNT_SCHEMA, COUNT_SCHEMA, DAY_SCHEMA]}
    described["allOf"] = [_asked(names, FACTS[names[0]]) for names in _alike()]


def _alike() -> list[list[str]]:
    """The facts of which the same may be asked, together."""
    groups: dict[tuple[Kind, tuple[str, ...]], list[str]] = {}
    for name in sorted(FACTS):
        groups.setdefault((FACTS[name].kind, tuple(sorted(FACTS[name].choices or ()))), []).append(name)
    return list(groups.values())


def _asked(names: list[str], fact: Fact) -> Json:
    if fact.kind is Kind.FLAG:
        then = _only("is")
    elif fact.kind is Kind.CHOICE:
        then = _only("in")
        if fact.choices is not None:
            then["properties"]["in"] = {"items": {"enum": sorted(fact.choices)}}
    else:
        bound = _BOUNDS[fact.kind]
        then = {"properties": {"is": False, "in": False, "at_least": bound, "at_most": bound}}
        then["oneOf"] = [{"required": ["at_least"]}, {"required": ["at_most"]}]
    return {"if": {"properties": {"fact": {"enum": names}}}, "then": then}


def _only(word: str) -> Json:
    """That of the four ways to ask only this one is used."""
    return {"required": [word], "properties": {other: False for other in ("is", "in", "at_least", "at_most") if other != word}}
