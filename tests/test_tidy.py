"""The house stays tidy: no room outgrown, no float near money, no dead file, a story at every door."""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("scheduler", "agents", "api")
MAX_LINES = 500
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MONEY = sorted(
    [
        ROOT / "scheduler/domain/money.py",
        ROOT / "scheduler/service/meter.py",
        ROOT / "scheduler/service/offers.py",
        *(ROOT / "scheduler/billing").glob("*.py"),
        *(ROOT / "scheduler/subsidy").glob("*.py"),
    ]
)
INTEGER_ARRAYS = dict.fromkeys(("scheduler/subsidy/batch.py", "scheduler/subsidy/evaluation.py"), "import numpy as np")
"""Where money is kept in arrays, of integers only: the tests of `batch` see to it."""
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
STARTED_BY_OTHERS = {
    "scheduler.store.migrations.env": "Alembic",
    "scheduler.store.migrations.versions": "Alembic",
    "agents.cluster.ray.payload": "Ray, on its nodes",
}
"""Modules no import leads to, and who starts them instead; a package stands for what is in it."""


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_outgrows_its_room(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: split it"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_named_for_what_it_does_and_says_so(path: Path) -> None:
    assert path.stem not in VAGUE
    assert ast.get_docstring(tree(path)), "the first line of a module says what it is for"


@pytest.mark.parametrize("path", MONEY, ids=relative)
def test_no_float_comes_near_money(path: Path) -> None:
    allowed = INTEGER_ARRAYS.get(relative(path), "")
    assert [found for found in floats(tree(path)) if not allowed or allowed not in found] == []


def floats(module: ast.AST) -> Iterator[str]:
    """Everything in a module that is or makes a float: literals, the name itself, true division, `round` and float maths."""
    for node in ast.walk(module):
        match node:
            case ast.Constant(value=float() | complex()):
                yield f"line {node.lineno}: the literal {node.value!r}"
            case ast.Name(id="float" | "round"):
                yield f"line {node.lineno}: {node.id}"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield f"line {node.lineno}: true division"
            case ast.Call(func=ast.Attribute(attr="total_seconds" | "timestamp")):
                yield f"line {node.lineno}: {ast.unparse(node)} is a float"
            case ast.Import(names=names) if any(name.name in ("math", "statistics", "numpy") for name in names):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "source",
    ["x = 1.5", "x = a / b", "a /= b", "x = float(a)", "def f(x: float): ...", "import numpy", "d.total_seconds()", "round(a)"],
)
def test_the_float_check_sees_floats(source: str) -> None:
    assert list(floats(ast.parse(source)))


def test_the_float_check_lets_exact_arithmetic_pass() -> None:
    assert list(floats(ast.parse("x = a * b // c % 7 + Decimal('0.5')"))) == []


def test_no_file_is_dead() -> None:
    """Every module is imported by another of the product, or is an entry: tests alone do not keep a module alive."""
    living = imported() | entry_points()
    dead = {
        dotted(path)
        for path in MODULES
        if dotted(path) not in living
        and path.name not in ("__init__.py", "__main__.py")
        and not any(dotted(path) == name or dotted(path).startswith(f"{name}.") for name in STARTED_BY_OTHERS)
    }
    assert dead == set()


def test_every_exception_to_that_still_exists() -> None:
    assert set(STARTED_BY_OTHERS) <= {dotted(path) for path in MODULES}


def imported() -> set[str]:
    """Every module that another imports, as `a.b` in `from a import b` too, or names in a string to start it later."""
    known = {dotted(path) for path in MODULES}
    found: set[str] = set()
    for path in MODULES:
        names = {name for name in _imports(tree(path)) if name in known}
        found |= names - {dotted(path)}
    return found


def _imports(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value.partition(":")[0]  # "api.app:app" for a server, "api.cli.x" for `python -m`


def entry_points() -> set[str]:
    """The commands of the distribution, and modules one runs with `python -m`."""
    scripts: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    run = {dotted(path) for path in MODULES if '\nif __name__ == "__main__":\n' in path.read_text("utf-8")}
    return run | {target.partition(":")[0] for target in scripts.values()}
