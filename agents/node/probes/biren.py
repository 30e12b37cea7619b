"""Biren by `brsmi gpu --query-gpu`.

Public scripts ask it for index, name and memory; that it knows `uuid` and `memory.total` as its peers do is assumed: where it
does not, the probe reports its refusal and no card. Models are not in the catalogue, as sources contradict each other.
"""

from agents.node.probes.probe import Reading
from agents.node.probes.query_gpu import read_query
from agents.node.probes.tool import Run, ToolProbe


def probe() -> ToolProbe:
    return ToolProbe("brsmi", ("brsmi", "/usr/local/birensupa/driver/bin/brsmi"), read)


def read(run: Run) -> Reading:
    return read_query(run, "biren", "gpu")
