"""How a cluster agent and the city agree, level-triggered: the agent says everything it observes and gets everything that
is desired. Losing any message, or restarting either side, changes nothing: the next exchange says it all again.

Rules both sides rely on:
- the agent's loop is sequential: an attempt the last answer desired is observed in the next request once it was launched;
- one agent speaks for a cluster at a time: another is told so until the first has been silent for a while;
- a run whose attempt is not desired is stopped, and forgotten once it has stopped and the city no longer desires it;
- a finished run is reported until the city stops desiring its attempt, so no ending is lost;
- an attempt the city knows as starting or running and the agent does not observe is gone.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from scheduler.contract.base import Count, Key, Moment, Name, Text, Wire
from scheduler.contract.inventory import MigProfile, NodeName
from scheduler.contract.job import MAX_NODES, Activity, Argument
from scheduler.domain.states import AttemptState

MAX_RUNS = 5_000
MAX_OTHERS = 50_000
"""With `MAX_RUNS` the most runs a cluster may have: those that have ended are forgotten, so it is a limit of those alive."""
MAX_WATCH_SECONDS = 30
"""The longest one request waits for a change."""
MAX_LOG_CHUNK = 65_536
MAX_LOG_CHUNKS = 64
"""In one request."""
MAX_LOG_READ_BYTES = 1_048_576
"""In one answer."""


Rank = Annotated[int, Field(ge=0, lt=MAX_NODES)]
"""Which node of a gang, in the order placed."""

Revision = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,16}-[0-9]{1,16}$")]
"""Names the set of runs that a cluster must run: two answers with the same revision desire the same."""


class RunState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


RUN_FINAL = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED})


class Cause(StrEnum):
    """Why a run failed that did not simply end with its program. What follows from each is in `scheduler.service.causes`."""

    LAUNCH_REFUSED = "launch_refused"
    """The launcher, or its cluster, would not take it as it is described."""
    IMAGE_PULL = "image_pull"
    """Its image cannot be had there."""
    NOT_PLACED = "not_placed"
    """The cluster found no room for the whole gang in time."""
    OUT_OF_MEMORY = "out_of_memory"
    """Killed for the host memory it used."""
    EVICTED = "evicted"
    """Removed from its node: under pressure, or drained."""
    PREEMPTED = "preempted"
    """Removed by the cluster's own scheduler, for work the city did not send."""
    NODE_LOST = "node_lost"
    """A node of the gang does not answer any more."""


class ObservedRun(Wire):
    """One run as its cluster sees it. `started_at` is when the program began, not when it was accepted.

    `cause` goes with `failed` alone; a program that ended by itself has an `exit_code` and no cause.
    """

    attempt: Key
    fencing_token: Count
    state: RunState
    started_at: Moment | None = None
    finished_at: Moment | None = None
    exit_code: Annotated[int, Field(ge=-255, le=255)] | None = None
    detail: Annotated[str, StringConstraints(max_length=500)] | None = None
    cause: Cause | None = None
    checkpoint_at: Moment | None = None
    ranks: Annotated[int, Field(ge=1, le=MAX_NODES)] = 1
    """How many logs it has: one of each node of its gang."""


class SyncRequest(Wire):
    """Everything the agent observes. `agent` names it, the same after a restart.

    `others`: the fencing tokens of runs that are there but for which this message had no room; nothing else is said of them.
    `revision`: that of the last answer, where the agent still holds what it desired.
    """

    agent: Text
    observed: Annotated[list[ObservedRun], Field(max_length=MAX_RUNS)] = Field(default_factory=list)
    others: Annotated[list[Count], Field(max_length=MAX_OTHERS)] = Field(default_factory=list)
    revision: Revision | None = None


class Placement(Wire):
    """One node of a gang and the devices of it that are granted. Rank 0 is the first of the list.

    `card_milli` is what each device counts as, in thousandths of a card: a part of a card, or with `mig` a whole instance of that
    profile.
    """

    node: NodeName
    devices: list[str]
    card_milli: Count = 1000
    mig: MigProfile | None = None
    cpus: Count = 0
    host_memory_gib: Count = 0


class ArrayIndex(Wire):
    """Which task of how many it is."""

    index: Count
    size: Count


class DesiredRun(Wire):
    """One attempt that must be running, with everything a launcher needs to run it. `array`: where it is of a task of an array.

    `replaces`: earlier attempts of the same in this cluster that were given up while they may have been alive. It is not launched
    beside one of them that still is: the two would hold the same cards and write the same checkpoint.
    """

    attempt: Key
    fencing_token: Count
    job: Key
    name: Name
    tenant: Key
    number: Count
    activity: Activity
    entrypoint: list[Argument]
    image: str | None = None
    working_dir: str | None = None
    vendor: str | None = None
    model: str | None = None
    per_node: Count
    placements: list[Placement]
    checkpoint_path: str | None = None
    max_runtime_seconds: Count
    array: ArrayIndex | None = None
    replaces: list[Key] = Field(default_factory=list)


class SyncResponse(Wire):
    """Everything that must be running in the cluster, and how long the agent may wait before it says again what it observes.

    `desired` is None where nothing has changed since the revision that the request named.
    """

    desired: list[DesiredRun] | None
    revision: Revision
    next_sync_milliseconds: Count


class Watched(Wire):
    """What a cluster must run has this revision now. Another than the one asked with means: sync."""

    revision: Revision


class LogChunk(Wire):
    """A piece of what a rank of a run printed, from byte `offset` of all of it on. Sending it twice changes nothing.

    An `offset` beyond what the city has says that the bytes between are lost. `last`: nothing comes after it.
    """

    attempt: Key
    fencing_token: Count
    rank: Rank = 0
    offset: Annotated[int, Field(ge=0, le=2**40)]
    text: Annotated[str, StringConstraints(max_length=MAX_LOG_CHUNK)]
    last: bool = False


class LogChunks(Wire):
    """Pieces of the logs of any runs of a cluster."""

    chunks: Annotated[list[LogChunk], Field(min_length=1, max_length=MAX_LOG_CHUNKS)]


class LogPosition(Wire):
    """Up to which byte the city has a log: where the agent goes on, unless no more of it is `wanted`.

    Of a rank only so many bytes of its beginning and of its end are kept: what lies between need not be sent.
    """

    attempt: Key
    fencing_token: Count
    rank: Rank = 0
    next_offset: Count
    wanted: bool = True
    head_bytes: Count = 0
    tail_bytes: Count = 0


class LogPositions(Wire):
    """One for each piece, in their order."""

    positions: list[LogPosition]


class Gap(Wire):
    """Bytes from `start` up to `end` that were printed and are not kept."""

    start: Count
    end: Count


class LogView(Wire):
    """A stretch of what a rank of an attempt printed, as far as it has arrived: whole characters without a gap between them.

    `start` is later than asked for where that is not kept; `next_offset` is where to read on; `end` is where the log ends so far.
    `complete`: nothing comes any more. That of an attempt lost with its cluster may never be. `kept`: false for a rank beyond those
    of which anything is.
    """

    attempt: Key
    number: Count
    task: Count | None = None
    state: AttemptState
    rank: Count
    ranks: Count
    kept: bool = True
    start: Count
    text: str
    next_offset: Count
    end: Count
    gaps: list[Gap] = Field(default_factory=list)
    complete: bool
