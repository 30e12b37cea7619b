"""Nodes that appear, disappear, change and are closed while jobs run: what the city is told, on the double or a real cluster."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agents.cluster.agent import LOOK_SECONDS, Reports
from agents.cluster.command import _kubernetes
from agents.cluster.kubernetes.client import Object
from agents.cluster.kubernetes.inventory import Rules
from agents.cluster.kubernetes.nodes import KubernetesNodes
from agents.cluster.kubernetes.resources import NODES
from agents.cluster.kubernetes.watch import Watched
from agents.cluster.launcher import LauncherUnavailableError
from agents.terms import CityUnavailableError
from scheduler.contract.inventory import NodeReport
from scheduler.domain.hardware import Health, shipped_catalogue
from tests.agents.cluster.doubles import START, MemoryCity
from tests.agents.cluster.kube.test_kube_watch import Hasty, until
from tests.agents.cluster.kube.world import Kube

GPU = "nvidia.com/gpu"
H20 = {"nvidia.com/gpu.product": "NVIDIA-H20", "nvidia.com/gpu.memory": "97871", "topology.kubernetes.io/zone": "sz-1"}
RULES = Rules("c1", shipped_catalogue())


@contextmanager
def watching_nodes(kube: Kube) -> Iterator[Watched]:
    with Watched(kube.api, NODES, None, label_selector=f"suanwang-test={kube.namespace}", rng=Hasty()) as watched:
        yield watched


@contextmanager
def reporting(kube: Kube) -> Iterator[KubernetesNodes]:
    with watching_nodes(kube) as watched:
        yield KubernetesNodes(watched, RULES, boot="boot-1", agent_version="1", clock=lambda: START)


def healths(report: NodeReport) -> list[Health]:
    return [card.health for card in report.accelerators]


# What holds on every cluster


def test_a_node_is_reported_as_kubernetes_has_it(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 8}, labels=H20, cpu="191500m", memory="1007Gi")
    with reporting(kube) as site:
        assert site.hostnames() == [name]
        report = site.report(name)
        assert (report.hostname, report.sequence, site.report(name).sequence) == (name, 1, 2)
        assert (report.cpu_cores, report.memory_bytes) == (191, 1007 * 2**30)
        assert report.labels == {"zone": "sz-1"}
        assert [card.model for card in report.accelerators] == ["H20"] * 8
        assert report.accelerators[7].uuid == f"c1:{name}:nvidia:7"
        assert report.probes[0].model_dump(exclude_none=True) == {"probe": "kubernetes", "found": 8}


def test_a_node_that_appears_is_reported_and_one_that_disappears_loses_its_cards(kube: Kube) -> None:
    first = kube.world.add_node("a", cards={GPU: 8}, labels=H20)
    with reporting(kube) as site:
        assert site.hostnames() == [first]
        second = kube.world.add_node("b", cards={GPU: 4}, labels=H20)
        until(lambda: second in site.hostnames() and len(site.report(second).accelerators) == 4)
        kube.world.remove_node(first)
        until(lambda: site.hostnames() == [second])
        gone = site.report(first)
        assert (gone.accelerators, gone.closed) == ([], ["node_gone"])
        assert "not in the cluster any more" in (gone.probes[0].error or "")


def test_a_node_that_changes_its_card_count_keeps_the_ids_of_those_that_stay(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 8}, labels=H20)
    with reporting(kube) as site:
        before = [card.uuid for card in site.report(name).accelerators]
        kube.world.set_cards(name, {GPU: 6})
        until(lambda: len(site.report(name).accelerators) == 6)
        assert [card.uuid for card in site.report(name).accelerators] == before[:6]
        kube.world.set_cards(name, {GPU: 8})
        until(lambda: len(site.report(name).accelerators) == 8)
        assert [card.uuid for card in site.report(name).accelerators] == before


def test_a_card_that_its_plugin_withdraws_is_degraded(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 7}, capacity={GPU: 8}, labels=H20)
    with reporting(kube) as site:
        assert healths(site.report(name)) == [Health.HEALTHY] * 7 + [Health.DEGRADED]


def test_a_cordoned_node_keeps_its_cards_but_offers_none(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 2}, labels=H20)
    with reporting(kube) as site:
        kube.world.patch_node(name, {"spec": {"unschedulable": True}})
        until(lambda: healths(site.report(name)) == [Health.DEGRADED] * 2)
        assert site.report(name).accelerators[0].health_reasons == ["node_cordoned"]
        kube.world.patch_node(name, {"spec": {"unschedulable": None}})
        until(lambda: healths(site.report(name)) == [Health.HEALTHY] * 2)


def test_a_node_that_falls_silent_has_lost_its_cards(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 2}, labels=H20)
    with reporting(kube) as site:
        kube.world.set_ready(name, False)
        until(lambda: healths(site.report(name)) == [Health.LOST] * 2)
        assert site.report(name).accelerators[0].health_reasons[0] == "node_silent"


def test_a_node_without_cards_is_closed_too(kube: Kube) -> None:
    name = kube.world.add_node("a")
    with reporting(kube) as site:
        assert site.hostnames() == [name]
        kube.world.patch_node(name, {"spec": {"unschedulable": True}})
        until(lambda: site.report(name).closed == ["node_cordoned"])
        kube.world.patch_node(name, {"spec": {"unschedulable": None}})
        until(lambda: site.report(name).closed == [])


def test_a_node_that_is_no_longer_selected_is_none_of_the_citys(kube: Kube) -> None:
    name = kube.world.add_node("a", cards={GPU: 2}, labels={**H20, "pool": "city"})
    with watching_nodes(kube) as watched:
        rules = replace(RULES, node_selector={"pool": "city"})
        site = KubernetesNodes(watched, rules, boot="boot-1", agent_version="1", clock=lambda: START)
        assert site.hostnames() == [name]
        kube.world.patch_node(name, {"metadata": {"labels": {"pool": "own"}}})
        until(lambda: site.hostnames() == [])
        assert site.report(name).accelerators == []


@pytest.mark.parametrize("source", ["allocatable", "node-agents"])
def test_the_command_reports_nodes_where_the_configuration_says_so(
    kube: Kube, kubeconfig: Path, tmp_path: Path, source: str
) -> None:
    """And where node agents sit on them it does not: no card is counted twice."""
    name = kube.world.add_node("a", cards={GPU: 2}, labels={**H20, "example.cn/rack": "r1"})
    config = tmp_path / "cluster.yaml"
    inventory = f"{{source: {source}, labels: {{rack: example.cn/rack}}}}"
    config.write_text(f"namespace: {kube.namespace}\nnode_selector: {{suanwang-test: {kube.namespace}}}\ninventory: {inventory}\n")
    launcher, site = _kubernetes("c1", config, kubeconfig, tmp_path / "data")
    try:
        assert (site is None) == (source == "node-agents")
        if site is not None:
            assert site.hostnames() == [name]
            report = site.report(name)
            assert (len(report.accelerators), report.labels["rack"]) == (2, "r1")
    finally:
        launcher.close()


# The agent's loop, on a clock turned by hand


class Cluster:
    """Nodes as they are said to be; `trouble` instead."""

    def __init__(self) -> None:
        self.nodes: dict[str, Object] = {}
        self.trouble: LauncherUnavailableError | None = None

    def snapshot(self) -> dict[str, Object]:
        if self.trouble:
            raise self.trouble
        return dict(self.nodes)

    def add(self, name: str, cards: int = 1) -> None:
        amounts = {"cpu": "8", "memory": "64Gi", GPU: str(cards)}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
        self.nodes[name] = {"metadata": {"name": name, "labels": H20}, "spec": {}, "status": status}


def loop() -> tuple[Cluster, MemoryCity, Reports]:
    cluster, city = Cluster(), MemoryCity()
    site = KubernetesNodes(cluster, RULES, boot="boot-1", agent_version="1", clock=lambda: START)
    return cluster, city, Reports(city, site, random.Random(1), lambda: 0.0)


def told(city: MemoryCity, hostname: str) -> list[int]:
    return [len(report.accelerators) for report in city.reports if report.hostname == hostname]


def test_nodes_come_and_go_while_the_agent_runs() -> None:
    cluster, city, reports = loop()
    reports.post_due(0.0)
    assert reports.next_due() == LOOK_SECONDS, "a cluster without nodes is looked at again"
    cluster.add("a")
    reports.post_due(10.0)
    cluster.add("b", 4)
    reports.post_due(11.0)
    assert told(city, "b") == [4], "at once"
    del cluster.nodes["a"]
    for now in range(12, 60):
        reports.post_due(float(now))
    assert told(city, "a") == [1, 0], "once more, without cards, and then no longer"
    cluster.add("a", 2)
    reports.post_due(60.0)
    assert told(city, "a")[-1] == 2
    sequences = [report.sequence for report in city.reports if report.hostname == "a"]
    assert sequences == [1, 2, 3]


def test_a_node_that_is_gone_is_told_of_until_the_city_has_heard_it() -> None:
    cluster, city, reports = loop()
    cluster.add("a")
    reports.post_due(0.0)
    del cluster.nodes["a"]
    city.trouble = CityUnavailableError("away")
    for now in range(1, 100):
        reports.post_due(float(now))
    assert told(city, "a") == [1]
    city.trouble = None
    reports.post_due(reports.next_due())
    assert told(city, "a") == [1, 0]


def test_while_the_api_does_not_answer_nothing_is_said_of_any_node(caplog: pytest.LogCaptureFixture) -> None:
    cluster, city, reports = loop()
    cluster.add("a")
    reports.post_due(0.0)
    cluster.trouble = LauncherUnavailableError("nodes: last known 80 s ago")
    now = 0.0
    for _ in range(20):
        now = max(now + 10, reports.next_due())
        reports.post_due(now)
    assert told(city, "a") == [1]
    assert caplog.text.count("last known 80 s ago") == 1
    cluster.trouble = None
    reports.post_due(now + 60)
    assert told(city, "a") == [1, 1]
