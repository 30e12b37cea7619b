"""What a node agent tells Prometheus at `/metrics`: its cards as last read, how its probes went, and what became of its reports.

Labels are bounded: a card's index, UUID and model, of as many cards as a report carries; a probe's name. None names a tenant or a
process. This module alone imports prometheus-client, which weighs some megabytes, and is imported only where a port is asked for.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agents.node.collect import Json
from scheduler.domain.hardware import Health

CARD = ("index", "uuid", "model")

SENSORS = (
    ("utilisation_percent", "utilisation_ratio", "Busy share of the last sample period.", 0.01),
    ("memory_used_bytes", "memory_used_bytes", "Memory in use.", 1),
    ("power_milliwatts", "power_watts", "Power drawn.", 0.001),
    ("temperature_celsius", "temperature_celsius", "Temperature.", 1),
    ("sm_clock_mhz", "clock_hertz", "Clock of the processors.", 1e6),
    ("process_count", "processes", "Processes that use the card.", 1),
    ("memory_bytes", "memory_bytes", "Memory of the card.", 1),
)
"""Field of the report, name behind `suanwang_card_`, help, and the factor to the unit. A sensor that is missing has no sample."""


class NodeMetrics(Collector):
    """The latest report, and counts since the agent started. `monotonic` is a clock in seconds. Read by another thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._report: Json | None = None
        self._taken_at: float | None = None
        self._answers = {True: 0, False: 0}

    def observed(self, report: Json) -> None:
        """A report has been made."""
        self._report = report

    def answered(self, was_taken: bool) -> None:
        """The city took a report, or did not."""
        self._answers[was_taken] += 1
        if was_taken:
            self._taken_at = self._monotonic()

    def collect(self) -> Iterator[Metric]:
        reports = CounterMetricFamily("suanwang_node_reports", "Reports by whether the city took them.", labels=("taken",))
        for was_taken, count in self._answers.items():
            reports.add_metric((str(was_taken).lower(),), count)
        yield reports
        if self._taken_at is not None:
            age = self._monotonic() - self._taken_at
            yield GaugeMetricFamily("suanwang_node_report_age_seconds", "Since the city last took a report.", value=age)
        if self._report is not None:
            yield from _cards(self._report["accelerators"])
            yield from _probes(self._report["probes"])


def _cards(cards: list[Json]) -> Iterator[Metric]:
    for field, name, what, factor in SENSORS:
        family = GaugeMetricFamily(f"suanwang_card_{name}", what, labels=CARD)
        for card in cards:
            if field in card:
                family.add_metric(_labels(card), card[field] * factor)
        yield family
    health = GaugeMetricFamily("suanwang_card_health", "1 for the state the card is in.", labels=(*CARD, "health"))
    for card in cards:
        for state in Health:
            health.add_metric((*_labels(card), state.value), float(card["health"] == state))
    yield health


def _probes(probes: list[Json]) -> Iterator[Metric]:
    failed = GaugeMetricFamily("suanwang_probe_failed", "1 where the last run of a probe told of an error.", labels=("probe",))
    found = GaugeMetricFamily("suanwang_probe_cards", "Cards a probe has found.", labels=("probe",))
    took = GaugeMetricFamily("suanwang_probe_seconds", "How long the last answer of a probe took.", labels=("probe",))
    age = GaugeMetricFamily(
        "suanwang_probe_age_seconds", "Age of the answer that is told; absent where it is fresh.", labels=("probe",)
    )
    for probe in probes:
        label = (probe["probe"],)
        failed.add_metric(label, float("error" in probe))
        found.add_metric(label, probe["found"])
        if "milliseconds" in probe:
            took.add_metric(label, probe["milliseconds"] / 1000)
        if "age_seconds" in probe:
            age.add_metric(label, probe["age_seconds"])
    yield from (failed, found, took, age)


def _labels(card: Json) -> tuple[str, str, str]:
    return str(card["index"]), card["uuid"], card["model"]
