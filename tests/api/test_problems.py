"""Trouble on our side: said plainly with a stable code, in both languages, and without a word of what broke."""

import json
import logging
from string import Formatter
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text

from api.problems import CODES, ProblemError
from scheduler.store.database import CITY
from scheduler.store.tables import JobRow
from tests.api.world import World, card, problem, spec

NOWHERE = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


def _placeholders(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_status_and_the_same_numbers_in_both_languages(code: str) -> None:
    status, title, en, zh = CODES[code]
    assert 400 <= status < 600
    assert title
    assert {name.removesuffix("_zh") for name in _placeholders(zh)} == _placeholders(en)
    numbers: dict[str, Any] = dict.fromkeys(_placeholders(en) | _placeholders(zh), "{42}")
    problem_ = ProblemError(code, **numbers).problem
    assert (problem_.code, problem_.status) == (code, status)
    assert problem_.detail.count("{42}") == len(_placeholders(en))


def test_an_unregistered_code_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        ProblemError("no-such-code")


def _break_job(world: World) -> str:
    """A job whose stored spec can no longer be read."""
    job_id: str = world.submit()["id"]
    with world.city.database.write(CITY) as session:
        session.get_one(JobRow, job_id).spec = {"name": "secret-of-the-database"}
    return job_id


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/{}"])
def test_a_failure_of_ours_is_logged_and_says_nothing_of_itself(world: World, caplog: pytest.LogCaptureFixture, path: str) -> None:
    path = path.format(_break_job(world))
    with caplog.at_level(logging.ERROR, "api.problems"):
        response = world.call("GET", path, "tenant-a")
    problem(response, 500, "internal_error")
    assert set(response.json()) == {"type", "title", "status", "code", "detail", "detail_zh", "errors"}
    for word in ("secret-of-the-database", "Traceback", "ValidationError", "pydantic", "JobSpec"):
        assert word not in response.text
    assert "secret-of-the-database" in caplog.text
    assert f"GET {path} failed" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "who"),
    [
        ("POST", "/v1/jobs", "tenant-a"),
        ("GET", "/v1/jobs", "tenant-a"),
        ("GET", "/v1/inventory", "tenant-a"),
        ("GET", "/v1/cost-records", "ledger"),
        ("POST", "/v1/clusters/sz-ascend/sync", "agent-ascend"),
    ],
)
def test_a_database_that_does_not_answer_is_503(world: World, method: str, path: str, who: str) -> None:
    with world.city.database.write(CITY) as session:
        for table in ("tokens", "jobs"):
            session.execute(text(f"ALTER TABLE {table} RENAME TO gone_{table}"))
    body = spec() if path == "/v1/jobs" else {"agent": "a"}
    response = world.call(method, path, who, json=body if method == "POST" else None)
    problem(response, 503, "store_unavailable")
    assert "tokens" not in response.text


@pytest.mark.parametrize("path", ["/v1/inventory", "/v1/nodes"])
def test_a_redis_that_does_not_answer_is_503(world: World, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(world.city.live, "_redis", NOWHERE)
    problem(world.call("GET", path, "operator"), 503, "store_unavailable")
    problem(world.report("sz-ascend", "node-1", [card(0)]), 503, "store_unavailable")


def test_jobs_need_no_redis(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.city.live, "_redis", NOWHERE)
    job = world.submit()
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "queued"
    assert world.sync("sz-ascend") == []


def test_the_text_of_a_problem_never_reads_what_the_caller_wrote_as_a_template(world: World) -> None:
    response = world.call("GET", "/v1/jobs/{noun.__class__}", "tenant-a")
    assert "{noun.__class__}" in problem(response, 404, "not_found").detail
    body = json.dumps(spec(depends_on=["a:b"], contract="C-{"))
    assert problem(
        world.call("POST", "/v1/jobs", "tenant-a", content=body, headers={"Content-Type": "application/json"}),
        422,
        "invalid_request",
    )
