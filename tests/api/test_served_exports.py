"""The commands against a city that is served: what they write is what they write from its store."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from api.cli import export, statements
from tests.api.test_client import url as url
from tests.api.test_statements import run_jobs
from tests.api.world import World

FOCUS = ("focus", "--from", "2026-11", "--to", "2026-12")
CLAIM = ("--contract", "C-A", "--programme", "shenzhen-training", "--year", "2026")


def call(app: typer.Typer, *arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    return result


def command(function: Any) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


def test_from_the_api_as_from_the_store(world: World, url: str, tmp_path: Path) -> None:
    run_jobs(world)
    token = tmp_path / "token"
    token.write_text(world.secrets["finance"], "utf-8")
    served = ("--url", url, "--token-file", str(token))
    stored = ("--database", world.city.database.url)
    cases = {
        "focus.csv": (export.app, FOCUS),
        "claim.zip": (command(statements.claim_pack), CLAIM),
        "application.zip": (command(statements.claim_pack), ("--application", "A-77", "--tenant", "a-corp")),
    }
    for name, (app, arguments) in cases.items():
        one, other = tmp_path / f"served-{name}", tmp_path / f"stored-{name}"
        call(app, *arguments, *served, "--out", str(one))
        call(app, *arguments, *stored, "--out", str(other))
        assert one.read_bytes() == other.read_bytes() != b""


def test_a_refusal_of_the_api_is_said(world: World, url: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(world.secrets["finance"], "utf-8")
    page = tmp_path / "s.html"
    options = ("--url", url, "--token-file", str(token), "--out", str(page))
    call(command(statements.statements), "2026-11", "--tenant", "a-corp", *options)
    assert "<!DOCTYPE html>" in page.read_text("utf-8")
    refused = CliRunner().invoke(command(statements.statements), ["2026-11", "--tenant", "nobody", *options])
    assert str(refused.exception) == "there is no tenant nobody"
    refused = CliRunner().invoke(command(statements.statements), ["2026-12", *options])
    assert "has not begun" in str(refused.exception)


@pytest.mark.parametrize("arguments", [("--url", "http://127.0.0.1:1")])
def test_a_url_needs_a_token(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = CliRunner().invoke(export.app, [*FOCUS, *arguments, "--out", str(tmp_path / "f")])
    assert "--token-file" in str(refused.exception)
