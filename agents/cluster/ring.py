"""The end of a log that only grows, kept on disk within a bound: what was printed first is dropped first, in whole segments.

A ring is a folder of files named after the first byte they hold, and `position`, which says up to where they count and what its
writer must know to go on from there. A kill at any instruction loses nothing that `append` returned from, and doubles nothing:
bytes beyond the position are from an append that did not finish, and are cut off.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.cluster.files import write_atomically

SEGMENT_BYTES = 1_048_576
RING_BYTES = 8 * SEGMENT_BYTES
"""What is kept of one rank's log."""

_POSITION = "position"
_SUFFIX = ".log"


@dataclass(slots=True)
class _Segment:
    start: int
    size: int


class Ring:
    """One log. `start` is the first byte kept, `end` the one after the last; `mark` is what the writer said with its last append.

    Raises OSError where the folder cannot be read or written.
    """

    def __init__(self, folder: Path, *, most_bytes: int = RING_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._folder = folder
        self._most = most_bytes
        self._segment_bytes = segment_bytes
        self.end, self.mark = _position(folder / _POSITION)
        self._segments = self._recovered()

    @property
    def start(self) -> int:
        return self._segments[0].start if self._segments else self.end

    def append(self, data: bytes, mark: dict[str, Any]) -> None:
        """Puts `data` behind what there is. Of data larger than the ring only the end is kept, at its right offset."""
        self._folder.mkdir(parents=True, exist_ok=True)
        end = self.end + len(data)
        kept = data[-self._most :]
        start = end - len(kept)
        for offset in range(0, len(kept), self._segment_bytes):
            self._write(start + offset, kept[offset : offset + self._segment_bytes])
        self._commit(end, mark)
        # Only now: until then the last append is what counts
        while len(self._segments) > 1 and end - self._segments[1].start >= self._most - self._segment_bytes:
            self._drop(1)

    def note(self, mark: dict[str, Any]) -> None:
        """Another `mark` without further data."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._commit(self.end, mark)

    def read(self, offset: int, most_bytes: int) -> tuple[int, bytes]:
        """At most so many bytes from `offset` on, or from the first byte after it that is kept, and where they begin."""
        start = max(offset, self.start)
        for segment in self._segments:
            if segment.start <= start < segment.start + segment.size:
                return start, self._read(segment, start, most_bytes)
        return start, b""

    def _read(self, segment: _Segment, start: int, most_bytes: int) -> bytes:
        with self._path(segment).open("rb") as file:
            file.seek(start - segment.start)
            return file.read(min(most_bytes, segment.start + segment.size - start))

    def _write(self, start: int, data: bytes) -> None:
        last = self._segments[-1] if self._segments else None
        if last is None or last.size + len(data) > self._segment_bytes or last.start + last.size != start:
            last = _Segment(start, 0)
            self._segments.append(last)
        with self._path(last).open("ab") as file:
            file.write(data)
        last.size += len(data)

    def _commit(self, end: int, mark: dict[str, Any]) -> None:
        write_atomically(self._folder / _POSITION, json.dumps({"end": end, "mark": mark}).encode())
        self.end, self.mark = end, mark

    def _drop(self, count: int) -> None:
        for segment in self._segments[:count]:
            self._path(segment).unlink(missing_ok=True)
        del self._segments[:count]

    def _path(self, segment: _Segment) -> Path:
        return self._folder / f"{segment.start:020d}{_SUFFIX}"

    def _recovered(self) -> list[_Segment]:
        """The segments up to `end`, in order and without a gap before it; what is beyond is cut off."""
        found: list[_Segment] = []
        for path in sorted(self._folder.glob(f"*{_SUFFIX}"), reverse=True):
            start, size = int(path.stem), path.stat().st_size
            follows = found[-1].start if found else self.end
            if start >= self.end or start + size < follows:
                path.unlink()
                continue
            if start + size > follows:
                size = follows - start
                with path.open("r+b") as file:
                    file.truncate(size)
            found.append(_Segment(start, size))
        return found[::-1]


def _position(path: Path) -> tuple[int, dict[str, Any]]:
    """What was committed last; the beginning where nothing was, or nothing that can be read."""
    try:
        found = json.loads(path.read_bytes())
        return int(found["end"]), dict(found["mark"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, {}
