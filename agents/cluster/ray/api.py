"""Ray's REST API with deadlines and limits of our own: jobs, nodes, packages, log files.

Not `ray.job_submission`: the client library waits without a deadline, lets RAY_ADDRESS in the environment lead it to another
cluster, and weighs 250 MB in the agent's image.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agents.cluster.launcher import LauncherGoneError, LauncherUnavailableError

TIMEOUT_SECONDS = 15.0
"""For the next bytes of an answer."""
ANSWER_SECONDS = 30.0
"""For a whole answer: one that trickles in for ever would hold up the agent."""
NODE_SECONDS = 5
"""For a node to give Ray the log that Ray is asked for."""
MOST_ANSWER_BYTES = 64 * 2**20
MOST_NODES = 10_000
"""The most that Ray's state API lists."""


class Job(BaseModel):
    """What Ray answers of a job, as far as it matters here. Times are milliseconds since the epoch."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    submission_id: str | None = None
    status: str
    message: str | None = None
    error_type: str | None = None
    end_time: int | None = None
    metadata: dict[str, str] | None = None
    driver_node_id: str | None = None
    driver_exit_code: int | None = None


class Node(BaseModel):
    """A node of Ray. `node_name` is what `ray start --node-name` says, or its address; amounts of memory are bytes."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    node_id: str
    node_name: str
    state: str
    resources_total: dict[str, float]


class _NodeRows(BaseModel):
    result: list[Node]


class _NodeData(BaseModel):
    result: _NodeRows


class _NodeAnswer(BaseModel):
    data: _NodeData


class _LogData(BaseModel):
    result: dict[str, list[str]]


class _LogAnswer(BaseModel):
    data: _LogData


_OBJECTS = TypeAdapter(list[dict[str, Any]])
_NODES = TypeAdapter(_NodeAnswer)
_LOGS = TypeAdapter(_LogAnswer)

Parsed = TypeVar("Parsed")


class RayApi:
    """The Ray at `address` (`http://host:8265`), opened by a token, or by what finds one. `alive` says whether a Ray this process
    started still runs.

    Every call raises LauncherUnavailableError, or LauncherGoneError once that Ray has ended.
    """

    def __init__(
        self,
        address: str,
        token: str | httpx.Auth | None,
        *,
        alive: Callable[[], bool] = lambda: True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {token}"} if isinstance(token, str) else {},
            auth=token if isinstance(token, httpx.Auth) else None,
            timeout=TIMEOUT_SECONDS,
            transport=transport,
            # What this machine believes, and SSL_CERT_FILE: a Ray behind a site's own authority is the usual case.
            verify=ssl.create_default_context(),
            trust_env=False,
        )
        self._alive = alive

    def jobs(self, prefix: str) -> list[Job]:
        """The jobs whose submission id starts so. What others submitted may look as it likes."""
        found = []
        for each in self._parsed(_OBJECTS, self.call("GET", "/api/jobs/").content, "jobs"):
            if str(each.get("submission_id")).startswith(prefix):
                try:
                    found.append(Job.model_validate(each))
                except ValidationError:
                    # Whoever may submit to this Ray may use our prefix; what we wrote Ray gives back as we know it.
                    continue
        return found

    def nodes(self) -> list[Node]:
        """The living nodes."""
        query = {"limit": str(MOST_NODES), "filter_keys": "state", "filter_predicates": "=", "filter_values": "ALIVE"}
        answer = self._parsed(_NODES, self.call("GET", "/api/v0/nodes", params=query).content, "nodes")
        return [node for node in answer.data.result.result if node.state == "ALIVE"]

    def upload(self, name: str, package: bytes) -> str:
        """The URI under which Ray has the package; uploads it if it has it not."""
        path = f"/api/packages/gcs/{name}"
        if self.call("GET", path, accept=(404,)).status_code == httpx.codes.NOT_FOUND:
            self.call("PUT", path, content=package)
        return f"gcs://{name}"

    def log_names(self, node_id: str, glob: str) -> list[str] | None:
        """The log files of a node whose paths match; None when that node does not answer Ray."""
        query = {"node_id": node_id, "glob": glob, "timeout": str(NODE_SECONDS)}
        try:
            listed = _LOGS.validate_json(self.call("GET", "/api/v0/logs", accept=(500,), params=query).content)
        except ValidationError:
            return None
        return sorted(name for names in listed.data.result.values() for name in names)

    def log(self, node_id: str, filename: str, *, offset: int = 0, max_bytes: int) -> bytes | None:
        """At most `max_bytes` of a log file from byte `offset` on; None when it is not there, or its node does not answer Ray.

        Ray streams a file from its beginning, whatever its size: take what is needed and hang up.
        """
        query = {"node_id": node_id, "filename": filename, "lines": "-1", "timeout": str(NODE_SECONDS)}
        found = bytearray()
        with self._streamed("GET", "/api/v0/logs/file", params=query) as (response, pieces):
            if not response.is_success:
                return None
            for piece in pieces:
                found += piece
                if len(found) >= offset + max_bytes:
                    break
        return bytes(found[offset : offset + max_bytes])

    def call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **content: Any) -> httpx.Response:
        """An answer that is a success or among `accept`."""
        with self._streamed(method, path, **content) as (response, pieces):
            if not response.is_success and response.status_code not in accept:
                hint = ": is its token right?" if response.status_code in (401, 403) else ""
                raise LauncherUnavailableError(f"Ray at {self._http.base_url} answered {response.status_code}{hint}")
            body = bytearray()
            for piece in pieces:
                body += piece
                if len(body) > MOST_ANSWER_BYTES:
                    raise LauncherUnavailableError(f"Ray at {self._http.base_url} answered more than {MOST_ANSWER_BYTES} bytes")
        return httpx.Response(response.status_code, content=bytes(body))

    def close(self) -> None:
        self._http.close()

    @contextmanager
    def _streamed(self, method: str, path: str, **content: Any) -> Iterator[tuple[httpx.Response, Iterator[bytes]]]:
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            with self._http.stream(method, path, **content) as response:
                yield response, self._in_time(response, deadline)
        except (httpx.TransportError, httpx.DecodingError) as error:
            if not self._alive():
                raise LauncherGoneError("the Ray this agent started has ended") from error
            why = str(error) or type(error).__name__
            raise LauncherUnavailableError(f"Ray at {self._http.base_url} does not answer ({why})") from error

    def _in_time(self, response: httpx.Response, deadline: float) -> Iterator[bytes]:
        for piece in response.iter_bytes():
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout(f"it took more than {ANSWER_SECONDS:.0f} s")
            yield piece

    def _parsed(self, adapter: TypeAdapter[Parsed], content: bytes, what: str) -> Parsed:
        try:
            return adapter.validate_json(content)
        except ValidationError as error:
            raise LauncherUnavailableError(f"Ray at {self._http.base_url} answered {what} this agent cannot read") from error


def job_path(name: str) -> str:
    return f"/api/jobs/{quote(name, safe='')}"


def last_line(text: str, most: int) -> str:
    """Of a traceback the line that says what happened."""
    lines = [line.strip() for line in text.splitlines() if len(line.strip()) > 1]
    return lines[-1][:most] if lines else "no reason given"
