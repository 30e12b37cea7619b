"""When a run last wrote a checkpoint, as far as the agent can see the folder it writes them to."""

import os
from datetime import UTC, datetime
from pathlib import Path

MOST_FILES = 1_000
"""How many entries of a folder are looked at."""


def written_at(folder: Path) -> datetime | None:
    """When the newest of the folder's entries was written, to the millisecond; None where there is none or no folder to be read."""
    newest = 0.0
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(MOST_FILES), entries, strict=False):
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
    except (OSError, ValueError):  # a name that no folder can have
        return None
    return datetime.fromtimestamp(int(newest * 1000) / 1000, UTC) if newest else None
