"""Xid errors: what the NVIDIA driver says of a card's faults, as NVML's events tell it between two probes.

Codes: https://docs.nvidia.com/deploy/xid-errors/. Which of them speak of a program and leave the card sound is taken from
NVIDIA's own device plugin for Kubernetes (`internal/rm/health.go`).
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import pynvml

APPLICATION_XIDS = frozenset({13, 31, 43, 45, 68, 109})
MAX_EVENTS = 64
"""Read at once; the rest waits for the next probe."""
MAX_CODES = 8
"""Kept of one card; a report carries few reasons, and the first ones tell what happened."""

Value = TypeVar("Value")


class NvmlEvents(Protocol):
    """The functions this module calls. The module `pynvml` is one; each raises `pynvml.NVMLError`."""

    def nvmlEventSetCreate(self) -> Any: ...
    def nvmlDeviceRegisterEvents(self, handle: Any, types: int, events: Any) -> None: ...
    def nvmlEventSetWait_v2(self, events: Any, milliseconds: int) -> Any: ...
    def nvmlDeviceGetUUID(self, handle: Any) -> str: ...


class XidWatch:
    """The faults of cards since they were first watched, by UUID. They stay until NVML is started afresh: nobody says "healed"."""

    def __init__(self, nvml: NvmlEvents) -> None:
        self._nvml = nvml
        self._events = _read(nvml.nvmlEventSetCreate)
        self._watched: set[str] = set()
        self._codes: dict[str, dict[int, None]] = {}

    def watch(self, handle: Any, uuid: str) -> None:
        """Once for a card; one without events is never told of."""
        if self._events is not None and uuid not in self._watched:
            self._watched.add(uuid)
            _read(self._nvml.nvmlDeviceRegisterEvents, handle, pynvml.nvmlEventTypeXidCriticalError, self._events)

    def drain(self) -> None:
        """Takes up what has happened, and waits for nothing."""
        for _ in range(MAX_EVENTS if self._watched else 0):
            event = _read(self._nvml.nvmlEventSetWait_v2, self._events, 0)
            if event is None:
                return
            uuid = _read(self._nvml.nvmlDeviceGetUUID, event.device)
            if uuid is not None and event.eventData not in APPLICATION_XIDS:
                self._codes.setdefault(uuid, {})[event.eventData] = None

    def reasons(self, uuid: str) -> list[str]:
        """Such as `xid_79`, in the order in which they came."""
        return [f"xid_{code}" for code in self._codes.get(uuid, {})][:MAX_CODES]


def _read(function: Callable[..., Value], *arguments: Any) -> Value | None:
    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None
