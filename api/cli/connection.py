"""How a command finds its city: by the data folder of an embedded one, or by URL and token file."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.errors import UsageProblemError
from api.cli.folder import DEFAULT, Folder
from api.client import Client

DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="SUANWANG_DATA", help=f"Data folder of an embedded city; {DEFAULT} if nothing is given."),
]
UrlOption = Annotated[str | None, typer.Option("--url", envvar="SUANWANG_URL", help="The city's address, instead of --data.")]
TokenOption = Annotated[
    Path | None, typer.Option("--token-file", envvar="SUANWANG_TOKEN_FILE", help="File with the bearer token, with --url.")
]
LanguageOption = Annotated[Literal["en", "zh"], typer.Option("--lang", envvar="SUANWANG_LANG", help="Language of reasons.")]


def connect(data: Path | None, url: str | None, token_file: Path | None, token_name: str, language: str) -> Client:
    """A client of the city at `url`, or of the embedded one in `data` with one of the tokens it keeps there."""
    if url is not None:
        if token_file is None:
            raise UsageProblemError("--url needs --token-file FILE")
        try:
            return Client(url, token_file.read_text("utf-8").strip(), language)
        except OSError as error:
            raise UsageProblemError(f"--token-file {token_file}: {error.strerror}") from error
    folder = open_existing(data)
    return Client(folder.url(), token_file.read_text("utf-8").strip() if token_file else folder.token(token_name), language)


def open_existing(data: Path | None) -> Folder:
    """A data folder a city was started in. Raises UsageProblemError if there is none."""
    folder = Folder((data or DEFAULT).absolute())
    if not folder.database_file.exists():
        raise UsageProblemError(f"there is no city in {folder.root}: start one with `suanwang up --data {folder.root}`")
    return folder
