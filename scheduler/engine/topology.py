"""Gangs that ask for one rack, one spine or one link domain, or for as few of them as can be: one way to count and one to choose,
whatever the level.

A node that does not say in which domain it is counts for no gang that needs one, and as a domain of its own where few are wanted.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from scheduler.domain.topology import CLUSTER, LEVEL_NAMES, LINK_DOMAIN, Level
from scheduler.engine.fleet import NO_DOMAIN, Allocation, Bools, Fleet, Ints
from scheduler.engine.shape import Shape


def gang_nodes(fleet: Fleet, nodes: Ints, shape: Shape) -> Ints:
    """For each cluster: how many members of the gang its `nodes`, which hold one each, could hold together (within one domain, if
    so asked)."""
    if shape.within == CLUSTER:
        return np.bincount(fleet.cluster_of[nodes], minlength=len(fleet.clusters))
    domain_of = fleet.domain_of[shape.within]
    known = nodes[domain_of[nodes] != NO_DOMAIN]
    per_domain = np.bincount(domain_of[known])
    best = np.zeros(len(fleet.clusters), dtype=np.int64)
    np.maximum.at(best, fleet.cluster_of[known], per_domain[domain_of[known]])
    return best


def together(fleet: Fleet, nodes: Sequence[int], shape: Shape) -> list[list[int]]:
    """The nodes of one cluster among which the gang may lie: those of each domain where it must be in one, else all."""
    if shape.within == CLUSTER:
        return [list(nodes)]
    domains: defaultdict[int, list[int]] = defaultdict(list)
    for node in nodes:
        domains[int(fleet.domain_of[shape.within][node])].append(node)
    return [domains[number] for number in sorted(domains) if number != NO_DOMAIN]


def linked(fleet: Fleet, usable: Bools, nodes: Ints) -> Ints:
    """For each of `nodes`: how many of its `usable` cards (by node and slot) one island of links joins."""
    island_of = fleet.island_of[nodes]
    counts = [(usable & (island_of == island)).sum(axis=1) for island in range(fleet.islands)]
    return np.maximum.reduce(counts) if counts else np.zeros(len(nodes), dtype=np.int64)


def best_domain(fleet: Fleet, nodes: Ints, level: Level, wanted: int) -> Bools:
    """Which of `nodes` are in the domain that is left fullest: the smallest that holds the whole gang, else the largest."""
    domains = fleet.domain_of[level][nodes]
    numbers, counts = np.unique(domains, return_counts=True)
    numbers, counts = numbers[numbers != NO_DOMAIN], counts[numbers != NO_DOMAIN]
    whole = counts >= wanted
    best = np.where(whole, counts, counts.max() + 1).argmin() if whole.any() else counts.argmax()
    chosen: Bools = domains == numbers[best]
    return chosen


def nearest(fleet: Fleet, nodes: Ints, near: Level, wanted: int) -> Bools:
    """Which of a cluster's `nodes` to choose from so that `wanted` of them span few domains of level `near`.

    One domain if any holds them all; else the fewest within one domain of the next level, as Kueue's topology-aware scheduling
    does; at last the fewest of the whole cluster. Of equals, those that are left fullest.
    """
    domains = fleet.domain_of[near][nodes]
    domains = np.where(domains == NO_DOMAIN, -2 - np.arange(len(nodes)), domains)
    for level in range(near, CLUSTER):
        around = fleet.domain_of[level][nodes]
        numbers, counts = np.unique(around[around != NO_DOMAIN], return_counts=True)
        holding = numbers[counts >= wanted][counts[counts >= wanted].argsort(kind="stable")]
        if holding.size:
            found = [_fewest(domains, around == number, wanted) for number in holding.tolist()]
            return min(found, key=lambda each: len(np.unique(domains[each])))
    return _fewest(domains, np.ones(len(nodes), dtype=np.bool_), wanted)


def _fewest(domains: Ints, among: Bools, wanted: int) -> Bools:
    """Which of `among` are in the fewest domains that hold `wanted` together: the largest ones, the last as small as will do."""
    numbers, counts = np.unique(domains[among], return_counts=True)
    order = (-counts).argsort(kind="stable")
    numbers, counts = numbers[order], counts[order]
    held = counts.cumsum()
    full = int(np.searchsorted(held, wanted))
    if full >= len(counts):
        return among
    left = wanted - (int(held[full - 1]) if full else 0)
    last = full + int(np.flatnonzero(counts[full:] >= left)[-1])
    chosen: Bools = among & np.isin(domains, numbers[[*range(full), last]])
    return chosen


def spans(fleet: Fleet, allocations: Sequence[Allocation]) -> dict[str, int]:
    """Over how many domains a placed gang lies, by the name of each level at which all of its nodes say where they are."""
    nodes = [part.node for part in allocations]
    known = [level for level in range(CLUSTER) if (fleet.domain_of[level][nodes] != NO_DOMAIN).all()]
    return {LEVEL_NAMES[level]: spread(fleet, allocations, level) for level in known}


def spread(fleet: Fleet, allocations: Sequence[Allocation], level: Level) -> int:
    """Over how many domains of a level a placed gang lies; what is in no known domain is one of its own."""
    domain_of = fleet.domain_of[level]
    found: set[tuple[int, ...]] = set()
    for part in allocations:
        domain = int(domain_of[part.node])
        if domain == NO_DOMAIN:
            found.add((NO_DOMAIN, part.node))
        elif level == LINK_DOMAIN:
            found |= {(domain, int(fleet.island_of[part.node, slot])) for slot in part.slots} or {(domain,)}
        else:
            found.add((domain,))
    return len(found)
