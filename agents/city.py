"""The cluster agent's side of the city's API: a few calls, each with a deadline, and errors that say whether to try again."""

import ssl
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from agents.terms import TIMEOUT_SECONDS, CityRefusedError, CityUnavailableError, read_token, retry_after_seconds
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import LogChunks, LogPositions, SyncRequest, SyncResponse, Watched

Answer = TypeVar("Answer", bound=BaseModel)


class TokenFile(httpx.Auth):
    """The bearer token in a file. Where the city does not take it and the file has another by now, that one is tried at once, so a
    token is replaced by writing its file. Raises OSError and ValueError as `read_token` does, at the first reading alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = read_token(path)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        sent = self._token
        request.headers["Authorization"] = f"Bearer {sent}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            with suppress(OSError, ValueError):  # it is being replaced, or was taken away: what was refused stays refused
                self._token = read_token(self._path)
            if self._token != sent:
                request.headers["Authorization"] = f"Bearer {self._token}"
                yield request


class City:
    """One city at `url`, spoken to with one bearer token, and believed by the system's authorities or those of SSL_CERT_FILE."""

    def __init__(self, url: str, token: httpx.Auth, transport: httpx.BaseTransport | None = None) -> None:
        self._http = httpx.Client(
            base_url=url,
            auth=token,
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            verify=ssl.create_default_context(),
            trust_env=False,
        )

    def report(self, report: NodeReport) -> ReportAccepted:
        return self._post("/v1/nodes/report", report, ReportAccepted)

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse:
        return self._post(f"/v1/clusters/{cluster}/sync", request, SyncResponse)

    def watch(self, cluster: str, revision: str, wait_seconds: int) -> Watched:
        """What the cluster must run now, once that is not `revision` any more or `wait_seconds` are over."""
        query: dict[str, str | int] = {"revision": revision, "wait_seconds": wait_seconds}
        path = f"/v1/clusters/{cluster}/watch"
        return self._ask(path, Watched, self._http.build_request("GET", path, params=query, timeout=wait_seconds + TIMEOUT_SECONDS))

    def append_logs(self, cluster: str, chunks: LogChunks) -> LogPositions:
        return self._post(f"/v1/clusters/{cluster}/logs", chunks, LogPositions)

    def _post(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        content = body.model_dump_json(by_alias=True)
        return self._ask(
            path,
            answer,
            self._http.build_request("POST", path, content=content, headers={"Content-Type": "application/json"}),
        )

    def _ask(self, path: str, answer: type[Answer], request: httpx.Request) -> Answer:
        """Raises CityUnavailableError or CityRefusedError."""
        try:
            response = self._http.send(request)
        except httpx.RequestError as error:  # that it did not arrive whole among them
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
