"""Ascend through its library: a mock of DCMI's interface, read by ctypes in a child; and the command where that fails."""

from pathlib import Path

import pytest

from agents.node.probes.ascend import tool
from agents.node.probes.child import ChildError, ChildProbe
from agents.node.probes.preferred import REST_PROBES, Preferred
from agents.node.probes.probe import Device, Reading, Sensors
from scheduler.domain.hardware import Health
from tests.agents.node.conftest import compiled
from tests.agents.node.test_node_vendors import fixture, install

MIB = 2**20


@pytest.fixture(scope="session")
def dcmi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("dcmi_mock.c", tmp_path_factory.mktemp("dcmi") / "libdcmi.so")


def _library(dcmi: Path, deadline_seconds: float = 60.0) -> ChildProbe:
    return ChildProbe("dcmi", "agents.node.probes.dcmi:huawei", (str(dcmi),), deadline_seconds)


def test_cards_are_told_with_all_that_dcmi_knows(dcmi: Path) -> None:
    probe = _library(dcmi)
    for _ in range(2):
        reading = probe.probe()
    first, second, ill, small = reading.devices
    sensors = Sensors(
        memory_used_bytes=3338 * MIB, utilisation_percent=37, power_milliwatts=102_800, temperature_celsius=55, sm_clock_mhz=1800
    )
    assert first == Device(
        index=0,
        vendor="huawei",
        model="910B3",
        uuid="pci-0000:c1:00.0-0",
        memory_bytes=65_536 * MIB,
        pci_vendor_id="19e5",
        pci_address="0000:c1:00.0",
        link_island=0,
        ecc_enabled=True,
        sensors=sensors,
    )
    assert (second.uuid, second.link_island, small.link_island) == ("pci-0000:c2:00.0-0", 0, 3)
    assert (ill.uuid, ill.pci_vendor_id, ill.sensors.power_milliwatts) == ("pci-2-0", None, None)
    assert (ill.health, ill.health_reasons) == (Health.DEGRADED, ("npu_alarm", "uncorrected_ecc_errors"))
    assert (small.model, small.memory_bytes, small.sensors.memory_used_bytes) == ("310P3", 21_527 * MIB, 1527 * MIB)
    assert (small.health_reasons, small.ecc_enabled) == (("npu_health_unknown",), None)
    assert (reading.driver_version, reading.error) == ("25.2.0", None)


def test_a_card_that_is_no_longer_listed_is_lost(dcmi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agents.node.probes.dcmi import huawei

    probe = huawei(str(dcmi))
    probe.probe()
    monkeypatch.setenv("MOCK_DCMI_CARDS", "3")
    assert [(card.health, card.health_reasons) for card in probe.probe().devices][3] == (Health.LOST, ("no_longer_listed",))


@pytest.fixture
def with_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, fixture("ascend"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("with_tool")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MOCK_DCMI_TROUBLE", "crash", "died of SIGSEGV"),
        ("MOCK_DCMI_TROUBLE", "hang", "did not answer in time"),
        ("MOCK_DCMI_INIT", "-8005", "dcmi_init answered -8005"),
    ],
)
def test_where_the_library_fails_the_command_is_asked_for_a_while_and_says_why(
    dcmi: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    probe = Preferred(_library(dcmi, deadline_seconds=1.0), tool())
    reading = probe.probe()
    assert len(reading.devices) == len(fixture("ascend")["cards"])
    assert (reading.error or "").startswith("read by npu-smi: ") and said in (reading.error or "")
    monkeypatch.delenv(name)
    probe._library = _library(dcmi)
    probe._rest = 2
    for _ in range(2):
        assert said in (probe.probe().error or "")
    assert (probe.probe().error, len(probe.probe().devices)) == (None, 4)
    assert REST_PROBES == 60


@pytest.mark.usefixtures("with_tool")
def test_both_call_a_card_the_same(dcmi: Path) -> None:
    by_library = {card.uuid for card in _library(dcmi).probe().devices}
    by_command = {card.uuid for card in tool().probe().devices}
    assert "pci-0000:c1:00.0-0" in by_library & by_command


def test_a_library_that_fails_beside_no_command_keeps_its_error(dcmi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_DCMI_INIT", "-8005")
    with pytest.raises(ChildError, match="dcmi_init answered -8005"):
        Preferred(_library(dcmi), tool()).probe()


def test_neither_library_nor_command_is_no_card_and_no_error() -> None:
    assert Preferred(ChildProbe("dcmi", "nowhere:nothing", ("libsuanwang-none.so",)), tool()).probe() == Reading()
