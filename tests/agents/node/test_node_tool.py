"""A vendor's command that hangs, dies, floods or forgets a card; no fixture, real programs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agents.node.probes.probe import Device, Reading, Sensors
from agents.node.probes.tool import MAX_PRINTED_BYTES, Run, ToolError, ToolProbe
from agents.node.watch import Watch
from scheduler.domain.hardware import Health

CARD = Device(index=0, vendor="acme", model="Acme One", uuid="A-0", pci_address="0000:c1:00.0", sensors=Sensors(power_milliwatts=1))

Install = Callable[[str], str]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Makes a program of a shell script and gives its path."""

    def make(script: str) -> str:
        program = tmp_path / "acme-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    return make


def _printed(run: Run) -> Reading:
    return Reading(error=run("-q", "--all"))


def _probe(program: str, deadline_seconds: float = 60.0) -> ToolProbe:
    return ToolProbe("acme-smi", (program,), _printed, deadline_seconds=deadline_seconds)


def test_no_tool_is_no_card_and_no_error() -> None:
    assert _probe("acme-smi-that-is-not-installed").probe() == Reading()


def test_the_tool_runs_with_its_arguments_in_the_c_locale_in_an_empty_folder(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert _probe(install('echo "$* $LC_ALL $LANG"; ls; touch left-behind')).probe().error == "-q --all C C\n"


def test_a_tool_that_hangs_is_killed_with_what_it_started_and_the_others_go_on(install: Install, tmp_path: Path) -> None:
    hanging = _probe(install(f"sleep 600 & echo $! > {tmp_path}/started; wait"), deadline_seconds=0.5)
    fine = ToolProbe("fine", ("true",), lambda run: Reading((CARD,)))
    readings = Watch((hanging, fine), deadline_seconds=60.0).readings()
    assert readings["acme-smi"].error == "ToolError: acme-smi -q --all did not end in time and was killed"
    assert [card.uuid for card in readings["fine"].devices] == ["A-0"]
    started = Path("/proc", (tmp_path / "started").read_text().strip(), "stat")
    assert not started.exists() or started.read_text().split()[2] == "Z", "what the tool started is dead too"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo driver is not loaded; exit 3", "ended with status 3: driver is not loaded"),
        ("kill -SEGV $$", "ended with status -11"),
        ("yes", f"printed more than {MAX_PRINTED_BYTES} bytes"),
    ],
)
def test_a_tool_in_trouble_is_named_with_its_trouble(install: Install, script: str, said: str) -> None:
    with pytest.raises(ToolError, match=f"acme-smi -q --all {said}"):
        _probe(install(script)).probe()


def test_a_program_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "acme-smi"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    assert "Exec format error" in (Watch((_probe(str(program)),), 60.0).readings()["acme-smi"].error or "")


def test_a_card_that_is_no_longer_listed_is_lost_until_it_is_listed_again() -> None:
    listed = [CARD]
    probe = ToolProbe("true", ("true",), lambda run: Reading(tuple(listed)))
    assert probe.probe().devices == (CARD,)
    listed.clear()
    for _ in range(2):
        (card,) = probe.probe().devices
        assert (card.uuid, card.health, card.health_reasons, card.sensors) == ("A-0", Health.LOST, ("no_longer_listed",), Sensors())
    listed.append(CARD)
    assert probe.probe().devices == (CARD,)


def test_a_card_that_a_reading_with_an_error_does_not_have_is_not_called_lost() -> None:
    readings = iter([Reading((CARD,)), Reading(error="the table ends within NPU 0")])
    probe = ToolProbe("true", ("true",), lambda run: next(readings))
    probe.probe()
    (card,) = probe.probe().devices
    assert (card.uuid, card.health, card.health_reasons, card.sensors) == ("A-0", Health.DEGRADED, ("not_read",), Sensors())


def test_the_kernel_says_whose_card_it_is_where_the_tool_does_not(tmp_path: Path) -> None:
    (tmp_path / "0000:c1:00.0").mkdir()
    (tmp_path / "0000:c1:00.0" / "vendor").write_text("0x19E5\n")
    elsewhere = Device(index=1, vendor="acme", model="Acme One", uuid="A-1", pci_address="0000:ff:00.0")
    told = Device(index=2, vendor="acme", model="Acme One", uuid="A-2", pci_address="0000:c1:00.0", pci_vendor_id="1e36")
    probe = ToolProbe("true", ("true",), lambda run: Reading((CARD, elsewhere, told)), pci_devices=tmp_path)
    assert [card.pci_vendor_id for card in probe.probe().devices] == ["19e5", None, "1e36"]


def test_nothing_is_left_behind(install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    _probe(install("touch cnmon_info.json")).probe()
    assert list(private.iterdir()) == []
