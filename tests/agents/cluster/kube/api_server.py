"""A Kubernetes API server on loopback: real HTTP in front of `store.Store`, and troubles on order.

create, get, list (selectors, limit and continue), watch (versions, bookmarks, timeouts, 410), patch by merge, put, delete, the
subresources status, binding and log, tokens and permissions. Not here: strategic patches (415), server-side apply, discovery.
"""

import base64
import json
import re
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.agents.cluster.kube.selectors import selects
from tests.agents.cluster.kube.store import ApiError, Change, Kind, Object, Store, expired

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]+))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[^/]+))?"
)


@dataclass
class Fault:
    """Trouble with the next `times` requests of `verb` (`list`, `watch`, …; "" for any) on `plural` ("" for any).

    With a `status` that is the answer. `cut_after`: so many bytes of the right answer, then the connection ends. `garbage`: this
    instead of an answer's body. `hold`: nothing is said until it is set.
    """

    verb: str = ""
    plural: str = ""
    name: str = ""
    times: int = 1
    status: int = 0
    reason: str = ""
    message: str = "trouble on order"
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    garbage: bytes | None = None
    hold: threading.Event | None = None
    after_effect: bool = False
    """The request takes effect all the same, and only its answer is lost."""

    def meets(self, verb: str, plural: str, name: str) -> bool:
        return self.times > 0 and self.verb in ("", verb) and self.plural in ("", plural) and self.name in ("", name)


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    verb: str
    plural: str
    name: str | None
    query: dict[str, str]
    token: str
    path: str


class ApiServer:
    """Serves `store` at `url` until it is closed. `tokens`: which are accepted. `forbidden`: (verb, plural) that none may do."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or Store()
        self.tokens = {"good-token"}
        self.forbidden: set[tuple[str, str]] = set()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.read_log: Callable[[str, str, str], bytes | None] = lambda namespace, pod, container: None
        self.closed = False
        self.snapshots: dict[int, list[Object]] = {}
        self.watching: Counter[str] = Counter()
        """How many watches of a kind are open."""
        self.order: list[tuple[str, int]] = []
        """What watches were told to do: ("bookmark" | "expire" | "end" | "cut", number)."""
        handler = type("Handler", (_Handler,), {"api": self})
        self._http = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def tell_watches(self, what: str) -> None:
        """`bookmark`: where you are. `expire`: an ERROR 410. `end`: the stream is over. `cut`: it breaks off within an event."""
        with self.store.changed:
            self.order.append((what, len(self.order)))
            self.store.changed.notify_all()

    def requests(self, verb: str, plural: str = "") -> list[Seen]:
        return [seen for seen in self.seen if seen.verb == verb and plural in ("", seen.plural)]

    def close(self) -> None:
        with self.store.changed:
            self.closed = True
            self.store.changed.notify_all()
        for fault in self.faults:
            if fault.hold is not None:
                fault.hold.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def fault(self, verb: str, plural: str, name: str) -> Fault | None:
        with self.store.changed:
            found = next((fault for fault in self.faults if fault.meets(verb, plural, name)), None)
            if found is not None:
                found.times -= 1
            return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as one does that has had enough, is no error; anything else is told."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[ApiServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        query = dict(parse_qsl(url.query))
        parts = PATH.fullmatch(url.path)
        named = {key: unquote(value) for key, value in parts.groupdict().items() if value} if parts else {}
        verb = VERBS.get(self.command) or self._reading(named, query)
        plural = named.get("plural", "")
        token = (self.headers.get("Authorization") or "").partition(" ")[2]
        self.api.seen.append(Seen(verb, plural, named.get("name"), query, token, url.path))
        fault = self.api.fault(verb, plural, named.get("name", ""))
        try:
            if fault is not None and fault.hold is not None:
                fault.hold.wait(30)
            if fault is not None and fault.status and not fault.after_effect:
                raise ApiError(fault.status, fault.reason, fault.message, fault.headers)
            if fault is not None and fault.garbage is not None:
                self._send(200, fault.garbage)
                return
            self._authorise(verb, named, token)
            kind = self.api.store.kind(named.get("group", ""), named.get("version", ""), plural)
            if kind is None:
                self._send(404, b"404 page not found\n", content_type="text/plain")
                return
            if verb == "watch":
                self._watch(kind, named.get("namespace"), query, fault)
                return
            code, body = self._serve(verb, kind, named, query, raw)
            if fault is not None and fault.status:
                raise ApiError(fault.status, fault.reason, fault.message, fault.headers)
            self._send(code, body, cut_after=fault.cut_after if fault else None)
        except ApiError as error:
            self._send(error.code, json.dumps(error.status()).encode(), headers=error.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    @staticmethod
    def _reading(named: dict[str, str], query: dict[str, str]) -> str:
        if "name" in named:
            return "get"
        return "watch" if query.get("watch") in ("true", "1") else "list"

    def _authorise(self, verb: str, named: dict[str, str], token: str) -> None:
        if token not in self.api.tokens:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        group, plural = named.get("group", ""), named.get("plural", "")
        if (verb, plural) in self.api.forbidden:
            resource = f"{plural}/{named['sub']}" if "sub" in named else plural
            where = f' in the namespace "{named["namespace"]}"' if "namespace" in named else " at the cluster scope"
            who = 'User "system:serviceaccount:suanwang:agent"'
            message = f'{plural} is forbidden: {who} cannot {verb} resource "{resource}" in API group "{group}"{where}'
            raise ApiError(403, "Forbidden", message)

    def _serve(self, verb: str, kind: Kind, named: dict[str, str], query: dict[str, str], raw: bytes) -> tuple[int, bytes]:
        store, namespace, name, sub = self.api.store, named.get("namespace", ""), named.get("name", ""), named.get("sub")
        if sub == "log":
            return 200, self._log(namespace, name, query)
        if verb == "list":
            return 200, json.dumps(self._list(kind, named.get("namespace"), query)).encode()
        if verb == "get":
            return 200, json.dumps(store.get(kind.qualified, namespace, name)).encode()
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            raise ApiError(400, "BadRequest", "the body is no JSON") from None
        if verb == "delete":
            if "gracePeriodSeconds" in query:
                body = {**body, "gracePeriodSeconds": int(query["gracePeriodSeconds"])}
            return 200, json.dumps(store.delete(kind, namespace, name, body)).encode()
        if verb == "create" and sub == "binding":
            return 201, json.dumps(self._bind(kind, namespace, name, body)).encode()
        if verb == "create":
            made = store.create(kind, namespace, body)
            self._define(kind, made)
            return 201, json.dumps(made).encode()
        if verb == "patch" and self.headers.get("Content-Type") != "application/merge-patch+json":
            raise ApiError(415, "UnsupportedMediaType", "this server patches by merge only")
        change = store.patch if verb == "patch" else store.replace
        return 200, json.dumps(change(kind, namespace, name, body, status=sub == "status")).encode()

    def _define(self, kind: Kind, made: Object) -> None:
        """A CustomResourceDefinition makes a kind known."""
        if kind.kind == "CustomResourceDefinition":
            spec = made["spec"]
            for version in spec["versions"]:
                new = Kind(
                    spec["group"],
                    version["name"],
                    spec["names"]["plural"],
                    spec["names"]["kind"],
                    namespaced=spec["scope"] == "Namespaced",
                    has_status="status" in version.get("subresources", {}),
                )
                self.api.store.kinds[new.group, new.version, new.plural] = new

    def _bind(self, kind: Kind, namespace: str, name: str, body: Object) -> Object:
        store = self.api.store
        with store.changed:
            pod = store.get(kind.qualified, namespace, name)
            if pod["spec"].get("nodeName"):
                raise ApiError(409, "Conflict", f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
            store.patch(kind, namespace, name, {"spec": {"nodeName": body["target"]["name"]}})
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _log(self, namespace: str, name: str, query: dict[str, str]) -> bytes:
        pod = self.api.store.get("pods", namespace, name)
        container = query.get("container") or pod["spec"]["containers"][0]["name"]
        if container not in {each["name"] for each in pod["spec"]["containers"]}:
            raise ApiError(400, "BadRequest", f"container {container} is not valid for pod {name}")
        found = self.api.read_log(namespace, name, container)
        if found is None:
            message = f'container "{container}" in pod "{name}" is waiting to start: ContainerCreating'
            raise ApiError(400, "BadRequest", message)
        lines = found.splitlines(keepends=True)
        if "sinceTime" in query:
            since = query["sinceTime"][:19]
            lines = [line for line in lines if line[:19].decode() >= since]
        if query.get("timestamps") != "true":
            lines = [line.partition(b" ")[2] for line in lines]
        return b"".join(lines)[: int(query.get("limitBytes") or 2**31)]

    def _list(self, kind: Kind, namespace: str | None, query: dict[str, str]) -> Object:
        store = self.api.store
        with store.changed:
            token = query.get("continue")
            if token:
                version, start = json.loads(base64.urlsafe_b64decode(token))
                if version < store.compacted or version not in self.api.snapshots:
                    raise expired(version, store.compacted)
                found = self.api.snapshots[version]
            else:
                version, start = store.version, 0
                found = store.all(kind.qualified, namespace)
                found = [each for each in found if selects(each, query.get("labelSelector"), query.get("fieldSelector"))]
            end = start + int(query.get("limit") or len(found) or 1)
            metadata: Object = {"resourceVersion": str(version)}
            if end < len(found):
                self.api.snapshots[version] = found
                metadata["continue"] = base64.urlsafe_b64encode(json.dumps([version, end]).encode()).decode()
                metadata["remainingItemCount"] = len(found) - end
        items = [{name: value for name, value in each.items() if name not in ("kind", "apiVersion")} for each in found[start:end]]
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    def _watch(self, kind: Kind, namespace: str | None, query: dict[str, str], fault: Fault | None) -> None:
        store = self.api.store
        labels, fields = query.get("labelSelector"), query.get("fieldSelector")
        with store.changed:
            version = int(query.get("resourceVersion") or 0)
            first: list[Object] = []
            if version == 0:
                version = store.version
                present = store.all(kind.qualified, namespace)
                first = [{"type": "ADDED", "object": each} for each in present if selects(each, labels, fields)]
            store.changes_after(version)
            told = len(self.api.order)
            self.api.watching[kind.plural] += 1
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in first:
                self._chunk(event)
            self._tell(kind, namespace, query, version, told, fault)
        finally:
            with store.changed:
                self.api.watching[kind.plural] -= 1

    def _tell(self, kind: Kind, namespace: str | None, query: dict[str, str], version: int, told: int, fault: Fault | None) -> None:
        """Changes after `version`, and orders after the first `told`, until the time is over."""
        store = self.api.store
        until = time.monotonic() + float(query.get("timeoutSeconds") or 1800)
        while True:
            with store.changed:
                orders = self.api.order[told:]
                told = len(self.api.order)
                try:
                    changes = [change for change in store.changes_after(version) if change.kind == kind.qualified]
                except ApiError as error:  # a watch that fell behind what is kept
                    self._chunk({"type": "ERROR", "object": error.status()})
                    self._end()
                    return
                version = store.version
                if not changes and not orders and not self.api.closed and time.monotonic() < until:
                    store.changed.wait(max(0.0, min(until - time.monotonic(), 1.0)))
                    continue
            for event in events_of(changes, namespace, query.get("labelSelector"), query.get("fieldSelector")):
                if fault is not None and fault.cut_after is not None:
                    self._cut(json.dumps(event).encode()[: fault.cut_after])
                    return
                self._chunk(event)
            if not self._obey([what for what, _ in orders], kind, version, query) or self.api.closed:
                return
            if time.monotonic() >= until:
                self._end()
                return

    def _obey(self, orders: list[str], kind: Kind, version: int, query: dict[str, str]) -> bool:
        """Whether the stream goes on."""
        for what in orders:
            if what == "bookmark" and query.get("allowWatchBookmarks") == "true":
                where = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {"resourceVersion": str(version)}}
                self._chunk({"type": "BOOKMARK", "object": where})
            elif what == "expire":
                self._chunk({"type": "ERROR", "object": expired(version, version + 1).status()})
                self._end()
                return False
            elif what == "end":
                self._end()
                return False
            elif what == "cut":
                self._cut(b'{"type": "MODIF')
                return False
        return True

    def _chunk(self, event: Object) -> None:
        data = json.dumps(event).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _cut(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s" % (len(data) + 10, data))
        self.wfile.flush()
        self.close_connection = True

    def _send(
        self,
        code: int,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        content_type: str = "application/json",
        cut_after: int | None = None,
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if cut_after is None else body[:cut_after])
        if cut_after is not None:
            self.close_connection = True


def events_of(changes: list[Change], namespace: str | None, labels: str | None, fields: str | None) -> Iterator[Object]:
    """What a watcher of one namespace and selector is told of changes: coming into its view is ADDED, leaving it DELETED."""
    for change in changes:
        subject = change.after or change.before
        assert subject is not None
        if namespace not in (None, subject["metadata"].get("namespace")):
            continue
        was = change.before is not None and selects(change.before, labels, fields)
        now = change.after is not None and selects(change.after, labels, fields)
        if now:
            yield {"type": "MODIFIED" if was else "ADDED", "object": change.after}
        elif was:
            last = change.before if change.after is None else {**(change.before or {}), "metadata": change.after["metadata"]}
            yield {"type": "DELETED", "object": last}
