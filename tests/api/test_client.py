"""The typed client against the API, served by a real uvicorn on a free port."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from api.client import ApiProblemError, ApiUnreachableError, Client
from api.limits import MAX_BODY_BYTES
from scheduler.billing.journal import Head, verify
from scheduler.contract.registry import Provider, Role, TokenRequest
from scheduler.domain.states import JobState
from tests.api.test_registry import PROGRAMME
from tests.api.world import World, card, make_uscc, observed, spec

Who = Callable[..., Client]


@pytest.fixture(scope="module")
def url(app: FastAPI) -> Iterator[str]:
    """Where the application of these tests is served."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def client(world: World, url: str) -> Iterator[Who]:
    """A client for anybody of the world."""
    made: list[Client] = []

    def of(who: str, **options: Any) -> Client:
        made.append(Client(url, world.secrets[who], **options))
        return made[-1]

    yield of
    for each in made:
        each.close()


def test_a_job_from_submission_to_its_costs(world: World, client: Who) -> None:
    tenant = client("tenant-a")
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    job = tenant.submit(spec())
    assert (job.state, job.spec.name) == (JobState.QUEUED, "train")
    world.turn()
    (run,) = world.sync("sz-ascend")
    world.sync("sz-ascend", observed(run, "running", started_at=world.clock.now.isoformat()))
    chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "loss 0.1\n"}
    world.post("/v1/clusters/sz-ascend/logs", {"chunks": [chunk]}, "agent-ascend", 200)
    assert tenant.log(job.id).text == tenant.log(job.id, attempt=1).text == "loss 0.1\n"
    world.finish_job(run, 1800)
    assert tenant.job(job.id).state is JobState.SUCCEEDED
    assert [attempt.number for attempt in tenant.attempts(job.id).attempts] == [1]
    assert [event.reason.code for event in tenant.events(job.id, limit=2).events] == ["submitted", "granted"]
    costs = tenant.costs(job.id)
    assert (costs.state, costs.contracted_amount, len(costs.records)) == ("final", "43.200000", 1)
    assert [each.id for each in tenant.jobs(limit=10).jobs] == [job.id]
    assert tenant.jobs(state="queued").jobs == []
    records = list(client("ledger").cost_records())
    assert verify(Head(), records)[1] is None
    assert [record["job"] for record in records] == [job.id]
    assert list(client("ledger").cost_records(after=1)) == []


def test_the_feed_is_read_to_its_head_however_small_its_pages(world: World, client: Who, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.client.client.FEED_PAGE", 2)
    for number in range(5):
        _, run = world.start_job(name=f"job-{number}")
        world.finish_job(run, 60)
    assert [record["sequence"] for record in client("finance").cost_records()] == [1, 2, 3, 4, 5]
    assert [record["sequence"] for record in client("finance").cost_records(after=3)] == [4, 5]


def test_a_retried_submission_with_its_key_is_the_same_job(client: Who) -> None:
    tenant = client("tenant-a")
    assert tenant.submit(spec(), "key-1").id == tenant.submit(spec(), "key-1").id
    assert tenant.submit(spec()).id != tenant.submit(spec()).id


def test_a_quote_and_an_explanation(client: Who) -> None:
    tenant = client("tenant-a", language="zh")
    quoted = tenant.quote(spec())
    assert (quoted.verdict, quoted.reasons[0].code) == ("never", "never_no_such_hardware")
    job = tenant.submit(spec())
    explained = tenant.explanation(job.id)
    assert (explained.job, explained.state, explained.verdict) == (job.id, JobState.QUEUED, "never")
    assert [reason.text for reason in explained.reasons] == ["可用节点中没有任何节点具备 8 × 910B3"]


def test_cancelling(client: Who) -> None:
    tenant = client("tenant-a", language="zh")
    job = tenant.submit(spec())
    cancelled = tenant.cancel(job.id)
    assert (cancelled.state, cancelled.reasons[0].text) == (JobState.CANCELLED, "已由提交者取消")
    with pytest.raises(ApiProblemError) as refused:
        tenant.cancel(job.id)
    assert refused.value.problem.code == "job_finished"


def test_registering_and_looking(world: World, client: Who) -> None:
    operator = client("operator")
    provider = Provider(id="p-new", name="new", uscc=make_uscc(50), city="shenzhen")
    for _ in range(2):
        operator.register("providers", provider)
    operator.register("programmes", {"document": PROGRAMME})
    issued = operator.issue_token(TokenRequest(role=Role.TENANT, subject="a-corp", note="laptop"))
    world.secrets = {**world.secrets, "laptop": issued.token}
    world.report("sz-nvidia", "n1", [card(0, "H800")])
    assert [row.model for row in client("laptop").inventory().rows] == ["H800"]
    assert [cluster.id for cluster in operator.clusters()] == ["sz-ascend", "sz-nvidia"]
    assert [price.model for price in operator.prices()] == ["910B3", "H800"]
    with pytest.raises(ApiProblemError) as refused:
        operator.register("providers", {**provider.model_dump(), "name": "other"})
    assert refused.value.problem.status == 409


def test_a_refusal_carries_the_whole_problem(client: Who) -> None:
    with pytest.raises(ApiProblemError) as refused:
        client("tenant-a").submit(spec(hardware={"nodes": 0}))
    found = refused.value.problem
    assert (found.code, found.status, found.errors[0].field, found.errors[0].message_zh) == (
        "invalid_request",
        422,
        "hardware.nodes",
        "须不小于 1",
    )
    assert str(refused.value) == found.detail
    with pytest.raises(ApiProblemError) as forbidden:
        client("tenant-a").issue_token(TokenRequest(role=Role.OPERATOR, note="for me"))
    assert forbidden.value.problem.code == "forbidden"


def test_a_body_over_the_limit_is_refused_on_a_real_connection(client: Who) -> None:
    with pytest.raises((ApiProblemError, ApiUnreachableError)) as refused:
        client("tenant-a").submit(spec(entrypoint=["x" * (MAX_BODY_BYTES + 1)]))
    assert isinstance(refused.value, ApiProblemError)
    assert refused.value.problem.code == "body_too_large"


def test_readiness(client: Who) -> None:
    assert client("tenant-a").is_ready()


@pytest.mark.parametrize("path", ["", "/not-a-city"])
def test_no_city_is_said_to_be_none(path: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}{path}"
    with Client(nowhere, "t") as lonely:
        assert not lonely.is_ready()
        with pytest.raises(ApiUnreachableError, match=r"127.0.0.1.* does not answer \(ConnectError\)"):
            lonely.inventory()


class _Stranger(BaseHTTPRequestHandler):
    """Some web server that is no city: every path is a page, except that POST fails without saying why."""

    def do_GET(self) -> None:
        self._answer(200)

    def do_POST(self) -> None:
        self._answer(502)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "13")
        self.end_headers()
        self.wfile.write(b"<html></html>")

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_is_no_city_is_said_to_be_none() -> None:
    with HTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        with Client(f"http://127.0.0.1:{server.server_port}", "t") as client:
            for read in (client.inventory, client.clusters, client.prices, client.jobs, lambda: list(client.cost_records())):
                with pytest.raises(ApiUnreachableError, match="cannot read"):
                    read()
            with pytest.raises(ApiUnreachableError, match="answered 502 without saying why"):
                client.submit(spec())
        server.shutdown()
        thread.join(5)


def test_a_window_and_the_scheduling_policy(world: World, client: Who) -> None:
    world.report("sz-ascend", "n1", [card(n) for n in range(8)])
    operator = client("operator")
    window = operator.create_window({"kind": "maintenance", "cluster": "sz-ascend", "nodes": ["n1"], "end": "2026-11-22T00:00:00Z"})
    assert (window.state, window.nodes) == ("open", ("n1",))
    assert operator.windows() == [window]
    assert operator.cancel_window(window.id).state == "cancelled"
    assert [each.state for each in operator.windows(ended=True)] == ["cancelled"]
    assert operator.declare_scheduling({"backfill": "conservative"}) == operator.scheduling()
