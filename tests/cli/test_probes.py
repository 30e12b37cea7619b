"""What probes and Prometheus get from a process without an API."""

from wsgiref.util import setup_testing_defaults

import pytest
from prometheus_client import CollectorRegistry, Counter

from api.cli.probes import probes


def ask(path: str, *, ready: bool) -> tuple[str, bytes]:
    registry = CollectorRegistry()
    Counter("beats", "Beats.", registry=registry).inc()
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    said: list[str] = []
    body = probes(registry, lambda: ready)(environ, lambda status, _headers, _error=None: said.append(status) or (lambda _: None))  # type: ignore[func-returns-value]
    return said[0], b"".join(body)


@pytest.mark.parametrize("ready", [True, False])
def test_live_always_and_ready_when_it_is(ready: bool) -> None:
    assert ask("/livez", ready=ready)[0] == "200 OK"
    assert ask("/readyz", ready=ready)[0] == ("200 OK" if ready else "503 Service Unavailable")
    assert ask("/", ready=ready)[0] == "404 Not Found"


def test_metrics_are_prometheus_s_text() -> None:
    status, body = ask("/metrics", ready=False)
    assert status == "200 OK"
    assert b"beats_total 1.0" in body
