"""The cluster agent's side of the city's API: three calls, each with a deadline, and errors that say whether to try again."""

import ssl
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from agents.terms import TIMEOUT_SECONDS, CityRefusedError, CityUnavailableError, retry_after_seconds
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import LogChunk, LogPosition, SyncRequest, SyncResponse

Answer = TypeVar("Answer", bound=BaseModel)


class City:
    """One city at `url`, spoken to with one bearer token, and believed by the system's authorities or those of SSL_CERT_FILE."""

    def __init__(self, url: str, token: str, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            verify=ssl.create_default_context(),
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
            asked = retry_after_seconds(response.headers.get("Retry-After"))
            raise CityUnavailableError(f"{self._http.base_url}{path} answered {response.status_code}", asked)
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


def _refusal(response: httpx.Response) -> CityRefusedError:
    try:
        problem = response.json()
        return CityRefusedError(response.status_code, str(problem["code"]), str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return CityRefusedError(response.status_code, "unknown", "no problem document")
