"""What a replay needs, wherever it comes from. Times are integer microseconds from the start of the trace."""

from dataclasses import dataclass

from scheduler.engine.fleet import Node
from scheduler.engine.order import QueuedJob

SECOND = 1_000_000
"""Microseconds in a second."""


class TraceError(ValueError):
    """A trace that cannot be replayed. The message is one line: where the trouble is, and what is allowed there."""


@dataclass(frozen=True, slots=True)
class TraceJob:
    """A job that arrives at `job.submitted_at` and leaves at `leaves_at`, whether or not it was given a place by then."""

    job: QueuedJob
    leaves_at: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A network and the jobs that come to it, in any order. Names of nodes and ids of jobs are unique."""

    nodes: tuple[Node, ...]
    jobs: tuple[TraceJob, ...]
