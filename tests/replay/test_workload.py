"""Workload files: what they come to, and what is said about one that is wrong."""

from pathlib import Path

import pytest

from scheduler.domain.hardware import HardwareClass
from scheduler.domain.topology import RACK
from scheduler.engine.quota import Queue
from scheduler.engine.shape import GIB, Shape
from scheduler.engine.snapshot import Quote
from scheduler.replay.formats import read_workload
from scheduler.replay.trace import TraceError
from tests.replay.workloads import CITY, KUEUE, TAS, workload, written

SHARED = Path(__file__).parents[3] / "shared" / "data" / "kueue"


def test_kueues_cohorts_become_queues_that_borrow(tmp_path: Path) -> None:
    found = workload(tmp_path, KUEUE)
    assert found.queues[:2] == (
        Queue("cohort-0"),
        Queue("cq-0-0-cohort-0", "cohort-0", nominal={"cpu": 4000}, borrowing_limit={"cpu": 2000}, reclaims=False),
    )
    assert len(found.queues) == 6
    assert set(found.queue_classes.values()) == {"cq"}
    assert [(node.cpu_milli, node.cards) for node in found.nodes] == [(16_000, ())]


def test_kueues_workloads_arrive_one_after_the_other(tmp_path: Path) -> None:
    found = workload(tmp_path, KUEUE)
    small, large = found.streams[:2]
    assert [at for at, _ in small.arrivals()] == [100_000, 300_000, 500_000]
    assert [at for at, _ in large.arrivals()] == [200_000, 400_000, 600_000]
    assert (small.work.class_name, small.work.priority, small.work.runtime) == ("small", 50, 200_000)
    assert (small.work.need, large.work.need) == ({"cpu": 500}, {"cpu": 4000})
    assert small.work.shapes == (Shape(1, 1, 0, cpu_milli=500),)
    assert found.jobs == 2 * 2 * 3 * 2


def test_the_ideal_is_the_longest_of_its_bounds(tmp_path: Path) -> None:
    found = workload(tmp_path, KUEUE)
    # each cohort: 2 queues × 3 × (0.5 × 0.2 s + 4 × 1 s) over 8 cores, from 0.1 s on; the last arrival ends at 1.6 s
    assert found.ideal() == 3_075_000
    assert workload(tmp_path, KUEUE.replace("nominalQuota: 4", "nominalQuota: 400")).ideal() == 1_500_000


def test_kueues_topology_becomes_clusters_racks_and_nodes(tmp_path: Path) -> None:
    found = workload(tmp_path, TAS)
    assert len(found.nodes) == 24
    assert {node.cluster for node in found.nodes} == {"cluster-0", "cluster-1"}
    assert len({(node.cluster, node.rack) for node in found.nodes}) == 6
    assert (found.nodes[0].cpu_milli, found.nodes[0].memory_bytes) == (8000, 16 * GIB)


@pytest.mark.parametrize(
    ("constraint", "level", "shapes"),
    [
        ("required", "rack", [(2, True)]),
        ("preferred", "rack", [(2, True), (2, False)]),
        ("balanced", "rack", [(2, True), (2, False)]),
        ("required", "block", [(2, False)]),
        ("preferred", "block", [(2, False)]),
        ("required", "host", [(1, False)]),
        ("preferred", "host", [(1, False), (2, False)]),
    ],
)
def test_a_constraint_becomes_shapes_in_order_of_preference(
    tmp_path: Path, constraint: str, level: str, shapes: list[tuple[int, bool]]
) -> None:
    text = TAS.replace("tasConstraint: required", f"tasConstraint: {constraint}").replace("tasLevel: rack", f"tasLevel: {level}")
    found = workload(tmp_path, text).streams[0].work
    assert [(shape.nodes, shape.within == RACK) for shape in found.shapes] == shapes
    assert all(shape.nodes * shape.cpu_milli == 1000 for shape in found.shapes)
    assert found.need == {"cpu": 1000}


@pytest.mark.skipif(not SHARED.exists(), reason="Kueue's files are not on this machine")
@pytest.mark.parametrize(
    ("name", "jobs", "queues", "nodes"), [("baseline", 15_000, 35, 1), ("large-scale", 50_000, 1010, 1), ("tas", 15_000, 35, 640)]
)
def test_kueues_own_files_are_read_unchanged(name: str, jobs: int, queues: int, nodes: int) -> None:
    found = read_workload(SHARED / name / "generator.yaml")
    assert (found.jobs, len(found.queues), len(found.nodes)) == (jobs, queues, nodes)


def test_our_format_says_everything(tmp_path: Path) -> None:
    found = workload(tmp_path, CITY)
    assert found.queues[1] == Queue(
        "lab", "city", {"class:domestic": 16_000}, borrowing_limit={"cpu": 8500}, weight=2, max_running=9, reclaims=False
    )
    assert {node.cluster for node in found.nodes} == {"sz-0", "sz-1", "plain"}
    assert found.prices == {("", "sz-0", "910B3"): Quote(12_500_000, 10_000_000, 6_400_000)}
    assert found.weights == {"lab": 3}
    train, *drawn = found.streams
    assert [at for at, _ in train.arrivals()] == [10_000, 30_000, 50_000, 70_000, 90_000]
    assert train.work.shapes == (Shape(2, 2, 8, hardware_class=HardwareClass.DOMESTIC, cpu_milli=4000, within=RACK),)
    assert train.work.need == {"class:domestic": 16_000, "model:910B3": 16_000, "cpu": 8000}
    assert (train.work.max_runtime_seconds, train.work.preemptible) == (7200, True)
    assert [stream.count for stream in drawn] == [3, 3, 2, 2]
    assert len({stream.work.shapes for stream in drawn}) == 4
    assert {stream.work.tenant for stream in drawn} <= {"a", "b"}
    assert all(stream.work.runtime is not None and 5000 <= stream.work.runtime <= 9000 for stream in drawn)


def test_equal_files_give_equal_workloads(tmp_path: Path) -> None:
    def drawn(text: str) -> list[object]:
        return [(s.work.shapes, s.work.tenant, s.work.priority, s.work.runtime) for s in workload(tmp_path, text).streams]

    assert drawn(CITY) == drawn(CITY)
    assert drawn(CITY) != drawn(CITY.replace("seed: 7", "seed: 8"))


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (KUEUE, "nominalQuota: 4", "nominalQuota: lots", r"cohorts\.0\.queuesSets\.0\.nominalQuota: 'lots' is not allowed: .*500m"),
        (KUEUE, "nominalQuota: 4", "nominalQuota: -4", r"nominalQuota: -4 is not allowed"),
        (KUEUE, "nominalQuota: 4", "nominalQuota: '1.5m'", r"nominalQuota: '1.5m' is not allowed"),
        (KUEUE, "count: 3", "count: 3000000", r"workloadsSets\.0\.count: 3000000 is not allowed"),
        (KUEUE, "count: 3", "count: 300000", r"cohorts: 2400000 workloads is not allowed: at most 1000000"),
        (KUEUE, "count: 2\n  queuesSets", "count: 9000\n  queuesSets", r"cohorts: 18000 queues is not allowed"),
        (KUEUE, "runtimeMs: 200,", "", r"workloads\.0\.runtimeMs: .* is not allowed: Field required"),
        (KUEUE, "reclaimWithinCohort: Any", "reclaimWithinCohort: Maybe", r"reclaimWithinCohort: 'Maybe' is not allowed"),
        (KUEUE, "reclaimWithinCohort", "reclaimOutsideCohort", r"reclaimOutsideCohort: 'Any' is not allowed: Extra inputs"),
        (KUEUE, "cohorts:", "teams:", "neither `cohorts`"),
        (KUEUE, "cohorts:", "cohorts: [", "not a YAML document"),
        (TAS, "tasLevel: rack", "tasLevel: room", r"workloads\.0\.tasLevel: 'room' is not allowed: .*block, rack, host"),
        (TAS, ', capacity: {cpu: "8", memory: 16Gi}', "", r"topology\.levels\.2\.capacity: nothing is not allowed"),
        (TAS, "block, count: 2", "block, count: 20000", r"topology\.levels: 240000 nodes is not allowed: at most 100000"),
        (CITY, "parent: city", "parent: town", r"queues: one of them is not allowed: queue lab, parent: there is no queue town"),
        (CITY, "queue: lab", "queue: labs", r"jobs\.0\.queue: 'labs' is not allowed: the name of one of `queues` is"),
        (CITY, "shapes: 4", "shapes: 7", r"jobs\.1\.draw\.shapes: 7 is not allowed: at most the 6 combinations"),
        (CITY, "name: plain", "name: sz-0", r"clusters: a repeated name is not allowed"),
        (CITY, "suanwang-workload/1", "suanwang-workload/2", r"format: 'suanwang-workload/2' is not allowed"),
        (CITY, "  cards: 8\n", "", r"clusters\.0: .* is not allowed: .*cards and card go together"),
        (CITY, "count: 10\n", "count: 999999\n", r"jobs: 1000004 jobs in all is not allowed"),
        (CITY, "{per_node: 1}", "[{per_node: 1}]", r"jobs\.1.*draw varies one hardware"),
        (CITY, "nodes: [1, 2]", "nodes: [1, 0]", r"nodes: 0 is not allowed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, old: str, new: str, message: str) -> None:
    assert old in text
    with pytest.raises(TraceError, match=message) as found:
        workload(tmp_path, text.replace(old, new))
    assert "\n" not in str(found.value)
    assert str(found.value).startswith(str(tmp_path / "workload.yaml"))


def test_a_file_that_is_not_there_or_no_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_workload(tmp_path / "none.yaml")
    with pytest.raises(TraceError, match="must hold a mapping of keys to values, not a list"):
        read_workload(written(tmp_path, "- 1"))
