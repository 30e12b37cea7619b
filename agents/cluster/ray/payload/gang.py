"""Drives a gang: the exact resources on the exact nodes set aside as one placement group, then the program on every node at once.

It is the driver of a Ray job. Each rank is an actor in its node's bundle, whose child runs the payload's `rank`: should this
process die, Ray ends its actors, and a rank ends with its actor. The first failure ends the gang.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from . import OUT_OF_MEMORY_MARKS
from .rank import filled, free_port, say

POLL_SECONDS = 0.2
STOP_MARGIN_SECONDS = 5.0
"""Beyond the grace: for ranks to be heard of after they were killed."""
SETUP_SECONDS = 900.0
"""For Ray to have the working directory on every node."""
RANK_THREADS = 3
NODE_SHARE = 0.001
"""Of the resource that every Ray node has under its own address, so that a bundle can lie there alone."""

Ended = dict[str, Any]


class GangEndedError(Exception):
    """The gang is over; `ended` says how."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(str(ended))
        self.ended = ended


def main(spec: dict[str, Any]) -> int:
    """Runs the gang `spec` describes; 0 when every rank ended so."""
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    gang = Gang(spec, asked.is_set)
    try:
        gang.place()
        gang.start()
        gang.wait()
        ended: Ended = {"exit_code": 0}
    except GangEndedError as end:
        ended = end.ended
    gang.stop()
    say(spec["attempt"], ended=ended)
    ray.shutdown()
    return int(ended.get("exit_code") or ("cause" in ended))


class Gang:
    """`is_asked` says whether the gang is to stop."""

    def __init__(self, spec: dict[str, Any], is_asked: Callable[[], bool]) -> None:
        self._spec = spec
        self._is_asked = is_asked
        self._group: PlacementGroup | None = None
        self._ranks: list[Any] = []
        self._running: dict[Any, int] = {}
        """Which rank each unanswered `wait` is for."""

    def place(self) -> None:
        """Has every node's bundle set aside and a rank in it. Raises GangEndedError."""
        nodes = self._spec["nodes"]
        bundles = [_bundle(node) for node in nodes]
        self._group = placement_group(bundles, strategy="STRICT_SPREAD")
        seconds = self._spec["placement_seconds"]
        if not self._answered([self._group.ready()], time.monotonic() + seconds):
            where = ", ".join(node["name"] for node in nodes)
            raise GangEndedError(
                {"cause": "not_placed", "detail": f"Ray had no room for the whole gang on {where} in {seconds:.0f} s"}
            )
        actor = ray.remote(Rank)
        self._ranks = [
            actor.options(
                num_cpus=node["cpus"],
                num_gpus=node["gpus"],
                memory=node["memory_bytes"],
                resources=node["resources"],
                max_concurrency=RANK_THREADS,
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=rank),
            ).remote()
            for rank, node in enumerate(nodes)
        ]

    def start(self) -> None:
        """Starts every program and says when all have begun. Raises GangEndedError."""
        places = self._ask([rank.place.remote() for rank in self._ranks], SETUP_SECONDS)
        say(self._spec["attempt"], nodes=[place["node_id"] for place in places])
        port = self._ask([self._ranks[0].free_port.remote()], SETUP_SECONDS)[0]
        master = {self._spec["address_mark"]: places[0]["address"], self._spec["port_mark"]: str(port)}
        specs = [self._rank_spec(rank, master) for rank in range(len(self._ranks))]
        told = self._ask([rank.start.remote(each) for rank, each in zip(self._ranks, specs)], SETUP_SECONDS)  # noqa: B905
        for rank, each in enumerate(told):
            if "ended" in each:
                raise self._failure(rank, each["ended"])
        self._running = {rank.wait.remote(): number for number, rank in enumerate(self._ranks)}
        say(self._spec["attempt"], began=time.time())

    def wait(self) -> None:
        """Returns when every rank ended with 0. Raises GangEndedError at the first that did not, and when asked to stop."""
        while self._running:
            if self._is_asked():
                raise GangEndedError({"exit_code": 128 + signal.SIGTERM})
            for answer in ray.wait(list(self._running), timeout=POLL_SECONDS)[0]:
                rank = self._running.pop(answer)
                ended = self._get(answer, rank)["ended"]
                if ended.get("exit_code") != 0 or "cause" in ended:
                    raise self._failure(rank, ended)

    def stop(self) -> None:
        """Ends every rank that still runs, by grace and then by force, and gives back what was set aside."""
        for rank in self._ranks:
            rank.stop.remote()
        if self._running:
            ray.wait(list(self._running), num_returns=len(self._running), timeout=self._spec["grace_seconds"] + STOP_MARGIN_SECONDS)
        for rank in self._ranks:
            ray.kill(rank)
        if self._group is not None:
            remove_placement_group(self._group)

    def _rank_spec(self, rank: int, master: dict[str, str]) -> dict[str, Any]:
        node = self._spec["nodes"][rank]
        variables = filled(self._spec["variables"], {**master, self._spec["rank_mark"]: str(rank)})
        own = {"folder": f"{self._spec['folder']}/{rank}", "variables": {**variables, **node["variables"]}, "cards": node["cards"]}
        return {**{name: self._spec[name] for name in ("attempt", "program", "grace_seconds", "port_mark")}, **own, "owned": True}

    def _ask(self, answers: Sequence[Any], seconds: float) -> list[Any]:
        """What the ranks answer, in their order."""
        if not self._answered(answers, time.monotonic() + seconds):
            raise GangEndedError({"cause": "launch_refused", "detail": f"Ray's nodes were not ready in {seconds:.0f} s"})
        return [self._get(answer, rank) for rank, answer in enumerate(answers)]

    def _answered(self, answers: Sequence[Any], deadline: float) -> bool:
        """Whether all are answered before the deadline. Raises GangEndedError when asked to stop."""
        while ray.wait(list(answers), num_returns=len(answers), timeout=POLL_SECONDS)[1]:
            if self._is_asked():
                raise GangEndedError({"exit_code": 128 + signal.SIGTERM})
            if time.monotonic() >= deadline:
                return False
        return True

    def _get(self, answer: Any, rank: int) -> Any:
        try:
            return ray.get(answer)
        except RayError as error:
            raise self._failure(rank, loss(error)) from error

    def _failure(self, rank: int, ended: Ended) -> GangEndedError:
        return GangEndedError({**ended, "rank": rank, "node": self._spec["nodes"][rank]["name"]})


def loss(error: Exception) -> Ended:
    """What it means that a rank did not answer."""
    text = str(error)
    if isinstance(error, RuntimeEnvSetupError):
        return {"cause": "launch_refused", "detail": f"Ray could not prepare the node: {_first_line(text)}"}
    if any(mark in text for mark in OUT_OF_MEMORY_MARKS):
        return {"cause": "out_of_memory", "detail": "Ray killed it because its node ran out of memory"}
    if isinstance(error, RayActorError) and not isinstance(error, RayTaskError):
        return {"cause": "node_lost", "detail": f"its node, or Ray on it, died: {_first_line(text)}"}
    return {"cause": "launch_refused", "detail": f"the rank could not be run: {text.strip().splitlines()[-1]}"}


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _bundle(node: dict[str, Any]) -> dict[str, float]:
    amounts = {"CPU": node["cpus"], "GPU": node["gpus"], "memory": node["memory_bytes"], **node["resources"]}
    return {node["node_resource"]: NODE_SHARE, **{name: amount for name, amount in amounts.items() if amount}}


class Rank:
    """What Ray set aside on one node, and in it the payload's `rank` as a child. Its methods are called from the driver."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def place(self) -> dict[str, str]:
        address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return {"node_id": ray.get_runtime_context().get_node_id(), "address": address}

    def free_port(self) -> int:
        return free_port()

    def start(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Returns `{"began": T}`, or `{"ended": ...}` when the program could not be started."""
        # As Ray's own job supervisor finds it; no public word of Ray says where a node's logs lie.
        logs = ray._private.worker._global_node.get_logs_dir_path()  # type: ignore[attr-defined]
        command = [sys.executable, "-E", str(Path(__file__).parents[1]), "rank", json.dumps({**spec, "logs": logs})]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self._told()

    def wait(self) -> dict[str, Any]:
        """`{"ended": ...}`, when it has ended."""
        return self._told()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)

    def _told(self) -> dict[str, Any]:
        """The next line of it, or how it ended if it went without a word."""
        assert self._process is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            before, brace, told = line.decode().partition("{")
            if before.startswith("suanwang: ") and brace:
                return dict(json.loads(brace + told))
        code = self._process.wait()
        return {"ended": {"exit_code": code if code >= 0 else 128 - code}}
