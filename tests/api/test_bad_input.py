"""What a submitted job may not be: each refusal has a stable code, names the field in both languages, and stores nothing."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.limits import MAX_BODY_BYTES
from tests.api.world import World, card, problem, spec

HARDWARE = {"models": ["910B3"], "per_node": 8}


@pytest.fixture
def untouched(world: World) -> Iterator[World]:
    """A world in which nothing may be stored."""
    before = world.rows()
    yield world
    assert world.rows() == before


def _raw(world: World, body: bytes | str | Iterator[bytes], content_type: str | None = "application/json") -> httpx.Response:
    headers = {} if content_type is None else {"Content-Type": content_type}
    return world.call("POST", "/v1/jobs", "tenant-a", content=body, headers=headers)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("{", "Expecting property name"),
        ('{"name": "a",}', "at character"),
        ("name: yaml", "at character 0"),
        ("{} {}", "Extra data"),
        ('{"name": "a\n"}', "Invalid control character"),
        (b'{"name": "\xff"}', "not UTF-8"),
        ('{"name": ' + "9" * 5000 + "}", "too long"),
        ("[" * 100_000, "nested too deeply"),
        ('{"hardware":' * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_refused(untouched: World, body: bytes | str, what: str) -> None:
    assert what in problem(_raw(untouched, body), 400, "malformed_json").detail


@pytest.mark.parametrize("depth", [200, 900])
def test_deep_nesting_in_a_field_is_refused_like_any_other_value(untouched: World, depth: int) -> None:
    body = json.dumps(spec())[:-1] + ', "data": ' + "[" * depth + "]" * depth + "}"
    problem(_raw(untouched, body), 422, "invalid_request", "data.0")


@pytest.mark.parametrize("body", ["null", "[]", '"text"', "7", "[[1]]"])
def test_json_that_is_no_object_is_refused(untouched: World, body: str) -> None:
    problem(_raw(untouched, body), 422, "invalid_request", "body")


def test_an_empty_body_is_refused(untouched: World) -> None:
    problem(_raw(untouched, b""), 422, "invalid_request", "body")


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-yaml", "multipart/form-data", "json", "application/jsonp"]
)
def test_another_content_type_is_refused(untouched: World, content_type: str | None) -> None:
    problem(_raw(untouched, json.dumps(spec()), content_type), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"nmae": "typo"}, "nmae"),
        ({"name": None}, "name"),
        ({"name": "Not A Name"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"entrypoint": []}, "entrypoint"),
        ({"entrypoint": "python train.py"}, "entrypoint"),
        ({"entrypoint": ["x"] * 257}, "entrypoint"),
        ({"entrypoint": ["x", "y" * 4097]}, "entrypoint.1"),
        ({"hardware": {**HARDWARE, "nodes": 0}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": -1}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": 10**30}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": float("nan")}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": float("inf")}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": 1.5}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": "many"}}, "hardware.nodes"),
        ({"hardware": {**HARDWARE, "per_node": 65}}, "hardware.per_node"),
        ({"hardware": {**HARDWARE, "memory_gib": 0}}, "hardware.memory_gib"),
        ({"hardware": {**HARDWARE, "cpus": -1}}, "hardware.cpus"),
        ({"hardware": {**HARDWARE, "gpus": 8}}, "hardware.gpus"),
        ({"hardware": {**HARDWARE, "class": "chinese"}}, "hardware.class"),
        ({"hardware": {**HARDWARE, "models": [7]}}, "hardware.models.0"),
        ({"hardware": {"per_node": 0}}, "hardware"),
        ({"hardware": {**HARDWARE, "nodes": 2, "min_nodes": 3}}, "hardware"),
        ({"hardware": []}, "hardware"),
        ({"hardware": "8 cards"}, "hardware"),
        ({"hardware": [HARDWARE, {**HARDWARE, "nodes": 0}]}, "hardware.1.nodes"),
        ({"hardware": [HARDWARE] * 9}, "hardware"),
        ({"max_runtime": None}, "max_runtime"),
        ({"max_runtime": "0s"}, "max_runtime"),
        ({"max_runtime": "-1h"}, "max_runtime"),
        ({"max_runtime": "91d"}, "max_runtime"),
        ({"max_runtime": "9999d99999h"}, "max_runtime"),
        ({"max_runtime": "24 hours"}, "max_runtime"),
        ({"max_runtime": 24}, "max_runtime"),
        ({"priority": 101}, "priority"),
        ({"priority": "urgent"}, "priority"),
        ({"preemptible": "perhaps"}, "preemptible"),
        ({"checkpoint": {"path": "../../etc", "every": "1h"}}, "checkpoint.path"),
        ({"checkpoint": {"path": "/ckpt"}}, "checkpoint.every"),
        ({"data": [{"uri": "s3://x", "size_gib": -1}]}, "data.0.size_gib"),
        ({"data": [{"uri": "", "size_gib": 1}]}, "data.0.uri"),
        ({"activity": "mining"}, "activity"),
        ({"retries": {"failed": 11}}, "retries.failed"),
        ({"voucher": {"programme": "a b"}}, "voucher.programme"),
        ({"depends_on": ["x"] * 65}, "depends_on"),
        ({"contract": "no spaces please"}, "contract"),
    ],
)
def test_a_field_that_is_not_as_allowed_is_refused_by_name(untouched: World, changes: dict[str, Any], field: str) -> None:
    found = problem(_raw(untouched, json.dumps(spec(**changes))), 422, "invalid_request", field)
    assert {error.field for error in found.errors} == {field}
    assert all(error.message for error in found.errors)
    assert f"{len(found.errors)} field" in found.detail


def test_field_errors_are_in_chinese_too(untouched: World) -> None:
    found = problem(_raw(untouched, json.dumps(spec(hardware={**HARDWARE, "nodes": 0, "x": 1}))), 422, "invalid_request")
    assert {error.field: error.message_zh for error in found.errors} == {
        "hardware.nodes": "须不小于 1",
        "hardware.x": "不允许的未知字段",
    }


def test_the_list_of_errors_and_the_names_in_it_are_limited(untouched: World) -> None:
    response = _raw(untouched, json.dumps(spec(**{"x" * 100_000: 1}, **{f"unknown-{n}": n for n in range(1000)})))
    assert "1001 field" in problem(response, 422, "invalid_request").detail
    assert len(response.content) < 20_000


def test_a_field_named_with_half_a_surrogate_pair_is_refused(untouched: World) -> None:
    report = {"hostname": "n", "boot": "b", "labels": {"\ud800": "x"}}
    headers = {"Content-Type": "application/json"}
    response = untouched.call("POST", "/v1/nodes/report", "agent-ascend", content=json.dumps(report), headers=headers)
    problem(response, 422, "invalid_request", "labels")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"contract": "C-9999"}, "contract"),
        ({"contract": "C-B"}, "contract"),  # another tenant's
        ({"voucher": {"programme": "no-such-programme"}}, "voucher.programme"),
        ({"depends_on": ["job-none"]}, "depends_on.0"),
    ],
)
def test_what_does_not_exist_cannot_be_named(untouched: World, changes: dict[str, Any], field: str) -> None:
    found = problem(_raw(untouched, json.dumps(spec(**changes))), 422, "unknown_reference", field)
    assert field in found.detail
    assert found.errors[0].message_zh


def test_a_voucher_for_what_is_no_cost_of_a_job_says_what_it_is_for(untouched: World) -> None:
    body = json.dumps(spec(voucher={"programme": "hangzhou-interest-discount"}))
    found = problem(_raw(untouched, body), 422, "programme_not_in_scope", "voucher.programme")
    assert "pays for interest on loans" in found.detail
    assert "建设单位的贷款利息" in found.detail_zh
    assert found.errors[0].code == "not_in_scope"


def test_another_tenants_job_is_no_dependency(world: World) -> None:
    theirs, mine = world.submit("tenant-b")["id"], world.submit("tenant-a")["id"]
    before = world.rows()
    problem(_raw(world, json.dumps(spec(depends_on=[mine, theirs]))), 422, "unknown_reference", "depends_on.1")
    assert world.rows() == before
    assert world.submit(depends_on=[mine])["spec"]["depends_on"] == [mine]


def test_declining_every_voucher_names_no_programme(world: World) -> None:
    assert world.submit(voucher={"programme": "none"})["state"] == "queued"


@pytest.mark.parametrize(
    ("topology", "en", "zh"),
    [
        (
            "any",
            "needs 5 nodes × 8 × 910B3; the largest cluster, sz-ascend, has 2 such nodes in all",
            "需要 5 个节点 × 8 × 910B3;最大的集群 sz-ascend 总共只有 2 个此类节点",
        ),
        (
            "rack",
            "needs 5 nodes × 8 × 910B3 in one rack; the largest, in sz-ascend, has 1 such nodes in all",
            "需要同一机架内 5 个节点 × 8 × 910B3;最大的机架(集群 sz-ascend)总共只有 1 个此类节点",
        ),
    ],
)
def test_a_job_larger_than_any_cluster_is_refused_with_the_numbers(world: World, topology: str, en: str, zh: str) -> None:
    for number in range(2):
        cards = [card(n, uuid=f"{number}-{n}") for n in range(8)]
        world.report("sz-ascend", f"node-{number}", cards, labels={"rack": f"r{number}"})
    before = world.rows()
    response = _raw(world, json.dumps(spec(hardware={**HARDWARE, "nodes": 5, "topology": topology})))
    found = problem(response, 422, "job_never_fits", "hardware.nodes")
    assert (found.detail, found.detail_zh) == (f"{en}; nothing was stored", f"{zh};未保存")
    assert (found.errors[0].message, found.errors[0].message_zh) == (en, zh)
    assert world.rows() == before
    assert world.submit(hardware={**HARDWARE, "nodes": 5, "min_nodes": 1})["state"] == "queued"


def test_a_body_that_says_it_is_too_large_is_refused(untouched: World) -> None:
    assert str(MAX_BODY_BYTES) in problem(_raw(untouched, b" " * (MAX_BODY_BYTES + 1)), 413, "body_too_large").detail


@pytest.mark.parametrize("declared", ["-1", "many", "9" * 5000])
def test_a_declared_size_that_is_none_is_refused(untouched: World, declared: str) -> None:
    headers = {"Content-Length": declared, "Content-Type": "application/json"}
    problem(untouched.call("POST", "/v1/jobs", "tenant-a", content=b"{}", headers=headers), 413, "body_too_large")


def test_a_streamed_body_is_cut_off_at_the_limit(untouched: World) -> None:
    sent = 0

    def stream() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 1
            yield b" " * 65_536

    problem(_raw(untouched, stream()), 413, "body_too_large")


def test_the_largest_body_is_read(world: World) -> None:
    body = json.dumps(spec())
    assert _raw(world, body + " " * (MAX_BODY_BYTES - len(body))).status_code == 201


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.sampled_from(["910B3", "1h", "none"])
)
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner), max_leaves=8)
_SPECS = st.dictionaries(st.sampled_from([*spec(), "priority", "data", "voucher", "depends_on", "contract", "retries"]), _JSON).map(
    lambda changes: {**spec(), **changes}
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_JSON | _SPECS)
def test_whatever_is_sent_is_stored_whole_or_refused(world: World, body: Any) -> None:
    before = world.rows()
    response = _raw(world, json.dumps(body))
    assert response.status_code in (201, 422), response.text
    if response.status_code == 422:
        problem(response, 422, response.json()["code"])
        assert world.rows() == before
    else:
        assert world.rows()["jobs"] == before["jobs"] + 1


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1999-12-31T23:59:59Z"])
def test_times_no_store_could_hold_are_refused(untouched: World, moment: str) -> None:
    body = {"role": "finance", "note": "for ever", "expires_at": moment}
    problem(untouched.call("POST", "/v1/tokens", "operator", json=body), 422, "invalid_request", "expires_at")


def test_a_degraded_card_does_not_make_its_cluster_smaller(world: World) -> None:
    """It is repaired one day: a job as large as the cluster waits for that, it is not refused."""
    world.report("sz-ascend", "n1", [card(index, health="degraded" if index == 0 else "healthy") for index in range(8)])
    assert world.submit(hardware={**HARDWARE, "nodes": 1})["state"] == "queued"


def test_an_alternative_that_may_still_come_keeps_a_job(world: World) -> None:
    world.report("sz-ascend", "n1", [card(index) for index in range(8)])
    too_large, nobody_has_it = {**HARDWARE, "nodes": 9}, {"models": ["B200"], "per_node": 8}
    assert world.submit(hardware=[too_large, nobody_has_it])["state"] == "queued"
    problem(world.call("POST", "/v1/jobs", "tenant-a", json=spec(hardware=[too_large])), 422, "job_never_fits", "hardware.nodes")
