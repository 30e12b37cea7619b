"""The chain: every record carries the hash of the one before, so that no row can be changed, dropped or moved unseen."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
"""The previous hash of the first record."""


@dataclass(frozen=True, slots=True)
class Break:
    """The first record that does not follow from the one before it."""

    sequence: int
    id: str
    what: str


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends."""

    sequence: int = 0
    hash: str = GENESIS


def canonical(record: Mapping[str, Any]) -> str:
    """The one JSON text of a record that is hashed: sorted keys, no spaces, UTF-8 as it is."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(record: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical text of a record without its own hash."""
    return hashlib.sha256(canonical({key: value for key, value in record.items() if key != "hash"}).encode()).hexdigest()


def append(head: Head, record: Mapping[str, Any]) -> tuple[Head, dict[str, Any]]:
    """The record with its sequence, previous hash and hash, and the head after it."""
    linked = {**record, "sequence": head.sequence + 1, "previous_hash": head.hash}
    linked["hash"] = hash_of(linked)
    return Head(linked["sequence"], linked["hash"]), linked


def verify(head: Head, records: Iterable[Mapping[str, Any]]) -> tuple[Head, Break | None]:
    """Walk records that should follow `head`. Returns the last good head, and the first break if there is one."""
    for record in records:
        what = _fault(head, record)
        if what is not None:
            return head, _break(head, record, what)
        head = Head(record["sequence"], record["hash"])
    return head, None


def _break(head: Head, record: Mapping[str, Any], what: str) -> Break:
    """Where the chain breaks; a record may be so broken that it does not say its own place."""
    sequence = record.get("sequence")
    return Break(sequence if isinstance(sequence, int) else head.sequence + 1, str(record.get("id", "")), what)


def _fault(head: Head, record: Mapping[str, Any]) -> str | None:
    if record.get("sequence") != head.sequence + 1:
        return f"sequence {record.get('sequence')} does not follow {head.sequence}"
    if record.get("previous_hash") != head.hash:
        return "previous_hash is not the hash of the record before"
    if record.get("hash") != hash_of(record):
        return "hash does not match the record's content"
    return None
