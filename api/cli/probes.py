"""What a process without an API answers to probes and to Prometheus: `/livez`, `/readyz` and `/metrics`, on a port of its own."""

from collections.abc import Callable, Iterable
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app


def start_probes(host: str, port: int, registry: CollectorRegistry, is_ready: Callable[[], bool]) -> None:
    """Answer in a thread that ends with the process. Raises OSError where the port is taken."""
    server = make_server(host, port, probes(registry, is_ready), handler_class=_Quiet)
    Thread(target=server.serve_forever, daemon=True).start()


def probes(registry: CollectorRegistry, is_ready: Callable[[], bool]) -> WSGIApplication:
    """`/readyz` is 503 while `is_ready` says no; any other path than the three is 404."""
    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/livez" or (path == "/readyz" and is_ready()):
            status, text = "200 OK", b"ok\n"
        else:
            status, text = ("503 Service Unavailable", b"not ready\n") if path == "/readyz" else ("404 Not Found", b"not found\n")
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [text]

    return answer


class _Quiet(WSGIRequestHandler):
    """A probe every few seconds is nothing to log."""

    def log_message(self, format: str, *args: object) -> None:
        pass
