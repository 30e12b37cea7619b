"""The agent's own folder: written so that a kill at any instruction leaves the old file or the new one, and used by one agent."""

import fcntl
import os
from pathlib import Path

MOST_NAME_CHARACTERS = 200


class FolderInUseError(Exception):
    """Another process holds the folder."""


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replaces `path`; readers see all of it or what was there before. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def hold(folder: Path) -> int:
    """Makes `folder` and holds it until the returned descriptor is closed in this process and in those it was passed to.

    Raises FolderInUseError when another process holds it, OSError when it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FolderInUseError(f"{folder} is in use by another agent") from None
    except OSError:
        os.close(handle)
        raise
    return handle


def agent_name(folder: Path, fresh: str) -> str:
    """By which name the agent of this folder speaks: `fresh`, or what an earlier process of it was called.

    Raises OSError, and ValueError when the file is not one this function wrote.
    """
    file = folder / "agent"
    if not file.exists():
        write_atomically(file, f"{fresh}\n".encode())
    name = file.read_text("utf-8", errors="replace").strip()
    if not (name.isprintable() and 0 < len(name) <= MOST_NAME_CHARACTERS):
        raise ValueError(f"{file} is not a file of this agent; move it away to start afresh")
    return name
