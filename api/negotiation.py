"""Which of several forms of an answer somebody wants (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Header

MAX_RANGES = 20
"""Media ranges of an Accept header that are looked at; a browser sends about six."""


def preferred(accept: str, offered: Sequence[str]) -> str:
    """The media type of `offered` that an Accept header likes best; of those it likes equally the one it names, and else the first,
    which is also the answer to whoever likes none of them."""
    wanted = dict(map(_range, accept.split(",")[:MAX_RANGES]))

    def liking(media_type: str) -> tuple[float, int]:
        ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
        return next(((wanted[each], -place) for place, each in enumerate(ranges) if each in wanted), (0.0, 0))

    return max(offered, key=liking)


def _range(text: str) -> tuple[str, float]:
    """A media range and its quality. A quality that is none counts as none given."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return name, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return name, 1.0


def _accept(accept: Annotated[str, Header(include_in_schema=False)] = "*/*") -> str:  # OpenAPI says it by the media types
    return accept


Accept = Annotated[str, Depends(_accept)]
