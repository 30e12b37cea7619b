"""What both agents need to speak to a city whatever carries it: the token, what can go wrong, and how long to wait then.

No HTTP library and no wire model is imported here, so that the node agent's process carries neither.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

TIMEOUT_SECONDS = 10.0
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MOST_SECONDS = 30.0
RETRY_AFTER_MOST_SECONDS = 300
"""A city that asks for more is asked again after this long: a wrong header must not silence a node for a day."""
RETRY_AFTER_SPREAD = 2.0
"""All that were turned away in one second hear the same Retry-After: each waits up to so many times as long, by chance."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")


class CityUnavailableError(Exception):
    """The city did not answer, or answered that it cannot now (429, 5xx): try again later.

    `retry_after_seconds` is what it asked for (RFC 9110, 10.2.3, as seconds), None where it said nothing.
    """

    def __init__(self, what: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(what)
        self.retry_after_seconds = retry_after_seconds


class CityRefusedError(Exception):
    """The city refused what was said (4xx): saying it again will not help. `code` is the problem's stable code."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the city refused ({status} {code}): {detail}")
        self.status = status
        self.code = code


def backoff_seconds(rng: Random) -> Iterator[float]:
    """Delays between retries: doubling from half a second to thirty, each with full jitter so that agents do not stampede."""
    ceiling = BACKOFF_FIRST_SECONDS
    while True:
        yield rng.uniform(0, ceiling)
        ceiling = min(ceiling * 2, BACKOFF_MOST_SECONDS)


def retry_seconds(error: CityUnavailableError, backoff: Iterator[float], rng: Random) -> float:
    """How long to wait after a failure: the next delay of `backoff`, and never less than the city asked for."""
    delay = next(backoff)
    if error.retry_after_seconds is None:
        return delay
    return max(delay, error.retry_after_seconds * rng.uniform(1, RETRY_AFTER_SPREAD))


def retry_after_seconds(header: str | None) -> int | None:
    """The seconds a Retry-After header asks for. One that holds a date or anything else is as good as none."""
    asked = (header or "").strip()
    return min(int(asked), RETRY_AFTER_MOST_SECONDS) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None


def read_token(path: Path) -> str:
    """The bearer token in a file, without surrounding whitespace. Raises OSError where there is no file.

    Raises ValueError unless it is one printable word: anything else would end up, token and all, in an HTTP library's error.
    """
    token = path.read_text("utf-8", errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{path} does not hold a token: one line of printable ASCII without spaces is expected")
    return token
