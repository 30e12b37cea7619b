"""What each example renders to, kept in `golden/` to be read in a review. Write it anew: `python -m tests.chart.golden`."""

import re
from pathlib import Path

from tests.chart.helm import EXAMPLES, template

GOLDEN = Path(__file__).parent / "golden"
_MADE = re.compile(r"\b[A-Za-z0-9]{32}\b")
"""Passwords that are made at the first install."""


def golden(example: Path) -> Path:
    return GOLDEN / example.name


def stable(text: str) -> str:
    """The text without what is different each time, which stands in the trial's Secret alone."""
    documents = text.split("\n---\n")
    return "\n---\n".join(_MADE.sub("MADE-ONCE", each) if "\nkind: Secret\n" in each else each for each in documents)


def main() -> None:
    texts = {golden(example): stable(template("--values", str(example))) for example in EXAMPLES}
    for old in set(GOLDEN.glob("*.yaml")) - set(texts):
        old.unlink()
    for path, text in texts.items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
