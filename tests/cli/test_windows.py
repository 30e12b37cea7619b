"""An operator's files and tables: times stay as they are written, and a window reads well."""

from pathlib import Path

from api.cli.jobs import read_spec
from api.cli.windows import _table
from scheduler.contract.window import WindowView


def test_times_in_a_file_are_left_to_the_city(tmp_path: Path) -> None:
    file = tmp_path / "window.yaml"
    file.write_text("kind: maintenance\nstart: 2026-12-01T02:00:00+08:00\nend: 2026-12-01\ncount: 3\n")
    assert read_spec(file) == {"kind": "maintenance", "start": "2026-12-01T02:00:00+08:00", "end": "2026-12-01", "count": 3}


def test_a_window_in_a_table() -> None:
    window = WindowView.model_validate(
        {
            "id": "win-1",
            "kind": "reservation",
            "cluster": "sz",
            "nodes": [f"n{number}" for number in range(6)],
            "start": "2026-11-30T18:00:00Z",
            "end": "2026-12-01T18:00:00Z",
            "tenants": ["acme"],
            "queue": "universities",
            "state": "ahead",
            "created_at": "2026-11-01T00:00:00Z",
        }
    )
    table = _table([window])
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells[4:8] == [
        "n0, n1, n2, n3 and 2 more",
        "2026-11-30 18:00:00 UTC",
        "2026-12-01 18:00:00 UTC",
        "acme, queue universities",
    ]
