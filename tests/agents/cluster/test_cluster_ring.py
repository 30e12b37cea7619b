"""The end of a log on disk: within its bound, at its right offsets, and whole after a kill at any instruction."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cluster import files
from agents.cluster.ring import Ring


def ring(folder: Path) -> Ring:
    return Ring(folder, most_bytes=40, segment_bytes=10)


def everything(found: Ring) -> tuple[int, bytes]:
    start, data = found.read(0, 10**6)
    whole = bytearray(data)
    while data:
        _, data = found.read(start + len(whole), 7)
        whole += data
    return start, bytes(whole)


def test_what_is_put_in_is_read_from_any_byte(tmp_path: Path) -> None:
    found = ring(tmp_path / "log")
    assert found.read(0, 10) == (0, b"")
    found.append(b"hello ", {"at": 1})
    found.append(b"world\n", {"at": 2})
    assert everything(found) == (0, b"hello world\n")
    assert found.read(6, 4) == (6, b"worl")
    assert found.read(12, 4) == (12, b"")
    assert found.read(99, 4) == (99, b"")
    assert (found.end, found.mark) == (12, {"at": 2})


def test_a_reopened_ring_goes_on(tmp_path: Path) -> None:
    ring(tmp_path / "log").append(b"one\n", {"at": 1})
    again = ring(tmp_path / "log")
    again.append(b"two\n", {"at": 2})
    assert everything(ring(tmp_path / "log")) == (0, b"one\ntwo\n")
    assert ring(tmp_path / "log").mark == {"at": 2}


def test_ten_gigabytes_cost_the_bound(tmp_path: Path) -> None:
    found = ring(tmp_path / "log")
    for number in range(1_000):
        found.append(f"{number:06d}\n".encode() * 3, {})
    kept = sum(path.stat().st_size for path in (tmp_path / "log").glob("*.log"))
    assert 20 <= kept <= 40
    start, data = everything(found)
    assert (start + len(data), found.start) == (21_000, start)
    assert data.endswith(b"000999\n")
    assert found.read(0, 5) == (start, data[:5])


@settings(max_examples=60)
@given(pieces=st.lists(st.binary(max_size=60), max_size=12), reopen=st.sets(st.integers(0, 11)))
def test_a_ring_is_the_end_of_all_that_was_appended(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], reopen: set[int]
) -> None:
    folder = tmp_path_factory.mktemp("ring") / "log"
    found, whole = ring(folder), b""
    for number, piece in enumerate(pieces):
        found.append(piece, {"number": number})
        whole += piece
        if number in reopen:
            found = ring(folder)
        start, data = everything(found)
        assert data == whole[start:]
        assert (found.end, found.mark) == (len(whole), {"number": number})
        assert len(data) >= min(len(whole), 20)
        assert sum(path.stat().st_size for path in folder.glob("*.log")) <= 40 + 10


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("size", [3, 25, 100])
def test_a_kill_loses_nothing_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, size: int) -> None:
    """What was not committed is put in again by its writer, who goes on from the last mark."""
    folder = tmp_path / "log"
    ring(folder).append(b"first\n", {"at": 1})
    write = files.write_atomically

    def killed(path: Path, data: bytes) -> None:
        if when == "after":
            write(path, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("agents.cluster.ring.write_atomically", killed)
        with pytest.raises(KeyboardInterrupt):
            ring(folder).append(b"x" * size, {"at": 2})
    again = ring(folder)
    written = b"x" * size
    if again.mark == {"at": 1}:
        assert again.read(0, 100) == (0, b"first\n")
        written = b"y" * size
        again.append(written, {"at": 2})
    start, data = everything(again)
    assert data == (b"first\n" + written)[start:]
    assert again.end == 6 + size


def test_a_position_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    found = ring(tmp_path / "log")
    found.append(b"one\n", {})
    (tmp_path / "log" / "position").write_text("{")
    assert everything(ring(tmp_path / "log")) == (0, b"")
