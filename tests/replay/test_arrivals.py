"""An openb trace in a given order of arrival: reading the order, and what the protocol measures."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.replay import driver
from scheduler.replay.arrivals import allocated_percent, read_trace
from scheduler.replay.trace import SECOND, Trace, TraceError

NODES = "sn,cpu_milli,memory_mib,gpu,model\nn1,8000,1024,4,G2\nn0,8000,1024,4,T4\n"
PODS = """name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec
p2,1000,1,1,500,
p0,1000,1,1,1000,
p1,1000,1,4,1000,T4
p3,1000,1,0,0,
"""
ARRIVALS = "pods 42 1 0 0 2 2 3 0 0 0 0 0\nnodeprio 42 1 0\npods 7 1\nnodeprio 7 0 1\n"

Written = Callable[[str], Path]


@pytest.fixture
def arrivals(tmp_path: Path) -> Written:
    (tmp_path / "nodes.csv").write_text(NODES)
    (tmp_path / "pods.csv").write_text(PODS)

    def write(text: str) -> Path:
        path = tmp_path / "arrivals.txt"
        path.write_text(text)
        return path

    return write


def _read(path: Path, seed: int | None = 42) -> Trace:
    return read_trace(path.with_name("nodes.csv"), path.with_name("pods.csv"), path, seed)


def test_pods_come_a_second_apart_by_their_place_in_the_sorted_list_and_stay(arrivals: Written) -> None:
    trace = _read(arrivals(ARRIVALS))
    names = [entry.job.id.partition("-")[2] for entry in trace.jobs]
    assert names == ["p1", "p0", "p0", "p2", "p2", "p3", "p0", "p0", "p0", "p0", "p0"]
    assert [entry.job.submitted_at for entry in trace.jobs] == [second * SECOND for second in range(11)]
    assert {entry.leaves_at for entry in trace.jobs} == {11 * SECOND}
    assert len({entry.job.id for entry in trace.jobs}) == 11, "a pod that comes twice is two jobs"
    assert trace.jobs[0].job.shapes[0].models == {"T4"}
    assert len(_read(arrivals(ARRIVALS), seed=7).jobs) == 1


def test_a_gzip_file_reads_the_same(arrivals: Written) -> None:
    plain = arrivals(ARRIVALS)
    packed = plain.with_name("arrivals.txt.gz")
    packed.write_bytes(gzip.compress(ARRIVALS.encode()))
    assert _read(packed) == _read(plain)


def test_what_has_arrived_and_what_is_allocated_then(arrivals: Written) -> None:
    """8 cards, all taken when as many have been asked for; 125 and 138 % of them come later, but never 130."""
    trace = _read(arrivals(ARRIVALS))
    outcome = driver.replay(trace, by_demand=True)
    assert (outcome.placed, outcome.waiting, outcome.never) == (7, 4, 0), "the last four find no card"
    assert outcome.levels[-1] == 0, "all leave in the end"
    assert allocated_percent(trace, outcome) == {"100": 100.0, "130": None}


def test_the_figure_is_the_mean_over_the_arrivals_of_a_percentage(arrivals: Written) -> None:
    """Of 8 cards 7.96, 7.98 and 8 are asked for and allocated, then 8.02 are asked for, and then a pod without cards comes."""
    path = arrivals("pods 1 0 0 0 0 0 0 0 3 3 1 1 1 1 1 1 1 1 1 1 1 4\n")
    path.with_name("pods.csv").write_text(
        "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1,1,1,1000\np1,1,1,1,20\np2,1,1,4,1000\np3,1,1,1,400\np4,1,1,0,0\n"
    )
    trace = _read(path, seed=1)
    found = allocated_percent(trace, driver.replay(trace, by_demand=True))
    assert found["100"] == pytest.approx((7.96 + 7.98 + 8 + 8 + 8) / 5 / 8 * 100)


def test_the_same_order_gives_the_same_outcome(arrivals: Written) -> None:
    one, other = (driver.replay(_read(arrivals(ARRIVALS)), by_demand=True) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pods 42 0 1 x\n", "line 1: pod 'x' is not allowed; a whole number from 0 to 3 is"),
        ("pods 42 0 1 -1\n", "line 1: pod '-1' is not allowed"),
        ("nodeprio 42 0\npods 42 0 4\n", "line 2: pod '4' is not allowed; a whole number from 0 to 3 is"),
        ("pods 42\n", "line 1: 'pods 42' is not allowed; 'pods SEED i0 i1 …' or 'nodeprio SEED p0 p1 …' is"),
        ("pods x 1 2\n", "line 1: 'pods x' is not allowed"),
        ("pods 42 0\n\ncards 42 0\n", "line 3: 'cards 42' is not allowed"),
        ("pods 42 0\npods 42 1\n", "line 2: line 1 has the pods of seed 42 already"),
        ("pods 43 0\npods 7 0\n", "there is no seed 42; give --seed with one of 7, 43"),
        ("", "there is no seed 42; give --seed with one of (none in the file)"),
        ("pods 42 é\n", "not a text file of arrivals"),
    ],
)
def test_a_broken_file_is_refused_with_the_line(arrivals: Written, text: str, message: str) -> None:
    with pytest.raises(TraceError) as refused:
        _read(arrivals(text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_a_seed_the_seeds_are_named(arrivals: Written) -> None:
    with pytest.raises(TraceError, match="a seed is needed; give --seed with one of 7, 42"):
        _read(arrivals(ARRIVALS), seed=None)


def test_a_broken_gzip_file_is_refused(arrivals: Written) -> None:
    path = arrivals("").with_name("arrivals.txt.gz")
    for broken in (b"pods 42 0\n", gzip.compress(ARRIVALS.encode())[:-12]):
        path.write_bytes(broken)
        with pytest.raises(TraceError, match="a broken gzip file"):
            _read(path)


def test_a_line_has_a_limit(arrivals: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.replay.arrivals.MAX_LINE_CHARACTERS", 20)
    with pytest.raises(TraceError, match="line 1: longer than 20 characters"):
        _read(arrivals(ARRIVALS))
