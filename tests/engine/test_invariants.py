"""What must hold after every round, whatever the network, the queue and the runs are."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.domain.topology import LINK_DOMAIN
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import NO_KIND, Card, Fleet, Free, Node
from scheduler.engine.order import Usage
from scheduler.engine.reserve import ends_at
from scheduler.engine.shape import GIB
from scheduler.engine.snapshot import Decisions, Snapshot
from tests.engine import oracle
from tests.engine.strategies import snapshots

many = settings(max_examples=80, deadline=None)


def _after_grants(moment: Snapshot, decisions: Decisions) -> Free:
    free = moment.free.copy()
    for grant in decisions.grants:
        free.take(grant.place.allocations)
    return free


def _after_releases(moment: Snapshot, decisions: Decisions) -> Free:
    """What will be free once everybody asked to stop has stopped."""
    free = _after_grants(moment, decisions)
    stopped = {preemption.attempt for preemption in decisions.preemptions}
    for run in moment.runs:
        if run.releasing or run.attempt in stopped:
            free.give(run.place.allocations)
    return free


@many
@given(snapshots())
def test_nothing_is_given_twice(moment: Snapshot) -> None:
    free = _after_grants(moment, cycle(moment))
    assert min(free.card_milli.min(initial=0), free.cpu_milli.min(), free.memory_bytes.min()) >= 0


@many
@given(snapshots())
def test_the_snapshot_is_left_as_it_was(moment: Snapshot) -> None:
    before, held = moment.free.copy(), moment.usage.copy()
    cycle(moment)
    assert all(np.array_equal(getattr(before, name), getattr(moment.free, name)) for name in Free.__slots__)
    assert all(np.array_equal(held.held[tenant], moment.usage.held[tenant]) for tenant in held.held)
    assert held.held.keys() == moment.usage.held.keys()


@many
@given(snapshots())
def test_every_job_gets_a_grant_or_a_verdict(moment: Snapshot) -> None:
    decisions = cycle(moment)
    granted = [grant.job for grant in decisions.grants]
    assert sorted([*granted, *decisions.verdicts]) == sorted(job.id for job in moment.queue)
    assert all(verdict.reasons for verdict in decisions.verdicts.values())


@many
@given(snapshots())
def test_a_grant_is_a_whole_gang_where_the_job_may_go(moment: Snapshot) -> None:
    fleet, jobs = moment.fleet, {job.id: job for job in moment.queue}
    for grant in cycle(moment).grants:
        job, place = jobs[grant.job], grant.place
        shape = job.shapes[grant.alternative]
        rows = [part.node for part in place.allocations]
        cluster = fleet.clusters[place.cluster]
        assert shape.min_nodes <= len(set(rows)) == len(rows) <= shape.nodes
        assert {fleet.nodes[row].cluster for row in rows} == {cluster}
        assert all(fleet.nodes[row].live for row in rows)
        assert job.hold is None
        assert job.clusters is None or cluster in job.clusters
        assert all(constraint.holds(fleet.nodes[row].traits) for constraint in shape.constraints for row in rows)
        domains = {oracle.domain(fleet.nodes[row], shape.within) for row in rows}
        assert len(domains) == 1 and None not in domains
        if shape.within == LINK_DOMAIN:
            assert all(len(oracle.islands(fleet.nodes[part.node], part.slots)) <= 1 for part in place.allocations)
        for part in place.allocations:
            kinds = {fleet.nodes[part.node].cards[slot].kind for slot in part.slots}
            assert len(set(part.slots)) == shape.per_node
            assert part.card_milli == shape.card_milli
            assert kinds == ({fleet.kinds[place.kind]} if shape.per_node else set())
            assert {kind.mig for kind in kinds if kind} <= {shape.mig}
        assert place.card_milli() == oracle.card_milli(fleet, place)
        assert place.kind == NO_KIND if shape.per_node == 0 else fleet.kinds[place.kind].suits(shape)
        model = None if place.kind == NO_KIND else fleet.kinds[place.kind].model
        assert moment.prices is None or (job.terms, cluster, model) in moment.prices


@many
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_does_not_matter(moment: Snapshot, shuffle: random.Random) -> None:
    nodes, queue, runs = list(moment.fleet.nodes), list(moment.queue), list(moment.runs)
    for each in (nodes, queue, runs):
        shuffle.shuffle(each)
    again = replace(moment, fleet=Fleet.of(nodes), queue=queue, runs=runs)
    assert cycle(again) == cycle(moment)


@many
@given(snapshots())
def test_only_preemptible_runs_of_lower_priority_are_stopped(moment: Snapshot) -> None:
    jobs, runs = {job.id: job for job in moment.queue}, {run.attempt: run for run in moment.runs}
    decisions = cycle(moment)
    for preemption in decisions.preemptions:
        if preemption.by is None:
            assert preemption.window in moment.windows
            continue
        victim = runs[preemption.attempt]
        assert victim.preemptible and not victim.releasing
        assert victim.protected_until <= moment.now
        assert victim.priority < jobs[preemption.by].priority == preemption.priority
        assert decisions.verdicts[preemption.by].reasons[0].code == "waiting_for_release"
    attempts = [preemption.attempt for preemption in decisions.preemptions]
    assert len(set(attempts)) == len(attempts)


@many
@given(snapshots())
def test_a_kept_place_is_not_taken_by_a_job_behind(moment: Snapshot) -> None:
    decisions = cycle(moment)
    free = _after_releases(moment, decisions)
    for job in moment.queue:
        verdict = decisions.verdicts.get(job.id)
        if verdict is not None and verdict.reasons[0].code == "waiting_for_release":
            assert any(True for shape in job.shapes for _ in oracle.options(moment.fleet, free, job, shape))


@many
@given(snapshots())
def test_never_means_that_the_empty_network_could_not_hold_it(moment: Snapshot) -> None:
    decisions = cycle(moment)
    for job in moment.queue:
        verdict = decisions.verdicts.get(job.id)
        if verdict is not None and job.hold is None:
            fits_somewhere = any(
                True for shape in job.shapes for _ in oracle.options(moment.fleet, moment.fleet.empty, job, shape, silent_too=True)
            )
            assert (verdict.kind == "never") != fits_somewhere


@many
@given(snapshots())
def test_the_first_job_served_gets_the_place_its_profile_prefers(moment: Snapshot) -> None:
    """One job alone, against every place there is; the first of its alternatives that has any wins."""
    moment = replace(moment, windows=(), runs=())  # nobody's end is known, so there is nothing better to wait for
    for job in moment.queue:
        if job.hold is not None:
            continue
        best = oracle.preferred(moment, job)
        grants = cycle(replace(moment, queue=[job])).grants
        assert bool(grants) == (best is not None)
        if grants and best is not None:
            place = grants[0].place
            assert grants[0].alternative == best[0]
            assert (moment.fleet.clusters[place.cluster], place.kind) in best[1]


@many
@given(snapshots())
def test_no_cluster_is_sent_more_than_it_may_have_in_flight(moment: Snapshot) -> None:
    sent = Counter(moment.fleet.clusters[grant.place.cluster] for grant in cycle(moment).grants)
    for cluster, each in moment.in_flight.items():
        assert sent[cluster] <= max(0, each.limit - each.grants)


@many
@given(snapshots())
def test_nobody_is_sent_where_it_was_refused(moment: Snapshot) -> None:
    jobs = {job.id: job for job in moment.queue}
    for grant in cycle(moment).grants:
        refused = {each.cluster for each in jobs[grant.job].back_off if each.until > moment.now}
        assert moment.fleet.clusters[grant.place.cluster] not in refused


@many
@given(snapshots())
def test_nothing_is_placed_into_a_window_that_binds_it(moment: Snapshot) -> None:
    jobs = {job.id: job for job in moment.queue}
    decisions = cycle(moment)
    for grant in decisions.grants:
        job, rows = jobs[grant.job], {part.node for part in grant.place.allocations}
        end = ends_at(moment.now, job.max_runtime_seconds)
        for window in moment.windows:
            if window.nodes & rows and window.start < end and moment.now < window.end:
                assert job.tenant in window.tenants and end <= window.end
        if grant.reason.code == "placed_reserved":
            assert any(
                window.start <= moment.now and rows <= window.nodes for window in moment.windows if job.tenant in window.tenants
            )


@many
@given(snapshots())
def test_nothing_stays_in_a_window_that_is_open(moment: Snapshot) -> None:
    """Whoever is on its nodes and no beneficiary who ends in time has been asked to stop; and nobody else for its sake."""
    asked = {each.attempt for each in cycle(moment).preemptions if each.window is not None}
    expected = {
        run.attempt
        for run in moment.runs
        for window in moment.windows
        if window.start <= moment.now < window.end
        and not run.releasing
        and {part.node for part in run.place.allocations} & window.nodes
        and not (run.tenant in window.tenants and run.ends_at <= window.end)
    }
    assert asked == expected


@many
@given(snapshots())
def test_a_promised_start_is_clear_of_windows(moment: Snapshot) -> None:
    """Whoever is promised a start could be on nodes outside every window that binds it then, if it were alone."""
    jobs = {job.id: job for job in moment.queue}
    for id_, at in cycle(moment).promised_at.items():
        job = jobs[id_]
        end = ends_at(at, job.max_runtime_seconds)
        free = moment.fleet.all_free()
        for window in moment.windows:
            if window.start < end and at < window.end and not (job.tenant in window.tenants and end <= window.end):
                free.close(sorted(window.nodes))
        assert any(True for shape in job.shapes for _ in oracle.options(moment.fleet, free, job, shape))


@many
@given(snapshots(), st.integers(0, 2))
def test_more_capacity_never_makes_the_head_wait_longer(moment: Snapshot, extra: int) -> None:
    """One job alone, before and after a node has joined: it starts no later."""
    assume(moment.fleet.kinds)
    kind = moment.fleet.kinds[extra % len(moment.fleet.kinds)]
    cards = tuple(Card(f"z/{slot}", kind) for slot in range(4))
    joined = Node(moment.fleet.clusters[-1], "z", 8000, 8 * GIB, cards, rack="r1")
    fleet = Fleet.of([*moment.fleet.nodes, joined])
    assume(fleet.nodes[-1] == joined)
    free, usage = fleet.all_free(), Usage.none(fleet)
    for run in moment.runs:
        free.take(run.place.allocations)
        usage.add(run.tenant, run.place)
    for job in moment.queue:
        before = replace(moment, queue=[job], in_flight={})  # nobody knows when a cluster will have taken up what it was given
        assert _start(replace(before, fleet=fleet, free=free, usage=usage), job.id) <= _start(before, job.id)


def _start(moment: Snapshot, job: str) -> float:
    """When a job starts: now, once others have stopped, when it was promised, or nobody knows."""
    decisions = cycle(moment)
    if decisions.grants:
        return moment.now
    if decisions.verdicts[job].reasons[0].code == "waiting_for_release":
        return moment.now + 1
    return decisions.promised_at.get(job, float("inf"))


@many
@given(snapshots())
def test_every_reason_can_be_read_in_both_languages(moment: Snapshot) -> None:
    decisions = cycle(moment)
    reasons = [reason for grant in decisions.grants for reason in grant.reasons]
    reasons += [reason for verdict in decisions.verdicts.values() for reason in verdict.reasons]
    for reason in reasons:
        assert reason.text("en")
        assert reason.text("zh")
