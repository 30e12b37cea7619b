"""The API as an OpenAPI document: `python -m api.openapi > docs/openapi.json` writes what the repository keeps.

The routes know nothing of problem documents; this is the one place that says which operation may answer which of them.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from api.app import build_app
from api.problems import CODES
from scheduler.contract.problem import Problem

MEDIA_TYPE = "application/problem+json"

Json = dict[str, Any]


def document() -> Json:
    """The document of the API as it is in this release. No store is opened."""
    described: Json = build_app().openapi()
    components = described["components"]
    schemas = components["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):  # the framework's own errors: ours are problem documents
        schemas.pop(unused, None)
    own = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(own.pop("$defs"))
    schemas["Problem"] = own
    components["responses"] = {_name(status): _response(status, codes) for status, codes in _codes_by_status().items()}
    for path in described["paths"].values():
        for method, operation in path.items():
            _describe_problems(method, operation)
    return described


def text() -> str:
    """The document as the repository keeps it."""
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _describe_problems(method: str, operation: Json) -> None:
    operation["responses"].pop("422", None)
    for status in _statuses(method, operation):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{_name(status)}"}


def _statuses(method: str, operation: Mapping[str, Any]) -> Iterator[int]:
    """Which problems an operation may answer, by what it takes."""
    yield 500
    if "security" not in operation:
        return  # the probes: they read nothing and answer for the stores themselves
    yield from (401, 403, 503)
    places = {parameter["in"] for parameter in operation.get("parameters", ())}
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    if method == "post":
        yield 413
    if "requestBody" in operation:
        yield from (400, 415, 422)
    if places:
        yield 422
    if "path" in places:
        yield 404
    if "Idempotency-Key" in names or operation["operationId"] == "sync_cluster":
        yield 409
    if operation["operationId"] in ("submit_job", "report_node"):
        yield 429
    if operation["operationId"] == "get_statement":
        yield 501


def _codes_by_status() -> Mapping[int, list[str]]:
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code, (status, *_) in CODES.items():
        by_status[status].append(code)
    return by_status


def _name(status: int) -> str:
    return f"Problem{status}"


def _response(status: int, codes: list[str]) -> Json:
    described = "; ".join(f"`{code}`: {CODES[code][1]}" for code in codes)
    response: Json = {
        "description": described,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return response


if __name__ == "__main__":
    sys.stdout.buffer.write(text().encode())
