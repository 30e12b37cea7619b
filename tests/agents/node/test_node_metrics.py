"""What Prometheus is told: sensors in base units, none that is missing, and labels that are bounded."""

from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agents.node.metrics import NodeMetrics
from scheduler.contract.inventory import MAX_ACCELERATORS

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _card(index: int, **changes: Any) -> dict[str, Any]:
    return {"index": index, "uuid": f"GPU-{index}", "model": "H800", "memory_bytes": 80 * 2**30, "health": "healthy", **changes}


def _samples(metrics: NodeMetrics) -> Samples:
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples}


def _report(*cards: dict[str, Any], probes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"accelerators": list(cards), "probes": probes or []}


CARD = (("index", "0"), ("model", "H800"), ("uuid", "GPU-0"))


def test_before_the_first_report_only_counts_are_told() -> None:
    assert _samples(NodeMetrics(lambda: 0.0)) == {
        ("suanwang_node_reports_total", (("taken", "false"),)): 0.0,
        ("suanwang_node_reports_total", (("taken", "true"),)): 0.0,
    }


def test_a_card_is_told_in_base_units_and_a_missing_sensor_not_at_all() -> None:
    metrics = NodeMetrics(lambda: 0.0)
    sensors = {"utilisation_percent": 37, "memory_used_bytes": 2**30, "power_milliwatts": 65_123, "sm_clock_mhz": 1980}
    metrics.observed(_report(_card(0, **sensors, process_count=2)))
    samples = _samples(metrics)
    told = {name.removeprefix("suanwang_card_"): value for (name, labels), value in samples.items() if labels == CARD}
    assert told == {
        "utilisation_ratio": 0.37,
        "memory_used_bytes": 2**30,
        "memory_bytes": 80 * 2**30,
        "power_watts": 65.123,
        "clock_hertz": 1.98e9,
        "processes": 2,
    }
    health = {dict(labels)["health"]: value for (name, labels), value in samples.items() if name == "suanwang_card_health"}
    assert health == {"healthy": 1, "degraded": 0, "lost": 0}


def test_probes_and_reports_are_told_with_their_ages() -> None:
    now = [100.0]
    metrics = NodeMetrics(lambda: now[0])
    late = {"probe": "nvml", "found": 8, "error": "no answer", "age_seconds": 12}
    metrics.observed(_report(probes=[late, {"probe": "npu-smi", "found": 0, "milliseconds": 40}]))
    for was_taken in (True, False, False):
        metrics.answered(was_taken)
    now[0] = 125.0
    samples = _samples(metrics)
    nvml, ascend = (("probe", "nvml"),), (("probe", "npu-smi"),)
    assert (samples["suanwang_probe_failed", nvml], samples["suanwang_probe_failed", ascend]) == (1, 0)
    assert (samples["suanwang_probe_cards", nvml], samples["suanwang_probe_age_seconds", nvml]) == (8, 12)
    assert samples["suanwang_probe_seconds", ascend] == 0.04
    assert ("suanwang_probe_seconds", nvml) not in samples
    assert samples["suanwang_node_report_age_seconds", ()] == 25
    assert samples["suanwang_node_reports_total", (("taken", "false"),)] == 2


def test_labels_are_bounded_by_what_a_report_carries_and_name_no_process() -> None:
    metrics = NodeMetrics(lambda: 0.0)
    cards = [_card(n, processes=[{"pid": 7, "name": "miner"}], process_count=1) for n in range(MAX_ACCELERATORS)]
    metrics.observed(_report(*cards))
    registry = CollectorRegistry()
    registry.register(metrics)
    told = generate_latest(registry).decode()
    assert "miner" not in told
    families = [name for name, _ in _samples(metrics)]
    assert max(families.count(name) for name in families) == MAX_ACCELERATORS * 3  # states of health
    metrics.observed(_report())
    assert not [name for name, _ in _samples(metrics) if name.startswith("suanwang_card")]
