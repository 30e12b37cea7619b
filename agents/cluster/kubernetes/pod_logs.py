"""What a pod printed, taken up once: the pod log API can only be asked from a second on, so what was had already comes again.

Each line comes with when it was written (`timestamps=true`), in nanoseconds; a place in a log is such a time and how many lines of
that time were taken. Where a node's clock is put back, its lines are missed until it has caught up. Pure.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")

LOST = "[suanwang: a part of the log was lost here: it was printed faster than it could be read]\n"

_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Up to where a log was taken: the time of the last line, in nanoseconds since the epoch, and how many lines had that time."""

    nanos: int = 0
    lines: int = 0

    @property
    def since(self) -> datetime | None:
        """What to ask from; None for the beginning."""
        return datetime.fromtimestamp(self.nanos // _NANOS, UTC) if self.nanos else None

    def mark(self) -> dict[str, Any]:
        return {"nanos": self.nanos, "lines": self.lines}


def place_of(mark: dict[str, Any]) -> Place:
    """What `mark` gave; the beginning where it is something else."""
    nanos, lines = mark.get("nanos"), mark.get("lines")
    return Place(nanos, lines) if isinstance(nanos, int) and isinstance(lines, int) else Place()


def take(place: Place, answer: bytes, *, cut: bool, last: bool) -> tuple[bytes, Place]:
    """What of an answer is new after `place`, without its times, and the place after it.

    `cut`: the answer was as long as was allowed, so that its last line may be a part of one. A last line without an end is left for
    the next answer, unless there is none (`last`).
    """
    lines = answer.split(b"\n")
    rest = lines.pop()
    whole = [line + b"\n" for line in lines]
    if rest and last and not cut:
        whole.append(rest)
    found = bytearray()
    nanos, count, skip, taking = place.nanos, place.lines, place.lines, place == Place()
    for line in whole:
        stamp = _STAMP.match(line)
        if stamp is None:  # the rest of the line before
            found += line if taking else b""
            continue
        at = _nanos(stamp)
        had = at == place.nanos and skip > 0
        skip -= had
        taking = at >= nanos and not had
        if taking:
            nanos, count = at, (count + 1 if at == nanos else 1)
            found += line[stamp.end() :]
    return bytes(found), Place(nanos, count)


def skipped(place: Place) -> tuple[bytes, Place]:
    """The place a second on, where more was printed in one second than can be read at once; and what is said of the gap."""
    return LOST.encode(), Place((place.nanos // _NANOS + 1) * _NANOS, 0)


def _nanos(stamp: re.Match[bytes]) -> int:
    zone = b"+00:00" if stamp[3] == b"Z" else stamp[3]
    seconds = int(datetime.fromisoformat((stamp[1] + zone).decode()).timestamp())
    return seconds * _NANOS + int((stamp[2] or b"0").ljust(9, b"0"))
