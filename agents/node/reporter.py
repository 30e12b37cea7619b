"""The node agent's side of the city's API: one call, over the standard library's HTTP.

`agents.city.City`, by httpx and pydantic, would weigh as much as all the rest of this process. A connection is opened for each
report: between two of them a server has long closed an idle one.
"""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from agents.terms import TIMEOUT_SECONDS, CityRefusedError, CityUnavailableError, retry_after_seconds

MAX_ANSWER_BYTES = 2**16

Json = dict[str, Any]


class Reporter:
    """One city at `url` (http or https, certificates by the system's authorities or SSL_CERT_FILE), and one bearer token."""

    def __init__(self, url: str, token: str) -> None:
        """Raises OSError where an https city is named and the authorities cannot be read."""
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/") + "/v1/nodes/report"
        self._name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def report(self, report: Json) -> int:
        """Returns in how many seconds the city wants the next. Raises CityUnavailableError or CityRefusedError."""
        connection = self._connection()
        try:
            connection.request("POST", self._path, json.dumps(report, separators=(",", ":")), self._headers)
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise CityUnavailableError(f"{self._name}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if response.status == 429 or response.status >= 500:
            asked = retry_after_seconds(response.headers.get("Retry-After"))
            raise CityUnavailableError(f"{self._name}{self._path} answered {response.status}", asked)
        if not 200 <= response.status < 300:
            raise _refusal(response.status, body)
        try:
            return int(json.loads(body)["next_report_seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise CityUnavailableError(f"{self._path}: an answer this agent cannot read") from error

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls)


def _refusal(status: int, body: bytes) -> CityRefusedError:
    try:
        problem = json.loads(body)
        return CityRefusedError(status, str(problem["code"]), str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return CityRefusedError(status, "unknown", "no problem document")
