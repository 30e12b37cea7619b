"""The process that goes on reporting: `python -m agents.node.loop ORDER`, which `suanwang agent node` becomes.

It carries no command line, no wire models and no HTTP library beyond the standard one, so that an agent on each of thousands of
nodes weighs little (`benchmarks/footprint.py` measures it); what was typed was checked before. ORDER is an `Order` as JSON.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NoReturn

from agents.node import agent, probes
from agents.node.collect import Json, NodeIdentity
from agents.node.reporter import Reporter
from agents.node.watch import Watch
from agents.signals import stop_on_signals
from agents.terms import read_token
from scheduler.domain.hardware import shipped_catalogue

LIGHT = {"MALLOC_ARENA_MAX": "2"}
"""A thread a probe: without this, glibc keeps an arena of memory for each."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the process is to do: whom to report to, as whom, how soon for the first time, and where to say how it stands."""

    city: str
    token_file: str
    hostname: str
    boot: str
    agent_version: str
    first_within_seconds: float
    probe_host: str
    probe_port: int | None
    labels: Mapping[str, str] = field(default_factory=dict)


def become(order: Order) -> NoReturn:
    """Puts the loop in the place of this process, which keeps its id; whoever started it watches on."""
    command = [sys.executable, "-m", __name__, json.dumps(asdict(order))]
    os.execve(sys.executable, command, LIGHT | os.environ)  # noqa: S606 -- no shell


def main(order: Order) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    identity = NodeIdentity(order.hostname, order.boot, order.agent_version, order.labels)
    watch, catalogue, token_file = Watch(probes.shipped()), shipped_catalogue(), Path(order.token_file)
    observed, beat = _told(order.probe_host, order.probe_port)

    def observe(sequence: int) -> Json:
        report = agent.once(identity, watch, catalogue, sequence=sequence, now=datetime.now(UTC))
        observed(report)
        return report

    rng = Random()  # noqa: S311 -- jitter is no secret
    with stop_on_signals() as stop:
        agent.run(observe, lambda: Reporter(order.city, read_token(token_file)), stop, rng, order.first_within_seconds, beat)


def _told(host: str, port: int | None) -> tuple[Callable[[Json], None], agent.Beat]:
    """Who is told of each report when it is made and when it is answered: whoever asks at the port, if there is one."""
    if port is None:
        return (lambda _report: None), (lambda _was_taken: None)
    from prometheus_client import CollectorRegistry, ProcessCollector  # some megabytes, for those alone who want them

    from agents.node.metrics import NodeMetrics
    from agents.standing import Standing, serve_standing

    standing, metrics, registry = Standing(time.monotonic), NodeMetrics(time.monotonic), CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(metrics)
    try:
        serve_standing(host, port, standing, registry)
    except OSError as error:
        sys.exit(f"suanwang agent node: --probe-port {port}: {error.strerror}")

    def beat(was_taken: bool) -> None:
        standing.beat(was_taken)
        metrics.answered(was_taken)

    return metrics.observed, beat


if __name__ == "__main__":
    main(Order(**json.loads(sys.argv[1])))
