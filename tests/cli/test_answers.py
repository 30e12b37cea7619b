"""An answer as people read it, in both languages."""

from typing import Any

from rich.console import Console

from api.cli.answers import cny, lines, print_situation
from scheduler.contract.answers import Explanation, Quote

HOUR = {"list_amount": "96.000000", "contracted_amount": "86.409999", "net_amount": "43.209999"}
CHEAPER = {"code": "price_sme_not_established", "text": "the SME price would be 4"}
SHARE = {
    "item": "accelerator",
    "price_version": "price-1",
    "tier": "preferential",
    "off_peak": False,
    "list_price": "12",
    "contracted_price": "10",
    "unit_seconds": 3600,
    "list_amount": "12",
    "contracted_amount": "10",
    "reasons": [{"code": "price_preferential", "text": "preferential"}],
}
OPTION = {
    "cluster": "sz",
    "recorded": True,
    "hardware_class": "domestic",
    "model": "910B3",
    "mig": "3g.32gb",
    "alternative": 0,
    "nodes": 1,
    "cards": 8,
    "card_milli": 3424,
    "cores": 0,
    "now": False,
    "starts_at": "2026-03-02T05:00:00Z",
    "staging": {"seconds": 8590, "unknown_gib": 0, "cost": "20.000000"},
    "per_hour": HOUR,
    "whole_run": HOUR,
    "prices": [SHARE, {**SHARE, "off_peak": True, "unit_seconds": 1900, "reasons": [CHEAPER, CHEAPER]}],
    "voucher": {
        "programme": "shenzhen-training",
        "version": "2024",
        "status": "eligible",
        "estimate": "43.200000",
        "counted": True,
        "reasons": [],
    },
}


def waiting(**changes: Any) -> Quote:
    return Quote.model_validate(
        {
            "as_of": "2026-03-02T04:00:00Z",
            "verdict": "wait",
            "reasons": [{"code": "waiting_for_cards", "text": "full"}],
            "position": {"ahead": 2, "competing": 1, "text": "2 ahead"},
            "start": {
                "earliest": "2026-03-02T04:00:00Z",
                "latest": "2026-03-02T05:00:00Z",
                "method": "promised",
                "text": "reserved",
            },
            "options": [OPTION],
            "elsewhere": [{"cluster": "hz", "reasons": [{"code": "place_silent", "text": "silent"}]}],
            "changes": [
                {"reason": {"code": "change_fewer_nodes", "text": "fewer"}, "cluster": "sz", "stops": 0, "per_hour": HOUR},
                {"reason": {"code": "change_preempts", "text": "louder"}, "cluster": "sz", "stops": 2, "per_hour": None},
            ],
            "limited": True,
            **changes,
        }
    )


def test_a_waiting_job_in_english() -> None:
    assert list(lines(waiting(), "en")) == [
        "why: full",
        "position: 2 ahead",
        "start: between now and 2026-03-02 05:00:00 UTC (reserved)",
        "would help: fewer → sz, 43.20 CNY/h net",
        "would help: louder → makes room in sz",
        "could be cheaper in sz: the SME price would be 4",
        "why not hz: silent",
        "the queue is long: not everything was tried",
    ]


def test_and_in_chinese() -> None:
    told = list(lines(waiting(), "zh"))
    assert told[2] == "启动:介于 现在 与 2026-03-02 05:00:00 UTC 之间 (reserved)"
    assert told[3:5] == ["可行调整:fewer → sz, 43.20 元/时(净价)", "可行调整:louder → 腾出位置于 sz"]
    assert told[5:7] == ["或可更便宜于 sz:the SME price would be 4", "为何不去 hz:silent"]


def test_a_deadline_is_told_with_what_would_keep_it() -> None:
    changes = [{"code": "change_later_deadline", "text": "later"}]
    deadline = {"deadline": "2026-03-02T06:00:00Z", "reason": {"code": "deadline_at_risk", "text": "tight"}, "changes": changes}
    found = waiting(deadline=deadline, changes=[], elsewhere=[], options=[], limited=False)
    assert list(lines(found, "en"))[3:] == ["deadline: tight", "would keep it: later"]
    assert list(lines(found, "zh"))[3:] == ["截止:tight", "可赶上:later"]


def test_what_its_tenant_used_before_is_said_where_it_matters() -> None:
    past = {"code": "position_past_cores", "text": "1 of them for that"}
    told = list(lines(waiting(position={"ahead": 2, "competing": 1, "text": "2 ahead", "past_use": past}), "en"))
    assert told[1:3] == ["position: 2 ahead", "position: 1 of them for that"]


def test_what_is_not_known_is_not_said() -> None:
    nothing = {"earliest": None, "latest": None, "method": "unknown", "text": "nobody knows"}
    told = list(lines(waiting(start=nothing, changes=[], elsewhere=[], options=[], position=None, limited=False), "en"))
    assert told == ["why: full", "start: nobody knows"]
    half = {"earliest": "2026-03-02T04:00:00Z", "latest": None, "method": "unknown", "text": "?"}
    assert "start: between now and unknown (?)" in list(lines(waiting(start=half), "en"))


def test_a_job_with_a_place_says_where() -> None:
    where = {"cluster": "sz", "recorded": False, "hardware_class": None, "model": None, "nodes": ["n1", "n2"]}
    where |= {"cards": 0, "card_milli": 0}
    document = {"as_of": "2026-03-02T04:00:00Z", "job": "job-1", "state": "running", "verdict": "fit", "reasons": []}
    found = Explanation.model_validate({**document, "placed": {**where, "since": "2026-03-02T04:00:00Z"}})
    assert list(lines(found, "en")) == ["is in: sz (n1, n2)"]


def test_the_table_has_every_price() -> None:
    to = Console(width=250, record=True, quiet=False, file=None, force_terminal=False)
    with to.capture() as printed:
        print_situation(to, waiting(), "en")
    assert "sz (recorded)" in printed.get()
    for part in ("domestic", "910B3 3g.32gb", "2h23m10s, 20.00", "96.00", "86.40", "43.20", "shenzhen-training eligible 43.20"):
        assert part in printed.get()
    assert "preferential, off-peak 34 %" in " ".join(printed.get().replace("│", " ").split())
    assert "2026-03-02" in printed.get() and "05:00:00" in printed.get()


def test_a_place_says_when_it_starts_and_when_its_data_is_there() -> None:
    to = Console(width=250, record=True)
    now = {**OPTION, "now": True, "staging": {"seconds": None, "unknown_gib": 5, "cost": None}}
    later = {**OPTION, "starts_at": None, "staging": {"seconds": 0, "unknown_gib": 0, "cost": "0.000000"}}
    with to.capture() as printed:
        print_situation(to, waiting(options=[now, later]), "en")
    (first, second) = [line for line in printed.get().splitlines() if "(recorded)" in line]
    assert [cell.strip() for cell in first.split("│")][6:8] == ["now", "unknown"]
    assert [cell.strip() for cell in second.split("│")][6:8] == ["unknown", "0s"]


def test_amounts_are_rounded_down_to_the_fen() -> None:
    assert (cny("43.209999"), cny("0.000001"), cny("12.500000")) == ("43.20", "0.00", "12.50")
