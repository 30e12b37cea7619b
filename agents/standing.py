"""How a process that runs a loop stands, told at `/startupz`, `/readyz`, `/livez` and `/metrics` on a port of its own.

The three probes ask three things. Startup: has the loop gone round once (a database that is being migrated, a driver that is slow
to start). Ready: did those it speaks to answer in the last round; a process that is not is left alone, it tries again by itself.
Live: does the loop still go round; one that does not is stuck in something no deadline covers, and only a restart helps.
"""

import socket
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

STUCK_SECONDS = 900.0
"""A loop that has not come round for this long is stuck: thrice the longest that an agent is ever told to wait."""
CLIENT_SECONDS = 10
"""For a client to ask; one that connects and says nothing keeps nobody else waiting."""


class Standing:
    """What a loop says of itself after each round; read by another thread. `monotonic` is a clock in seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._beat_at: float | None = None
        self._is_ready = False

    def beat(self, is_ready: bool) -> None:
        """A round has ended, and this says whether everybody answered in it."""
        self._beat_at, self._is_ready = self._monotonic(), is_ready

    def has_started(self) -> bool:
        return self._beat_at is not None

    def is_ready(self) -> bool:
        return self._is_ready

    def is_live(self) -> bool:
        """True also before the first round: how long that may take is for the startup probe to say."""
        beat_at = self._beat_at
        return beat_at is None or self._monotonic() - beat_at <= STUCK_SECONDS


def serve_standing(host: str, port: int | None, standing: Standing, registry: CollectorRegistry) -> None:
    """Answer in a thread that ends with the process, if there is a port. Raises OSError where it is taken."""
    if port is None:
        return
    server = _Server((host, port), _Quiet) if ":" not in host else _Server6((host, port), _Quiet)
    server.set_app(answers(standing, registry))
    Thread(target=server.serve_forever, daemon=True).start()


def answers(standing: Standing, registry: CollectorRegistry) -> WSGIApplication:
    """Each probe is 200 or 503; any other path than the four is 404."""
    metrics: WSGIApplication = make_wsgi_app(registry)
    asked = {"/startupz": standing.has_started, "/readyz": standing.is_ready, "/livez": standing.is_live}

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path not in asked:
            status, text = "404 Not Found", b"not found\n"
        elif asked[path]():
            status, text = "200 OK", b"ok\n"
        else:
            status, text = "503 Service Unavailable", b"no\n"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    """A probe every few seconds is nothing to log."""

    timeout = CLIENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        pass
