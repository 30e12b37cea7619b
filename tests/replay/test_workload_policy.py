"""What the policy of a workload does: runs that are moved from their checkpoints, and a past that counts."""

from pathlib import Path

from scheduler.replay.admissions import Forgotten
from scheduler.replay.clock import VirtualClock
from scheduler.replay.trace import SECOND
from scheduler.replay.workload_driver import run
from scheduler.replay.workload_report import Circumstances, workload_report
from tests.replay.workloads import workload

MINUTE = 60 * SECOND


MOVING = """
format: suanwang-workload/1
clusters:
- {name: sz, nodes: 2, cpus: 64, memory_gib: 512, cards: 8, card: {vendor: huawei, model: 910B3, class: domestic, memory_gib: 64}}
policy: {consolidation: {restart: 1m}}
jobs:
- {class: first, count: 1, runtime_ms: 60000, preemptible: true, checkpoint: 10m, hardware: {per_node: 4}}
- {class: part, count: 2, runtime_ms: 7200000, preemptible: true, checkpoint: 10m, hardware: {per_node: 4}}
- {class: whole, count: 1, at_ms: 1500000, runtime_ms: 60000, hardware: {per_node: 8}}
"""


def test_a_run_is_moved_from_its_checkpoint_so_that_a_whole_node_is_free(tmp_path: Path) -> None:
    outcome = run(workload(tmp_path, MOVING), VirtualClock, Forgotten())
    assert (outcome.preemptions, outcome.moves, outcome.placed) == (1, 1, 4)
    assert outcome.classes["whole"].waits == [0]
    # from minute 20, when it was saved, to 25 it is done again, and a minute goes to restart: on four cards
    assert outcome.lost_card_milli_micros == 4000 * 6 * MINUTE
    assert sorted(outcome.completions) == [MINUTE, MINUTE, 120 * MINUTE, 126 * MINUTE]
    still = run(workload(tmp_path, MOVING.replace("policy: {consolidation: {restart: 1m}}", "")), VirtualClock, Forgotten())
    assert (still.moves, still.classes["whole"].waits) == (0, [95 * MINUTE])


FADING = """
format: suanwang-workload/1
clusters:
- {name: sz, nodes: 1, cpus: 64, memory_gib: 512, cards: 8, card: {vendor: huawei, model: 910B3, class: domestic, memory_gib: 64}}
policy: {half_life: 1h}
jobs:
- {class: before, count: 2, runtime_ms: 1800000, tenant: early, hardware: {per_node: 8}}
- {class: early, count: 2, at_ms: 3600000, runtime_ms: 1800000, tenant: early, hardware: {per_node: 8}}
- {class: late, count: 2, at_ms: 3600000, runtime_ms: 1800000, tenant: late, hardware: {per_node: 8}}
"""


def test_who_has_used_much_before_stands_back_where_the_past_counts(tmp_path: Path) -> None:
    def waits(text: str) -> dict[str, list[int]]:
        outcome = run(workload(tmp_path, text), VirtualClock, Forgotten())
        return {name: [wait // (30 * MINUTE) for wait in each.waits] for name, each in outcome.classes.items()}

    assert waits(FADING) == {"before": [0, 1], "early": [2, 3], "late": [0, 1]}
    assert waits(FADING.replace("policy: {half_life: 1h}", "")) == {"before": [0, 1], "early": [0, 1], "late": [2, 3]}


def test_where_no_queue_owns_anything_fairness_is_between_tenants_by_weight(tmp_path: Path) -> None:
    for weights, index in (("", 0.9), ("weights: {early: 2}", 1.0)):
        city = workload(tmp_path, FADING + weights)
        report = workload_report(city, run(city, VirtualClock, Forgotten()), Circumstances(1.0, 1, "virtual", "memory", None))
        assert report.fairness == index, "early used twice what late did"
