"""What a report says of cards, known and unknown, sound and absurd."""

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agents.node.collect import Host, NodeIdentity, collect, normalise_hostname, read_host
from agents.node.probes.probe import Device, Instance, Partition, Process, Reading, Sensors
from scheduler.contract.inventory import MAX_ACCELERATORS, Accelerator, MigInstance, MigPartition, NodeName, NodeReport
from scheduler.domain.hardware import HardwareClass, Health, shipped_catalogue
from scheduler.domain.mig import MAX_SLICES

IDENTITY = NodeIdentity(hostname="gpu-01", boot="boot-1", agent_version="0.1.0", labels={"rack": "r1"})
HOST = Host(cpu_cores=64, memory_bytes=2**39, memory_used_bytes=2**30)
AT = datetime(2026, 1, 1, tzinfo=UTC)
CARD = Device(index=0, vendor="nvidia", model="NVIDIA H20", uuid="GPU-0", memory_bytes=96 * 2**30, pci_vendor_id="10de")


def _report(*devices: Device, **others: Reading) -> NodeReport:
    readings = {"nvml": Reading(devices)} | others
    return NodeReport.model_validate(collect(IDENTITY, HOST, readings, shipped_catalogue(), sequence=7, observed_at=AT))


def _card(device: Device) -> Accelerator:
    (card,) = _report(device).accelerators
    return card


def test_a_cpu_only_node_is_a_whole_report() -> None:
    report = _report()
    assert (report.hostname, report.boot, report.sequence, report.observed_at) == ("gpu-01", "boot-1", 7, AT)
    assert (report.cpu_cores, report.memory_bytes, report.memory_used_bytes) == (64, 2**39, 2**30)
    assert (report.labels, report.accelerators, report.driver_version) == ({"rack": "r1"}, [], None)
    assert [(probe.probe, probe.found, probe.error) for probe in report.probes] == [("nvml", 0, None)]


def test_a_known_card_has_its_canonical_name_and_class() -> None:
    card = _card(replace(CARD, link_island=1))
    assert (card.link_island, card.mig) == (1, None)
    assert (card.vendor, card.model, card.hardware_class) == ("nvidia", "H20", HardwareClass.FOREIGN)


def test_a_card_in_mig_mode_carries_its_instances() -> None:
    card = _card(replace(CARD, mig=Partition(7, (Instance("MIG-1", "3g.48gb", 47 * 2**30),))))
    assert card.mig == MigPartition(slices=7, instances=[MigInstance(uuid="MIG-1", profile="3g.48gb", memory_bytes=47 * 2**30)])


def test_an_unknown_model_gets_its_class_from_the_pci_vendor() -> None:
    card = _card(replace(CARD, model="Ascend 2030", vendor="huawei", pci_vendor_id="19e5"))
    assert (card.vendor, card.model, card.hardware_class) == ("huawei", "Ascend 2030", HardwareClass.DOMESTIC)


def test_a_card_nobody_knows_is_unknown_and_not_guessed() -> None:
    card = _card(replace(CARD, vendor="acme", model="Acme One", pci_vendor_id=None))
    assert (card.vendor, card.model, card.hardware_class) == ("acme", "Acme One", HardwareClass.UNKNOWN)


def test_a_missing_sensor_is_null_and_an_idle_one_is_zero() -> None:
    card = _card(replace(CARD, sensors=Sensors(utilisation_percent=0)))
    assert (card.utilisation_percent, card.power_milliwatts, card.temperature_celsius) == (0, None, None)


def test_an_absurd_sensor_is_missing_and_the_others_stay() -> None:
    card = _card(replace(CARD, sensors=Sensors(utilisation_percent=4_294_967_295, temperature_celsius=41)))
    assert (card.utilisation_percent, card.temperature_celsius) == (None, 41)


def test_a_card_of_unknown_size_is_no_card_to_plan_with() -> None:
    card = _card(replace(CARD, memory_bytes=None))
    assert (card.memory_bytes, card.health, card.health_reasons) == (0, Health.DEGRADED, ["memory_size_unknown"])
    assert _card(replace(CARD, memory_bytes=None, health=Health.LOST)).health is Health.LOST


def test_a_card_two_probes_see_is_reported_once() -> None:
    report = _report(CARD, other=Reading((CARD,)))
    assert len(report.accelerators) == 1
    assert [(probe.probe, probe.found, probe.error) for probe in report.probes] == [
        ("nvml", 1, None),
        ("other", 0, "card 0 is left out: GPU-0 is on the report already"),
    ]


def test_a_card_named_by_its_place_is_another_one_on_another_node_and_the_same_one_tomorrow() -> None:
    reading = {"npu-smi": Reading((replace(CARD, uuid="pci-0000:c1:00.0-0"),))}
    uuids = [
        collect(replace(IDENTITY, hostname=hostname), HOST, reading, shipped_catalogue(), sequence=0, observed_at=AT)[
            "accelerators"
        ][0]["uuid"]
        for hostname in ("gpu-01", "gpu-02", "gpu-01", "h" * 253)
    ]
    assert uuids[0].startswith("pci-0000:c1:00.0-0@")
    assert uuids[0] == uuids[2]
    assert len(set(uuids)) == 3


def test_a_card_the_contract_refuses_is_left_out_and_named() -> None:
    report = _report(replace(CARD, index=3, uuid=""), CARD)
    assert [card.uuid for card in report.accelerators] == ["GPU-0"]
    assert report.probes[0].found == 1
    assert (report.probes[0].error or "").startswith("card 3 is left out: uuid:")


def test_more_cards_than_a_report_carries_are_left_out() -> None:
    report = _report(*(replace(CARD, uuid=f"GPU-{index}") for index in range(MAX_ACCELERATORS + 1)))
    assert len(report.accelerators) == report.probes[0].found == MAX_ACCELERATORS
    assert "at most 128" in (report.probes[0].error or "")


def test_a_long_error_fits_the_report() -> None:
    report = _report(bad=Reading(error="x" * 10_000))
    assert len(report.probes[1].error or "") == 500


def test_driver_versions_of_all_vendors_are_named() -> None:
    report = _report(one=Reading(driver_version="550.54", toolkit_version="12.4"), two=Reading(driver_version="25.2"))
    assert (report.driver_version, report.toolkit_version) == ("550.54, 25.2", "12.4")


def test_this_machine_has_cores_and_memory() -> None:
    host = read_host()
    assert host.cpu_cores >= 1
    assert 0 < host.memory_used_bytes <= host.memory_bytes


@given(st.text(max_size=400))
def test_every_hostname_becomes_a_node_name(raw: str) -> None:
    name = normalise_hostname(raw)
    assert TypeAdapter(NodeName).validate_python(name) == name
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", name)


@given(st.text(max_size=80), st.text(max_size=80))
def test_two_hostnames_never_become_one(one: str, other: str) -> None:
    assert (normalise_hostname(one) == normalise_hostname(other)) == (one == other)


def test_a_proper_hostname_stays_as_it_is() -> None:
    assert normalise_hostname("GPU-01.site.example") == "GPU-01.site.example"
    assert re.fullmatch(r"gpu-01-[0-9a-f]{8}", normalise_hostname("gpu_01"))


@pytest.mark.parametrize(("year", "told"), [(1970, 2000), (9999, 2199), (2026, 2026)])
def test_a_clock_that_is_centuries_off_hides_no_node(year: int, told: int) -> None:
    at = datetime(year, 1, 1, tzinfo=UTC)
    report = NodeReport.model_validate(collect(IDENTITY, HOST, {}, shipped_catalogue(), sequence=0, observed_at=at))
    assert report.observed_at.year == told


def test_a_late_reading_is_told_with_its_age() -> None:
    report = _report(late=Reading(error="no answer", age_seconds=12), timely=Reading(milliseconds=40))
    assert [(probe.age_seconds, probe.milliseconds) for probe in report.probes] == [(None, None), (12, None), (None, 40)]


def test_an_instance_of_another_cards_name_is_left_out_with_its_card() -> None:
    twice = replace(CARD, uuid="GPU-1", mig=Partition(7, (Instance("GPU-0", "3g.48gb", 1),)))
    report = _report(CARD, twice)
    assert [card.uuid for card in report.accelerators] == ["GPU-0"]
    assert report.probes[0].error == "card 0 is left out: GPU-0 is on the report already"


WORDS = st.text(max_size=210)
NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.integers(-60, 210)
DEVICES = st.builds(
    Device,
    index=st.integers(-2, 2**54),
    vendor=WORDS,
    model=WORDS,
    uuid=WORDS,
    memory_bytes=NUMBERS,
    pci_vendor_id=st.none() | st.sampled_from(["10de", "10DE", "1", "10de\n"]),
    link_island=st.none() | st.integers(-1, MAX_ACCELERATORS),
    mig=st.none()
    | st.builds(
        Partition,
        st.integers(0, MAX_SLICES + 1),
        st.lists(
            st.builds(Instance, WORDS, st.sampled_from(["1g.10gb", "1g.10gb\n", "half"]), NUMBERS), max_size=MAX_SLICES + 1
        ).map(tuple),
    ),
    pci_address=st.none() | st.sampled_from(["0000:c1:00.0", "0000:c1:00.0\n", "c1"]),
    link_count=st.none() | st.integers(-1, 65),
    compute_mode=st.none() | st.sampled_from(["default", "prohibited", "shared"]),
    ecc_enabled=st.none() | st.booleans(),
    sensors=st.builds(
        Sensors,
        **dict.fromkeys(sorted(set(Sensors.__slots__) - {"processes"}), NUMBERS),
        processes=st.none()
        | st.lists(st.builds(Process, st.integers(-1, 2**33), NUMBERS, st.none() | st.text(max_size=66)), max_size=33).map(tuple),
    ),
    health=st.sampled_from(Health),
    health_reasons=st.lists(WORDS, max_size=17).map(tuple),
)


FIELDS = ("index", "vendor", "model", "uuid", "pci_vendor_id", "pci_address", "link_island", "link_count", "compute_mode")


@given(DEVICES)
def test_the_plain_bounds_are_the_contracts(device: Device) -> None:
    """Whatever a probe says: what is reported the contract takes, and what is left out it refuses."""
    report = _report(device)
    if not report.accelerators:
        assert "is left out" in (report.probes[0].error or "")
        told = {field: getattr(device, field) for field in FIELDS}
        told |= {
            "mig": device.mig and asdict(device.mig),
            "memory_bytes": 0 if device.memory_bytes is None else device.memory_bytes,
        }
        reasons = [*device.health_reasons, *(["memory_size_unknown"] if device.memory_bytes is None else [])]
        with pytest.raises(ValidationError):
            card = Accelerator(**told, hardware_class=HardwareClass.UNKNOWN, health=device.health, health_reasons=reasons)
            NodeReport.model_validate(_report().model_dump() | {"accelerators": [card]})  # names twice on it, at the latest


@given(st.lists(st.none() | st.text(max_size=300), max_size=4), st.text(max_size=900))
def test_versions_and_errors_of_any_length_fit_the_report(versions: list[str | None], error: str) -> None:
    readings = {
        f"probe-{index}": Reading(driver_version=text, toolkit_version=text, error=error) for index, text in enumerate(versions)
    }
    _report(**readings)
