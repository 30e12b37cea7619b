"""Workloads through the engine: small ones by hand, and what must hold whatever the workload."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.fleet import Card, Kind, Node
from scheduler.engine.quota import Queue
from scheduler.engine.shape import GIB, Shape
from scheduler.replay.admissions import Admission, Forgotten, Recorded
from scheduler.replay.clock import RealClock, VirtualClock
from scheduler.replay.trace import SECOND
from scheduler.replay.workload import CPU, Stream, Work, Workload
from scheduler.replay.workload_driver import WorkloadOutcome, run
from scheduler.replay.workload_report import Circumstances, workload_report
from tests.replay.workloads import CITY, KUEUE, TAS, workload
from tests.store.databases import BOTH, fresh_database

ASCEND = Kind("huawei", "910B3", HardwareClass.DOMESTIC, 64 * GIB)
MACHINE = Node("c", "n", cpu_milli=1_000_000, memory_bytes=0)


@dataclass
class Ledger:
    """Admissions as a test wants to see them."""

    rounds: list[list[Admission]] = field(default_factory=list)

    def commit(self, admissions: Sequence[Admission]) -> None:
        self.rounds.append(list(admissions))

    def order(self) -> list[tuple[str, int]]:
        return [(each.job, each.decided_at // SECOND) for round_ in self.rounds for each in round_]


@dataclass
class Watch:
    """A clock of a test: waiting moves it, and so does every look at it, by `tick` nanoseconds."""

    nanoseconds: int = 5
    tick: int = 0
    waits: int = 0

    def monotonic_ns(self) -> int:
        self.nanoseconds += self.tick
        return self.nanoseconds

    def wait(self, seconds: float) -> None:
        self.waits += 1
        self.nanoseconds += int(seconds * 1e9)


def cores(name: str, queue: str, cores: int, seconds: int | None, priority: int = 0) -> Work:
    milli = cores * 1000
    runtime = None if seconds is None else seconds * SECOND
    return Work(name, name, queue, "t", priority, (Shape(1, 1, 0, cpu_milli=milli),), {CPU: milli}, runtime)


def cards(name: str, cards: int, seconds: int, priority: int = 0, preemptible: bool = False) -> Work:
    return Work(name, name, "", "t", priority, (Shape(1, 1, cards),), {}, seconds * SECOND, preemptible)


def queue(name: str, cores: int, parent: str | None = None) -> Queue:
    return Queue(name, parent, {CPU: cores * 1000})


def of(queues: Sequence[Queue], *streams: tuple[Work, int, int], nodes: Sequence[Node] = (MACHINE,)) -> Workload:
    """Streams as (work, count, second of arrival of all)."""
    return Workload(
        tuple(queues),
        {each.name: "q" for each in queues},
        tuple(nodes),
        tuple(Stream(work, count, at * SECOND, 0) for work, count, at in streams),
    )


def carded(count: int) -> Node:
    return Node("c", "n", 1000, 0, tuple(Card(str(slot), ASCEND) for slot in range(count)))


def virtual(found: Workload) -> tuple[WorkloadOutcome, list[tuple[str, int]]]:
    ledger = Ledger()
    return run(found, VirtualClock, ledger), ledger.order()


def test_a_job_leaves_a_while_after_it_started() -> None:
    outcome, order = virtual(of([queue("q", 2)], (cores("w", "q", 1, 10), 5, 3)))
    assert order == [("w-0", 3), ("w-1", 3), ("w-2", 13), ("w-3", 13), ("w-4", 23)]
    assert (outcome.placed, outcome.start, outcome.end) == (5, 3 * SECOND, 33 * SECOND)
    assert sorted(outcome.classes["w"].waits) == [0, 0, 10 * SECOND, 10 * SECOND, 20 * SECOND]
    assert sorted(outcome.completions) == [each * SECOND for each in (10, 10, 20, 20, 30)]
    assert outcome.used == {"q": Counter({CPU: 5 * 10 * SECOND * 1000})}


def test_priority_then_age_then_id() -> None:
    streams = [(cores("running", "q", 1, 10), 1, 0), (cores("low", "q", 1, 1), 1, 1), (cores("old", "q", 1, 1, 5), 1, 2)]
    streams += [(cores("new", "q", 1, 1, 5), 1, 3), (cores("twin", "q", 1, 1, 5), 1, 3)]
    _, order = virtual(of([queue("q", 1)], *streams))
    assert [job for job, _ in order] == ["running-0", "old-0", "new-0", "twin-0", "low-0"]


def test_queues_of_a_cohort_borrow_and_others_do_not() -> None:
    queues = [Queue("cohort"), queue("a", 1, "cohort"), queue("b", 1, "cohort"), queue("alone", 1)]
    _, order = virtual(of(queues, (cores("a", "a", 1, 5), 2, 0), (cores("alone", "alone", 1, 5), 2, 0)))
    assert order == [("a-0", 0), ("a-1", 0), ("alone-0", 0), ("alone-1", 5)]


def test_small_jobs_do_not_keep_a_large_one_waiting_for_ever() -> None:
    streams = [(cores("half", "q", 2, 10), 1, 0), (cores("large", "q", 3, 1, 9), 1, 1), (cores("small", "q", 1, 20), 3, 1)]
    _, order = virtual(of([queue("q", 4)], *streams))
    # one of the small ones fits beside what the large one needs, once that is there
    assert order == [("half-0", 0), ("large-0", 10), ("small-0", 10), ("small-1", 11), ("small-2", 11)]


def test_who_stays_within_its_own_need_not_wait_for_one_that_borrows() -> None:
    queues = [Queue("cohort"), queue("a", 2, "cohort"), queue("b", 2, "cohort")]
    before = [(cores("own", "a", 2, 10), 1, 0), (cores("some", "b", 1, 10), 1, 0)]
    then = [(cores("greedy", "a", 2, 1, 9), 1, 1), (cores("owner", "b", 1, 3), 1, 1), (cores("petty", "a", 1, 1), 1, 1)]
    _, order = virtual(of(queues, *before, *then))
    assert order == [("own-0", 0), ("some-0", 0), ("owner-0", 1), ("greedy-0", 10), ("petty-0", 10)]


def test_what_can_never_start_keeps_nothing_from_others() -> None:
    queues = [Queue("q", None, {CPU: 4000}), Queue("turns", "q", {CPU: 4000}, max_running=1)]
    streams = [(cores("huge", "q", 9, 1, 9), 1, 0), (cores("turn", "turns", 1, 5, 5), 2, 0), (cores("small", "q", 1, 1), 2, 0)]
    outcome, order = virtual(of(queues, *streams))
    assert order == [("turn-0", 0), ("small-0", 0), ("small-1", 0), ("turn-1", 5)]
    assert outcome.reasons["waiting_for_quota"] == outcome.waiting == 1


def test_the_nodes_decide_where_quota_does_not() -> None:
    outcome, order = virtual(of([], (cards("w", 2, 10), 3, 0), (cards("x", 1, 4), 1, 0), nodes=[carded(5)]))
    assert order == [("w-0", 0), ("w-1", 0), ("x-0", 0), ("w-2", 10)]
    assert (outcome.cards, outcome.most_card_milli) == (5, 5000)
    assert outcome.card_milli_micros == (3 * 2 * 10 + 4) * 1000 * SECOND


def test_quota_held_for_a_job_that_did_not_fit_helps_the_next() -> None:
    nodes = [Node("c", f"n{number}", cpu_milli=2000, memory_bytes=0) for number in range(2)]
    streams = [(cores("each", "q", 1, 9, 9), 2, 0), (cores("wide", "q", 3, 1, 5), 1, 1), (cores("one", "q", 1, 1), 2, 1)]
    outcome, order = virtual(of([queue("q", 5)], *streams, nodes=nodes))
    assert order[2:] == [("one-0", 1), ("one-1", 1)]
    assert (outcome.never, outcome.reasons["never_larger_than_cluster"] + outcome.reasons["never_no_such_hardware"]) == (1, 1)


def test_what_never_ends_stays_and_who_waits_for_it_is_counted() -> None:
    outcome, _ = virtual(of([queue("q", 2)], (cores("w", "q", 1, None), 3, 0), (cores("late", "q", 1, 1), 1, 7)))
    assert (outcome.placed, outcome.waiting, outcome.completions) == (2, 2, [])
    assert outcome.reasons == {"placed_only_fit": 2, "waiting_for_quota": 2}
    assert outcome.used["q"][CPU] == 2 * 7 * SECOND * 1000


def test_a_job_that_is_stopped_waits_again_and_starts_over() -> None:
    low, high = cards("low", 2, 10, preemptible=True), cards("high", 2, 3, priority=9)
    outcome, order = virtual(of([], (low, 1, 0), (high, 1, 4), nodes=[carded(2)]))
    assert order == [("low-0", 0), ("high-0", 4), ("low-0", 7)]
    assert (outcome.preemptions, outcome.lost_card_milli_micros) == (1, 2 * 4 * 1000 * SECOND)
    assert (outcome.placed, outcome.end) == (2, 17 * SECOND)
    assert outcome.classes["low"].waits == [0]


def test_real_time_counts_what_deciding_took() -> None:
    watch, ledger = Watch(tick=1_000_000), Ledger()
    found = of([queue("q", 1)], (cores("w", "q", 1, 10), 3, 3))
    outcome = run(found, lambda: RealClock(watch.monotonic_ns, watch.wait), ledger)
    assert [job for job, _ in ledger.order()] == ["w-0", "w-1", "w-2"]
    waits = outcome.classes["w"].waits
    assert all(late > exact for late, exact in zip(waits, (0, 10 * SECOND, 20 * SECOND), strict=True))
    assert waits[2] < 20 * SECOND + SECOND // 10
    assert watch.waits < 20, "it waits for the next event and no more often"


def test_on_a_real_clock_that_takes_no_time_all_is_as_on_virtual_time(tmp_path: Path) -> None:
    watch, real, exact = Watch(), Ledger(), Ledger()
    found = workload(tmp_path, KUEUE)
    on_real = run(found, lambda: RealClock(watch.monotonic_ns, watch.wait), real)
    on_virtual = run(found, VirtualClock, exact)
    assert [each.job for round_ in real.rounds for each in round_] == [each.job for round_ in exact.rounds for each in round_]
    assert abs(on_real.end - on_virtual.end) < 1000


@pytest.mark.parametrize("text", [KUEUE, TAS, CITY])
def test_the_same_file_comes_out_the_same(tmp_path: Path, text: str) -> None:
    found = workload(tmp_path, text)
    assert virtual(found) == virtual(found)
    assert virtual(found)[0].placed == found.jobs


@pytest.mark.parametrize("kind", BOTH)
def test_admissions_are_in_the_database_before_they_count(kind: str, tmp_path: Path) -> None:
    found = of([queue("q", 2)], (cores("w", "q", 1, 10), 5, 3))
    with fresh_database(kind, tmp_path) as database:
        recorded, again = Recorded(database), Recorded(database)
        run(found, VirtualClock, recorded)
        assert (recorded.kept(), again.kept()) == (5, 0)
        run(found, VirtualClock, again)
        assert (recorded.kept(), again.kept()) == (5, 5)


def test_sqlite_writes_through_to_the_disk(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as database:
        Recorded(database)
        with database.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_store_that_fails_ends_the_run() -> None:
    class Broken:
        def commit(self, admissions: Sequence[Admission]) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(of([queue("q", 2)], (cores("w", "q", 1, 10), 5, 3)), VirtualClock, Broken())


def test_the_report_adds_up() -> None:
    queues = [Queue("cohort"), queue("a", 1, "cohort"), queue("b", 3, "cohort")]
    found = of(queues, (cores("a-small", "a", 1, 4), 2, 0), (cores("large", "b", 2, 4), 2, 0))
    outcome, _ = virtual(found)
    report = workload_report(found, outcome, Circumstances(2.0, 1, "virtual", "memory", None))
    # both small and one large at once, borrowing; the other large when they have ended
    assert report.makespan_seconds == 8.0
    assert report.ideal_seconds == 6.0
    assert report.queues_usage_percent == {"q": 100 * (8 + 16) / (4 * 8)}
    assert report.utilisation == (8 + 16) / (4 * 8)
    a, b = 8 / 1, 16 / 3
    assert report.fairness == pytest.approx((a + b) ** 2 / (2 * (a * a + b * b)))
    assert {name: (each.count, each.wait_seconds.mean) for name, each in report.classes.items()} == {
        "a-small": (2, 0.0),
        "large": (2, 2.0),
    }
    assert sum(report.reasons.values()) == report.jobs_total == 4
    assert report.as_json()["classes"]["large"]["wait_seconds"]["p99"] == 4.0


streams = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", ""]),
        st.integers(1, 6),
        st.integers(0, 4),
        st.integers(0, 2),
        st.integers(1, 4),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=6,
)


@given(streams, st.lists(st.integers(1, 6), min_size=1, max_size=3))
def test_whatever_comes_every_job_is_accounted_for(asked: list[tuple[str, int, int, int, int, int]], sizes: list[int]) -> None:
    queues = [Queue("cohort"), queue("a", 2, "cohort"), queue("b", 4, "cohort"), queue("c", 3)]
    nodes = [Node("c", f"n{number}", cpu_milli=size * 1000, memory_bytes=0) for number, size in enumerate(sizes)]
    found = of(
        queues,
        *(
            (cores(f"w{number}", name, size, seconds, priority), count, at)
            for number, (name, size, seconds, priority, count, at) in enumerate(asked)
        ),
        nodes=nodes,
    )
    outcome, order = virtual(found)
    assert outcome.placed + outcome.waiting + outcome.never == found.jobs
    # who was stopped for the owner of a quota was admitted once more
    assert found.jobs + outcome.preemptions == sum(outcome.reasons.values())
    assert outcome.placed + outcome.preemptions == len(order)
    assert outcome.placed == len({job for job, _ in order})
    assert sum(each.count for each in outcome.classes.values()) == found.jobs
    # what fits an empty network and the whole quota of its cohort is never left waiting: all that runs here ends
    most = {"a": 6, "b": 6, "c": 3, "": 99}
    possible = sum(count for name, size, _, _, count, _ in asked if size <= min(most[name], max(sizes)))
    assert outcome.placed == possible
    assert outcome.end - outcome.start >= found.ideal() or outcome.placed < found.jobs


def test_nothing_is_kept_in_memory() -> None:
    Forgotten().commit([Admission("j", 1, "q", "c", 1, 0)])
