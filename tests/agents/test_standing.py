"""What probes and Prometheus get from a process that runs a loop."""

import socket
from wsgiref.util import setup_testing_defaults

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from agents.standing import STUCK_SECONDS, Standing, answers, serve_standing


class Seconds:
    """A clock that is turned by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(path: str, standing: Standing, registry: CollectorRegistry | None = None) -> tuple[int, bytes]:
    environ = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    said: list[str] = []
    application = answers(standing, registry or CollectorRegistry())
    body = application(environ, lambda status, _headers, _error=None: said.append(status) or (lambda _: None))  # type: ignore[func-returns-value]
    return int(said[0].split()[0]), b"".join(body)


def statuses(standing: Standing) -> tuple[int, int, int]:
    started, ready, live = (ask(path, standing)[0] for path in ("/startupz", "/readyz", "/livez"))
    return started, ready, live


def test_the_three_probes_ask_three_things() -> None:
    clock = Seconds()
    standing = Standing(clock)
    assert statuses(standing) == (503, 503, 200)
    standing.beat(False)
    assert statuses(standing) == (200, 503, 200)
    standing.beat(True)
    assert statuses(standing) == (200, 200, 200)
    clock.now += STUCK_SECONDS
    assert statuses(standing) == (200, 200, 200)
    clock.now += 1
    assert statuses(standing) == (200, 200, 503)
    standing.beat(False)
    assert statuses(standing) == (200, 503, 200)


def test_a_start_that_takes_long_is_not_stuck() -> None:
    clock = Seconds()
    standing = Standing(clock)
    clock.now += 10 * STUCK_SECONDS
    assert statuses(standing) == (503, 503, 200)


@pytest.mark.parametrize("path", ["/", "/startupz/", "/healthz"])
def test_other_paths_are_not_found(path: str) -> None:
    assert ask(path, Standing(Seconds()))[0] == 404


def test_metrics_are_prometheus_s_text() -> None:
    registry = CollectorRegistry()
    Counter("beats", "Beats.", registry=registry).inc()
    status, body = ask("/metrics", Standing(Seconds()), registry)
    assert status == 200
    assert b"beats_total 1.0" in body


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_one_who_connects_and_says_nothing_keeps_nobody_waiting(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    standing = Standing(Seconds())
    standing.beat(True)
    serve_standing(host, port, standing, CollectorRegistry())
    with socket.create_connection((host, port)):
        assert httpx.get(f"http://{f'[{host}]' if ':' in host else host}:{port}/readyz", timeout=5).status_code == 200
