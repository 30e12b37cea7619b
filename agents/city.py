"""The agents' side of the city's API: three calls, each with a deadline, and errors that say whether to try again."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import LogChunk, LogPosition, SyncRequest, SyncResponse

TIMEOUT_SECONDS = 10.0
BACKOFF_FIRST_SECONDS = 0.5
BACKOFF_MOST_SECONDS = 30.0

_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")

Answer = TypeVar("Answer", bound=BaseModel)


class CityUnavailableError(Exception):
    """The city did not answer, or answered that it cannot now (429, 5xx): try again later."""


class CityRefusedError(Exception):
    """The city refused what was said (4xx): saying it again will not help. `code` is the problem's stable code."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"the city refused ({status} {code}): {detail}")
        self.status = status
        self.code = code


class City:
    """One city at `url`, spoken to with one bearer token."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            trust_env=False,
        )

    def report(self, report: NodeReport) -> ReportAccepted:
        return self._post("/v1/nodes/report", report, ReportAccepted)

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse:
        return self._post(f"/v1/clusters/{cluster}/sync", request, SyncResponse)

    def append_log(self, cluster: str, chunk: LogChunk) -> LogPosition:
        return self._post(f"/v1/clusters/{cluster}/logs", chunk, LogPosition)

    def _post(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        """Raises CityUnavailableError or CityRefusedError."""
        try:
            response = self._http.post(
                path, content=body.model_dump_json(by_alias=True), headers={"Content-Type": "application/json"}
            )
        except httpx.TransportError as error:
            raise CityUnavailableError(f"{self._http.base_url}: {error or type(error).__name__}") from error
        if response.status_code == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            raise CityUnavailableError(f"{self._http.base_url}{path} answered {response.status_code}")
        if not response.is_success:
            raise _refusal(response)
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise CityUnavailableError(f"{path}: an answer this agent cannot read ({error.error_count()} errors)") from error

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def backoff_seconds(rng: Random) -> Iterator[float]:
    """Delays between retries: doubling from half a second to thirty, each with full jitter so that agents do not stampede."""
    ceiling = BACKOFF_FIRST_SECONDS
    while True:
        yield rng.uniform(0, ceiling)
        ceiling = min(ceiling * 2, BACKOFF_MOST_SECONDS)


def read_token(path: Path) -> str:
    """The bearer token in a file, without surrounding whitespace. Raises OSError where there is no file.

    Raises ValueError unless it is one printable word: anything else would end up, token and all, in an HTTP library's error.
    """
    token = path.read_text("utf-8", errors="replace").strip()
    if not _TOKEN.fullmatch(token):
        raise ValueError(f"{path} does not hold a token: one line of printable ASCII without spaces is expected")
    return token


def _refusal(response: httpx.Response) -> CityRefusedError:
    try:
        problem = response.json()
        return CityRefusedError(response.status_code, str(problem["code"]), str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return CityRefusedError(response.status_code, "unknown", "no problem document")
