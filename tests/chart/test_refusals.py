"""Values that would not work are refused before anything is installed, in words that name the value and what is allowed."""

import json
from pathlib import Path

import pytest

from tests.chart.helm import CHART, refusal

CITY = f"--values={CHART}/examples/city-production.yaml"
SITE = f"--values={CHART}/examples/site-kubernetes.yaml"


def test_a_mode_must_be_chosen() -> None:
    assert "at '/mode': value must be one of 'city', 'site'" in refusal()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("city.api.replica=2", "at '/city/api': additional properties 'replica' not allowed"),
        ("city.api.replicas=two", "at '/city/api/replicas': got string, want integer"),
        ("city.dispatcher.replicas=0", "at '/city/dispatcher/replicas': minimum: got 0, want 1"),
        ("city.dispatcher.turnSeconds=0", "at '/city/dispatcher/turnSeconds': minimum"),
        ("city.publicUrl=suanwang.example.cn", "at '/city/publicUrl': 'suanwang.example.cn' does not match pattern"),
        ("city.api.service.type=Public", "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ("city.api.resources.requests.memory=lots", "at '/city/api/resources/requests/memory': 'lots' does not match pattern"),
        ("city.api.tolerations[0].effect=Never", "value must be one of 'NoSchedule', 'PreferNoSchedule', 'NoExecute'"),
        ("image.city.digest=latest", "at '/image/city/digest': 'latest' does not match pattern"),
        ("serviceMonitor.interval=often", "at '/serviceMonitor/interval'"),
        ("trial.postgresql.image=postgres", "at '/trial/postgresql/image': 'postgres' does not match pattern"),
        ("databse.url=x", "at '': additional properties 'databse' not allowed"),
    ],
)
def test_the_schema_names_the_value(values: str, said: str) -> None:
    assert said in refusal(CITY, "--set", values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("site.clusterAgent.launcher=slurm", "at '/site/clusterAgent/launcher': value must be one of 'kubernetes', 'ray'"),
        ("site.nodeAgent.pools.gpu.vendor=intel", "at '/site/nodeAgent/pools/gpu/vendor': value must be one of 'cpu', 'nvidia'"),
        ("site.nodeAgent.pools.GPU.vendor=nvidia", "at '/site/nodeAgent/pools': additional properties 'GPU' not allowed"),
        ("site.clusterAgent.kubernetes.config.namespace=x", "additional properties 'namespace' not allowed"),
        ("site.token.value=two words", "at '/site/token/value'"),
    ],
)
def test_so_it_does_for_a_site(values: str, said: str) -> None:
    assert said in refusal(SITE, "--set", values)


def test_what_a_city_needs_is_said_at_once() -> None:
    said = refusal("--set", "mode=city")
    for value in ("city.publicUrl: is needed", "city.database.existingSecret: name", "city.redis.existingSecret: name"):
        assert value in said


def test_two_sources_of_one_store_are_refused() -> None:
    said = refusal(CITY, "--set", "trial.postgresql.enabled=true")
    assert "trial.postgresql.enabled: exactly one of the two" in said
    assert "redis" not in said


def test_what_a_site_needs_is_said_at_once() -> None:
    said = refusal("--set", "mode=site")
    for value in ("site.city.url: is needed", "site.cluster: is needed", "site.token: name a Secret"):
        assert value in said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"site": {"token": {"value": "t0ken"}}},
            "site.token: name a Secret in existingSecret, or give the token as value: exactly one",
        ),
        ({"site": {"clusterAgent": {"launcher": "ray"}}}, "site.clusterAgent.ray.address: is needed for the launcher ray"),
        ({"trial": {"valkey": {"enabled": True}}}, "trial: belongs to mode city"),
        (
            {"site": {"clusterAgent": {"kubernetes": {"config": {"inventory": {"source": "allocatable"}}}}}},
            "site.nodeAgent.pools: the cluster agent reports every node itself",
        ),
        (
            {"site": {"clusterAgent": {"kubernetes": {"config": {"checkpoints": {"claim": "c", "local_path": "/c"}}}}}},
            "checkpoints.local_path: the agent, in namespace default, cannot mount a claim of namespace suanwang-jobs",
        ),
        ({"site": {"nodeAgent": {"pools": {"cpu": {"vendor": "cpu"}}}}}, "site.nodeAgent.pools.cpu: needs a nodeSelector"),
        (
            {"site": {"nodeAgent": {"pools": {"gpu": {"vendor": "huawei", "mig": True}}}}},
            "site.nodeAgent.pools.gpu.mig: is NVIDIA's, not of the vendor huawei",
        ),
    ],
)
def test_values_that_contradict_each_other(values: object, said: str, tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    assert said in refusal(SITE, f"--values={file}")


def test_a_site_of_nothing_is_refused() -> None:
    some = "mode=site,site.city.url=https://a.example.cn,site.cluster=c,site.token.value=t,site.clusterAgent.enabled=false"
    assert "site: nothing is left to install: enable clusterAgent, or name nodes" in refusal("--set", some)
