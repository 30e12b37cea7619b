"""Runs are found by cluster, by end and by who may be stopped; forks go their own ways."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.runs import Runs
from scheduler.engine.snapshot import FOREVER, Snapshot
from tests.engine.builders import SECOND, node, place, run
from tests.engine.strategies import snapshots

FLEET = Fleet.of([node("n1"), node("n2"), node("n1", cluster="b")])


def test_a_run_is_found_in_its_cluster_until_it_is_asked_to_stop() -> None:
    there, elsewhere = run("there", place(FLEET, "n1")), run("elsewhere", place(FLEET, "n1", cluster="b"))
    runs = Runs.of([there, elsewhere])
    assert [each.attempt for each in runs.in_cluster(0)] == ["there"]
    assert runs.lowest_preemptible() == 25
    runs.remove(there)
    runs.add(replace(there, releasing=True))
    assert list(runs.in_cluster(0)) == []
    assert list(runs.releasing) == ["there"]
    assert not runs.holds(there)
    assert there in runs
    assert len(runs) == 2
    runs.remove(elsewhere)
    assert runs.lowest_preemptible() is None, "who is stopping already cannot be stopped"


def test_a_fork_changes_alone() -> None:
    first, second = run("first", place(FLEET, "n1"), ends_at=SECOND), run("second", place(FLEET, "n2"), ends_at=2 * SECOND)
    runs = Runs.of([first])
    assert runs.ends(0, 8).at.tolist() == [SECOND]
    fork = Runs.of(runs)
    fork.add(second)
    assert fork.ends(0, 8).at.tolist() == [SECOND, 2 * SECOND]
    runs.remove(first)
    assert ([each.attempt for each in fork], list(runs)) == (["first", "second"], [])
    assert runs.ends(0, 8).at.tolist() == []


@given(snapshots(), st.data())
def test_what_ends_is_given_back_exactly_and_can_be_taken_again(moment: Snapshot, data: st.DataObject) -> None:
    slots = moment.fleet.card_kind.shape[1]
    runs = Runs.of(replace(each, ends_at=data.draw(st.sampled_from((1, 2, 3, FOREVER)))) for each in moment.runs)
    for cluster in range(len(moment.fleet.clusters)):
        ends = runs.ends(cluster, slots)
        ending = [each for each in runs.in_cluster(cluster) if each.ends_at < FOREVER]
        ending.sort(key=lambda each: (each.ends_at, each.attempt))
        count = data.draw(st.integers(0, len(ending)))
        expected, found = moment.free.copy(), moment.free.copy()
        for each in ending[:count]:
            expected.give(each.place.allocations)
        ends.give(found, 0, count)
        assert _equal(found, expected)
        ends.give(found, count, 0)
        assert _equal(found, moment.free)


def _equal(one: Free, other: Free) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in Free.__slots__)
