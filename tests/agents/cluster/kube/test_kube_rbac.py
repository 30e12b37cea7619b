"""The chart's Role is what the launcher calls, no more and no less: run through on the double, which notes every request."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.cluster.kubernetes import names
from agents.cluster.kubernetes.resources import JOBS, KUEUE_LOCAL_QUEUES, KUEUE_WORKLOADS, POD_GROUPS, RAY_JOBS, VOLCANO_POD_GROUPS
from scheduler.contract.sync import RunState
from tests.agents.cluster.kube.api_server import ApiServer, Seen
from tests.agents.cluster.kube.conftest import write_kubeconfig
from tests.agents.cluster.kube.site import CLUSTER, KEY, Site, site
from tests.agents.cluster.kube.world import Kube
from tests.chart.helm import Document, rendered

AGENT = "agent-token"
DOCUMENT = Path(__file__).parents[4] / "docs" / "kubernetes.md"
KUEUE, VOLCANO = {"kueue": {"queue": "q"}}, {"volcano": {"queue": "q"}}

Config = Mapping[str, object]
Permission = tuple[str, str, bool]
"""A verb, a resource as RBAC says it, and whether it is for the whole cluster."""


def granted(config: Config) -> set[Permission]:
    """What the chart lets a cluster agent of this configuration do."""
    values = f"site.clusterAgent.kubernetes.config={json.dumps(config)}"
    documents = rendered("site-ray", "--set", "site.clusterAgent.launcher=kubernetes", "--set-json", values)
    return {
        (verb, f"{resource}.{group}" if group else resource, kind == "ClusterRole")
        for kind in ("Role", "ClusterRole")
        for rule in _rules(documents, kind)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _rules(documents: Iterable[Document], kind: str) -> list[dict[str, Any]]:
    (role,) = (document for document in documents if document["kind"] == kind)
    rules: list[dict[str, Any]] = role["rules"]
    return rules


def _permission(seen: Seen) -> Permission:
    parts = seen.path.strip("/").split("/")
    group = "" if parts[0] == "api" else parts[1]
    resource = "pods/log" if parts[-1] == "log" else seen.plural
    return seen.verb, f"{resource}.{group}" if group else resource, "namespaces" not in parts


def called(kube: Kube, server: ApiServer, folder: Path, config: Config) -> set[Permission]:
    """What is asked for from the grant of a run to its end, and when there is trouble on the way."""
    folder.mkdir()
    server.tokens.add(AGENT)
    with site(kube, write_kubeconfig(folder / "kubeconfig", server.url, AGENT), folder, **config) as place:
        if config.get("kind") != "rayjob":
            _get_no_pods(place)
        if _begins(config):
            _lose_its_job(place)
            _lose_its_node(place)
        else:
            _stop_it(place)
        place.launcher.forget(*KEY)
    return {_permission(each) for each in server.seen if each.token == AGENT}


def _begins(config: Config) -> bool:
    """Whether pods of it begin here, where there is neither Kueue nor KubeRay."""
    return config.get("kind") != "rayjob" and config["gang"] != KUEUE


def _get_no_pods(place: Site) -> None:
    """Its Job is there and no pod of it, until it is no longer waited for."""
    place.launcher.launch(place.gang())
    place.clock.ahead = 400
    place.seen()
    place.until(RunState.FAILED)
    place.clock.ahead = 0
    place.launcher.forget(*KEY)
    place.kube.world.until(lambda: place.seen() is None)


def _lose_its_job(place: Site) -> None:
    """It runs, its log is read, and its Job is deleted from under its pods."""
    world, server = place.kube.world, place.kube.world.server
    assert server is not None
    place.running()
    world.until(lambda: place.seen() and any(each.path.endswith("/log") for each in server.seen))
    place.kube.api.delete(JOBS, place.kube.namespace, names.run_name(CLUSTER, KEY), propagation="Orphan")
    world.until(lambda: place.seen() and not place.launcher._owners.snapshot())
    place.launcher.stop(*KEY)
    world.until(lambda: place.seen() is None)


def _lose_its_node(place: Site) -> None:
    """It is granted again, twice over, and one of its nodes does not answer any more."""
    place.launcher.launch(place.gang())
    place.running()
    place.kube.world.set_ready(place.kube.world.node_name("n1"), False)
    place.clock.ahead = 310
    place.until(RunState.FAILED)


def _stop_it(place: Site) -> None:
    place.launcher.launch(place.gang())
    place.launcher.launch(place.gang())
    if place.options["gang"] == KUEUE:
        labels = {"kueue.x-k8s.io/job-uid": place.job()["metadata"]["uid"]}
        place.kube.api.create(KUEUE_WORKLOADS, place.kube.namespace, {"metadata": {"name": "w", "labels": labels}})
    place.seen()
    place.launcher.stop(*KEY)
    place.until(RunState.STOPPED)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        ({"gang": "suspend"}, ()),
        ({"gang": "scheduler"}, POD_GROUPS[:1]),
        ({"gang": VOLCANO}, (VOLCANO_POD_GROUPS,)),
        ({"gang": KUEUE}, (KUEUE_WORKLOADS,)),
        ({"gang": "suspend", "kind": "rayjob"}, (RAY_JOBS,)),
    ],
    ids=str,
)
def test_a_configuration_is_granted_what_it_calls_and_no_more(
    kube: Kube, server: ApiServer, tmp_path: Path, config: dict[str, object], kinds: tuple[Any, ...]
) -> None:
    for kind in kinds:
        kube.world.install(kind)
    used, allowed = called(kube, server, tmp_path / "agent", config), granted(config)
    assert used <= allowed, f"missing: {sorted(used - allowed)}"
    of_pods = {("get", "pods/log", False), ("delete", "pods", False), ("get", "nodes", True)}
    assert allowed - used == (set() if _begins(config) else of_pods), f"never called: {sorted(allowed - used)}"


@pytest.mark.parametrize("kinds", [(), POD_GROUPS[:1], (VOLCANO_POD_GROUPS,)], ids=str)
def test_who_finds_out_how_gangs_are_placed_may_look(kube: Kube, server: ApiServer, tmp_path: Path, kinds: tuple[Any, ...]) -> None:
    for kind in (KUEUE_LOCAL_QUEUES, *kinds):
        kube.world.install(kind)
    config = {"gang": "auto"}
    assert called(kube, server, tmp_path / "agent", config) <= granted(config)


def test_auto_is_granted_what_each_way_is_and_a_look_at_all() -> None:
    ways = [granted({"gang": way}) for way in ("suspend", "scheduler", VOLCANO, KUEUE)]
    looks = {("list", f"{kind.plural}.{kind.group}", False) for kind in (KUEUE_LOCAL_QUEUES, VOLCANO_POD_GROUPS, POD_GROUPS[0])}
    assert granted({"gang": "auto"}) == set().union(*ways) | looks


def test_the_document_says_what_the_chart_grants() -> None:
    section = DOCUMENT.read_text("utf-8").partition("## Permissions")[2].partition("\n## ")[0]
    role, _, cluster_role = section.partition("ClusterRole")
    documented = {
        (verb, resource if group == "core" else f"{resource}.{group.strip('`')}", whole)
        for whole, text in ((False, role), (True, cluster_role))
        for group, resource, verbs in re.findall(r"^\| (\S+) \| `(\S+)` \| ([a-z, ]+) \|", text, re.MULTILINE)
        for verb in verbs.split(", ")
    }
    assert documented == granted({"gang": "auto"}) | granted({"gang": "auto", "kind": "rayjob"})
