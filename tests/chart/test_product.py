"""The chart deploys this product: its commands take the options it gives, its vendors are those of the probes."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from typer.core import TyperGroup
from typer.main import get_command

from agents.cluster.kubernetes.config import KubernetesConfig, read_config
from agents.node.probes import shipped
from agents.node.probes.child import ChildProbe
from agents.node.probes.preferred import Preferred
from agents.node.probes.probe import Probe
from agents.node.probes.tool import ToolProbe
from api.cli import main
from scheduler.contract.catalogue import read_catalogue
from scheduler.domain.hardware import shipped_catalogue
from tests.chart.helm import CHART, EXAMPLES, named, rendered, workloads

VENDORS: dict[str, dict[str, Any]] = yaml.safe_load((CHART / "files" / "vendors.yaml").read_text("utf-8"))
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text("utf-8"))
VENDOR_OF = {
    "nvml": "nvidia",
    "npu-smi": "huawei",
    "cnmon": "cambricon",
    "hy-smi": "hygon",
    "mx-smi": "metax",
    "mthreads-gmi": "moorethreads",
    "ixml": "iluvatar",
    "xpu-smi": "kunlunxin",
    "efsmi": "enflame",
    "ppu-smi": "thead",
    "brsmi": "biren",
    "amd-smi": "amd",
}
PROBES = {VENDOR_OF[probe.name]: (probe._library, probe._tool) if isinstance(probe, Preferred) else (probe,) for probe in shipped()}
PATH = {"/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin"}
"""Of the image's, where a node's command may be put."""


def parse(arguments: list[str]) -> None:
    """Goes through the command line as the program would, up to where a command would begin. Raises click's UsageError."""
    command: Any = get_command(main.app)
    context = command.make_context("suanwang", list(arguments))
    while isinstance(command, TyperGroup):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_command_takes_what_it_is_given(example: Path) -> None:
    ours = 0
    for _, spec in workloads(rendered(example)):
        for container in spec["containers"]:
            if "suanwang-" in container["image"]:
                parse(container["args"])
                ours += 1
    assert ours


def test_an_option_that_is_none_would_be_seen() -> None:
    with pytest.raises(Exception, match="--probe-prt"):
        parse(["dispatcher", "--probe-prt", "1"])


def test_every_vendor_of_the_probes_can_be_a_pool_and_no_other() -> None:
    assert list(VENDORS) == SCHEMA["definitions"]["pool"]["properties"]["vendor"]["enum"]
    assert set(VENDORS) == {"cpu", *PROBES}


@pytest.mark.parametrize(("vendor", "probe"), [(vendor, probe) for vendor, ways in PROBES.items() for probe in ways])
def test_what_a_pool_is_given_is_where_its_probe_looks(vendor: str, probe: Probe) -> None:
    assert isinstance(probe, ToolProbe | ChildProbe)
    given = VENDORS[vendor]
    if "runtimeClassName" in given:
        return  # which brings library or command to where the loader or PATH finds them
    places = probe._commands if isinstance(probe, ToolProbe) else probe._libraries
    folders, files = given.get("directories", ()), [PurePosixPath(file) for file in given.get("files", ())]
    in_folders = [place for place in places if any(PurePosixPath(place).is_relative_to(folder) for folder in folders)]
    on_path = [file for file in files if file.name in places and str(file.parent) in PATH]
    assert in_folders or on_path, f"none of {places} is in {folders} or among {files}"


def test_the_agent_s_own_configuration_is_what_the_values_may_say() -> None:
    agent = SCHEMA["properties"]["site"]["properties"]["clusterAgent"]["properties"]
    assert set(agent["kubernetes"]["properties"]["config"]["properties"]) == set(KubernetesConfig.model_fields) - {"namespace"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_agent_reads_the_configuration_it_is_given(example: Path, tmp_path: Path) -> None:
    file = tmp_path / "kubernetes.yaml"
    for document in rendered(example):
        if document["kind"] == "ConfigMap" and "kubernetes.yaml" in document["data"]:
            file.write_text(document["data"]["kubernetes.yaml"])
            values = yaml.safe_load(example.read_text("utf-8"))["site"]["clusterAgent"]["kubernetes"]
            assert read_config(file, shipped_catalogue()).namespace == values.get("namespace", "suanwang-jobs")


def test_the_city_s_own_catalogue_is_read_by_who_names_cards_and_starts_them_anew() -> None:
    found = rendered("city-production")
    text = named(found, "ConfigMap", "-catalogue")["data"]["catalogue.yaml"]
    catalogue = read_catalogue(yaml.safe_load(text))
    assert catalogue.version.endswith("+2026-11-24.sz-1")
    readers = {
        document["metadata"]["labels"]["app.kubernetes.io/component"]
        for document, spec in workloads(found)
        for volume in spec["volumes"]
        if volume["name"] == "catalogue"
    }
    assert readers == {"api", "dispatcher"}
    other = rendered("city-production", "--set", "city.catalogue=version: other")
    for name in ("-api", "-dispatcher"):
        one, two = (named(each, "Deployment", name)["spec"]["template"]["metadata"]["annotations"] for each in (found, other))
        assert one["checksum/catalogue"] != two["checksum/catalogue"]
    assert not [each for each in rendered("city-trial") if each["kind"] == "ConfigMap"]
