"""A vendor's library where it is there and works, and its command where it is not or does not."""

from dataclasses import replace

from agents.node.probes.child import ChildError, ChildProbe
from agents.node.probes.printed import joined
from agents.node.probes.probe import Reading
from agents.node.probes.tool import ToolProbe

REST_PROBES = 60
"""How many times the command is asked after the library has failed, before that is tried again: ten minutes."""


class Preferred:
    """Both must name a card alike. One that hangs or crashes has cost its child; the command's reading then says why."""

    def __init__(self, library: ChildProbe, tool: ToolProbe) -> None:
        self.name = tool.name
        self._library, self._tool = library, tool
        self._rest = 0
        self._why: str | None = None

    def probe(self) -> Reading:
        """Raises ChildError where the library has failed and the command knows of no card."""
        if self._rest:
            self._rest -= 1
        elif self._library.is_there():
            try:
                reading = self._library.probe()
            except ChildError as error:
                self._why, self._rest = str(error), REST_PROBES
            else:
                self._why = None
                return reading
        reading = self._tool.probe()
        if self._why is None:
            return reading
        if not reading.devices:
            raise ChildError(self._why)
        return replace(reading, error=joined([f"read by {self.name}: {self._why}", *([reading.error] if reading.error else [])]))
