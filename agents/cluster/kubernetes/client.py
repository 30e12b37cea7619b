"""Calls of a Kubernetes API: objects are plain dictionaries, every call has a deadline, every trouble a type.

By the official client's `ApiClient` (credentials, TLS, proxies) on generic paths, since none of its thousand models is needed.
Its retries are off: it would wait inside a call as long as a server's Retry-After says, and the agent's loop may not block.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import urllib3
import yaml
from kubernetes.client import ApiClient, ApiException, Configuration
from kubernetes.config import ConfigException, load_incluster_config, load_kube_config

from agents.cluster.kubernetes.errors import ExpiredError, Status, UnauthorisedError, error_of
from agents.cluster.kubernetes.resources import PODS, Resource
from agents.cluster.launcher import LauncherUnavailableError
from scheduler.domain.clock import rfc3339

CONNECT_SECONDS = 5.0
CALL_SECONDS = 15.0
LIST_SECONDS = 60.0
PAGE = 500
LIST_ATTEMPTS = 3
MAX_BODY_BYTES = 64 * 2**20
MAX_LINE_BYTES = 4 * 2**20
MAX_ERROR_BYTES = 65_536
READ_BYTES = 65_536
MAX_KEEP_OFF_SECONDS = 60.0
TOO_MANY_SECONDS = 1.0
UNAUTHORISED_SECONDS = 5.0
"""How long nothing is asked: at most what a server may demand; where it does not say; after its second 401."""

Object = dict[str, Any]
"""An object as the API has it, in JSON."""

_CREDENTIAL_ERRORS = (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
"""What the library raises of a kubeconfig that is not there, not readable or not one."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """All objects of a kind at one moment, whose version a watch goes on from. Items carry no `kind` of their own."""

    items: tuple[Object, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class _Call:
    """One request. `verb` and `what` are as RBAC and people say them."""

    method: str
    path: str
    verb: str
    what: str
    query: tuple[tuple[str, str], ...] = ()
    body: Object | None = None
    content_type: str = "application/json"

    def __str__(self) -> str:
        return f"{self.verb} {self.what}"


class Kubernetes:
    """One cluster's API: by `kubeconfig`, or inside the cluster by the pod's service account. Safe to use from several threads.

    Beside what is said at each method, every call raises LauncherUnavailableError when the API does not answer in time, cannot
    now, demands to be left alone for a while, or does not accept or allow this agent; KubernetesError for what is left.
    """

    def __init__(self, kubeconfig: Path | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError naming what is missing where there are no credentials to begin with."""
        self._kubeconfig = kubeconfig
        self._monotonic = monotonic
        self._lock = Lock()
        self._quiet_until = 0.0
        self._quiet_error: LauncherUnavailableError = LauncherUnavailableError("")
        try:
            self._client = ApiClient(_configuration(kubeconfig))
        except _CREDENTIAL_ERRORS as error:
            raise ValueError(f"{self._source()}: {_told(error)}") from None
        self.address: str = self._client.configuration.host

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        seconds: float = LIST_SECONDS,
    ) -> Listed:
        """Every object that fits, page by page, as of one version. Raises NotFoundError where the kind is not installed."""
        until = self._monotonic() + seconds
        selectors = {"labelSelector": label_selector, "fieldSelector": field_selector}
        for _ in range(LIST_ATTEMPTS):
            try:
                return self._pages(resource, namespace, selectors, until)
            except ExpiredError:
                continue  # the list took longer than the API keeps a version: once more from its beginning
        raise LauncherUnavailableError(f"list {_what(resource, namespace)}: it changes faster than it can be read")

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """Raises NotFoundError."""
        return self._json(_Call("GET", resource.path(namespace, name), "get", _what(resource, namespace, name)))

    def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """The object as the API now has it. Raises AlreadyExistsError, RefusedError.

        When LauncherUnavailableError is raised it may exist nevertheless: create it again under the same name.
        """
        named = str(body.get("metadata", {}).get("name") or "")
        described = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return self._json(
            _Call("POST", resource.path(namespace), "create", _what(resource, namespace, named or None), body=described)
        )

    def patch(
        self, resource: Resource, namespace: str | None, name: str, changes: Object, *, resource_version: str | None = None
    ) -> Object:
        """Merges `changes` into the object (RFC 7386); with `resource_version` only if it is still that one.

        Raises NotFoundError, ConflictError, RefusedError.
        """
        if resource_version is not None:
            metadata = {**changes.get("metadata", {}), "resourceVersion": resource_version}
            changes = {**changes, "metadata": metadata}
        what = _what(resource, namespace, name)
        return self._json(
            _Call("PATCH", resource.path(namespace, name), "patch", what, body=changes, content_type="application/merge-patch+json")
        )

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        propagation: str = "Background",
        uid: str | None = None,
    ) -> None:
        """Asks for the object to go, which may take its grace. Raises NotFoundError, and ConflictError if it has another `uid`.

        `propagation`: what it owns goes after it (`Background`), before it (`Foreground`) or stays (`Orphan`).
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        self._json(_Call("DELETE", resource.path(namespace, name), "delete", _what(resource, namespace, name), body=options))

    def read_log(
        self,
        namespace: str,
        pod: str,
        *,
        max_bytes: int,
        container: str | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> bytes:
        """At most `max_bytes` of a container's output from its beginning, or from the second of `since` on.

        With `timestamps` each line begins with when it was written. Raises NotFoundError where there is no such pod,
        RefusedError where the container has not started.
        """
        query = {
            "container": container,
            "limitBytes": str(max_bytes),
            "sinceTime": None if since is None else rfc3339(since),
            "timestamps": "true" if timestamps else None,
        }
        path = PODS.path(namespace, pod, "log")
        call = _Call("GET", path, "get", f"pods/log of {pod} in {namespace}", query=_given(query))
        return self._body(call, self._monotonic() + CALL_SECONDS)[:max_bytes]

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        resource_version: str,
        seconds: int,
        label_selector: str | None = None,
    ) -> "Stream":
        """Changes since `resource_version`, for `seconds`. Raises ExpiredError if that version is no longer kept."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "labelSelector": label_selector,
        }
        call = _Call("GET", resource.path(namespace), "watch", _what(resource, namespace), query=_given(query))
        return Stream(call, self._open(call, seconds + CALL_SECONDS))

    def keep_off_seconds(self) -> float:
        """For how long the API wants to be left alone; 0 when it does not mind."""
        return max(0.0, self._quiet_until - self._monotonic())

    def close(self) -> None:
        self._client.close()

    def _pages(self, resource: Resource, namespace: str | None, selectors: dict[str, str | None], until: float) -> Listed:
        items: list[Object] = []
        token: str | None = None
        while True:
            query = _given({**selectors, "limit": str(PAGE), "continue": token})
            page = self._json(_Call("GET", resource.path(namespace), "list", _what(resource, namespace), query=query), until)
            items += page.get("items") or []
            token = page["metadata"].get("continue") or None
            if token is None:
                return Listed(tuple(items), str(page["metadata"].get("resourceVersion") or ""))

    def _json(self, call: _Call, until: float | None = None) -> Object:
        body = self._body(call, self._monotonic() + CALL_SECONDS if until is None else until)
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            raise LauncherUnavailableError(f"{call}: {self.address} answered something that is no object of Kubernetes")
        return found

    def _body(self, call: _Call, until: float) -> bytes:
        with self._open(call, CALL_SECONDS) as response:
            return self._read(call, response, until, MAX_BODY_BYTES)

    def _open(self, call: _Call, read_seconds: float) -> urllib3.BaseHTTPResponse:
        """The answer, a success, whose body is not yet read."""
        if self.keep_off_seconds() > 0:
            raise self._quiet_error
        client = self._client
        response = self._send(client, call, read_seconds)
        if response.status == 401:
            response.close()
            response = self._send(self._renewed(client), call, read_seconds)
        if 200 <= response.status < 300:
            return response
        with response:
            body = self._read(call, response, self._monotonic() + CALL_SECONDS, MAX_ERROR_BYTES)
        raise self._error(call, response, Status.read(body))

    def _send(self, client: ApiClient, call: _Call, read_seconds: float) -> urllib3.BaseHTTPResponse:
        try:
            request = client.param_serialize(
                call.method,
                call.path,
                query_params=list(call.query),
                header_params={"Accept": "application/json, */*", "Content-Type": call.content_type},
                body=call.body,
                auth_settings=["BearerToken"],
            )
            answer = client.call_api(*request, _request_timeout=(CONNECT_SECONDS, read_seconds))
        except (urllib3.exceptions.HTTPError, ApiException, ConfigException, OSError) as error:
            raise self._unavailable(call, error) from None
        except ValueError:
            # A token that is more than one line cannot stand in a header, and the error's text would hold it.
            raise UnauthorisedError(f"{self._source()}: its token is not one line of text") from None
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _read(self, call: _Call, response: urllib3.BaseHTTPResponse, until: float, most: int) -> bytes:
        body = bytearray()
        try:
            while piece := response.read1(READ_BYTES):
                body += piece
                if len(body) > most:
                    raise LauncherUnavailableError(f"{call}: an answer of more than {most} bytes")
                if self._monotonic() > until:
                    raise LauncherUnavailableError(f"{call}: {self.address} does not answer in time")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unavailable(call, error) from None
        return bytes(body)

    def _renewed(self, refused: ApiClient) -> ApiClient:
        """A client with the credentials as they are now. The library reads a pod's token again each minute, others never."""
        with self._lock:
            if self._client is refused:
                log.info("%s: credentials refused, reading them again", self.address)
                try:
                    self._client = ApiClient(_configuration(self._kubeconfig))
                except _CREDENTIAL_ERRORS as error:
                    raise UnauthorisedError(f"{self._source()}: {_told(error)}") from None
                refused.close()
            return self._client

    def _error(self, call: _Call, response: urllib3.BaseHTTPResponse, said: Status) -> Exception:
        status = response.status
        if status == 401:
            message = f"{self.address} does not accept this agent's credentials (401): renew {self._source()}"
            return self._keep_off(UNAUTHORISED_SECONDS, UnauthorisedError(message))
        error = error_of(str(call), status, said)
        demanded = response.headers.get("Retry-After")
        if status == 429 or (status == 503 and demanded):
            seconds = float(demanded) if demanded and demanded.isdecimal() else TOO_MANY_SECONDS
            return self._keep_off(min(seconds, MAX_KEEP_OFF_SECONDS), LauncherUnavailableError(str(error)))
        return error

    def _keep_off(self, seconds: float, error: LauncherUnavailableError) -> LauncherUnavailableError:
        """Until then every call raises `error` without asking."""
        self._quiet_error = error
        self._quiet_until = self._monotonic() + seconds
        return error

    def _unavailable(self, call: _Call, error: Exception) -> LauncherUnavailableError:
        return LauncherUnavailableError(f"{call}: {self.address} does not answer ({_told(error)})")

    def _source(self) -> str:
        return str(self._kubeconfig) if self._kubeconfig else "the token of this pod's service account"


class Stream:
    """One open watch. A context manager; iterated in one thread, it may be interrupted by another."""

    def __init__(self, call: _Call, response: urllib3.BaseHTTPResponse) -> None:
        self._call = call
        self._response = response

    def __iter__(self) -> Iterator[Object]:
        """Events `{"type": …, "object": …}` until the server ends it. Raises LauncherUnavailableError when it breaks off.

        An ERROR in the stream is raised as the answer would be that it stands for: 410 as ExpiredError.
        """
        for line in self._lines():
            event = self._event(line)
            if event["type"] == "ERROR":
                code = event["object"].get("code")
                raise error_of(str(self._call), code if isinstance(code, int) else 500, Status.of(event["object"]))
            yield event

    def interrupt(self) -> None:
        """Ends it from another thread: whoever iterates finds it broken off."""
        with suppress(ValueError, OSError, AttributeError):  # it may have ended already
            self._response.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._response.close()

    def _event(self, line: bytes) -> Object:
        with suppress(ValueError, KeyError, TypeError):
            event = json.loads(line)
            if isinstance(event["type"], str) and isinstance(event["object"], dict):
                return dict(event)
        raise LauncherUnavailableError(f"{self._call}: a line that is no event")

    def _lines(self) -> Iterator[bytes]:
        kept = b""
        while piece := self._piece():
            *lines, kept = (kept + piece).split(b"\n")
            yield from filter(None, lines)
            if len(kept) > MAX_LINE_BYTES:
                raise LauncherUnavailableError(f"{self._call}: an event of more than {MAX_LINE_BYTES} bytes")
        if kept:
            raise LauncherUnavailableError(f"{self._call}: broke off within an event")

    def _piece(self) -> bytes:
        try:
            return self._response.read1(READ_BYTES)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise LauncherUnavailableError(f"{self._call}: broke off ({type(error).__name__})") from None


def _configuration(kubeconfig: Path | None) -> Configuration:
    """Raises ConfigException, OSError or ValueError."""
    configuration = Configuration()
    configuration.retries = False
    if kubeconfig is None:
        load_incluster_config(client_configuration=configuration)
    else:
        load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
    return configuration


def _what(resource: Resource, namespace: str | None, name: str | None = None) -> str:
    """`jobs.batch/train in team-a`."""
    named = resource.qualified if name is None else f"{resource.qualified}/{name}"
    return f"{named} in {namespace}" if resource.namespaced and namespace is not None else named


def _given(query: dict[str, str | None]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in query.items() if value is not None)


def _told(error: Exception) -> str:
    """A library's error in one line. Not the text of what a parser tripped over: credentials may stand in it."""
    if isinstance(error, (TypeError, KeyError, AttributeError, yaml.YAMLError, UnicodeError)):
        return f"not a kubeconfig ({type(error).__name__})"
    said = error.reason if isinstance(error, ApiException) else error
    return " ".join(str(said).split())[:200] or type(error).__name__
