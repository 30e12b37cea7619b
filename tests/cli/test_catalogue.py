"""`suanwang catalogue` and `--catalogue` as an operator types them."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from api.cli.catalogue import app, catalogue_in_force
from api.cli.errors import UsageProblemError
from scheduler.contract.catalogue import CatalogueView
from scheduler.domain.hardware import shipped_catalogue

OWN = """
version: sz-1
extends: shipped
verified_on: 2026-11-20
models:
  - {vendor: acme, model: X1, class: domestic, memory_gib: 32, source: its data sheet, confidence: high}
"""
WRONG = OWN.replace("memory_gib: 32", "memory_gib: many").replace("class: domestic", "class: unknown")


def _file(folder: Path, text: str) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_shipped_catalogue_is_listed_without_a_server() -> None:
    result = CliRunner().invoke(app, ["list"])
    assert result.exit_code == 0
    assert f"catalogue {shipped_catalogue().version}" in result.stdout
    row = next(line for line in result.stdout.splitlines() if "910B3" in line)
    assert row.split()[:7] == ["huawei", "910B3", "domestic", "64", "313.2", "HCCS", "high"]


def test_a_file_is_listed_in_chinese_and_as_json(tmp_path: Path) -> None:
    path = str(_file(tmp_path, OWN))
    result = CliRunner().invoke(app, ["list", path, "--lang", "zh"])
    row = next(line for line in result.stdout.splitlines() if " X1 " in line)
    assert "国产" in row and "2026-11-20" in row and "高" in row
    shown = json.loads(CliRunner().invoke(app, ["list", path, "--output", "json"]).stdout)
    assert CatalogueView.model_validate(shown).version == f"{shipped_catalogue().version}+sz-1"


def test_a_check_says_all_that_is_wrong_with_row_and_field(tmp_path: Path) -> None:
    path = _file(tmp_path, WRONG)
    for lang in ("en", "zh"):
        result = CliRunner().invoke(app, ["check", str(path), "--lang", lang])
        assert result.exit_code == 2
        assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["models[0].class", "models[0].memory_gib"]
    good = CliRunner().invoke(app, ["check", str(_file(tmp_path, OWN))])
    assert (good.exit_code, good.stdout.splitlines()[0].endswith("47 models ✓")) == (0, True)


@pytest.mark.parametrize("text", [WRONG, "[", "version: 1", ""])
def test_a_city_does_not_start_with_a_catalogue_that_is_wrong(tmp_path: Path, text: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(UsageProblemError, match=r"--catalogue .*catalogue\.yaml: "):
        catalogue_in_force(path)


def test_what_stops_a_city_names_row_and_field(tmp_path: Path) -> None:
    with pytest.raises(UsageProblemError, match=r"models\[0\]\.class: .*; models\[0\]\.memory_gib: "):
        catalogue_in_force(_file(tmp_path, WRONG))
    with pytest.raises(UsageProblemError, match="--catalogue"):
        catalogue_in_force(tmp_path / "none")


def test_without_a_file_it_is_the_shipped_one(tmp_path: Path) -> None:
    assert catalogue_in_force(None) is shipped_catalogue()
    assert catalogue_in_force(_file(tmp_path, OWN)).identify("acme", "x1").hardware_class == "domestic"
    assert yaml.safe_load(OWN)["version"] == "sz-1"
