"""Lines of a pod's log are taken once, whatever comes again and wherever an answer is cut."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.kubernetes.pod_logs import LOST, Place, place_of, skipped, take

BEGIN = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def stamped(nanos: int, text: str, zone: str = "Z") -> bytes:
    seconds, rest = divmod(nanos, 10**9)
    shift = timedelta(hours=8) if zone == "+08:00" else timedelta()
    return f"{(BEGIN + timedelta(seconds=seconds) + shift).strftime('%Y-%m-%dT%H:%M:%S')}.{rest:09d}{zone} {text}".encode()


def answer(lines: list[tuple[int, str]], place: Place, limit: int) -> bytes:
    """As a kubelet answers: from the whole second on, so many bytes."""
    since = 0 if place.since is None else int((place.since - BEGIN).total_seconds()) * 10**9
    return b"".join(stamped(nanos, text + "\n") for nanos, text in lines if nanos >= since)[:limit]


@given(
    gaps=st.lists(st.sampled_from([0, 0, 1, 300, 10**8, 10**9]), max_size=40),
    shown=st.lists(st.integers(0, 6), max_size=40),
    limit=st.integers(2_000, 4_000),
)
def test_each_line_is_taken_once_and_in_order(gaps: list[int], shown: list[int], limit: int) -> None:
    lines, nanos = [], 1
    for number, gap in enumerate(gaps):
        nanos += gap
        lines.append((nanos, f"line {number}"))
    place, taken, there = Place(), b"", 0
    for more in [*shown, len(lines), len(lines)]:
        there = min(len(lines), there + more)
        for _ in range(3):
            found = answer(lines[:there], place, limit)
            new, place = take(place, found, cut=len(found) >= limit, last=False)
            place = place_of(place.mark())
            taken += new
    assert taken == b"".join(f"{text}\n".encode() for _, text in lines)


def test_an_unfinished_line_waits_unless_there_will_be_no_more() -> None:
    found = stamped(1, "one\n") + stamped(2, "two")
    assert take(Place(), found, cut=False, last=False)[0] == b"one\n"
    assert take(Place(), found, cut=True, last=True)[0] == b"one\n"
    text, place = take(Place(), found, cut=False, last=True)
    assert text == b"one\ntwo"
    assert take(place, found, cut=False, last=True) == (b"", place)


def test_a_node_may_write_its_own_zone() -> None:
    _, place = take(Place(), stamped(5, "a\n", "+08:00"), cut=False, last=False)
    assert place.since == BEGIN
    assert take(place, stamped(5, "a\n") + stamped(6, "b\n"), cut=False, last=False)[0] == b"b\n"


def test_a_line_without_a_time_goes_with_the_one_before() -> None:
    found = stamped(1, "one\n") + b"rest of it\n" + stamped(2, "two\n")
    text, place = take(Place(), found, cut=False, last=False)
    assert text == b"one\nrest of it\ntwo\n"
    assert take(place, found + stamped(2, "three\n"), cut=False, last=False)[0] == b"three\n"


def test_a_second_that_holds_too_much_is_passed_over_and_said() -> None:
    _, place = take(Place(), stamped(5, "a\n"), cut=True, last=False)
    said, after = skipped(place)
    assert said.decode() == LOST
    assert after.since == BEGIN + timedelta(seconds=1)


@pytest.mark.parametrize("mark", [{}, {"nanos": "x", "lines": 1}, {"nanos": 1}])
def test_a_mark_of_another_kind_is_the_beginning(mark: dict[str, object]) -> None:
    assert place_of(mark) == Place()
