"""Arrays to test with, and what they stand for."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from scheduler.domain.tasks import task_after, task_name
from scheduler.engine.backlog import Backlog
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import Shape
from tests.engine.builders import job


def array(id_: str, tasks: int, *shapes: Shape, first: int = 0, **rest: Any) -> QueuedJob:
    return job(task_name(id_, first), *shapes, tasks=tasks, **rest)


def apart(jobs: Iterable[QueuedJob]) -> list[QueuedJob]:
    """The same, with each task as a job of its own."""
    return [replace(each, id=task_after(each.id, by) if by else each.id, tasks=1) for each in jobs for by in range(each.tasks)]


def everybody(backlog: Backlog) -> list[str]:
    """Who waits, each task by its own name."""
    found = []
    for number, line in enumerate(backlog.lines):
        for id_ in backlog.rest(number):
            tasks = line.tasks.get(id_, 1)
            found += [id_] if tasks == 1 else [task_after(id_, by) for by in range(tasks)]
    return sorted(found)
