"""The table of all results beside what others publish: `python -m benchmarks.table`; rows in `table.yaml`, figures in `results/`.

Nothing is measured here. A row says which result it is read from, how our figure is written, and what keeps its bound.
"""

import json
import re
from collections.abc import Iterator
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
COMPARISONS = {"<=": le, "<": lt, ">=": ge, ">": gt}
FIELD = re.compile(r"\{([^{}:]+)(:[^{}]*)?\}")


def main() -> None:
    print("\n".join(table()))


def table() -> Iterator[str]:
    """The table in Markdown, line by line."""
    yield "| workload | peers | bound | ours | command |"
    yield "|---|---|---|---|---|"
    for row in yaml.safe_load((HERE / "table.yaml").read_text("utf-8")):
        yield f"| {row['workload']} | {figures(row, 'peers')} | {row['bound']} | {ours(row)} | `{row['command']}` |"


def ours(row: dict[str, Any]) -> str:
    """Our figure as a row writes it, and whether a bound of it is not reached."""
    figure, result = figures(row, "ours"), _result(row)
    kept = result is None or all(_kept(result, field, bound) for field, bound in row.get("keep", {}).items())
    return figure if kept else f"**{figure}: not reached**"


def figures(row: dict[str, Any], column: str) -> str:
    """What a row writes in a column, with the figures it names; a result that is not there is said to be missing. Peers that run
    beside us are named in `peers`."""
    text, result = str(row[column]), _result(row)
    if result is None:
        return "not measured" if FIELD.search(text) else text
    return FIELD.sub(lambda found: format(_at(result, found[1]), (found[2] or ":")[1:]), text)


def _result(row: dict[str, Any]) -> Any:
    path = HERE / "results" / row["result"]
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _kept(result: Any, field: str, bound: str) -> bool:
    comparison, _, value = bound.partition(" ")
    return bool(COMPARISONS[comparison](_at(result, field), float(value)))


def _at(result: Any, field: str) -> Any:
    """What stands at a dotted field; numbers are positions in lists."""
    for name in field.split("."):
        result = result[int(name)] if isinstance(result, list) else result[name]
    return result


if __name__ == "__main__":
    main()
