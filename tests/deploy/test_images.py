"""An agent's image has the packages of its dependency group and no others: it runs in an environment made of just those."""

import os
import re
import socket
import subprocess
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LOCK: dict[str, dict[str, Any]] = {
    package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
}
ALONE = os.environ | {"PYTHONPATH": ""}
NOT_IN_AGENTS = {"sqlalchemy", "alembic", "psycopg", "redis", "fastapi", "uvicorn", "ray", "numpy", "orjson"}
HEAVY = {"node-agent": NOT_IN_AGENTS | {"kubernetes", "httpx"}, "cluster-agent": NOT_IN_AGENTS}


def group(name: str) -> set[str]:
    """Every package of a dependency group with all that it needs, as the lock has it, whatever the platform."""
    waiting = [needed["name"] for needed in LOCK["suanwang"]["dev-dependencies"][name]]
    found: set[str] = set()
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting += [needed["name"] for needed in LOCK[package].get("dependencies", ())]
    return found


@pytest.fixture(scope="module", params=["node-agent", "cluster-agent"])
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A virtual environment with the group's packages, each a link into this one's, and the product's source."""
    name = str(request.param)
    root = tmp_path_factory.mktemp(name)
    venv.create(root, symlinks=True)
    (site,) = root.glob("lib/python*/site-packages")
    for package in sorted(group(name) | {"suanwang"}):
        for source in files_of(package):
            target = site / source.name
            if not target.exists():
                target.symlink_to(source)
    for room in ("scheduler", "agents", "api"):
        (site / room).symlink_to(ROOT / room)
    return name, root


def files_of(package: str) -> Iterator[Path]:
    """What a distribution has in site-packages, top level only. Nothing for one that this platform does without."""
    try:
        found = distribution(package)
    except ModuleNotFoundError:
        return
    tops = {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in sorted(tops):
        yield Path(str(found.locate_file(top)))


def run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(root / "bin" / "python"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=root, env=ALONE)


def test_it_has_no_more_than_its_group(image: tuple[str, Path]) -> None:
    name, root = image
    assert not HEAVY[name] & group(name)
    for package in HEAVY[name]:
        assert run(root, "-c", f"import {package}").returncode == 1, package


def test_the_agent_runs_with_no_more(image: tuple[str, Path], tmp_path: Path) -> None:
    name, root = image
    token = tmp_path / "token"
    token.write_text("t0ken")
    common = ("--city", "http://127.0.0.1:1", "--token-file", str(token))
    if name == "node-agent":
        once = run(root, "-m", "api.cli.main", "agent", "node", "--once", "--json")
        assert once.returncode == 0, once.stderr
        assert '"hostname"' in once.stdout
        arguments = ["node", *common, "--first-within", "0"]
    else:
        arguments = ["cluster", *common, "--cluster", "c1", "--launcher", "ray", "--ray-address", "http://127.0.0.1:1"]
        arguments += ["--data", str(tmp_path / "data")]
    command = [str(root / "bin" / "python"), "-m", "api.cli.main", "agent", *arguments, "--probe-port", free_port()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root, env=ALONE) as agent:
        assert agent.stderr is not None
        first = agent.stderr.readline()
        agent.terminate()
        rest = agent.stderr.read()
        assert agent.wait(30) == 0, first + rest
    assert re.search("not available|does not answer|runs go on", first), first + rest
    assert "Traceback" not in rest


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_dockerfile_installs_these_groups_and_runs_as_nobody() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert set(re.findall(r"--only-group ([\w-]+)", text)) == {"node-agent", "cluster-agent"}
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert {f"suanwang-{target}" for target in ("city", "cluster-agent", "node-agent")} <= set(
        re.findall(r'title="([\w-]+)"', text)
    )


def test_nothing_but_the_product_goes_to_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert let_through == {"pyproject.toml", "uv.lock", "README.md", "LICENSE", "scheduler", "agents", "api"}
