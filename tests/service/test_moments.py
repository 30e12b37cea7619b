"""Everybody who asks gets the city as it is then, and nobody what another has made of it."""

from concurrent.futures import ThreadPoolExecutor

from scheduler.service.moments import Moment, Moments
from scheduler.store.database import CITY, Database
from scheduler.store.tables import NodeRow
from tests.builders import NOW, USCCS, add_job, after, ascend, node_row, tenant, tenant_row

HEARD = dict.fromkeys((("hz", "h1"), ("sz", "s1"), ("sz", "s2")), NOW)


def test_a_moment_stays_as_it_was(city: Database) -> None:
    moments = Moments()
    first = moments.look(city, HEARD, NOW)
    first.snapshot.free.card_milli[:] = 0
    with city.write(CITY) as session:
        job = add_job(session).id
    second = moments.look(city, HEARD, after(seconds=1))
    assert (len(first.snapshot.queue), [each.id for each in second.snapshot.queue]) == (0, [job])
    assert second.snapshot.free.card_milli.max() == 1000


def test_many_may_look_at_once(city: Database) -> None:
    moments = Moments()

    def ask(number: int) -> Moment:
        with city.write(CITY) as session:
            add_job(session)
        return moments.look(city, HEARD, after(seconds=number))

    with ThreadPoolExecutor(4) as threads:
        seen = sorted(len(moment.snapshot.queue) for moment in threads.map(ask, range(8)))
    assert seen[-1] == 8
    assert min(seen) >= 1


def test_sizes_are_read_again_when_a_node_has_come_changed_or_gone(city: Database) -> None:
    moments = Moments()
    first = moments.sizes(city)
    assert moments.sizes(city) is first
    with city.write(CITY) as session:
        session.add(node_row("sz", "s3", ascend("s3")))
    assert len(moments.sizes(city).nodes) == 4
    with city.write(CITY) as session:
        node = session.get_one(NodeRow, ("sz", "s3"))
        node.capacity, node.changed_at = {**node.capacity, "cpu_cores": 7}, after(seconds=1)
    assert 7000 in moments.sizes(city).cpu_milli.tolist()
    with city.write(CITY) as session:
        session.delete(session.get_one(NodeRow, ("sz", "s3")))
    assert len(moments.sizes(city).nodes) == 3


def test_the_registry_is_read_again_when_somebody_has_joined(city: Database) -> None:
    moments = Moments()
    first = moments.registry(city)
    assert moments.registry(city) is first
    with city.write(CITY) as session:
        session.add(tenant_row(tenant("late", uscc=USCCS[0])))
    assert "late" in moments.registry(city).tenants
