"""The cluster the tests of this folder run in.

By default a double: `api_server` on loopback with the loops of `controllers` and the kubelets of `kubelet`. With
SUANWANG_TEST_KUBECONFIG=FILE the same tests run against that cluster: each makes a namespace `suanwang-test-…` and nodes named
after it, and removes both. Its user needs to create and delete namespaces, nodes and what is in them. The nodes have no machine
behind them: their kubelet is ours there too, so pods of the tests run nowhere else, and a control plane without nodes is enough.
What asks for the fixture `server` orders trouble that only the double can make, and is skipped on a real cluster.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import load_kube_config

from agents.cluster.kubernetes.client import Kubernetes
from tests.agents.cluster.kube.api_server import ApiServer
from tests.agents.cluster.kube.kubelet import Kubelet
from tests.agents.cluster.kube.rest import Rest
from tests.agents.cluster.kube.world import Kube, World, with_patience

REAL = os.environ.get("SUANWANG_TEST_KUBECONFIG")


def write_kubeconfig(path: Path, url: str, token: str = "good-token") -> Path:
    """A kubeconfig for the double at `url`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {"token": token}}],
    }
    path.write_text(json.dumps(config))
    return path


@pytest.fixture
def double() -> Iterator[ApiServer | None]:
    """The double, or None where a real cluster stands in its place."""
    if REAL:
        yield None
        return
    server = ApiServer()
    yield server
    server.close()


@pytest.fixture
def server(double: ApiServer | None) -> ApiServer:
    """The double, for trouble on order."""
    if double is None:
        pytest.skip("orders trouble that a real cluster does not make on demand")
    return double


@pytest.fixture
def kubeconfig(double: ApiServer | None, tmp_path: Path) -> Path:
    return Path(REAL) if REAL else write_kubeconfig(tmp_path / "kubeconfig", double.url if double else "")


@pytest.fixture
def kube(double: ApiServer | None, kubeconfig: Path, tmp_path: Path) -> Iterator[Kube]:
    configuration = Configuration()
    load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
    client = ApiClient(configuration)
    rest = Rest(client)
    namespace = f"suanwang-test-{uuid4().hex[:8]}"
    rest("POST", "/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}})
    output = tmp_path / "pods"
    output.mkdir()
    world = World(rest, namespace, Kubelet(rest, namespace, output), double)
    if double is not None:
        double.read_log = world.kubelet.read_log
    else:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
        world.until(lambda: _exists(rest, path), "no controller makes service accounts there")
    api = Kubernetes(kubeconfig)
    yield Kube(api, namespace, world)
    api.close()
    world.close()
    with_patience(lambda: rest("DELETE", f"/api/v1/namespaces/{namespace}", {}))
    client.close()


def _exists(rest: Rest, path: str) -> bool:
    try:
        rest("GET", path)
    except Exception:
        return False
    return True
