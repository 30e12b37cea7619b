"""ITP traces: what is read, and what is refused in one line that says where and what is allowed."""

from pathlib import Path

import pytest

from scheduler.engine.plan import Curve
from scheduler.replay.itp import UNITS_PER_ITERATION, read_cluster, read_curves
from scheduler.replay.trace import SECOND, TraceError

CURVES = "global_batch_size,1,2,4,8\n64,1.5,2.25,2.25,nan\n128,0.75,1.2,,0\n"
HEADER = "job_id,submission_time,num_iteration,model_name,deadline,batch_size,num_gpu,duration\n"
JOBS = HEADER + "a,100,30,bert,150,64,2,20\nb,90,15,bert,95,128,1,20\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "throughputs").mkdir()
    (tmp_path / "throughputs" / "bert.csv").write_text(CURVES)
    (tmp_path / "cluster.csv").write_text(JOBS)
    return tmp_path


def test_jobs_have_their_curve_and_work_in_whole_units(folder: Path) -> None:
    cluster = read_cluster(folder / "cluster.csv", 4, read_curves(folder / "throughputs"))
    one, other = cluster.jobs
    assert cluster.nodes == 4
    assert one.curve == Curve((1, 2), (15_000, 22_500)), "four cards are no faster than two, eight were not measured"
    assert (one.id, one.work, one.submitted_at, one.deadline) == ("a", 30 * UNITS_PER_ITERATION, 100 * SECOND, 150 * SECOND)
    assert one.work // one.curve.rates[0] == 20 * SECOND
    assert other.curve == Curve((1, 2), (7_500, 12_000))


def test_a_rigid_job_has_the_width_it_was_submitted_with(folder: Path) -> None:
    cluster = read_cluster(folder / "cluster.csv", 4, read_curves(folder / "throughputs"), rigid=True)
    assert [job.curve for job in cluster.jobs] == [Curve((2,), (22_500,)), Curve((1,), (7_500,))]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1,2,bert,3,64,x,0\n", "row 2, column num_gpu: 'x' is not allowed; a whole number from 1 to 65536 is"),
        ("a,1,2,bert,3,64,0,0\n", "row 2, column num_gpu: '0' is not allowed"),
        ("a,-1,2,bert,3,64,1,0\n", "row 2, column submission_time: '-1' is not allowed"),
        ("a,1,0,bert,3,64,1,0\n", "row 2, column num_iteration: '0' is not allowed"),
        ("a,1,99999999999,bert,3,64,1,0\n", "row 2, column num_iteration: '99999999999' is not allowed"),
        ("a,1,2,bert,,64,1,0\n", "row 2, column deadline: '' is not allowed"),
        (
            "a,1,2,bert,3,32,1,0\n",
            "row 2, column batch_size: '32' is not allowed; a batch size of bert with a measured throughput is",
        ),
        ("a,1,2,gpt9,3,64,1,0\n", "row 2, column batch_size: '64' is not allowed; a batch size of gpt9 with"),
        (",1,2,bert,3,64,1,0\n", "row 2, column job_id: '' is not allowed; a name is needed"),
        ("a,1,2,bert,3,64,1,0\na,1,2,bert,3,64,1,0\n", "row 3, column job_id: 'a' is not allowed; row 2 has the same name"),
        ("a,1,2,bert\n", "row 2: column deadline is missing"),
        ("", "has a header but no rows"),
    ],
)
def test_a_broken_row_is_named(folder: Path, rows: str, message: str) -> None:
    (folder / "cluster.csv").write_text(HEADER + rows)
    with pytest.raises(TraceError) as error:
        read_cluster(folder / "cluster.csv", 4, read_curves(folder / "throughputs"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rigid_width_that_was_not_measured_is_named(folder: Path) -> None:
    (folder / "cluster.csv").write_text(HEADER + "a,1,2,bert,3,64,8,0\n")
    with pytest.raises(TraceError, match="a batch size of bert with a measured throughput on 8 cards is"):
        read_cluster(folder / "cluster.csv", 4, read_curves(folder / "throughputs"), rigid=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("global_batch_size,1,3\n64,1,2\n", "column '3' is not allowed; numbers of cards that are powers of two"),
        ("global_batch_size,cards\n64,1\n", "column 'cards' is not allowed"),
        ("global_batch_size,1\n64,fast\n", "row 2, column 1: 'fast' is not allowed; iterations a second"),
        ("global_batch_size,1\n64,-1\n", "row 2, column 1: '-1' is not allowed"),
        ("batch,1\n64,1\n", "no column global_batch_size"),
    ],
)
def test_a_broken_curve_is_named(folder: Path, text: str, message: str) -> None:
    (folder / "throughputs" / "bert.csv").write_text(text)
    with pytest.raises(TraceError) as error:
        read_curves(folder / "throughputs")
    assert message in str(error.value)


def test_a_folder_without_curves_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"has no file MODEL\.csv"):
        read_curves(tmp_path)
