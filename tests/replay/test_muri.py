"""Muri's traces: what is read, and what is said of a broken file."""

from pathlib import Path

import pytest

from scheduler.replay.muri import read_muri
from scheduler.replay.trace import TraceError

HEADER = "job_id,num_gpu,submit_time,iterations,model_name,duration\n"
TEXT = HEADER + "0,1,0,5,dqn,2000\n1,16,1500,7,vgg16,4472936\n"


def _written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    return path


def test_times_are_milliseconds_and_nodes_those_of_the_paper(tmp_path: Path) -> None:
    trace = read_muri(_written(tmp_path, TEXT))
    assert len(trace.nodes) == 8
    assert {len(node.cards) for node in trace.nodes} == {8}
    first, second = trace.works
    assert (first.takes, second.job.submitted_at, second.takes) == (2_000_000, 1_500_000, 4_472_936_000)
    assert (second.job.shapes[0].nodes, second.job.shapes[0].per_node) == (2, 8)


def test_the_cluster_can_be_another(tmp_path: Path) -> None:
    trace = read_muri(_written(tmp_path, TEXT), 3, 4)
    assert (len(trace.nodes), trace.works[1].job.shapes[0].nodes) == (3, 4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2,0,0,5,dqn,10\n", "row 4, column num_gpu: '0' is not allowed; a whole number from 1 to 4096 is"),
        ("2,1,-1,5,dqn,10\n", "row 4, column submit_time: '-1' is not allowed"),
        ("2,1,0,5,dqn,0\n", "row 4, column duration: '0' is not allowed; a whole number from 1"),
        ("2,1,0,5,dqn,1e3\n", "row 4, column duration: '1e3' is not allowed"),
        ("1,1,0,5,dqn,10\n", "row 4, column job_id: '1' is not allowed; row 3 has the same name"),
        ("2,1,0\n", "row 4: column iterations is missing"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TraceError, match=r"trace\.csv") as error:
        read_muri(_written(tmp_path, TEXT + row))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no column job_id, num_gpu, submit_time, duration"),
        (HEADER, "has a header but no rows"),
        ("job_id,num_gpu,submit_time\n0,1,0\n", "no column duration"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        read_muri(_written(tmp_path, text))
    assert message in str(error.value)
