"""Reason codes: registered once, told in two languages with the same numbers, and used with the numbers their texts need."""

import ast
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

from scheduler.domain.reasons import TEXTS, Reason
from scheduler.service.causes import CONSEQUENCES

ROOT = Path(__file__).parents[2]
Uses = list[tuple[str, str, frozenset[str] | None]]


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("code", list(TEXTS))
def test_a_code_has_both_texts_with_the_same_placeholders(code: str) -> None:
    texts = TEXTS[code]
    assert set(texts) == {"en", "zh"}
    assert placeholders(texts["en"]) == placeholders(texts["zh"])
    assert any("一" <= letter <= "鿿" for letter in texts["zh"])


def test_an_unregistered_code_cannot_be_made() -> None:
    with pytest.raises(KeyError):
        Reason("because")


def test_a_text_carries_its_numbers_and_chinese_its_words() -> None:
    reason = Reason("never_no_such_hardware", {"per_node": 8, "what": "domestic 910B3"})
    assert reason.text() == "no node it may use has 8 × domestic 910B3"
    assert reason.text("zh") == "可用节点中没有任何节点具备 8 × 国产 910B3"


def test_every_reason_in_the_sources_is_registered_and_fills_its_text() -> None:
    uses = [use for folder in ("scheduler", "api", "agents") for file in (ROOT / folder).rglob("*.py") for use in reasons_in(file)]
    assert len(uses) > 20
    for where, code, keys in uses:
        assert code in TEXTS, f"{where}: {code!r} is not registered"
        if keys is not None:
            missing = placeholders(TEXTS[code]["en"]) - keys
            assert not missing, f"{where}: {code!r} needs {missing}"
    told = {each.reason for each in CONSEQUENCES.values()}
    assert all(placeholders(TEXTS[code]["en"]) <= {"cluster", "detail"} for code in told)
    assert {code for _, code, _ in uses} | told == set(TEXTS), "a code that nobody uses is dead"


def reasons_in(file: Path) -> Iterator[tuple[str, str, frozenset[str] | None]]:
    """Each code a `Reason(...)` call may make, with the keys it gives, or None where they cannot be read from the source."""
    tree = ast.parse(file.read_text("utf-8"))
    known = dict(_dictionaries(tree))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Reason" and call.args:
            keys = _keys(call.args[1], known) if len(call.args) > 1 else frozenset[str]()
            for code in _codes(_value(call.args[0], tree)):
                yield f"{file.relative_to(ROOT)}:{call.lineno}", code, keys


def _value(node: ast.expr, tree: ast.AST) -> ast.expr:
    """What a name was last set to above its use; any other expression as it is."""
    if not isinstance(node, ast.Name):
        return node
    above = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.Assign) and each.lineno < node.lineno and ast.unparse(each.targets[0]) == node.id
    ]
    return max(above, key=lambda each: each.lineno).value if above else node


def _codes(node: ast.expr) -> Iterator[str]:
    """The literals an expression may be; none for a name."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from _codes(node.body)
        yield from _codes(node.orelse)


def _dictionaries(tree: ast.AST) -> Iterator[tuple[str, ast.Dict]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target.id, node.value) for target in targets if isinstance(target, ast.Name))


def _keys(node: ast.expr, known: dict[str, ast.Dict]) -> frozenset[str] | None:
    if isinstance(node, ast.Name):
        return _keys(known[node.id], known) if node.id in known else None
    if not isinstance(node, ast.Dict):
        return None
    keys: set[str] = set()
    for key, value in zip(node.keys, node.values, strict=True):
        more = frozenset({str(key.value)}) if isinstance(key, ast.Constant) else _keys(value, known)
        if more is None:
            return None
        keys |= more
    return frozenset(keys)
