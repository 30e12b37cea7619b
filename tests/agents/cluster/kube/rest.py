"""One call of a Kubernetes API for doubles and tests, without our client: the two may not share a mistake."""

import json
from typing import Any

from kubernetes.client import ApiClient

from tests.agents.cluster.kube.store import ApiError, Object


class Rest:
    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def __call__(self, method: str, path: str, body: Object | None = None, **query: str) -> Object:
        """The answer. Raises ApiError for one that is no success."""
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = self._client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json", "Content-Type": content},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self._client.call_api(*request, _request_timeout=10)
        said = answer.read() or b"{}"
        found: Any = json.loads(said) if said.startswith(b"{") else {"message": said.decode()}
        if not 200 <= answer.status < 300:
            raise ApiError(answer.status, found.get("reason", ""), found.get("message", ""))
        return dict(found)
