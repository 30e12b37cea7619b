"""Cases for the tests: the worked example of the case format, with single facts changed."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from scheduler.subsidy.document import load_document
from scheduler.subsidy.facts import Case, parse_case

GOLDEN = Path(__file__).parent / "golden"

_ON_A_LINE = {"activity": "pretrain", "start": "2025-03-01T00:00:00+08:00", "end": "2025-03-31T00:00:00+08:00"}


def golden(name: str) -> Any:
    return load_document((GOLDEN / name).read_bytes())


def goldens() -> list[str]:
    """The golden files: one for each programme, or for a version of it."""
    return sorted(path.name for path in GOLDEN.glob("*.yaml") if path.name != "base.yaml")


def document(*changes: Mapping[str, Any]) -> dict[str, Any]:
    """The worked example with values set by dotted path (`lines.0.amount`), one mapping of changes after the other."""
    case: dict[str, Any] = golden("base.yaml")
    for change in changes:
        for path, value in change.items():
            *parents, last = path.split(".")
            place: Any = case
            for parent in parents:
                place = place[int(parent)] if isinstance(place, list) else place[parent]
            place[int(last) if isinstance(place, list) else last] = deepcopy(value)
    case["lines"] = [{**_ON_A_LINE, **line} for line in case["lines"]]
    return case


def case(*changes: Mapping[str, Any]) -> Case:
    return parse_case(document(*changes))


HANGZHOU: Mapping[str, Any] = golden("hangzhou-compute-2024.yaml")["base"]
BEIJING: Mapping[str, Any] = golden("beijing-compute.yaml")["base"]
