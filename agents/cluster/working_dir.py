"""Which program files a tenant may name, and local folders as the packages Ray spreads over its nodes.

A working directory is the tenant's word, and the agent reads it with its own rights: without a fence, `/root/.ssh` would be
uploaded and printed by the tenant's own program. So a local folder counts only inside the folders the operator allowed, and
nothing in it may lead outside.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from agents.cluster.launcher import LaunchRefusedError
from agents.cluster.ray.packing import zipped

REMOTE_SCHEMES = ("https", "s3", "gs")
MAX_PACKAGE_BYTES = 64 * 2**20
MAX_PACKAGE_FILES = 10_000
LEFT_OUT = frozenset({".git", ".venv", "__pycache__"})


def is_remote(working_dir: str) -> bool:
    """Whether it is a URI the cluster fetches itself. Raises LaunchRefusedError for a scheme that is not allowed."""
    scheme = urlsplit(working_dir).scheme
    if not scheme:
        return False
    if scheme not in REMOTE_SCHEMES:
        raise LaunchRefusedError(f"working_dir: {scheme}: is not allowed; use {', '.join(REMOTE_SCHEMES)} or a local folder")
    return True


def allowed_folder(working_dir: str, roots: Sequence[Path]) -> Path:
    """The real path of a local folder inside one of `roots`, symbolic links resolved. Raises LaunchRefusedError otherwise."""
    if not roots:
        raise LaunchRefusedError("working_dir: this cluster takes no local folders, only URIs (its agent has no --local-root)")
    if not PurePosixPath(working_dir).is_absolute():
        raise LaunchRefusedError("working_dir: a local folder is given by its absolute path")
    folder = Path(os.path.realpath(working_dir))
    # The same answer for what lies outside and for what is not there: nobody explores the machine by submitting jobs.
    if not folder.is_dir() or not any(folder.is_relative_to(root.resolve()) for root in roots):
        raise LaunchRefusedError("working_dir: not a folder inside one of this cluster's --local-root folders")
    return folder


def pack(folder: Path) -> tuple[str, bytes]:
    """A zip of the folder and its name, which is made of its content: the same files always give the same package.

    Raises LaunchRefusedError for a file that leads outside, for too many files or bytes, and for one that cannot be read.
    """
    return zipped(_contents(folder))


def _contents(folder: Path) -> Iterator[tuple[str, bytes, bool]]:
    total = 0
    for count, path in enumerate(_files(folder), start=1):
        try:
            data = path.read_bytes() if path.stat().st_size + total <= MAX_PACKAGE_BYTES else None
            executable = os.access(path, os.X_OK)
        except OSError as error:
            raise LaunchRefusedError(f"working_dir: {path.relative_to(folder)}: {error.strerror}") from error
        if data is None or count > MAX_PACKAGE_FILES:
            limits = f"{MAX_PACKAGE_BYTES // 2**20} MiB and {MAX_PACKAGE_FILES} files"
            raise LaunchRefusedError(f"working_dir: more than the {limits} a package may have; use a URI")
        total += len(data)
        yield str(path.relative_to(folder)), data, executable


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            path = Path(place) / name
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(folder):
                raise LaunchRefusedError(f"working_dir: {path.relative_to(folder)} is a link that leads outside the folder")
            if path.is_file():
                yield path
