"""The live inventory in a real Valkey: stale reports are known, and a flush loses liveness and nothing else."""

import pytest

from scheduler.store.live import Live
from tests.builders import NOW, after
from tests.store.databases import valkey

pytestmark = pytest.mark.processes
NODE = ("sz", "s1")


@pytest.fixture
def live() -> Live:
    valkey().flushall()
    return Live(valkey())


def test_a_node_is_heard_with_its_readings(live: Live) -> None:
    live.heard(NODE, "b-1", 1, {"s1/0": {"power_milliwatts": 300_000}}, NOW)
    live.heard(("hz", "s1"), "b-1", 1, {}, after(seconds=1))
    assert live.heard_at() == {NODE: NOW, ("hz", "s1"): after(seconds=1)}
    assert live.sensors([NODE, ("sz", "s2")]) == {NODE: {"s1/0": {"power_milliwatts": 300_000}}}
    assert live.sensors([]) == {}


@pytest.mark.parametrize(("boot", "sequence", "stale"), [("b-1", 4, True), ("b-1", 5, True), ("b-1", 6, False), ("b-2", 0, False)])
def test_a_report_is_stale_if_it_is_older_than_the_last_of_its_boot(live: Live, boot: str, sequence: int, stale: bool) -> None:
    live.heard(NODE, "b-1", 5, {}, NOW)
    assert live.is_stale(NODE, boot, sequence) is stale


def test_a_flush_loses_only_liveness_which_the_next_report_brings_back(live: Live) -> None:
    live.heard(NODE, "b-1", 5, {"s1/0": {}}, NOW)
    valkey().flushall()
    assert (live.heard_at(), live.sensors([NODE]), live.ping()) == ({}, {}, True)
    assert not live.is_stale(NODE, "b-1", 5)
    live.heard(NODE, "b-1", 6, {}, after(seconds=10))
    assert live.heard_at() == {NODE: after(seconds=10)}
