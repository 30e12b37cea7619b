"""One API process: uvicorn, and requests that wait for a change answered as soon as the process is asked to end."""

import socket
import sys
from contextlib import suppress

import uvicorn

from api.app import create_app
from api.city import City

GRACE_SECONDS = 5
"""How long requests have to end once the process is asked to."""

STARTUP_FAILED_EXIT_CODE = 3


class _Server(uvicorn.Server):
    """It waits for requests to end before it ends itself; those that wait for a change end first."""

    def __init__(self, config: uvicorn.Config, city: City) -> None:
        super().__init__(config)
        self._city = city

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._city.close_waiting()
        await super().shutdown(sockets)


def serve(city: City, host: str, port: int) -> None:
    """Serve until a signal asks the process to end."""
    app = create_app(city)
    server = _Server(
        uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS),
        city,
    )
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILED_EXIT_CODE)
