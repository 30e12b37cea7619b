"""Which format a workload file is in: Kueue's generator (`kueue`) or ours (`city`), told apart by a key only one of them has."""

from pathlib import Path

from scheduler.replay.city import read_city
from scheduler.replay.document import load
from scheduler.replay.kueue import read_kueue
from scheduler.replay.trace import TraceError
from scheduler.replay.workload import Workload


def read_workload(path: Path) -> Workload:
    """The workload of a file. Raises TraceError: the file, the field, and what is allowed there."""
    document = load(path)
    if "cohorts" in document:
        return read_kueue(path, document)
    if "format" in document:
        return read_city(path, document)
    raise TraceError(f"{path}: neither `cohorts` (Kueue's generator) nor `format` (ours) is among its keys")
