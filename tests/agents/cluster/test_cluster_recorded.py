"""The recorded launcher on virtual time, and the site files."""

from pathlib import Path

import pytest
import yaml

from agents.cluster.launchers.recorded import RecordedLauncher
from agents.cluster.site import RecordedNodes, SiteFile, read_site
from scheduler.contract.inventory import NodeReport
from scheduler.contract.sync import RunState
from scheduler.domain.hardware import HardwareClass, shipped_catalogue
from tests.agents.cluster.doubles import SITE, START, Clock, desired

SITES = Path("api/cli/demo/sites")
KEY = ("att-1", 1)


def site() -> SiteFile:
    return SiteFile.model_validate(SITE)


def test_a_run_starts_runs_and_ends_by_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    launcher = RecordedLauncher(site(), tmp_path, clock)
    launcher.launch(desired())
    launcher.launch(desired())
    seen = []
    for _ in range(15):
        [run] = launcher.observe()
        seen.append(run.state)
        clock.advance(0.5)
    assert seen == [RunState.STARTING] + [RunState.RUNNING] * 12 + [RunState.SUCCEEDED] * 2
    assert run.exit_code == 0
    assert run.started_at is not None
    assert run.finished_at is not None
    assert (run.started_at - START).total_seconds() == 0.5
    assert (run.finished_at - run.started_at).total_seconds() == 6


def test_a_named_run_fails_as_the_file_says(tmp_path: Path) -> None:
    clock = Clock()
    launcher = RecordedLauncher(site(), tmp_path, clock)
    launcher.launch(desired(name="fails"))
    clock.advance(3)
    [run] = launcher.observe()
    assert (run.state, run.exit_code) == (RunState.FAILED, 3)


def test_a_restart_changes_nothing_and_an_absent_agent_invents_nothing(tmp_path: Path) -> None:
    clock, undisturbed = Clock(), Clock()
    other = tmp_path / "other"
    other.mkdir()
    reference = RecordedLauncher(site(), other, undisturbed)
    reference.launch(desired())
    RecordedLauncher(site(), tmp_path, clock).launch(desired())
    for seconds in (0.2, 1, 3600):
        clock.advance(seconds)
        undisturbed.advance(seconds)
        restarted = RecordedLauncher(site(), tmp_path, clock)
        restarted.launch(desired())
        assert restarted.observe() == reference.observe()
        assert restarted.read_log(*KEY, 0, offset=0, max_bytes=10_000) == reference.read_log(*KEY, 0, offset=0, max_bytes=10_000)


@pytest.mark.parametrize(("after", "started"), [(0.1, False), (2.0, True)])
def test_a_stopped_run_ends_when_it_was_stopped(tmp_path: Path, after: float, started: bool) -> None:
    clock = Clock()
    launcher = RecordedLauncher(site(), tmp_path, clock)
    launcher.launch(desired())
    clock.advance(after)
    stopped_at = clock()
    launcher.stop(*KEY)
    clock.advance(100)
    launcher.stop(*KEY)
    [run] = RecordedLauncher(site(), tmp_path, clock).observe()
    assert run.state is RunState.STOPPED
    assert run.finished_at == stopped_at
    assert (run.started_at is not None) == started
    assert run.exit_code is None
    launcher.forget(*KEY)
    assert launcher.observe() == []
    assert RecordedLauncher(site(), tmp_path, clock).observe() == []


def test_stopping_an_ended_or_unknown_run_does_nothing(tmp_path: Path) -> None:
    clock = Clock()
    launcher = RecordedLauncher(site(), tmp_path, clock)
    launcher.stop("unknown", 1)
    launcher.launch(desired())
    clock.advance(10)
    launcher.stop(*KEY)
    assert launcher.observe()[0].state is RunState.SUCCEEDED


def test_its_log_says_what_it_is_and_only_grows(tmp_path: Path) -> None:
    clock = Clock()
    launcher = RecordedLauncher(site(), tmp_path, clock)
    launcher.launch(desired(model="910B3", per_node=8))
    before = launcher.read_log(*KEY, 0, offset=0, max_bytes=10_000).data
    clock.advance(60)
    after = launcher.read_log(*KEY, 0, offset=0, max_bytes=10_000).data
    assert after.startswith(before)
    text = after.decode()
    assert "nothing is computed here" in text
    assert "仅回放" in text
    assert "python train.py on 1 × 8 × 910B3" in text
    assert "ended with exit code 0" in text
    assert launcher.read_log(*KEY, 0, offset=len(before), max_bytes=5).data == after[len(before) : len(before) + 5]


def test_a_foreign_state_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "runs.json").write_text("{}x")
    with pytest.raises(ValueError, match=r"runs\.json is not a file of this agent"):
        RecordedLauncher(site(), tmp_path, Clock())


def test_a_sites_nodes_and_cards_are_distinct_and_stay_the_same() -> None:
    nodes = RecordedNodes(site(), shipped_catalogue(), boot="boot-1", agent_version="1", clock=Clock())
    reports = [nodes.report(hostname) for hostname in nodes.hostnames()]
    uuids = [card.uuid for report in reports for card in report.accelerators]
    assert len({report.hostname for report in reports}) == 30
    assert len(set(uuids)) == 240
    assert uuids[0] == "recorded-site-1-n-01-0"
    assert len({report.labels["rack"] for report in reports}) == 8
    assert {(report.driver_version, report.toolkit_version, report.labels["pool"]) for report in reports} == {
        ("24.1.rc2", None, "t")
    }
    assert {report.sequence for report in reports} == {1}
    assert nodes.report("n-01").sequence == 2
    assert NodeReport.model_validate_json(reports[0].model_dump_json()) == reports[0]


@pytest.mark.parametrize("file", sorted(SITES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_demo_sites_are_made_of_cards_the_catalogue_knows(file: Path) -> None:
    read = read_site(file)
    assert read.cluster == file.stem
    nodes = RecordedNodes(read, shipped_catalogue(), boot="boot-1", agent_version="1", clock=Clock())
    cards = [card for hostname in nodes.hostnames() for card in nodes.report(hostname).accelerators]
    assert len(cards) == 240
    assert HardwareClass.UNKNOWN not in {card.hardware_class for card in cards}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"runs": {"default_seconds": 0}}, "runs.default_seconds"),
        ({"runs": {"default_seconds": 1, "by_name": {"Upper": {"seconds": 1}}}}, "runs.by_name.Upper"),
        ({"nodes": []}, "nodes"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_bad_site_file_names_the_field(tmp_path: Path, change: dict[str, object], field: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(SITE | change))
    with pytest.raises(ValueError, match=field):
        read_site(path)


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"just text", b""])
def test_what_is_no_site_file_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"site\.yaml") as caught:
        read_site(path)
    assert "\n" not in str(caught.value)
