"""The live inventory: what node agents last reported, in Redis. All of it may be lost and comes back with the next reports."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import cast

from redis import Redis

from scheduler.domain.clock import from_micros, to_micros

_HEARD = "suanwang:nodes:heard"
_SENSORS = "suanwang:nodes:sensors"
_ORDER = "suanwang:nodes:order"
_SEPARATOR = "/"  # a hostname cannot contain it

NodeKey = tuple[str, str]
"""(cluster, hostname)."""


class Live:
    """What is known of nodes right now. Every method raises redis.RedisError when the server cannot be reached."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def is_stale(self, node: NodeKey, boot: str, sequence: int) -> bool:
        """Whether a report is older than one already taken from the same boot of the agent."""
        last = cast("bytes | None", self._redis.hget(_ORDER, _field(node)))
        if last is None:
            return False
        last_boot, last_sequence = json.loads(last)
        return bool(last_boot == boot and sequence <= last_sequence)

    def heard(self, node: NodeKey, boot: str, sequence: int, sensors: Mapping[str, object], now: datetime) -> None:
        """Note that a node reported at `now`, and its sensors' readings."""
        field = _field(node)
        pipe = self._redis.pipeline()
        pipe.hset(_HEARD, field, str(to_micros(now)))
        pipe.hset(_ORDER, field, json.dumps([boot, sequence]))
        pipe.hset(_SENSORS, field, json.dumps(sensors))
        pipe.execute()

    def heard_at(self) -> dict[NodeKey, datetime]:
        """When each node last reported; a node that is missing has not since Redis last started empty."""
        found = cast("dict[bytes, bytes]", self._redis.hgetall(_HEARD))
        return {_node(field): from_micros(int(micros)) for field, micros in found.items()}

    def sensors(self, nodes: list[NodeKey]) -> dict[NodeKey, Mapping[str, object]]:
        """The last readings of some nodes."""
        if not nodes:
            return {}
        found = cast("list[bytes | None]", self._redis.hmget(_SENSORS, [_field(node) for node in nodes]))
        return {node: json.loads(readings) for node, readings in zip(nodes, found, strict=True) if readings is not None}

    def ping(self) -> bool:
        return bool(self._redis.ping())


def _field(node: NodeKey) -> str:
    return _SEPARATOR.join(node)


def _node(field: bytes) -> NodeKey:
    cluster, _, hostname = field.decode().partition(_SEPARATOR)
    return cluster, hostname
