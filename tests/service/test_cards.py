"""Where a card is at home: one node at a time, whoever reports it, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier

import pytest

from scheduler.service.cards import homes_of, settle
from scheduler.store.database import CITY, Database
from scheduler.store.live import NodeKey

A, B, C = ("sz", "n1"), ("sz", "n2"), ("hz", "n1")


def _report(database: Database, node: NodeKey, *devices: str, gone: tuple[NodeKey, ...] = ()) -> set[str]:
    with database.write(CITY) as session:
        return settle(session, node, set(devices), gone)


def _homes(database: Database, *devices: str) -> dict[str, NodeKey]:
    with database.read(CITY) as session:
        return homes_of(session, devices)


def test_the_first_is_home_until_it_no_longer_reports(city: Database) -> None:
    assert _report(city, A, "g1", "g2") == set()
    assert _report(city, B, "g2", "g3") == {"g2"}
    assert _report(city, C, "g3") == {"g3"}
    assert _report(city, A, "g1") == set()
    assert _report(city, B, "g2", "g3") == set()
    assert _homes(city, "g1", "g2", "g3", "g4") == {"g1": A, "g2": B, "g3": B}
    assert _report(city, B) == set()
    assert _homes(city, "g1", "g2", "g3") == {"g1": A}


def test_one_that_has_gone_leaves_only_what_is_reported_elsewhere(city: Database) -> None:
    _report(city, A, "g1", "g2")
    assert _report(city, B, "g1", gone=(A,)) == set()
    assert _homes(city, "g1", "g2") == {"g1": B, "g2": A}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_reported_a_card_has_one_home_which_reports_it(city: Database, seed: int) -> None:
    random, reported = Random(seed), dict[NodeKey, set[str]]()
    for _ in range(60):
        node = random.choice((A, B, C))
        devices = {f"g{random.randrange(6)}" for _ in range(random.randrange(5))}
        elsewhere = _report(city, node, *devices)
        reported[node] = devices
        homes = _homes(city, *(f"g{n}" for n in range(6)))
        assert {device for device in devices if homes[device] != node} == elsewhere
        assert all(device in reported[home] for device, home in homes.items())


@pytest.mark.timeout(60)
def test_of_two_that_report_at_once_one_is_first(city: Database) -> None:
    for turn in range(5):
        devices = [f"t{turn}-{n}" for n in range(8)]
        together = Barrier(2)

        def report(node: NodeKey, devices: list[str] = devices, together: Barrier = together) -> set[str]:
            together.wait(20)
            return _report(city, node, *devices)

        with ThreadPoolExecutor(2) as nodes:
            first, second = (answer.result(40) for answer in [nodes.submit(report, node) for node in (A, B)])
        assert {frozenset(first), frozenset(second)} == {frozenset(), frozenset(devices)}
