"""Arbitrary JSON at every POST: refused with a problem document and nothing stored, or taken; never a failure of ours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.test_idempotency import CREATING
from tests.api.world import START, World, card, problem

_REPORT = {
    "hostname": "n",
    "boot": "b",
    "sequence": 1,
    "observed_at": START.isoformat(),
    "agent_version": "1",
    "cpu_cores": 1,
    "memory_bytes": 1,
    "accelerators": [card(0)],
    "labels": {"rack": "r1"},
}
_RUN = {"attempt": "att-1", "fencing_token": 1, "state": "running", "started_at": START.isoformat()}
_SETTLEMENT = {
    "id": "S-1",
    "record": "cost-000000000001-n",
    "programme": "shenzhen-training",
    "revision": 1,
    "decision": "approved",
    "amount": "1",
    "settled_on": "2026-12-01",
}
POSTS = {
    **{path: (who, body) for path, (who, body, _) in CREATING.items()},
    "/v1/quotes": ("tenant-a", CREATING["/v1/jobs"][1]),
    "/v1/settlements": ("ledger", _SETTLEMENT),
    "/v1/tokens": ("operator", {"role": "tenant", "subject": "a-corp", "note": "n"}),
    "/v1/nodes/report": ("agent-ascend", _REPORT),
    "/v1/clusters/sz-ascend/sync": ("agent-ascend", {"agent": "a", "observed": [_RUN]}),
    "/v1/clusters/sz-ascend/logs": ("agent-ascend", {"attempt": "att-1", "fencing_token": 1, "offset": 0, "text": "x"}),
}
"""Every POST with a body that is right: who asks, and the body."""

_TEXT = st.text(st.characters())  # with lone surrogates, which JSON can say and UTF-8 cannot
_ODD = st.sampled_from([0, -1, 2**63, 10**400, "", "1e9", "\x00", "none", "1h"])
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | _TEXT | _ODD
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner), max_leaves=8)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _changed(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("path", POSTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_arbitrary_value_anywhere_in_a_body_is_taken_or_refused(world: World, path: str, data: st.DataObject) -> None:
    who, body = POSTS[path]
    changed = _changed(body, data.draw(st.sampled_from(list(_places(body)))), data.draw(_JSON))
    before = world.rows()
    response = world.call("POST", path, who, content=json.dumps(changed), headers={"Content-Type": "application/json"})
    if response.status_code >= 400:
        assert response.status_code in (404, 409, 422), response.text
        problem(response, response.status_code, response.json()["code"])
        assert world.rows() == before
