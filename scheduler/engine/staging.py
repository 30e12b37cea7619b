"""How long a job's data takes to get where the job runs, by what is known of the links between clusters.

What lies in the cluster already takes no time. What lies elsewhere comes over the link between the two clusters; several clusters
send at the same time, so the slowest decides. Other transfers over the same link are not counted. Where no link is known, or
nobody said where the data lies, nothing is guessed: that part is told apart, in GiB.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scheduler.domain.clock import format_duration

Links = Mapping[tuple[str, str], int]
"""Usable bandwidth from one cluster to another, in megabits per second, more than 0; a pair that is absent is unknown."""

MAX_STAGING_SECONDS = 10 * 365 * 86_400
"""Ten years: longer than this is not told apart, and sums stay far within 64 bits."""

_GIB_BITS = 2**30 * 8
_MEGA = 10**6


@dataclass(frozen=True, slots=True, order=True)
class Data:
    """So much of a job's data lies in one cluster; "" where nobody said in which."""

    cluster: str
    size_gib: int


@dataclass(frozen=True, slots=True)
class Staging:
    """What bringing the data takes: `seconds` for all that is known (rounded up), and `unknown_gib` of which nothing is."""

    seconds: int
    unknown_gib: int


def data_of(sizes: Iterable[tuple[str | None, int]]) -> tuple[Data, ...]:
    """Datasets (cluster, GiB) added up by the cluster they lie in, in a fixed order: equal needs become equal values."""
    total: dict[str, int] = {}
    for cluster, size_gib in sizes:
        if size_gib:
            total[cluster or ""] = total.get(cluster or "", 0) + size_gib
    return tuple(sorted(Data(cluster, size_gib) for cluster, size_gib in total.items()))


def staging(links: Links, data: Iterable[Data], cluster: str) -> Staging:
    """What it takes to have all of `data` in one cluster."""
    slowest = unknown_gib = 0
    for each in data:
        if each.cluster == cluster:
            continue
        mbps = links.get((each.cluster, cluster))
        if mbps is None:
            unknown_gib += each.size_gib
        else:
            slowest = max(slowest, -(-each.size_gib * _GIB_BITS // (mbps * _MEGA)))
    return Staging(min(slowest, MAX_STAGING_SECONDS), unknown_gib)


def staging_text(brought: Staging) -> str:
    """As a duration, which reads the same in zh and en, or `unknown`."""
    return "unknown" if brought.unknown_gib else format_duration(brought.seconds)
