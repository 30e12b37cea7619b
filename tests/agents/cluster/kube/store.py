"""What a Kubernetes API server keeps and the rules it keeps it by: versions, conflicts, graceful and cascading deletion, history.

Written from the API's documentation (API concepts, garbage collection, pod termination), as far as the cluster agent meets it. An
object is never changed in place: every write stores a new one, so what was handed out stays what it was.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Condition
from typing import Any
from uuid import uuid4

Object = dict[str, Any]
Key = tuple[str, str, str]
"""(qualified kind, namespace or "", name)."""

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
POD_GRACE_SECONDS = 30


@dataclass(frozen=True)
class Kind:
    """A kind of object: `qualified` is `pods` or `jobs.batch`; with a status of its own, which only `/status` changes."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    has_status: bool = True

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


BUILT_IN = (
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "nodes", "Node", namespaced=False),
    Kind("", "v1", "pods", "Pod"),
    Kind("", "v1", "services", "Service"),
    Kind("", "v1", "events", "Event", has_status=False),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", has_status=False),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
)


class ApiError(Exception):
    """An answer other than success, as a Status object says it."""

    def __init__(self, code: int, reason: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.headers = dict(headers or {})

    def status(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


@dataclass(frozen=True)
class Change:
    """One write: what the object was (None: it was not) and what it is now (None: it is gone), at a version."""

    version: int
    kind: str
    before: Object | None
    after: Object | None


@dataclass
class Store:
    """Everything the API has. `changed` guards it, and is notified at every write."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    changed: Condition = field(default_factory=Condition)
    kinds: dict[tuple[str, str, str], Kind] = field(default_factory=dict)
    objects: dict[Key, Object] = field(default_factory=dict)
    history: list[Change] = field(default_factory=list)
    compacted: int = 0
    version: int = 100

    def __post_init__(self) -> None:
        for kind in BUILT_IN:
            self.kinds[kind.group, kind.version, kind.plural] = kind

    def kind(self, group: str, version: str, plural: str) -> Kind | None:
        return self.kinds.get((group, version, plural))

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        """In the order of namespace and name, as etcd has them."""
        with self.changed:
            keys = sorted(key for key in self.objects if key[0] == kind and namespace in (None, key[1]))
            return [self.objects[key] for key in keys]

    def get(self, kind: str, namespace: str, name: str) -> Object:
        with self.changed:
            found = self.objects.get((kind, namespace, name))
        if found is None:
            raise not_found(kind, name)
        return found

    def create(self, kind: Kind, namespace: str, body: Object) -> Object:
        new = deepcopy(body)
        metadata = new.setdefault("metadata", {})
        if "name" not in metadata and "generateName" in metadata:
            metadata["name"] = f"{metadata['generateName']}{uuid4().hex[:5]}"
        _check(kind, new)
        with self.changed:
            if kind.namespaced and ("namespaces", "", namespace) not in self.objects:
                raise not_found("namespaces", namespace)
            key = (kind.qualified, namespace, metadata["name"])
            if key in self.objects:
                raise ApiError(409, "AlreadyExists", f'{kind.qualified} "{key[2]}" already exists')
            if kind.namespaced:
                metadata["namespace"] = namespace
            metadata |= {"uid": str(uuid4()), "creationTimestamp": stamp(self.clock()), "generation": 1}
            new |= {"apiVersion": kind.api_version, "kind": kind.kind}
            if kind.has_status:
                new["status"] = {}
            _default(kind, new)
            return self._write(key, new)

    def replace(self, kind: Kind, namespace: str, name: str, body: Object, *, status: bool = False) -> Object:
        """PUT, of the object or of its status alone."""
        with self.changed:
            old = self.get(kind.qualified, namespace, name)
            _check_version(kind, old, body)
            new = {**old, "status": body.get("status", {})} if status else {**body, "metadata": {**body["metadata"]}}
            if not status:
                if kind.has_status:
                    new["status"] = old["status"]
                for fixed in ("uid", "creationTimestamp", "namespace", "name", "generation", "deletionTimestamp"):
                    if fixed in old["metadata"]:
                        new["metadata"][fixed] = old["metadata"][fixed]
                _check(kind, new)
            return self._change(kind, namespace, name, old, new)

    def patch(self, kind: Kind, namespace: str, name: str, changes: Object, *, status: bool = False) -> Object:
        """PATCH by merge (RFC 7386)."""
        with self.changed:
            old = self.get(kind.qualified, namespace, name)
            return self.replace(kind, namespace, name, merged(old, changes), status=status)

    def delete(self, kind: Kind, namespace: str, name: str, options: Object) -> Object:
        """What DELETE does: at once, or after the pod's grace, or after what hangs on it, as `options` and finalizers say."""
        with self.changed:
            old = self.get(kind.qualified, namespace, name)
            wanted = (options.get("preconditions") or {}).get("uid")
            if wanted not in (None, old["metadata"]["uid"]):
                raise ApiError(409, "Conflict", f'{kind.qualified} "{name}": the UID in the precondition is another')
            grace = _grace(kind, old, options.get("gracePeriodSeconds"))
            metadata = deepcopy(old["metadata"])
            finalizers = set(metadata.get("finalizers", ()))
            propagation = options.get("propagationPolicy") or ("Orphan" if kind.qualified == "jobs.batch" else "Background")
            if propagation == "Foreground" and self._dependents(old):
                finalizers.add("foregroundDeletion")
            if propagation == "Orphan":
                self._orphan(old)
            if not grace and not finalizers:
                return self._remove(kind, namespace, name, old)
            if "deletionTimestamp" not in metadata:
                metadata["deletionTimestamp"] = stamp(self.clock())
            metadata["deletionGracePeriodSeconds"] = grace
            if finalizers:
                metadata["finalizers"] = sorted(finalizers)
            marked = self._write((kind.qualified, namespace, name), {**old, "metadata": metadata})
            if "foregroundDeletion" in finalizers:
                self._delete_dependents(old)
            return marked

    def changes_after(self, version: int) -> Iterable[Change]:
        """Raises ApiError 410 where they are no longer kept."""
        if version < self.compacted:
            raise expired(version, self.compacted)
        return (change for change in self.history if change.version > version)

    def compact(self) -> None:
        """Forget the history: what asks for a version before the present one is answered 410."""
        with self.changed:
            self.compacted = self.version
            self.history.clear()
            self.changed.notify_all()

    def _change(self, kind: Kind, namespace: str, name: str, old: Object, new: Object) -> Object:
        """Stores a changed object, or takes it away where only a finalizer held it."""
        if new.get("spec") != old.get("spec"):
            new["metadata"] = {**new["metadata"], "generation": old["metadata"]["generation"] + 1}
        metadata = new["metadata"]
        waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
        if "deletionTimestamp" in metadata and not waits:
            return self._remove(kind, namespace, name, new)
        if _bare(new) == _bare(old):
            return old
        return self._write((kind.qualified, namespace, name), new)

    def _write(self, key: Key, new: Object) -> Object:
        self.version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        self.history.append(Change(self.version, key[0], self.objects.get(key), new))
        self.objects[key] = new
        self.changed.notify_all()
        return new

    def _remove(self, kind: Kind, namespace: str, name: str, old: Object) -> Object:
        """Takes it away, and after it what it owns (or contains, for a namespace)."""
        self.version += 1
        last = {**old, "metadata": {**old["metadata"], "resourceVersion": str(self.version)}}
        del self.objects[kind.qualified, namespace, name]
        self.history.append(Change(self.version, kind.qualified, last, None))
        self.changed.notify_all()
        self._delete_dependents(old)
        if kind.qualified == "namespaces":
            for key in [key for key in self.objects if key[1] == name]:
                self.version += 1
                self.history.append(Change(self.version, key[0], self.objects.pop(key), None))
        self._release_owners(old)
        return last

    def _dependents(self, owner: Object) -> list[Key]:
        return [key for key, found in self.objects.items() if any(uid == owner["metadata"]["uid"] for uid in owners(found))]

    def _delete_dependents(self, owner: Object) -> None:
        for qualified, namespace, name in self._dependents(owner):
            kind = next(kind for kind in self.kinds.values() if kind.qualified == qualified)
            if (qualified, namespace, name) in self.objects:
                self.delete(kind, namespace, name, {"propagationPolicy": "Background"})

    def _orphan(self, owner: Object) -> None:
        for key in self._dependents(owner):
            found = self.objects[key]
            left = [ref for ref in found["metadata"]["ownerReferences"] if ref["uid"] != owner["metadata"]["uid"]]
            self._write(key, {**found, "metadata": {**found["metadata"], "ownerReferences": left}})

    def _release_owners(self, gone: Object) -> None:
        """An owner in foreground deletion goes with the last of what it owns."""
        waiting = {found["metadata"]["uid"]: key for key, found in self.objects.items()}
        for uid in owners(gone):
            key = waiting.get(uid)
            found = self.objects[key] if key else None
            if key is None or found is None or "foregroundDeletion" not in found["metadata"].get("finalizers", ()):
                continue
            if not self._dependents(found):
                kind = next(kind for kind in self.kinds.values() if kind.qualified == key[0])
                left = [name for name in found["metadata"]["finalizers"] if name != "foregroundDeletion"]
                metadata = {**found["metadata"], "finalizers": left, "deletionGracePeriodSeconds": 0}
                self._change(kind, key[1], key[2], found, {**found, "metadata": metadata})


def owners(found: Object) -> Iterator[str]:
    return (str(reference["uid"]) for reference in found["metadata"].get("ownerReferences") or ())


def not_found(kind: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{kind} "{name}" not found')


def expired(version: int, oldest: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def merged(old: Any, changes: Any) -> Any:
    """RFC 7386: null removes, objects are merged, everything else replaces."""
    if not isinstance(changes, dict):
        return changes
    kept = dict(old) if isinstance(old, dict) else {}
    for name, value in changes.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), value)
    return kept


def _bare(found: Object) -> Object:
    metadata = {name: value for name, value in found["metadata"].items() if name not in ("resourceVersion", "generation")}
    return {**found, "metadata": metadata}


def _check_version(kind: Kind, old: Object, body: Object) -> None:
    metadata = body.get("metadata") or {}
    if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
        message = f'Operation cannot be fulfilled on {kind.qualified} "{old["metadata"]["name"]}": the object has been modified'
        raise ApiError(409, "Conflict", f"{message}; please apply your changes to the latest version and try again")


def _check(kind: Kind, body: Object) -> None:
    """The mistakes a manifest of ours could have."""
    name = body["metadata"].get("name")
    if not name:
        raise ApiError(422, "Invalid", f"{kind.kind}: metadata.name: Required value: name or generateName is required")
    if not NAME.fullmatch(name):
        raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: metadata.name: Invalid value: "{name}"')
    for label, value in (body["metadata"].get("labels") or {}).items():
        if not isinstance(value, str) or not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value):
            raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: metadata.labels: Invalid value of {label}: "{value}"')
    if kind.qualified == "jobs.batch":
        _check_template(kind, name, body.get("spec", {}).get("template", {}).get("spec", {}), ("Never", "OnFailure"))
    if kind.qualified == "pods":
        _check_template(kind, name, body.get("spec", {}), ("Never", "OnFailure", "Always", None))


def _check_template(kind: Kind, name: str, spec: Object, policies: tuple[str | None, ...]) -> None:
    if not spec.get("containers"):
        raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: spec.containers: Required value')
    if spec.get("restartPolicy") not in policies:
        raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: spec.restartPolicy: Unsupported value')


def _default(kind: Kind, new: Object) -> None:
    if kind.qualified == "pods":
        new["spec"] = {"restartPolicy": "Always", "terminationGracePeriodSeconds": POD_GRACE_SECONDS, **new["spec"]}
        new["status"] = {"phase": "Pending", "qosClass": "BestEffort"}
    if kind.qualified == "namespaces":
        new["status"] = {"phase": "Active"}


def _grace(kind: Kind, pod: Object, asked: int | None) -> int:
    """How many seconds a pod has to end: none before it is on a node and none after it has ended."""
    if kind.qualified != "pods" or not pod["spec"].get("nodeName") or pod["status"]["phase"] in ("Succeeded", "Failed"):
        return 0
    return int(pod["spec"]["terminationGracePeriodSeconds"] if asked is None else asked)
