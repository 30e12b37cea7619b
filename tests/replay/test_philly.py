"""Philly's trace: what is read, and what is said of broken files."""

from pathlib import Path

import pytest

from scheduler.replay.philly import read_philly
from scheduler.replay.trace import SECOND, TraceError

JOBS = """timestamp,duration,num_gpus,gpu_time,cluster
2017-10-09 07:01:55,66.5,1,66.5,aaa
2017-10-09 07:02:00,0.0,16,0.0,bbb
2017-10-09 06:00:00,10.0,2,20.0,aaa
2017-10-09 06:00:00,10.0,2,20.0,ccc
"""
CLUSTERS = "vc,node num\naaa,2\nbbb,4\nddd,1\n"


def _files(tmp_path: Path, jobs: str = JOBS, clusters: str = CLUSTERS) -> tuple[Path, Path]:
    (tmp_path / "jobs.csv").write_text(jobs)
    (tmp_path / "vc.csv").write_text(clusters)
    return tmp_path / "jobs.csv", tmp_path / "vc.csv"


def test_every_virtual_cluster_is_a_trace_of_its_own(tmp_path: Path) -> None:
    found = read_philly(*_files(tmp_path))
    assert list(found.by_cluster) == ["aaa", "bbb"]
    assert found.left_out == {"ccc": 1}
    assert [len(trace.nodes) for trace in found.by_cluster.values()] == [2, 4]
    first, second = found.by_cluster["aaa"].works
    assert first.takes == 66_500_000
    assert first.job.submitted_at - second.job.submitted_at == (3600 + 115) * SECOND
    assert found.by_cluster["bbb"].works[0].takes == SECOND, "a job of no time lasts one second"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2017-10-09,10.0,1,10.0,aaa\n", "row 6, column timestamp: '2017-10-09' is not allowed; a time such as"),
        ("2017-10-09 07:01:55,ten,1,10.0,aaa\n", "row 6, column duration: 'ten' is not allowed; seconds from 0 to"),
        ("2017-10-09 07:01:55,-1,1,10.0,aaa\n", "row 6, column duration: '-1' is not allowed"),
        ("2017-10-09 07:01:55,inf,1,10.0,aaa\n", "row 6, column duration: 'inf' is not allowed"),
        ("2017-10-09 07:01:55,10,0,10.0,aaa\n", "row 6, column num_gpus: '0' is not allowed"),
        ("2017-10-09 07:01:55,10,1,10.0,\n", "row 6, column cluster: '' is not allowed; a name is needed"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TraceError, match=r"jobs\.csv") as error:
        read_philly(*_files(tmp_path, JOBS + row))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        ("vc,node num\naaa,0\n", "vc.csv, row 2, column node num: '0' is not allowed"),
        ("vc,node num\naaa,1\naaa,2\n", "vc.csv, row 3, column vc: 'aaa' is not allowed; row 2 has the same name"),
        ("vc,nodes\naaa,1\n", "vc.csv, row 1: no column node num"),
        ("vc,node num\nzzz,1\n", "no job is of a virtual cluster of"),
    ],
)
def test_a_list_of_clusters_that_is_none_is_refused(tmp_path: Path, clusters: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        read_philly(*_files(tmp_path, clusters=clusters))
    assert message in str(error.value)
