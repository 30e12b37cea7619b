"""The OpenAPI document: complete, stable, and the same as the one in the repository."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from api.openapi import document, text
from api.problems import CODES

WHOLE = document()
KEPT = Path(__file__).parents[2] / "docs" / "openapi.json"


def _operations() -> dict[str, dict[str, Any]]:
    return {f"{method.upper()} {path}": op for path, ops in WHOLE["paths"].items() for method, op in ops.items()}


def test_the_document_in_the_repository_is_the_api() -> None:
    kept = KEPT.read_text("utf-8") if KEPT.exists() else ""
    assert kept == text(), "the API and docs/openapi.json differ; run: .venv/bin/python -m api.openapi > docs/openapi.json"


def test_it_runs_as_a_command() -> None:
    printed = subprocess.run([sys.executable, "-m", "api.openapi"], capture_output=True, check=True, cwd=KEPT.parents[1]).stdout
    assert printed.decode() == text()
    assert json.loads(printed) == WHOLE


def test_every_route_is_in_it(app: FastAPI) -> None:
    served = {f"{method} {route.path}" for route in iter_route_contexts(app.routes) for method in route.methods or ()}
    assert served == set(_operations())


def test_operation_ids_are_short_and_unique() -> None:
    ids = [operation["operationId"] for operation in _operations().values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z_]{4,24}", id_) for id_ in ids)


def test_every_error_is_a_problem_document() -> None:
    responses = WHOLE["components"]["responses"]
    assert set(responses) == {f"Problem{status}" for status, *_ in CODES.values()}
    for operation in _operations().values():
        for status, response in operation["responses"].items():
            if status >= "400" and "$ref" in response:
                content = responses[response["$ref"].rpartition("/")[2]]["content"]
                assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "HTTPValidationError" not in text()


def test_every_code_is_described() -> None:
    described = " ".join(response["description"] for response in WHOLE["components"]["responses"].values())
    assert [code for code in CODES if f"`{code}`" not in described] == []


def test_every_reference_leads_somewhere() -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text())):
        place: Any = WHOLE
        for part in reference.split("/"):
            place = place[part]


def test_every_creating_post_takes_an_idempotency_key() -> None:
    without = {
        name
        for name, operation in _operations().items()
        if name.startswith("POST") and "Idempotency-Key" not in [parameter["name"] for parameter in operation.get("parameters", ())]
    }
    assert without == {
        "POST /v1/nodes/report",  # level-triggered: saying it again changes nothing
        "POST /v1/clusters/{cluster_id}/sync",
        "POST /v1/clusters/{cluster_id}/logs",
        "POST /v1/quotes",  # nothing is stored
        "POST /v1/tokens",  # its answer is a secret, which is not kept
        "POST /v1/tokens/{token_id}/revoke",
    }
