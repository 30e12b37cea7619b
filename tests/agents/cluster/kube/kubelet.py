"""What runs on nodes, without any: reports nodes and the pods bound to them as kubelets would, as a client of the API.

So it serves the double and a real control plane that has no kubelets alike. A pod's command is run as a real local process where
the test wants that (`run_programs`); else the test says what becomes of a pod (`end`, `wait_for`, `evict`).
"""

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.agents.cluster.kube.rest import Rest
from tests.agents.cluster.kube.store import ApiError, Object

FIELD = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


@dataclass
class Kubelet:
    """Kubelets of `nodes`, for the pods of `namespace`. `hold`: pods that arrive are not started."""

    rest: Rest
    namespace: str
    folder: Path
    nodes: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    """Nodes on which nothing happens any more."""
    hold: bool = False
    run_programs: bool = False
    stubborn: set[str] = field(default_factory=set)
    """Pods that do not end when asked to, until `kill`ed."""
    programs: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    """What pods have printed, each line beginning with its time."""
    _read: dict[str, int] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)

    def step(self) -> None:
        """One pass over the pods: start, watch over, end and take away."""
        for pod in self.pods():
            name, node = pod["metadata"]["name"], pod["spec"].get("nodeName")
            if node not in self.nodes or node in self.dead:
                continue
            try:
                self._tend(pod)
            except ApiError as error:
                if error.code not in (404, 409):  # gone or changed in between: the next pass sees it as it is
                    raise
            self._take_output(name)

    def pods(self) -> list[Object]:
        return list(self.rest("GET", f"/api/v1/namespaces/{self.namespace}/pods")["items"])

    def pod(self, name: str) -> Object:
        return self.rest("GET", self._path(name))

    def end(self, name: str, exit_code: int = 0, reason: str = "") -> None:
        """Its container ends; by `reason` `OOMKilled` with 137, as the kernel's killer leaves it."""
        pod = self.pod(name)
        self._say(pod, self._ended(pod, exit_code, reason or ("Completed" if exit_code == 0 else "Error")))

    def wait_for(self, name: str, reason: str, message: str = "") -> None:
        """Its container cannot start: `ErrImagePull`, `ImagePullBackOff`, `CreateContainerConfigError`."""
        pod = self.pod(name)
        self._say(pod, {"phase": "Pending", **self._containers(pod, {"waiting": {"reason": reason, "message": message}})})

    def evict(self, name: str, message: str = "The node was low on resource: memory.") -> None:
        """The kubelet puts it out, as under memory pressure."""
        pod = self.pod(name)
        target = _target("TerminationByKubelet", message)
        status = self._ended(pod, 137, "Error") | {"phase": "Failed", "reason": "Evicted", "message": message}
        self._say(pod, status | {"conditions": [*pod["status"].get("conditions", ()), target]})

    def disrupt(self, name: str, reason: str, message: str = "") -> None:
        """Something of the cluster deletes it: `PreemptionByScheduler`, `DeletionByTaintManager`, `EvictionByEvictionAPI`."""
        pod = self.pod(name)
        target = _target(reason, message)
        self._say(pod, {"conditions": [*pod["status"].get("conditions", ()), target]})
        self.rest("DELETE", self._path(name), {})

    def kill(self, name: str) -> None:
        """The grace of a pod that is being deleted is over."""
        self.stubborn.discard(name)
        self._asked[name] = 0.0

    def prints(self, name: str, text: str) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "000Z")
        added = b"".join(f"{stamp} {line}".encode() for line in text.splitlines(keepends=True))
        self.logs[name] = self.logs.get(name, b"") + added

    def read_log(self, namespace: str, pod: str, container: str) -> bytes | None:
        return self.logs.get(pod)

    def close(self) -> None:
        for program in self.programs.values():
            if program.poll() is None:
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()

    def _tend(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        program = self.programs.get(name)
        leaving = "deletionTimestamp" in pod["metadata"]
        started = pod["status"]["phase"] != "Pending" or any(
            reason.get("state", {}).get("waiting") for reason in pod["status"].get("containerStatuses", ())
        )
        if leaving and pod["status"]["phase"] in ("Succeeded", "Failed"):
            self.rest("DELETE", self._path(name), {"gracePeriodSeconds": 0})
        elif leaving:
            self._end_leaving(pod, program)
        elif program is not None and program.poll() is not None and pod["status"]["phase"] == "Running":
            self._take_output(name)
            self.end(name, _exit_code(program))
        elif not started and not self.hold:
            self._start(pod)

    def _start(self, pod: Object) -> None:
        name = pod["metadata"]["name"]
        self.logs.setdefault(name, b"")
        if self.run_programs:
            container = pod["spec"]["containers"][0]
            environment = {"PATH": os.environ["PATH"]}
            for each in container.get("env", ()):
                environment[each["name"]] = expanded(_value(each, pod), environment)
            words = [*container.get("command", ()), *container.get("args", ())]
            with (self.folder / name).open("wb") as output:
                self.programs[name] = subprocess.Popen(
                    [expanded(word, environment) for word in words],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        running = self._containers(pod, {"running": {"startedAt": _now()}}, ready=True)
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": _now()}
        conditions = [each for each in pod["status"].get("conditions", ()) if each["type"] != "Ready"] + [ready]
        self._say(pod, {"phase": "Running", "startTime": _now(), "podIP": "10.0.0.1", "conditions": conditions, **running})

    def _end_leaving(self, pod: Object, program: subprocess.Popen[bytes] | None) -> None:
        """SIGTERM at first sight, SIGKILL when its grace is over; then its end is said, and at the next pass it goes."""
        name = pod["metadata"]["name"]
        grace = pod["metadata"].get("deletionGracePeriodSeconds", 30)
        first = name not in self._asked
        over = time.monotonic() > self._asked.setdefault(name, time.monotonic() + grace)
        if program is not None and program.poll() is None:
            if first or over:
                os.killpg(program.pid, signal.SIGKILL if over else signal.SIGTERM)
            return
        if name in self.stubborn:
            return
        self._take_output(name)
        self._say(pod, self._ended(pod, 143 if program is None else _exit_code(program), "Error"))

    def _ended(self, pod: Object, exit_code: int, reason: str) -> Object:
        states = [each.get("state", {}) for each in pod["status"].get("containerStatuses", ())]
        began = next((state["running"]["startedAt"] for state in states if "running" in state), None)
        ended: Object = {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": _now()}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        conditions = [
            {**each, "status": "False"} if each["type"] == "Ready" else each for each in pod["status"].get("conditions", ())
        ]
        return {"phase": phase, "conditions": conditions, **self._containers(pod, {"terminated": ended})}

    def _containers(self, pod: Object, state: Object, *, ready: bool = False) -> Object:
        statuses = [
            {
                "name": each["name"],
                "image": each.get("image", ""),
                "imageID": "",
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": state,
            }
            for each in pod["spec"]["containers"]
        ]
        return {"containerStatuses": statuses}

    def _say(self, pod: Object, status: Object) -> None:
        self.rest("PATCH", f"{self._path(pod['metadata']['name'])}/status", {"status": status})

    def _path(self, name: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{name}"

    def _take_output(self, name: str) -> None:
        if name in self.programs:
            data = (self.folder / name).read_bytes()
            whole = data.rfind(b"\n") + 1 if self.programs[name].poll() is None else len(data)
            self.prints(name, data[self._read.get(name, 0) : whole].decode("utf-8", "replace"))
            self._read[name] = whole


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` is replaced by a variable there is, `$$` by `$`, and nothing else is touched."""
    return re.sub(
        r"\$(\$|\(([^)]*)\))",
        lambda found: "$" if found[1] == "$" else variables.get(found[2], found[0]),
        text,
    )


def _value(variable: Object, pod: Object) -> str:
    """A variable's value, also by the downward API."""
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    path = str(variable["valueFrom"]["fieldRef"]["fieldPath"])
    if named := FIELD.fullmatch(path):
        return str(pod["metadata"].get(named[1], {}).get(named[2], ""))
    known: dict[str, str] = {
        "metadata.name": pod["metadata"]["name"],
        "metadata.namespace": pod["metadata"]["namespace"],
        "metadata.uid": pod["metadata"]["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "status.podIP": pod["status"].get("podIP", ""),
    }
    return known[path]


def _target(reason: str, message: str) -> Object:
    """The condition of a pod that something of the cluster puts out."""
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": _now()}


def _exit_code(program: subprocess.Popen[bytes]) -> int:
    code = program.wait()
    return 128 - code if code < 0 else code


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
