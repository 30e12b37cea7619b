"""openb files: read whole, or refused with the row, the column and what is allowed."""

from pathlib import Path

import pytest

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.shape import Shape
from scheduler.replay.openb import MIB, read_nodes, read_pods, read_trace
from scheduler.replay.trace import SECOND, TraceError

NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_a_node_and_a_pod_as_the_engine_sees_them(tmp_path: Path) -> None:
    nodes, pods = tmp_path / "nodes.csv", tmp_path / "pods.csv"
    nodes.write_text(NODES + "n0,64000,262144,2,P100\nn1,32000,1024,0,\n")
    pods.write_text(PODS + "p0,6000,12288,1,460,P100|T4,LS,Running,10,30,11\np1,8000,1,0,0,,BE,Failed,10,10,\n")
    trace = read_trace(nodes, pods)
    first, second = trace.nodes
    assert (first.cluster, first.name, first.cpu_milli, first.memory_bytes) == ("openb", "n0", 64_000, 262_144 * MIB)
    assert [card.kind.model for card in first.cards if card.kind] == ["P100", "P100"]
    assert all(card.kind and card.kind.hardware_class == HardwareClass.UNKNOWN for card in first.cards)
    assert second.cards == ()
    shared, no_card = trace.jobs
    assert shared.job.shapes == (Shape(1, 1, 1, 460, models=frozenset({"P100", "T4"}), cpu_milli=6000, memory_bytes=12_288 * MIB),)
    assert (shared.job.submitted_at, shared.leaves_at) == (10 * SECOND, 30 * SECOND)
    assert no_card.job.shapes[0].per_node == 0
    assert no_card.leaves_at == no_card.job.submitted_at, "a stay of no time is allowed: the published list has one"


def test_unused_columns_and_gpu_spec_may_be_absent_and_the_order_is_free(file: Path) -> None:
    file.write_text("deletion_time,creation_time,name,cpu_milli,memory_mib,num_gpu,gpu_milli\n7,5,p0,1,2,1,1000\n")
    (pod,) = read_pods(file)
    assert (pod.creation_time, pod.deletion_time, pod.gpu_spec) == (5, 7, frozenset())


def test_what_spreadsheets_do_to_a_file_is_no_harm(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + (NODES + 'n0,1,2,0,\n\n"n1",1,2,1,T4\n').replace("\n", "\r\n").encode())
    assert [row.sn for row in read_nodes(file)] == ["n0", "n1"]


POD = {
    "name": "p1",
    "cpu_milli": "1",
    "memory_mib": "2",
    "num_gpu": "1",
    "gpu_milli": "500",
    "gpu_spec": "",
    "qos": "",
    "pod_phase": "",
}
POD |= {"creation_time": "5", "deletion_time": "9", "scheduled_time": ""}


@pytest.mark.parametrize(
    ("changes", "column", "allowed"),
    [
        ({"name": ""}, "name", "a name is needed"),
        ({"name": "p0"}, "name", "row 2 has the same name"),
        ({"cpu_milli": "1.5"}, "cpu_milli", "a whole number from 0 to"),
        ({"cpu_milli": "-1"}, "cpu_milli", "a whole number from 0 to"),
        ({"cpu_milli": "1_000"}, "cpu_milli", "a whole number from 0 to"),
        ({"cpu_milli": "٣"}, "cpu_milli", "a whole number from 0 to"),
        ({"memory_mib": "9" * 5000}, "memory_mib", "a whole number from 0 to"),
        ({"num_gpu": "65"}, "num_gpu", "a whole number from 0 to 64"),
        ({"num_gpu": ""}, "num_gpu", "a whole number"),
        ({"gpu_milli": "1001"}, "gpu_milli", "a whole number from 1 to 1000"),
        ({"gpu_milli": "0"}, "gpu_milli", "a whole number from 1 to 1000"),
        ({"num_gpu": "0"}, "gpu_milli", "a whole number from 0 to 0"),
        ({"num_gpu": "2"}, "gpu_milli", "only one card can be shared"),
        ({"gpu_spec": "T4||P100"}, "gpu_spec", "models joined by '|'"),
        ({"creation_time": "x"}, "creation_time", "a whole number from 0 to"),
        ({"deletion_time": ""}, "deletion_time", "a whole number from 5 (its creation_time) to"),
        ({"deletion_time": "4"}, "deletion_time", "a whole number from 5 (its creation_time) to"),
    ],
)
def test_a_broken_cell_is_named_with_what_is_allowed(file: Path, changes: dict[str, str], column: str, allowed: str) -> None:
    file.write_text(PODS + "p0,1,2,0,0,,,,5,9,\n" + ",".join((POD | changes).values()) + "\n")
    with pytest.raises(TraceError) as refused:
        read_pods(file)
    assert str(refused.value).startswith(f"{file}, row 3, column {column}: ")
    assert allowed in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("n0,x,2,0,", "cpu_milli"),
        ("n0,1,-2,0,", "memory_mib"),
        ("n0,1,2,65,T4", "gpu"),
        ("n0,1,2,8,", "model"),
        (",1,2,0,", "sn"),
    ],
)
def test_a_broken_node_is_named(file: Path, row: str, column: str) -> None:
    file.write_text(NODES + row + "\n")
    with pytest.raises(TraceError, match=f"row 2, column {column}: "):
        read_nodes(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "row 1: no column sn, cpu_milli, memory_mib, gpu, model; needed are"),
        ("sn,cpu_milli,gpu,model\nn0,1,0,\n", "row 1: no column memory_mib; needed are sn, cpu_milli, memory_mib, gpu, model"),
        ("sn,sn,cpu_milli,memory_mib,gpu,model\n", "row 1: column sn appears more than once"),
        (NODES, "has a header but no rows"),
        (NODES + "n0,1,2\n", "row 2: column gpu is missing: 3 cells where the header has 5"),
        (NODES + "n0,1,2,0,,7\n", "row 2: 6 cells where the header has 5"),
        (NODES + "\n\nn0,1,2,x,\n", "row 4, column gpu"),
        (NODES + 'n0,1,2,0,"\n', "row 2: not CSV"),
    ],
)
def test_a_broken_file_is_refused_with_its_row(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(TraceError) as refused:
        read_nodes(file)
    assert message in str(refused.value)


def test_a_list_without_times_is_refused_saying_which_are_needed(file: Path) -> None:
    file.write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np0,1,2,1,1000\n")
    with pytest.raises(TraceError, match=r"no column creation_time, deletion_time; .* when pods come and go"):
        read_pods(file)


def test_what_is_no_file_or_no_text_is_refused(tmp_path: Path, file: Path) -> None:
    file.write_bytes(b"\x7fELF\xff\xfe\x00")
    for path, message in ((tmp_path / "absent", "No such file"), (tmp_path, "directory"), (file, "not a CSV file in UTF-8")):
        with pytest.raises(TraceError, match=message):
            read_nodes(path)
