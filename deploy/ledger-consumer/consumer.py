"""A voucher ledger's end of the cost feed, to copy from: every record once, in order, verified, whatever is killed and when.

The ledger is one SQLite file. Its position in the feed is the last record it has, so the two cannot disagree, and only what follows
that record in the chain is stored. The Redis stream brings records at once, some of them twice; what it does not bring (it was
flushed or trimmed, its relay is down) is read over HTTP. An entry is acknowledged after its record has been stored.
A feed that is not the one read so far ends it with a message, for a person to look at. To run it:
    python consumer.py CITY_URL FILE_WITH_TOKEN FILE_WITH_REDIS_URL LEDGER.db
"""

import hashlib
import json
import logging
import random
import socket
import sqlite3
import sys
import time
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import redis

STREAM, GROUP = "suanwang:cost-records", "ledger"
BATCH, BLOCK_MS, IDLE_MS, MAX_PAUSE_SECONDS = 200, 1000, 5000, 2.0
TABLE = """CREATE TABLE IF NOT EXISTS records
    (sequence INTEGER PRIMARY KEY, id TEXT UNIQUE, hash TEXT NOT NULL, contracted_micros INTEGER NOT NULL, body TEXT NOT NULL)"""


def position(ledger: sqlite3.Connection) -> tuple[int, str]:
    """The sequence and the hash of the last record stored."""
    return ledger.execute("SELECT sequence, hash FROM records ORDER BY sequence DESC LIMIT 1").fetchone() or (0, "0" * 64)


def store(ledger: sqlite3.Connection, records: list[dict[str, Any]]) -> bool:
    """Store what follows the last record, up to the first hole, in one transaction. Whether there was no hole."""
    with ledger:
        ledger.execute("BEGIN IMMEDIATE")
        sequence, previous = position(ledger)
        for record in sorted(records, key=lambda each: each["sequence"]):
            if record["sequence"] > sequence + 1:
                return False
            body = {key: value for key, value in record.items() if key != "hash"}
            text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            known = ledger.execute("SELECT hash FROM records WHERE sequence = ?", (record["sequence"],)).fetchone()
            follows = record["previous_hash"] == previous if known is None else record["hash"] == known[0]
            if not follows or record["hash"] != hashlib.sha256(text.encode()).hexdigest():
                raise SystemExit(f"{record['id']} does not follow from what was read before")
            if known is None:
                sequence, previous = record["sequence"], record["hash"]
                micros = int(Decimal(record["contracted_amount"]) * 1_000_000)
                ledger.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", (sequence, record["id"], previous, micros, text))
    return True


def catch_up(ledger: sqlite3.Connection, city: httpx.Client) -> None:
    """Read on over HTTP to the end of the feed."""
    after, head = position(ledger)[0], -1
    while after != head:
        page = city.get("/v1/cost-records", params={"after": after}).raise_for_status().json()
        store(ledger, page["records"])
        after, head = page["next"], page["head_sequence"]
        if head < after:
            raise SystemExit(f"the feed ends at {head} and was read up to {after}")


def follow(ledger: sqlite3.Connection, city: httpx.Client, stream: Any, name: str) -> None:
    """Read the stream as one of its group until something does not answer. A group that a flush took away is made again."""
    catch_up(ledger, city)
    with suppress(redis.ResponseError):  # there is one already
        stream.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    while True:
        left = stream.xautoclaim(STREAM, GROUP, name, min_idle_time=IDLE_MS, count=BATCH)[1]  # by one that was killed
        new = stream.xreadgroup(GROUP, name, {STREAM: ">"}, count=BATCH, block=BLOCK_MS)
        entries = left + (new[0][1] if new else [])
        records = [json.loads(fields[b"event"])["data"] for _, fields in entries]
        if not records or not store(ledger, records):
            catch_up(ledger, city)  # what the stream has not brought
        if records and store(ledger, records):
            stream.xack(STREAM, GROUP, *(entry for entry, _ in entries))


def main(url: str, token_file: str, redis_file: str, ledger_file: str) -> None:
    ledger = sqlite3.connect(ledger_file, isolation_level=None, timeout=30)
    ledger.execute(TABLE)
    city = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {Path(token_file).read_text().strip()}"})
    while True:
        try:  # the address is read each time: Redis may have come back at another
            stream = redis.Redis.from_url(Path(redis_file).read_text().strip(), socket_timeout=10)
            follow(ledger, city, stream, socket.gethostname())
        except (redis.RedisError, httpx.HTTPError) as error:
            logging.warning("%s: reading on in a moment", type(error).__name__)
            time.sleep(random.uniform(0, MAX_PAUSE_SECONDS))  # noqa: S311 -- jitter is no secret


if __name__ == "__main__":
    main(*sys.argv[1:])
