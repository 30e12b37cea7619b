"""Time at the border: aware UTC datetimes in, RFC 3339 out; nothing here reads a clock."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")
"""Where statements, claim years and year boundaries are reckoned."""

MICROS_PER_SECOND = 1_000_000

_DURATION = re.compile(r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?", re.ASCII)


def parse_duration_seconds(text: str) -> int:
    """Seconds from `90s`, `30m`, `24h`, `7d` or a sum such as `1h30m`. Raises ValueError naming what is allowed."""
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(f"{text!r} is not a duration: write for example 90s, 30m, 24h, 7d or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def format_duration(seconds: int) -> str:
    """The shortest exact form `parse_duration_seconds` reads back."""
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def to_micros(moment: datetime) -> int:
    """Whole microseconds since the epoch of an aware datetime. Raises ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone was given where an aware one is needed")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def rfc3339(moment: datetime) -> str:
    """The text of an aware datetime, in UTC. Raises ValueError for a naive one."""
    return from_micros(to_micros(moment)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def rfc3339_seconds(moment: datetime) -> str:
    """The same to the second, for people. Raises ValueError for a naive one."""
    return from_micros(to_micros(moment)).isoformat(timespec="seconds").replace("+00:00", "Z")
