"""The data folder of an embedded city: everything it keeps, and nothing outside it.

`city.db` is the system of record, `tokens/` the bearer tokens (readable by their owner only), `logs/` one file a process,
`valkey/`, `ray/` and `agents/` belong to those. `city.json` says where the running city listens.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.cli.errors import UsageProblemError

DEFAULT = Path(".suanwang")


@dataclass(frozen=True, slots=True)
class Folder:
    """Paths inside one data folder."""

    root: Path

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.database_file}"

    @property
    def database_file(self) -> Path:
        return self.root / "city.db"

    def part(self, name: str) -> Path:
        """A folder of its own for one part of the city."""
        path = self.root / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def token_file(self, name: str) -> Path:
        return self.part("tokens") / name

    def token(self, name: str) -> str:
        """A token this city issued. Raises UsageProblemError if there is none by that name."""
        try:
            return self.token_file(name).read_text("utf-8").strip()
        except OSError as error:
            raise UsageProblemError(
                f"{self.root} has no {name} token: start the city with `suanwang up --data {self.root}`"
            ) from error

    def keep_token(self, name: str, secret: str) -> None:
        with os.fdopen(os.open(self.token_file(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secret + "\n")

    def note_url(self, url: str) -> None:
        (self.root / "city.json").write_text(json.dumps({"url": url}) + "\n", "utf-8")

    def url(self) -> str:
        """Where the city in this folder listens. Raises UsageProblemError if none was ever started."""
        try:
            return str(json.loads((self.root / "city.json").read_text("utf-8"))["url"])
        except (OSError, ValueError, KeyError) as error:
            raise UsageProblemError(f"there is no city in {self.root}: start one with `suanwang up --data {self.root}`") from error


def open_folder(root: Path) -> Folder:
    """A data folder that can be written. Raises UsageProblemError where it cannot."""
    root = root.absolute()
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = root / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageProblemError(f"{root} cannot be written ({error.strerror}): choose another folder with --data") from error
    return Folder(root)


@contextmanager
def held(folder: Folder) -> Iterator[None]:
    """Keep the folder to ourselves. Raises UsageProblemError while another city runs in it."""
    with (folder.root / "city.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageProblemError(f"a city is already running in {folder.root}: stop it, or choose another --data") from error
        yield
