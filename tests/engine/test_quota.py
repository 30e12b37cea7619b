"""Quotas: borrowing and lending by hand, against a brute-force oracle, and what must hold whatever the tree."""

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.engine.quota import Queue, Quotas, Shortfall

CPU = "cpu"


def cohort(**borrowing_limit: int) -> list[Queue]:
    """Three queues of 20 each, all lent."""
    return [Queue("cohort"), *(Queue(name, "cohort", {CPU: 20}, borrowing_limit) for name in ("a", "b", "c"))]


def fits(quotas: Quotas, queue: str, amount: int) -> bool:
    return quotas.shortfall(queue, {CPU: amount}) is None


def test_a_queue_alone_has_its_nominal() -> None:
    quotas = Quotas.of([Queue("a", nominal={CPU: 10})])
    assert fits(quotas, "a", 10)
    quotas.use("a", {CPU: 7})
    assert quotas.shortfall("a", {CPU: 4}) == Shortfall("a", CPU, needed=4, available=3, nominal=10, used=7)
    quotas.use("a", {CPU: 7}, -1)
    assert fits(quotas, "a", 10)


def test_what_others_do_not_use_is_borrowed() -> None:
    quotas = Quotas.of(cohort())
    assert fits(quotas, "a", 60) and not fits(quotas, "a", 61)
    quotas.use("a", {CPU: 45})
    assert quotas.borrowed("a", CPU) == 25
    assert fits(quotas, "b", 15) and not fits(quotas, "b", 16)
    assert quotas.used("cohort", CPU) == 45


def test_a_borrowing_limit_ends_at_nominal_plus_limit() -> None:
    quotas = Quotas.of(cohort(cpu=5))
    assert fits(quotas, "a", 25) and not fits(quotas, "a", 26)
    quotas.use("a", {CPU: 22})
    assert fits(quotas, "a", 3) and not fits(quotas, "a", 4)


def test_what_is_not_lent_stays_with_its_owner() -> None:
    quotas = Quotas.of([Queue("cohort"), Queue("a", "cohort", {CPU: 20}, lending_limit={CPU: 5}), Queue("b", "cohort", {CPU: 20})])
    assert fits(quotas, "b", 25) and not fits(quotas, "b", 26)
    quotas.use("b", {CPU: 25})
    assert fits(quotas, "a", 15) and not fits(quotas, "a", 16)
    quotas.use("a", {CPU: 15})
    quotas.use("b", {CPU: 25}, -1)
    assert fits(quotas, "a", 25) and not fits(quotas, "a", 26)


def test_two_levels_borrow_from_each_other_through_the_root() -> None:
    quotas = Quotas.of(
        [
            Queue("city", nominal={CPU: 10}),
            Queue("east", "city", borrowing_limit={CPU: 15}),
            Queue("west", "city"),
            Queue("e1", "east", {CPU: 20}),
            Queue("w1", "west", {CPU: 30}),
        ]
    )
    assert fits(quotas, "e1", 35) and not fits(quotas, "e1", 36)
    assert fits(quotas, "w1", 60)
    quotas.use("w1", {CPU: 40})
    assert fits(quotas, "e1", 20) and not fits(quotas, "e1", 21)
    assert quotas.borrowed("west", CPU) == 10 and quotas.borrowed("w1", CPU) == 10


def test_only_what_is_declared_at_or_above_a_queue_limits_it() -> None:
    quotas = Quotas.of([Queue("cohort", nominal={"class:foreign": 1}), Queue("a", "cohort", {CPU: 1}), Queue("b", "cohort")])
    assert quotas.shortfall("b", {CPU: 10**9}) is None
    quotas.use("b", {CPU: 10**9})
    assert fits(quotas, "a", 1) and not fits(quotas, "a", 2)
    assert quotas.shortfall("b", {"class:foreign": 2}) is not None
    assert quotas.borrowed("b", "no such resource") == quotas.used("b", CPU) == 0


def test_a_nominal_of_nothing_may_only_borrow() -> None:
    quotas = Quotas.of([Queue("cohort"), Queue("a", "cohort", {CPU: 4}), Queue("b", "cohort", {CPU: 0})])
    assert fits(quotas, "b", 4) and not fits(quotas, "b", 5)
    assert quotas.would_borrow("b", {CPU: 1}) and not quotas.would_borrow("a", {CPU: 4})
    assert not quotas.would_borrow("b", {CPU: 0})


def test_an_unknown_queue_is_unlimited() -> None:
    quotas = Quotas.of([])
    quotas.use("nobody", {CPU: 5}, -1)
    assert fits(quotas, "nobody", 10**12)
    assert quotas.running("nobody") == 0 and quotas.dominant_share("nobody") == 0
    assert not quotas.would_borrow("nobody", {CPU: 1})


def test_the_jobs_that_run_are_limited_in_a_queue_and_below_it() -> None:
    quotas = Quotas.of([Queue("tenant", max_running=2), Queue("a", "tenant", max_running=1), Queue("b", "tenant")])
    quotas.use("a", {})
    assert quotas.shortfall("a", {}) == Shortfall("a", "running", needed=1, available=0, nominal=1, used=1)
    quotas.use("b", {})
    assert quotas.shortfall("b", {}) == Shortfall("tenant", "running", needed=1, available=0, nominal=2, used=2)
    quotas.use("a", {}, -1)
    assert quotas.shortfall("b", {}) is None
    assert (quotas.running("tenant"), quotas.running("a"), quotas.running("b")) == (1, 0, 1)


def test_more_cannot_end_than_ran() -> None:
    quotas = Quotas.of(cohort())
    with pytest.raises(ValueError, match="queue a, running: more has ended"):
        quotas.use("a", {CPU: 1}, -1)
    quotas.use("a", {CPU: 1})
    with pytest.raises(ValueError, match="queue a, cpu: more has ended"):
        quotas.use("a", {CPU: 2}, -1)


def test_shares_are_what_is_borrowed_of_what_could_be_lent_by_weight() -> None:
    queues = [Queue("cohort"), Queue("a", "cohort", {CPU: 20, "class:domestic": 8}), Queue("b", "cohort", {CPU: 40}, weight=2)]
    quotas = Quotas.of(queues)
    assert quotas.dominant_share("a") == 0
    quotas.use("a", {CPU: 35, "class:domestic": 8})
    assert quotas.dominant_share("a") == Fraction(15, 60)
    quotas.use("a", {CPU: 35, "class:domestic": 8}, -1)
    quotas.use("b", {CPU: 46})
    assert quotas.dominant_share("b") == Fraction(6, 60 * 2)
    assert quotas.dominant_share("cohort") == 0


@pytest.mark.parametrize(
    ("queues", "message"),
    [
        ([Queue("a", "nowhere")], "queue a, parent: there is no queue nowhere"),
        ([Queue("a", "b"), Queue("b", "a")], "parent: a is below it, which makes a cycle"),
        ([Queue("a", "a")], "queue a, parent: a is below it, which makes a cycle"),
        ([Queue("a"), Queue("a")], "queue a, name: is given twice"),
        ([Queue("a", nominal={CPU: -1})], "queue a, nominal.cpu: -1 is not allowed"),
        ([Queue("a", borrowing_limit={CPU: -2})], "queue a, borrowing_limit.cpu: -2 is not allowed"),
        ([Queue("a", lending_limit={CPU: -3})], "queue a, lending_limit.cpu: -3 is not allowed"),
        ([Queue("a", weight=0)], "queue a, weight: 0 is not allowed; 1 or more is"),
        ([Queue("a", max_running=-1)], "queue a, max_running: -1 is not allowed"),
        ([Queue("a", max_pending=-1)], "queue a, max_pending: -1 is not allowed"),
    ],
)
def test_what_is_wrong_with_a_queue_is_said(queues: list[Queue], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quotas.of(queues)


amounts = st.integers(0, 6)
limits: st.SearchStrategy[dict[str, int]] = st.one_of(st.just({}), st.fixed_dictionaries({CPU: amounts}))


@st.composite
def trees(draw: st.DrawFn) -> list[Queue]:
    """Up to six queues in up to three levels, some without any nominal; in any order."""
    queues: list[Queue] = []
    for number in range(draw(st.integers(1, 6))):
        parent = draw(st.sampled_from([None, *(queue.name for queue in queues)]))
        queues.append(Queue(f"q{number}", parent, draw(limits), draw(limits), draw(limits), draw(st.integers(1, 3))))
    return draw(st.permutations(queues))


operations = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=12)


def admit(quotas: Quotas, queues: Sequence[Queue], wanted: Iterable[tuple[int, int]]) -> list[tuple[str, int]]:
    """Use what fits, in this order; what was admitted."""
    admitted = []
    for position, amount in wanted:
        name = f"q{position % len(queues)}"
        if fits(quotas, name, amount):
            quotas.use(name, {CPU: amount})
            admitted.append((name, amount))
    return admitted


class Oracle:
    """The definition word for word: everything is computed from what runs in each queue, by recursion, from scratch."""

    def __init__(self, queues: Sequence[Queue], running: Counter[str]) -> None:
        self.queues = {queue.name: queue for queue in queues}
        self.running = running

    def children(self, name: str) -> list[str]:
        return [queue.name for queue in self.queues.values() if queue.parent == name]

    def limited(self, name: str | None) -> bool:
        return name is not None and (CPU in self.queues[name].nominal or self.limited(self.queues[name].parent))

    def quota(self, name: str) -> int:
        return self.queues[name].nominal.get(CPU, 0) + sum(self.quota(c) - self.local(c) for c in self.children(name))

    def local(self, name: str) -> int:
        lent = self.queues[name].lending_limit.get(CPU)
        return 0 if lent is None else max(0, self.quota(name) - lent)

    def used(self, name: str) -> int:
        own = self.running[name] if self.limited(name) else 0
        return own + sum(max(0, self.used(c) - self.local(c)) for c in self.children(name))

    def available(self, name: str) -> int:
        queue, quota, local, used = self.queues[name], self.quota(name), self.local(name), self.used(name)
        if queue.parent is None:
            return quota - used
        from_parent = self.available(queue.parent)
        if CPU in queue.borrowing_limit:
            from_parent = min(from_parent, quota - local - max(0, used - local) + queue.borrowing_limit[CPU])
        return max(0, local - used) + from_parent


@given(trees(), operations)
def test_the_oracle_agrees(queues: list[Queue], wanted: list[tuple[int, int]]) -> None:
    quotas, running = Quotas.of(queues), Counter[str]()
    oracle = Oracle(queues, running)
    for position, amount in wanted:
        name = f"q{position % len(queues)}"
        fitting = not oracle.limited(name) or amount <= 0 or amount <= oracle.available(name)
        assert fits(quotas, name, amount) == fitting
        if fitting:
            quotas.use(name, {CPU: amount})
            running[name] += amount
        assert all(quotas.used(queue.name, CPU) == oracle.used(queue.name) for queue in queues)


@given(trees(), operations)
def test_nobody_is_over_its_quota_and_limit_and_nothing_is_lent_twice(queues: list[Queue], wanted: list[tuple[int, int]]) -> None:
    quotas = Quotas.of(queues)
    admitted = Counter[str]()
    for name, amount in admit(quotas, queues, wanted):
        admitted[name] += amount
    oracle = Oracle(queues, admitted)
    for queue in queues:
        if queue.parent is None:
            # all that runs under a root together is never more than all that was declared under it
            below = [name for name in oracle.queues if root(oracle.queues, name) == queue.name and oracle.limited(name)]
            assert sum(admitted[name] for name in below) <= sum(
                other.nominal.get(CPU, 0) for other in queues if root(oracle.queues, other.name) == queue.name
            )
        elif CPU in queue.borrowing_limit:
            assert quotas.borrowed(queue.name, CPU) <= queue.borrowing_limit[CPU]


def root(queues: dict[str, Queue], name: str) -> str:
    parent = queues[name].parent
    return name if parent is None else root(queues, parent)


@given(trees(), operations, operations)
def test_what_has_ended_leaves_no_trace(queues: list[Queue], first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    quotas = Quotas.of(queues)
    admit(quotas, queues, first)
    before = state(quotas, queues)
    copy = quotas.copy()
    later = admit(quotas, queues, second)
    assert state(copy, queues) == before
    for name, amount in later:
        quotas.use(name, {CPU: amount}, -1)
    assert state(quotas, queues) == before


@given(trees(), operations, st.randoms(use_true_random=False))
def test_the_order_of_use_does_not_matter(queues: list[Queue], wanted: list[tuple[int, int]], random: Random) -> None:
    one, other = Quotas.of(queues), Quotas.of(reversed(queues))
    admitted = admit(one, queues, wanted)
    random.shuffle(admitted)
    for name, amount in admitted:
        other.use(name, {CPU: amount})
    assert state(one, queues) == state(other, queues)


def state(quotas: Quotas, queues: Sequence[Queue]) -> list[object]:
    """Everything that can be asked of them."""
    return [
        (
            queue.name,
            quotas.used(queue.name, CPU),
            quotas.borrowed(queue.name, CPU),
            quotas.running(queue.name),
            quotas.dominant_share(queue.name),
            [quotas.shortfall(queue.name, {CPU: amount}) for amount in range(9)],
        )
        for queue in sorted(queues, key=lambda queue: queue.name)
    ]
