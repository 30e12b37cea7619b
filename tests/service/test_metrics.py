"""What the dispatcher counts, on a town of its own: rounds, grants, stops and their causes."""

from datetime import timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from scheduler.contract.window import WindowKind, WindowSpec
from scheduler.service.dispatcher import Dispatcher
from scheduler.service.metrics import RoundMetrics
from scheduler.store.database import CITY
from scheduler.store.tables import WindowRow
from tests.service.town import Town

pytestmark = pytest.mark.processes


def samples(metrics: RoundMetrics) -> dict[str, float]:
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return {
        each.name + "".join(f",{value}" for value in each.labels.values()): each.value for fam in families for each in fam.samples
    }


def test_a_dispatcher_counts_its_rounds_and_what_they_decide(town: Town) -> None:
    metrics = RoundMetrics()
    town.dispatcher = Dispatcher(town.database, town.live, "counted", town.pace, town.clock, metrics)
    assert samples(metrics)["suanwang_leading"] == 0
    for _ in range(2):
        town.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 8})
    town.submit(hardware={"models": ["910B3"], "nodes": 2, "per_node": 8})
    town.tick()
    found = samples(metrics)
    assert found["suanwang_leading"] == 1
    assert found["suanwang_round_seconds_count"] == 1
    assert (found["suanwang_grants_total"], found["suanwang_runs"], found["suanwang_queue_lines"]) == (2, 2, 1)
    assert found["suanwang_preemptions_total,maintenance"] == 0
    assert {found[f"suanwang_searches_given_up_total,{search}"] for search in ("preemption", "promise", "move")} == {0}
    for _ in range(3):
        town.tick()
    end = town.now + timedelta(hours=1)
    spec = WindowSpec(kind=WindowKind.MAINTENANCE, cluster="sz", nodes=("s1",), end=end).model_dump(
        mode="json", exclude_defaults=True
    )
    with town.database.write(CITY) as session:
        row = WindowRow(id="win-1", cluster_id="sz", starts_at=town.now, ends_at=end, nodes=["s1"], body=spec, created_at=town.now)
        session.add(row)
    town.tick()
    assert samples(metrics)["suanwang_preemptions_total,maintenance"] == 1
