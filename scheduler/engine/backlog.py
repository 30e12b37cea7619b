"""The queue by class: jobs that ask for the same on the same terms stand in one line, and the engine decides about its head.

A million jobs of a hundred shapes are a hundred lines. What orders the lines is kept in arrays: priority, then who must start soon
to keep a deadline, then weighted dominant share, then service where the operator's order goes by it, then age, as in `order`;
`first` finds the next to serve, `turns` many in a row.

Tasks of an array that follow each other stand in their line as one entry, under the name of the first: a hundred thousand of them
cost what one job does, and every one that is taken leaves the entry to the next.
"""

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.domain.tasks import index_of, job_of, task_after, task_name
from scheduler.engine.fleet import Bools, Ints
from scheduler.engine.order import (
    NEAR_SECONDS,
    NOT_NEAR,
    Order,
    QueuedJob,
    Usage,
    fares_alike,
    latest_start,
    service,
    stand_alike,
)

NOBODY = 2**62
"""The age of an empty line: younger than anything."""


@dataclass(slots=True)
class Line:
    """Jobs that fare alike, oldest first: (submitted_at, id). `example` is any one of them. `tasks`: by id, how many tasks of an
    array an entry stands for, where that is more than one."""

    example: QueuedJob
    jobs: list[tuple[int, str]] = field(default_factory=list)
    tasks: dict[str, int] = field(default_factory=dict)

    def covering(self, job: QueuedJob, first: int) -> int | None:
        """The position, from `first` on, of the entry that a job or its tasks are, or are among."""
        position = bisect_right(self.jobs, (job.submitted_at, job.id), first) - 1
        if position < first:
            return None
        at, id_ = self.jobs[position]
        if id_ == job.id and at == job.submitted_at:
            return position
        tasks = self.tasks.get(id_, 1)
        among = tasks > 1 and at == job.submitted_at and job_of(id_) == job_of(job.id) and job.id <= task_after(id_, tasks - 1)
        return position if among else None

    def cut(self, position: int, job: QueuedJob) -> None:
        """Take a job, or some tasks of an array, out of the entry that covers it; what is left of that stays."""
        at, id_ = self.jobs[position]
        tasks = self.tasks.pop(id_, 1)
        before = (index_of(job.id) or 0) - (index_of(id_) or 0)
        behind = tasks - before - job.tasks
        left = []
        if before:
            left.append(self._named(at, id_, before))
        if behind:
            left.append(self._named(at, task_after(job.id, job.tasks), behind))
        self.jobs[position : position + 1] = left

    def advance(self, position: int) -> bool:
        """Take a task out of the front of an entry with more of them; False where it is the only one."""
        at, id_ = self.jobs[position]
        tasks = self.tasks.pop(id_, 1)
        if tasks > 1:
            self.jobs[position] = self._named(at, task_after(id_), tasks - 1)
        return tasks > 1

    def _named(self, at: int, id_: str, tasks: int) -> tuple[int, str]:
        if tasks > 1:
            self.tasks[id_] = tasks
        return at, id_


class Backlog:
    """Lines of waiting jobs. Taking a job from a line is undone by nothing: build a backlog for the round it is used in, or keep
    one and put new jobs in."""

    def __init__(self, jobs: Iterable[QueuedJob] = (), order: Order = Order.AGE) -> None:
        self.lines: list[Line] = []
        self._order = order
        self._number: dict[object, int] = {}
        self._tenants: dict[str, int] = {}
        self._tenant_of: list[int] = []
        self._likenesses: dict[object, int] = {}
        self._likeness_of: list[int] = []
        self.priority = np.zeros(0, dtype=np.int64)
        self._tenant = np.zeros(0, dtype=np.int64)
        self._start_by = np.zeros(0, dtype=np.int64)
        self._service = np.zeros(0, dtype=np.int64)
        self.head_at = np.zeros(0, dtype=np.int64)
        self._next = np.zeros(0, dtype=np.int64)
        self.put(jobs)

    def put(self, jobs: Iterable[QueuedJob]) -> list[int]:
        """Let jobs join their lines, each at its age. Returns the numbers of the lines in which nobody had stood."""
        joined: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for job in jobs:
            number = self._line_of(job)
            joined[number].append((job.submitted_at, job.id))
            if job.tasks > 1:
                self.lines[number].tasks[job.id] = job.tasks
        self._grow()
        begun = [number for number in joined if self.head_at[number] == NOBODY]
        for number, newcomers in joined.items():
            line = self.lines[number]
            waiting = line.jobs[self._next[number] :]
            line.jobs = sorted(waiting + newcomers)
            self._next[number] = 0
            self.head_at[number] = line.jobs[0][0]
        return begun

    def head(self, number: int) -> tuple[int, str] | None:
        """The oldest job of a line that has not been taken."""
        position = int(self._next[number])
        jobs = self.lines[number].jobs
        return jobs[position] if position < len(jobs) else None

    def next_of(self, number: int) -> tuple[int, str]:
        """The head of a line that has one."""
        return self.lines[number].jobs[int(self._next[number])]

    def head_job(self, number: int) -> QueuedJob:
        """The head of a line that has one, as a job: from now on it is the line's example."""
        line, (_, id_) = self.lines[number], self.next_of(number)
        if line.example.id != id_:
            line.example = line.example.named(id_)
        return line.example

    def take(self, number: int) -> None:
        """Take the head of a line out. Where that is a task with others behind it, these stand in its place."""
        line = self.lines[number]
        if line.tasks and line.advance(int(self._next[number])):
            return
        self._next[number] += 1
        head = self.head(number)
        self.head_at[number] = NOBODY if head is None else head[0]

    def put_back(self, number: int, entry: tuple[int, str]) -> None:
        """Let a job that was taken stand in its line again, at its age."""
        insort(self.lines[number].jobs, entry, int(self._next[number]))
        self.head_at[number] = self.next_of(number)[0]

    def tenant_of(self, number: int) -> int:
        """Whose jobs stand in a line, as `Shares` numbers tenants."""
        return self._tenant_of[number]

    def service_of(self, number: int) -> int:
        """What orders a line before its age; the same for all where only age does."""
        return 0 if self._order is Order.AGE else int(self._service[number])

    def likeness(self, number: int) -> int:
        """A number that lines share whose jobs fare alike: where one finds no place, none of those served later does."""
        return self._likeness_of[number]

    def rest(self, number: int, most: int | None = None) -> list[str]:
        """The entries of a line that have not been taken, oldest first: jobs, and of tasks that stand as one the first. At most the
        first so many."""
        first = int(self._next[number])
        return [id_ for _, id_ in self.lines[number].jobs[first : None if most is None else first + most]]

    def line_of(self, job: QueuedJob) -> int:
        """The number of the line a job stands in. Raises KeyError for a job like none there is."""
        return self._number[stand_alike(job)]

    def holds(self, job: QueuedJob) -> bool:
        """Whether a job waits."""
        number = self._number.get(stand_alike(job))
        if number is None:
            return False
        return self.lines[number].covering(job, int(self._next[number])) is not None

    def standing(self, job: QueuedJob) -> list[range]:
        """The tasks of an array that wait, given as a job that has the array's own id: the entries they stand as, in order."""
        number = self._number.get(stand_alike(job))
        if number is None:
            return []
        line, begin, end = self.lines[number], (job.submitted_at, task_name(job.id, 0)), (job.submitted_at, f"{job.id}0")
        first = bisect_left(line.jobs, begin, int(self._next[number]))
        entries = line.jobs[first : bisect_left(line.jobs, end, first)]
        found = ((index_of(id_) or 0, line.tasks.get(id_, 1)) for _, id_ in entries)
        return [range(index, index + tasks) for index, tasks in found]

    def remove(self, job: QueuedJob) -> int:
        """Take a waiting job out wherever it stands, or so many tasks that stand as one with others. Returns the number of its
        line. Raises KeyError if it does not wait."""
        number = self.line_of(job)
        line = self.lines[number]
        position = line.covering(job, int(self._next[number]))
        if position is None:
            raise KeyError(job.id)
        line.cut(position, job)
        head = self.head(number)
        self.head_at[number] = NOBODY if head is None else head[0]
        return number

    def shares(self, usage: Usage, weights: Mapping[str, int]) -> "Shares":
        return Shares(list(self._tenants), usage, weights)

    def urgencies(self, now: int) -> Ints | None:
        """For each line how soon it must start to keep its deadline, as `order.urgency`; None where nobody must."""
        near = (self._start_by >= now) & (self._start_by <= now + NEAR_SECONDS * MICROS_PER_SECOND)
        return np.where(near, self._start_by, NOT_NEAR) if near.any() else None

    def first(self, candidates: Bools, shares: "Shares", urgencies: Ints | None = None) -> int | None:
        """Which of some lines is served next; None when all of them are empty."""
        found: Ints = np.flatnonzero(candidates & (self.head_at != NOBODY))
        if not found.size:
            return None
        for keys in self._keys(shares, urgencies):
            values = keys[found]
            found = found[values == values.min()]
        if found.size == 1:
            return int(found[0])
        return min(map(int, found), key=lambda number: self.lines[number].jobs[self._next[number]])

    def before(self, number: int, shares: "Shares", urgencies: Ints | None) -> Bools:
        """Which lines are served before one that is not empty."""
        equal: Bools = self.head_at != NOBODY
        found = np.zeros_like(equal)
        for keys in self._keys(shares, urgencies):
            found |= equal & (keys < keys[number])
            equal &= keys == keys[number]
        for other in np.flatnonzero(equal).tolist():
            found[other] = self.next_of(other) < self.next_of(number)
        return found

    def _keys(self, shares: "Shares", urgencies: Ints | None) -> Iterator[NDArray[Any]]:
        """What decides whose turn it is, the strongest first; the lowest goes first."""
        yield -self.priority
        if urgencies is not None:
            yield urgencies
        yield shares.of_line(self._tenant)
        if self._order is not Order.AGE:
            yield self._service
        yield self.head_at

    def _line_of(self, job: QueuedJob) -> int:
        likeness = stand_alike(job)
        number = self._number.get(likeness)
        if number is None:
            number = self._number[likeness] = len(self.lines)
            self._likeness_of.append(self._likenesses.setdefault(fares_alike(job), len(self._likenesses)))
            self._tenant_of.append(self._tenants.setdefault(job.tenant, len(self._tenants)))
            self.lines.append(Line(job if job.tasks == 1 else replace(job, tasks=1)))
        return number

    def _grow(self) -> None:
        new = self.lines[len(self.priority) :]
        if not new:
            return
        self.priority = np.append(self.priority, [line.example.priority for line in new]).astype(np.int64)
        self._tenant = np.append(self._tenant, [self._tenants[line.example.tenant] for line in new]).astype(np.int64)
        starts = (latest_start(line.example) for line in new)
        self._start_by = np.append(self._start_by, [NOT_NEAR if each is None else each for each in starts]).astype(np.int64)
        served = [service(line.example, self._order) for line in new]
        self._service = np.append(self._service, served).astype(np.int64)
        self.head_at = np.append(self.head_at, [NOBODY] * len(new)).astype(np.int64)
        self._next = np.append(self._next, [0] * len(new)).astype(np.int64)


class Shares:
    """The weighted dominant share of every tenant with a line, in an array; only a grant changes one."""

    def __init__(self, tenants: list[str], usage: Usage, weights: Mapping[str, int]) -> None:
        self._usage, self._weights = usage, weights
        self._position = {tenant: number for number, tenant in enumerate(tenants)}
        self._values = np.array([usage.dominant_share(tenant, weights) for tenant in tenants], dtype=np.float64)

    def refresh(self, tenant: str) -> None:
        self._values[self._position[tenant]] = self._usage.dominant_share(tenant, self._weights)

    def of(self, tenant: int) -> float:
        """The share of one tenant, by its number."""
        return float(self._values[tenant])

    def of_line(self, tenants: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        shares: np.ndarray[tuple[int], np.dtype[np.float64]] = self._values[tenants]
        return shares
