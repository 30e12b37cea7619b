"""Tasks of an array by name, as the engine knows them: `job-01kbq…/00017`.

The names of an array's tasks sort as their indices do, and nothing of another job sorts between them.
"""

_DIGITS = 5
MAX_TASKS = 10**_DIGITS
"""The most tasks an array may have."""


def task_name(job: str, index: int) -> str:
    return f"{job}/{index:0{_DIGITS}}"


def job_of(name: str) -> str:
    """The job a task belongs to; a job that is no array is itself."""
    return name.partition("/")[0]


def index_of(name: str) -> int | None:
    """Which task of its array it is, counted from 0; None for a job that is no array."""
    index = name.partition("/")[2]
    return int(index) if index else None


def task_after(name: str, by: int = 1) -> str:
    """The task so many places further on. Raises ValueError for a job that is no array."""
    job, _, index = name.partition("/")
    return task_name(job, int(index) + by)
