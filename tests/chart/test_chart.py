"""Every example lints, renders to what is kept, fits Kubernetes's schemas, and asks for no more than it needs."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from tests.chart.golden import GOLDEN, golden, stable
from tests.chart.helm import CHART, EXAMPLES, Document, helm, named, rendered, template, workloads

OLDEST, NEWEST = "1.25", "1.37"
"""Of Kubernetes: what Chart.yaml asks for, and the newest whose schemas are here."""
OURS = {"api", "dispatcher", "relay", "cluster-agent", "node-agent"}
"""Containers that run a process of this product for as long as they may."""

each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


@each_example
def test_it_lints(example: Path) -> None:
    result = helm("lint", "--strict", str(CHART), "--namespace", "suanwang", "--values", str(example))
    assert result.returncode == 0, result.stdout


@each_example
def test_it_renders_to_what_is_kept(example: Path) -> None:
    assert stable(template("--values", str(example))) == golden(example).read_text("utf-8"), "python -m tests.chart.golden"


def test_nothing_is_kept_of_examples_that_are_gone() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {path.name for path in EXAMPLES}


@each_example
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_fits_the_schemas_of_kubernetes(example: Path, version: str) -> None:
    for document in rendered(example):
        if document["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(document, version, strict=True)


def test_a_field_kubernetes_does_not_know_would_be_seen() -> None:
    document = named(rendered("city-trial"), "Deployment", "-api")
    document["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(document, NEWEST, strict=True)


@each_example
def test_names_are_unique_and_labels_are_everywhere(example: Path) -> None:
    documents = rendered(example)
    keys = [(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in documents]
    assert len(keys) == len(set(keys))
    for document in documents:
        usual = {"helm.sh/chart", *(f"app.kubernetes.io/{label}" for label in ("name", "instance", "component", "version"))}
        assert usual <= document["metadata"]["labels"].keys()


@each_example
def test_pods_are_without_privileges_but_for_what_a_vendor_needs(example: Path) -> None:
    for document, spec in workloads(rendered(example)):
        for container in spec["containers"]:
            own, pods = container["securityContext"], spec["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert pods["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            special = own.get("privileged") or own["capabilities"].get("add")
            if special:
                assert document["kind"] == "DaemonSet"
            else:
                assert pods["runAsNonRoot"] is True
                assert isinstance(pods["runAsUser"], int)
                assert own["allowPrivilegeEscalation"] is False
                assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["enableServiceLinks"] is False


@each_example
def test_only_who_speaks_to_kubernetes_has_a_token_of_it(example: Path) -> None:
    for document, spec in workloads(rendered(example)):
        speaks = any("--launcher=kubernetes" in container.get("args", ()) for container in spec["containers"])
        assert spec["automountServiceAccountToken"] is speaks, document["metadata"]["name"]


@each_example
def test_the_three_probes_ask_three_things(example: Path) -> None:
    seen = set()
    for _, spec in workloads(rendered(example)):
        for container in spec["containers"]:
            if container["name"] in OURS:
                asked = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "readiness", "liveness")]
                assert asked == ["/startupz", "/readyz", "/livez"]
                seen.add(container["name"])
    assert seen


@each_example
def test_every_pod_has_a_network_policy_and_every_service_a_port_of_its_pods(example: Path) -> None:
    documents = rendered(example)
    for document, spec in workloads(documents):
        labels = document["spec"]["template"]["metadata"]["labels"]
        policies = [found for found in documents if found["kind"] == "NetworkPolicy"]
        assert any(fits(policy["spec"]["podSelector"], labels) for policy in policies)
        services = [found for found in documents if found["kind"] == "Service"]
        services = [found for found in services if found["spec"]["selector"].items() <= labels.items()]
        ports = {port["name"] for container in spec["containers"] for port in container.get("ports", ())}
        assert document["kind"] == "Job" or services
        assert {port["targetPort"] for service in services for port in service["spec"]["ports"]} <= ports
        assert all(port["name"] for service in services for port in service["spec"]["ports"])


@each_example
def test_who_watches_and_who_protects_finds_pods(example: Path) -> None:
    documents = rendered(example)
    pods = [document["spec"]["template"]["metadata"]["labels"] for document, _ in workloads(documents)]
    services = [document["metadata"]["labels"] for document in documents if document["kind"] == "Service"]
    for document in documents:
        if document["kind"] == "PodDisruptionBudget":
            assert any(fits(document["spec"]["selector"], labels) for labels in pods)
        if document["kind"] == "ServiceMonitor":
            assert any(fits(document["spec"]["selector"], labels) for labels in services)


@each_example
def test_every_mount_has_its_volume(example: Path) -> None:
    for document, spec in workloads(rendered(example)):
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        volumes |= {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", ())}
        mounts = {mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]}
        assert mounts == volumes, document["metadata"]["name"]


def fits(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return bool(selector["matchLabels"].items() <= labels.items())


def job_name(*arguments: str) -> str:
    return str(named_kind(rendered("city-production", *arguments), "Job")["metadata"]["name"])


def named_kind(documents: list[Document], kind: str) -> Document:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


def test_one_migration_job_for_each_release() -> None:
    """A Job cannot be changed: it needs another name exactly when what it runs is another."""
    assert job_name() == job_name("--set", "city.api.replicas=5", "--set", "commonLabels.owner=other")
    others = ("image.city.tag=0.2.0", "city.database.existingSecret=other")
    assert len({job_name(), *(job_name("--set", other) for other in others)}) == 3


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ([], "registry.example.cn/suanwang/suanwang-city:0.1.0"),
        (["image.city.tag=0.2.0"], "registry.example.cn/suanwang/suanwang-city:0.2.0"),
        ([f"image.city.digest=sha256:{'0' * 64}"], f"registry.example.cn/suanwang/suanwang-city@sha256:{'0' * 64}"),
        (["image.city.repository=other.example.cn/city"], "other.example.cn/city:0.1.0"),
        (["image.registry=localhost:5000/"], "localhost:5000/suanwang-city:0.1.0"),
        (["image.registry="], "suanwang-city:0.1.0"),
    ],
)
def test_images_by_tag_or_digest_from_any_registry(values: list[str], image: str) -> None:
    arguments = [part for value in values for part in ("--set", value)]
    api = named(rendered("city-production", *arguments), "Deployment", "-api")
    assert api["spec"]["template"]["spec"]["containers"][0]["image"] == image


def test_what_changes_starts_pods_anew_and_nothing_else_does() -> None:
    def pods(*arguments: str) -> list[Any]:
        found = rendered("site-kubernetes", *arguments)
        return [named(found, *agent)["spec"]["template"] for agent in (("Deployment", "-cluster-agent"), ("DaemonSet", "-gpu"))]

    assert pods() == pods("--set", "serviceMonitor.enabled=true")
    agent, node = pods()
    other_agent, same_node = pods("--set", "site.clusterAgent.kubernetes.config.not_placed_seconds=60")
    assert (agent != other_agent, node == same_node) == (True, True)
    token = ("--set", "site.token.existingSecret=,site.token.value=")
    assert all(one != other for one, other in zip(pods(*token[:1], f"{token[1]}a"), pods(*token[:1], f"{token[1]}b"), strict=True))


def test_passwords_are_made_and_not_written_down() -> None:
    one, other = (named_kind(rendered("city-trial", "--set", f"commonLabels.n={n}"), "Secret")["stringData"] for n in "ab")
    for key in ("postgresql-password", "valkey-password", "ledger-password"):
        assert len(one[key]) == 32
        assert one[key] != other[key]
    assert one["valkey-password"] in one["redis-url"]
    assert one["ledger-password"] in one["valkey.conf"]


def test_the_port_of_a_city_is_the_one_its_agents_may_reach() -> None:
    def ports(*arguments: str) -> set[int]:
        policy = named(rendered("site-ray", *arguments), "NetworkPolicy", "-node-agent-cpu")
        return {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}

    assert ports() == {53, 8443}
    assert ports("--set", "site.city.url=https://a.example.cn/base") == {53, 443}
    assert ports("--set", "site.city.url=http://a.example.cn") == {53, 80}
