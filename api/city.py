"""What every request handler is given: the stores and the clock, behind one name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from api.waiting import Waiting
from scheduler.domain.hardware import Catalogue, shipped_catalogue
from scheduler.service.logs import LogKey, Mark, marks
from scheduler.service.moments import Moments
from scheduler.service.sync import revisions
from scheduler.store.database import Database
from scheduler.store.live import Live

DEFAULT_PUBLIC_URL = "http://127.0.0.1:8471"


@dataclass(frozen=True, slots=True)
class City:
    """One city's stores. `make_id(prefix, now)` gives new identifiers."""

    database: Database
    live: Live
    clock: Callable[[], datetime]
    make_id: Callable[[str, datetime], str]
    make_secret: Callable[[], str]
    moments: Moments = field(default_factory=Moments)
    """The city as the engine sees it, kept up in memory by this process."""
    watches: Waiting[str, str] = field(default_factory=lambda: Waiting(revisions))
    """Agents that wait until what their cluster must run has changed."""
    catalogue: Catalogue = field(default_factory=shipped_catalogue)
    """What the cards that nodes report are, and of which class."""
    logs: Waiting[LogKey, Mark] = field(default_factory=lambda: Waiting(marks))
    """Readers that wait until a log goes on."""
    public_url: str = DEFAULT_PUBLIC_URL
    """The city's address as others know it, without a slash at its end: the `source` of its events."""

    def close_waiting(self) -> None:
        """Answer every request that waits for a change: the process is asked to end."""
        self.watches.close()
        self.logs.close()


def _city(request: Request) -> City:
    city: City = request.app.state.city
    return city


TheCity = Annotated[City, Depends(_city)]
