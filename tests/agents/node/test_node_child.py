"""A library that hangs or crashes: the child it runs in is lost, the agent and the other probes are not."""

import os
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest

from agents.node.probes.child import ChildError, ChildProbe
from agents.node.probes.probe import Device, Instance, Partition, Process, Reading, Sensors
from agents.node.watch import Watch
from scheduler.domain.hardware import Health

CARD = Device(
    index=3,
    vendor="nvidia",
    model="NVIDIA H20",
    uuid="GPU-3",
    mig=Partition(7, (Instance("MIG-1", "3g.48gb", 47 * 2**30),)),
    sensors=Sensors(utilisation_percent=0, processes=(Process(7, None, "train"),), process_count=1),
    health=Health.DEGRADED,
    health_reasons=("reset_required",),
)
SEEN = Reading((CARD, replace(CARD, uuid="GPU-4", mig=None)), driver_version="550.54.15", error="card 5 cannot be identified")
TOLD = "tests.agents.node.test_node_child:told"


class Told:
    """A probe that runs in the child and says what it is told to."""

    name = "told"

    def probe(self) -> Reading:
        return SEEN


def told(library: str) -> Told:
    return Told()


def _nvml(mock_library: Path, vendor: str = "nvidia", deadline_seconds: float = 60.0) -> ChildProbe:
    return ChildProbe(
        "nvml",
        f"agents.node.probes.nvml:{vendor}",
        ("libsuanwang-none.so.1", str(mock_library / "libnvidia-ml.so.1")),
        deadline_seconds,
    )


def test_a_library_that_is_not_there_is_no_error_and_starts_no_child() -> None:
    probe = ChildProbe("nvml", "nowhere:nothing", ("libsuanwang-none.so.1",))
    assert probe.probe() == Reading()


def test_a_reading_comes_through_whole() -> None:
    assert ChildProbe("told", TOLD, ("libc.so.6",)).probe() == SEEN


def test_the_child_is_kept_and_another_one_started_when_it_is_gone(mock_library: Path) -> None:
    probe = _nvml(mock_library)
    probe.probe()
    child = probe._child
    assert child is not None
    assert len(probe.probe().devices) == 2
    assert probe._child is child
    child.send_signal(SIGKILL)
    child.wait()
    with pytest.raises(ChildError, match="died of SIGKILL"):
        probe.probe()
    assert len(probe.probe().devices) == 2


def test_a_library_that_is_slow_to_start_is_reported_late_and_not_cut_off(
    mock_library: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("MOCK_NVML_GATE", str(gate))
    watch = Watch((_nvml(mock_library),), deadline_seconds=0.1)
    assert watch.readings()["nvml"].error == "no answer within 0.1 s"
    assert watch.readings()["nvml"].error == "still hangs in an earlier run, so it was not started again"
    gate.write_text("")
    watch._runs["nvml"].result(timeout=60)
    watch._deadline_seconds = 60.0
    assert len(watch.readings()["nvml"].devices) == 2


def test_what_a_library_prints_is_no_answer(mock_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_NVML_TROUBLE", "print")
    assert len(_nvml(mock_library).probe().devices) == 2


def test_what_a_probe_raises_is_raised_here(mock_library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_NVML_INIT", "18")
    with pytest.raises(ChildError, match="version mismatch"):
        _nvml(mock_library).probe()


def test_iluvatar_is_read_by_the_same_probe_under_its_own_name(mock_library: Path) -> None:
    assert {card.vendor for card in _nvml(mock_library, "iluvatar").probe().devices} == {"iluvatar"}


@pytest.mark.parametrize(
    ("trouble", "deadline_seconds", "said"), [("crash", 60.0, "died of SIGSEGV"), ("hang", 1.0, "did not answer in time")]
)
def test_a_library_in_trouble_is_reported_and_the_others_go_on(
    mock_library: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, deadline_seconds: float, said: str
) -> None:
    probe = _nvml(mock_library)
    watch = Watch((probe, ChildProbe("told", TOLD, ("libc.so.6",))), deadline_seconds=60.0)
    monkeypatch.setenv("MOCK_NVML_TROUBLE", trouble)
    probe._deadline_seconds = deadline_seconds
    readings = watch.readings()
    assert said in (readings["nvml"].error or "")
    assert readings["told"] == SEEN
    monkeypatch.delenv("MOCK_NVML_TROUBLE")
    probe._deadline_seconds = 60.0
    assert len(watch.readings()["nvml"].devices) == 2
