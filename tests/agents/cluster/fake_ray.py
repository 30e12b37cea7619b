"""The part of Ray's REST API that is used, in memory, and what one asks of a launcher on it."""

import json
import shlex
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from agents.cluster.launchers.ray import RayLauncher
from agents.cluster.ray.api import RayApi
from scheduler.contract.sync import DesiredRun, Placement
from scheduler.domain.hardware import shipped_catalogue
from tests.agents.cluster.doubles import desired

NAME = "suanwang-att-1-1"
LOG = f"job-driver-{NAME}.log"


def node(name: str, number: int, **counted: float) -> dict[str, Any]:
    address = f"10.0.0.{number}"
    total = {"CPU": 64.0, "memory": 512 * 2.0**30, f"node:{address}": 1.0, "object_store_memory": 1e9, **counted}
    if number == 1:
        total = {"node:__internal_head__": 1.0, **total}
    return {"node_id": f"id-{name}", "node_name": name, "node_ip": address, "state": "ALIVE", "resources_total": total}


@dataclass
class FakeRay:
    """The part of Ray's REST API the launcher uses, behaving as Ray 2.60 was seen to."""

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """By node and file."""
    nodes: list[dict[str, Any]] = field(
        default_factory=lambda: [node("node-1", 1, GPU=8, NPU=8, MLU=8), node("node-2", 2, GPU=8, NPU=8, MLU=8)]
    )
    dead: set[str] = field(default_factory=set)
    packages: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    down: bool = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        path = unquote(request.url.path)
        self.asked.append(f"{request.method} {path}")
        if request.headers.get("Authorization") != "Bearer ray-token":
            return httpx.Response(401)
        if path.startswith("/api/packages/gcs/"):
            return self._package(request.method, path)
        if path.startswith("/api/v0/"):
            return self._state(path, request.url.params)
        if path == "/api/jobs/":
            return self._submit(json.loads(request.content)) if request.method == "POST" else self._list()
        name = path.removeprefix("/api/jobs/").removesuffix("/stop")
        return httpx.Response(200, json=self.jobs[name]) if name in self.jobs else httpx.Response(404)

    def _list(self) -> httpx.Response:
        return httpx.Response(200, json=list(self.jobs.values()))

    def _state(self, path: str, query: httpx.QueryParams) -> httpx.Response:
        if path == "/api/v0/nodes":
            rows = [each for each in self.nodes if each["state"] == query["filter_values"]]
            return httpx.Response(200, json={"result": True, "msg": "", "data": {"result": {"total": len(rows), "result": rows}}})
        where = query["node_id"]
        if where in self.dead:
            return httpx.Response(500, text=f"Given node id {where} is not available")
        if path == "/api/v0/logs":
            names = [name for on, name in self.logs if on == where and fnmatch(name, query["glob"])]
            return httpx.Response(200, json={"result": True, "data": {"result": {"internal": names}}})
        log = self.logs.get((where, query["filename"]))
        return httpx.Response(500, text="A file is not found") if log is None else httpx.Response(200, content=log)

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        name = body["submission_id"]
        if name in self.jobs:
            return httpx.Response(500, text="Traceback\nRuntimeError: status code 400: ... already exists.\n.\n")
        self.jobs[name] = {**body, "status": "PENDING", "start_time": 1_800_000_000_000, "error_type": None}
        return httpx.Response(200, json={"submission_id": name})

    def _package(self, method: str, path: str) -> httpx.Response:
        if method == "PUT":
            self.packages.add(path)
        return httpx.Response(200 if path in self.packages else 404)

    def runs(self, *said: dict[str, Any], began: float | None = 1_800_000_002.5, **job: Any) -> None:
        """The job is on its node, where the payload has said so."""
        self.jobs[NAME] |= {"status": "RUNNING", "driver_node_id": "id-node-1", **job}
        lines = [{"began": began}, *said] if began else said
        text = "".join(f"suanwang: att-1 {json.dumps(line)}\n" for line in lines)
        self.logs["id-node-1", LOG] = f"Running entrypoint for job {NAME}: {self.jobs[NAME]['entrypoint']}\n{text}".encode()

    def fails(self, *said: dict[str, Any], **job: Any) -> None:
        self.runs(*said, **{"status": "FAILED", "end_time": 1_800_000_009_000, "driver_exit_code": 1, **job})


def launcher(ray: FakeRay, data: Path, **options: Any) -> RayLauncher:
    api = RayApi("http://ray", "ray-token", transport=httpx.MockTransport(ray))
    return RayLauncher(api, cluster="c1", data=data, resources=shipped_catalogue().ray_resources, **options)


def variables(job: dict[str, Any]) -> dict[str, str]:
    """Of the runtime environment, of which Ray makes every process's."""
    found: dict[str, str] = job["runtime_env"]["env_vars"]
    return found


def spec(job: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """What the payload is told to run, as the shell of Ray's node would take the entrypoint apart."""
    words = shlex.split(job["entrypoint"].partition("exec ")[2].partition(";; esac")[0])
    assert words[:3] == ["python3", "-E", "$each"]
    return words[3], json.loads(words[4])


GANG = [Placement(node="node-1", devices=["a"] * 8, cpus=16, host_memory_gib=64), Placement(node="node-2", devices=["b"] * 8)]


def gang(**changes: Any) -> DesiredRun:
    return desired(**{"vendor": "huawei", "per_node": 8, "placements": GANG, **changes})
