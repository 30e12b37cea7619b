"""Nodes in a table: what an operator is to look at."""

from typing import Any

from api.cli.nodes import node_table
from scheduler.contract.inventory import NodeView


def _card(index: int, **changes: Any) -> dict[str, Any]:
    card = {"index": index, "vendor": "huawei", "model": "910B3", "hardware_class": "domestic", "uuid": f"NPU-{index}"}
    return card | {"memory_bytes": 2**36, "allocated": False, "foreign_use": False} | changes


def _cells(*cards: dict[str, Any], heard: int | None = 3, **changes: Any) -> list[str]:
    node: dict[str, Any] = {
        "cluster": "sz",
        "hostname": "n1",
        "heard_seconds_ago": heard,
        "cpu_cores": 8,
        "memory_bytes": 1,
        "labels": {},
    }
    table = node_table([NodeView.model_validate(node | {"accelerators": list(cards)} | changes)])
    return [str(next(iter(column.cells))) for column in table.columns]


def test_a_sound_node_has_nothing_to_be_looked_at() -> None:
    assert _cells(_card(0, allocated=True), _card(1)) == ["sz", "n1", "3 s ago", "2", "1", "2", ""]


def test_cards_that_ail_and_cards_that_others_use_are_named_with_why_and_by_whom() -> None:
    users = [{"pid": 7, "memory_bytes": 3 * 2**29, "name": "mine[r]"}, {"pid": 8}]
    cells = _cells(
        _card(0, health="lost", health_reasons=["gpu_lost", "xid_79"]), _card(1, foreign_use=True, processes=users), heard=None
    )
    assert cells[2:] == [
        "never",
        "2",
        "0",
        "1",
        "card 0 is lost: it has fallen off the bus \\[gpu_lost], Xid error 79\n"
        "card 1 is used and no job holds it: mine\\[r] 7 1.5 GiB, process 8",
    ]


def test_a_node_that_is_closed_says_why() -> None:
    assert _cells(closed=["node_cordoned", "node_tainted:only"])[-1] == "takes no new work: node_cordoned, node_tainted:only"


def test_an_operator_may_read_it_in_chinese() -> None:
    card = _card(
        0, health="degraded", health_reasons=["uuid_on_two_nodes", "of_a_newer_agent"], foreign_use=True, processes=[{"pid": 8}]
    )
    node = {"cluster": "sz", "hostname": "n1", "heard_seconds_ago": 3, "cpu_cores": 8, "memory_bytes": 1, "labels": {}}
    told = {"clock_ahead_seconds": -90, "probe_errors": {"nvml": "crashed"}, "closed": ["cordoned"], "accelerators": [card]}
    table = node_table([NodeView.model_validate(node | told)], "zh")
    assert str(table.columns[0].header) == "集群"
    lines = str(next(iter(table.columns[-1].cells))).replace("\\[", "[").splitlines()
    assert lines == [
        "不接受新作业:cordoned",
        "时钟慢 90 秒",
        "探针 nvml:crashed",
        "卡 0 降级:另一节点已先上报同一张卡 [uuid_on_two_nodes], of_a_newer_agent",
        "卡 0 被占用,但没有作业持有它:进程 8",
    ]
