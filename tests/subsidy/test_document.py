"""YAML as cases and policies need it."""

import pytest

from scheduler.subsidy.document import load_document


def test_on_is_a_key_and_only_true_and_false_are_booleans() -> None:
    assert load_document("{on: off, yes: no, a: true, b: false}") == {"on": "off", "yes": "no", "a": True, "b": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not a YAML document"),
        ("a: 1\na: 2", "the key 'a' is given twice"),
        ("on: 2025-13-45", "not a YAML document"),
        ("[" * 5000, "not a YAML document"),
        ("!!python/object/apply:os.system [ls]", "not a YAML document"),
    ],
)
def test_what_is_not_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_document(text)
