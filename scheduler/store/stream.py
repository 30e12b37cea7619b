"""The cost stream: a copy of the end of the journal in Redis, for consumer groups. All of it may be lost; it is filled again.

An entry's id is `<sequence>-0`: Redis itself refuses a record that is there already, whoever sends it, and the last id it was given
says where to go on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson
from redis import Redis, ResponseError

STREAM = "suanwang:cost-records"
FIELD = "event"
"""Each entry's one field: a CloudEvent in the JSON format."""

_ALREADY_THERE = "The ID specified in XADD is equal or smaller"
_NO_STREAM = "no such key"


class End(NamedTuple):
    """Where a stream ends: the last sequence it was given, and the hash of the record there (None: there is none to be read)."""

    sequence: int
    hash: str | None


EMPTY = End(0, None)


class CostStream:
    """Every method raises redis.RedisError when the server cannot be reached."""

    def __init__(self, redis: Redis, window: int) -> None:
        """`window` is how many records are kept at least; Redis may keep some more, as it trims in pieces."""
        self._redis = redis
        self.window = window

    def end(self) -> End:
        """What the server says, not what anybody remembers."""
        try:
            found = self._redis.xinfo_stream(STREAM)
        except ResponseError as error:
            if _NO_STREAM in str(error):
                return EMPTY
            raise
        last_id, last = found["last-generated-id"], found["last-entry"]
        sequence = int(last_id.partition(b"-")[0])
        return End(sequence, _hash_in(last[1]) if last is not None and last[0] == last_id else None)

    def append(self, events: Sequence[tuple[int, str]]) -> int:
        """Add events by their sequence. Returns how many were new: another relay may have been here first."""
        with self._redis.pipeline(transaction=False) as pipe:
            for sequence, event in events:
                pipe.xadd(STREAM, {FIELD: event}, id=f"{sequence}-0", maxlen=self.window, approximate=True)
            answers = pipe.execute(raise_on_error=False)
        refused = [answer for answer in answers if isinstance(answer, Exception)]
        for error in refused:
            if not str(error).startswith(_ALREADY_THERE):
                raise error
        return len(answers) - len(refused)

    def drop(self) -> None:
        """Begin anew. Consumer groups go with it: a consumer makes its own again."""
        self._redis.delete(STREAM)


def _hash_in(fields: dict[bytes, bytes]) -> str | None:
    try:
        return str(orjson.loads(fields[FIELD.encode()])["hash"])
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return None
