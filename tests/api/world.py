"""A city to test against: a real SQLite file, a real Valkey, the real application, and a clock that is turned by hand.

`World.call` asks as somebody (`"tenant-a"`, `"operator"`, …) and checks every answer against the OpenAPI document on the way.
"""

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from httpx import Response
from sqlalchemy import text
from stdnum.cn import uscc

from api.city import City
from api.openapi import MEDIA_TYPE, document
from api.routers.registry import store_token
from scheduler.contract.problem import Problem
from scheduler.contract.registry import Role, TokenRequest
from scheduler.service.dispatcher import Dispatcher, Pace
from scheduler.store.database import CITY
from scheduler.store.tables import Base

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have a successor of httpx, which nothing here needs
    from starlette.testclient import TestClient as TestClient

Json = dict[str, Any]

START = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
PEOPLE = {
    "tenant-a": (Role.TENANT, "a-corp"),
    "tenant-b": (Role.TENANT, "b-univ"),
    "operator": (Role.OPERATOR, None),
    "finance": (Role.FINANCE, None),
    "ledger": (Role.LEDGER, None),
    "agent-ascend": (Role.AGENT, "sz-ascend"),
    "agent-nvidia": (Role.AGENT, "sz-nvidia"),
}
"""Who asks in these tests: role and subject."""

_COUNTS = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in Base.metadata.tables)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    """One city for one test. `secrets` are the bearer tokens of PEOPLE."""

    city: City
    clock: Clock
    http: TestClient
    secrets: dict[str, str]
    reports: dict[str, int] = field(default_factory=dict)

    def call(self, method: str, path: str, who: str | None, **request: Any) -> Response:
        """One request, as somebody or (None) as nobody."""
        headers = dict(request.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.secrets[who]}"
        response: Response = self.http.request(method, path, headers=headers, **request)
        check_documented(method, path, response)
        return response

    def get(self, path: str, who: str | None = "operator", language: str = "en", **query: Any) -> Any:
        """What a successful GET answers."""
        response = self.call("GET", path, who, params=query, headers={"Accept-Language": language})
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any, who: str | None = "operator", status: int = 201) -> Any:
        """What a successful POST answers."""
        response = self.call("POST", path, who, json=body)
        assert response.status_code == status, response.text
        return response.json()

    def submit(self, who: str = "tenant-a", **changes: Any) -> Json:
        answer: Json = self.post("/v1/jobs", spec(**changes), who)
        self.clock.advance(1)  # so that ids sort by submission
        return answer

    def report(self, cluster: str, host: str, cards: list[Json], **changes: Any) -> Response:
        """A node's report through the agent of its cluster."""
        self.reports[host] = sequence = self.reports.get(host, 0) + 1
        body = {
            "hostname": host,
            "boot": "boot-1",
            "sequence": sequence,
            "observed_at": self.clock.now.isoformat(),
            "agent_version": "test",
            "cpu_cores": 64,
            "memory_bytes": 512 * 2**30,
            "accelerators": cards,
            **changes,
        }
        return self.call("POST", "/v1/nodes/report", f"agent-{cluster.removeprefix('sz-')}", json=body)

    def sync(self, cluster: str, *observed: Json) -> list[Json]:
        """What a cluster is told to run."""
        path = f"/v1/clusters/{cluster}/sync"
        body = {"agent": "test", "observed": list(observed)}
        desired: list[Json] = self.post(path, body, f"agent-{cluster.removeprefix('sz-')}", 200)["desired"]
        return desired

    def turn(self) -> None:
        """One turn of the dispatcher."""
        Dispatcher(self.city.database, self.city.live, "test", Pace(), self.clock).turn()

    def start_job(self, cluster: str = "sz-ascend", **changes: Any) -> tuple[Json, Json]:
        """A job that runs: one node of eight 910B3 reports, the job is granted there and its program begins."""
        self.report(cluster, "node-1", [card(n) for n in range(8)])
        self.sync(cluster)
        job = self.submit(**changes)
        self.turn()
        (run,) = self.sync(cluster)
        self.sync(cluster, observed(run, "running", started_at=self.clock.now.isoformat()))
        return job, run

    def finish_job(self, run: Json, seconds: int, cluster: str = "sz-ascend") -> None:
        """The program of a running job ends well after some seconds, and is metered."""
        started = self.clock.now
        self.clock.advance(seconds)
        times = {"started_at": started.isoformat(), "finished_at": self.clock.now.isoformat(), "exit_code": 0}
        self.sync(cluster, observed(run, "succeeded", **times))
        self.turn()

    def rows(self) -> dict[str, int]:
        """How many rows each table has: nothing was stored if this is as before."""
        with self.city.database.read(CITY) as session:
            return {str(table): int(count) for table, count in session.execute(text(_COUNTS))}


def spec(**changes: Any) -> Json:
    """A job that fits one node of eight 910B3, with fields changed; a change to None leaves the field out."""
    whole = {
        "name": "train",
        "entrypoint": ["python", "train.py"],
        "hardware": {"models": ["910B3"], "per_node": 8},
        "max_runtime": "2h",
        "activity": "finetune",
        **changes,
    }
    return {key: value for key, value in whole.items() if value is not None}


def card(index: int, model: str = "910B3", **changes: Any) -> Json:
    """A card as an agent reports it. What the agent says of the class is not to be believed."""
    return {
        "index": index,
        "vendor": "nvidia" if model == "H800" else "huawei",
        "model": model,
        "hardware_class": "unknown",
        "uuid": f"{model}-{index}",
        "memory_bytes": 64 * 2**30,
        **changes,
    }


def observed(run: Mapping[str, Any], state: str, **changes: Any) -> Json:
    """A run as its cluster sees it."""
    return {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "state": state, **changes}


def problem(response: Response, status: int, code: str, field: str | None = None) -> Problem:
    """The problem an answer is, checked: its type, its code, both languages, and the field it names."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    found = Problem.model_validate_json(response.content)
    assert (found.status, found.code, found.type) == (status, code, f"urn:suanwang:problem:{code}")
    assert found.detail
    assert re.search(r"[一-鿿]", found.detail_zh)
    if field is not None:
        assert field in [error.field for error in found.errors], found.errors
    return found


def make_uscc(number: int) -> str:
    """A unified social credit code that is valid."""
    digits = f"91440300MA5{number:06d}"
    return digits + str(uscc.calc_check_digit(digits))


def seed(world: World) -> None:
    """Two providers with a cluster each, two tenants with a contract each, prices; through the API, as an operator would."""
    for number, name in enumerate(("ascend", "nvidia")):
        world.post("/v1/providers", {"id": f"p-{name}", "name": name, "uscc": make_uscc(number), "city": "shenzhen"})
        launcher = "recorded" if name == "ascend" else "ray"
        cluster = {"id": f"sz-{name}", "name": name, "provider": f"p-{name}", "city": "shenzhen", "launcher": launcher}
        world.post("/v1/clusters", cluster)
        price = {"list_price": "12", "contracted_price": "10.8", "effective_from": START.isoformat()}
        model = "910B3" if name == "ascend" else "H800"
        world.post("/v1/prices", {"cluster": f"sz-{name}", "item": "accelerator", "model": model, **price})
    for number, tenant in enumerate(("a-corp", "b-univ"), start=10):
        kind = "enterprise" if tenant == "a-corp" else "university"
        world.post("/v1/tenants", {"id": tenant, "name": tenant, "uscc": make_uscc(number), "type": kind, "city": "shenzhen"})
        world.post("/v1/contracts", contract(f"C-{tenant[0].upper()}", tenant))


def contract(id_: str, tenant: str, **changes: Any) -> Json:
    dates = {"signed_on": "2025-12-20", "start": "2026-01-01", "end": "2026-12-31"}
    return {
        "id": id_,
        "tenant": tenant,
        "provider": "p-ascend",
        **dates,
        "amount": "1000000",
        "service_item": "training",
        **changes,
    }


def issue(city: City, role: Role, subject: str | None, expires_at: datetime | None = None) -> tuple[str, str]:
    """A token's id and secret, made as the first one of a city is."""
    request = TokenRequest(role=role, subject=subject, note="test", expires_at=expires_at)
    with city.database.write(CITY) as session:
        issued = store_token(session, request, city.make_id("tok", city.clock()), city.make_secret(), city.clock())
    return issued.id, issued.token


@cache
def _documented() -> list[tuple[re.Pattern[str], Json]]:
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), operations) for path, operations in document()["paths"].items()]


def check_documented(method: str, path: str, response: Response) -> None:
    """Every answer a test sees is one the OpenAPI document promises."""
    for pattern, operations in _documented():
        operation = operations.get(method.lower())
        if operation is not None and pattern.fullmatch(path):
            assert str(response.status_code) in operation["responses"], f"{method} {path}: {response.status_code} is not documented"
            return
