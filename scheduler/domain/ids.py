"""Identifiers that sort by time: a prefix, 48 bits of milliseconds and 80 bits of randomness, in Crockford's base 32 (ULID)."""

from datetime import datetime

from scheduler.domain.clock import to_micros

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RANDOM_BYTES = 10


def new_id(prefix: str, now: datetime, randomness: bytes) -> str:
    """`job-01kbq…`: 26 characters after the prefix. `randomness` is `RANDOM_BYTES` long and comes from the caller."""
    number = (to_micros(now) // 1000) << 80 | int.from_bytes(randomness[:RANDOM_BYTES], "big")
    letters = [_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}-{''.join(letters)}"
