"""What the documents say of the benchmarks is what was measured."""

from pathlib import Path

from benchmarks.table import table

README = Path(__file__).parents[1] / "benchmarks" / "README.md"


def test_the_table_in_the_readme_is_that_of_the_results() -> None:
    shown = "\n".join(table())
    assert shown in README.read_text("utf-8"), "the table has changed; put the output of `python -m benchmarks.table` in its place"


def test_every_row_has_been_measured() -> None:
    assert "not measured" not in "\n".join(table())
