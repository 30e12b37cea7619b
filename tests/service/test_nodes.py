"""The fleet as it is kept from look to look."""

from datetime import UTC, datetime, timedelta

from scheduler.service.nodes import Nodes
from scheduler.store.database import CITY, Database
from scheduler.store.tables import NodeRow
from tests.builders import node_row

NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
NODES = ("open", "closed")


def live(nodes: Nodes) -> dict[str, bool]:
    return {node.name: node.live for node in nodes.fleet.nodes if node.name in NODES}


def test_a_node_that_is_closed_takes_no_new_work_though_it_is_heard_until_it_is_open_again(city: Database) -> None:
    cluster = "sz"
    with city.write(CITY) as session:
        for hostname in NODES:
            session.add(node_row(cluster, hostname))
    nodes, heard_at = Nodes(), {(cluster, hostname): NOW for hostname in NODES}

    def look() -> bool:
        with city.read(CITY) as session:
            return nodes.refresh(session, {cluster: NOW}, heard_at, NOW)

    def close(reasons: list[str], at: datetime) -> None:
        with city.write(CITY) as session:
            row = session.get_one(NodeRow, (cluster, "closed"))
            row.capacity, row.changed_at = {**row.capacity, "closed": reasons}, at

    assert look()
    assert live(nodes) == {"open": True, "closed": True}
    close(["node_cordoned"], NOW)
    assert look()
    assert live(nodes) == {"open": True, "closed": False}
    assert not look(), "nothing has changed"
    close([], NOW + timedelta(seconds=1))
    assert look()
    assert live(nodes) == {"open": True, "closed": True}
