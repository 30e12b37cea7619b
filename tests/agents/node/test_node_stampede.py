"""20,000 agents that start, or whose city comes back, at one moment: on virtual time, against a city that takes so many a second.

Each agent is the real `Pace`; the city answers as the API's gate does (`tests/api/test_gate.py` asks that one).
"""

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random

from agents.node.agent import FIRST_WITHIN_SECONDS, Pace
from agents.terms import CityUnavailableError

AGENTS = 20_000
INTERVAL = 10
EVEN = AGENTS / INTERVAL
"""Reports a second when they are spread out evenly."""
SILENT_AFTER_SECONDS = 30.0

Answer = Callable[[float, int], int | CityUnavailableError]
"""What the city answers at a moment to the n-th request of that second."""


class Fleet:
    """What the agents did until a moment: requests by second, and the longest that any was not heard, after having been."""

    def __init__(self, answer: Answer, until: float, first_within: float = FIRST_WITHIN_SECONDS, seed: int = 1) -> None:
        rng = Random(seed)
        self.requests: Counter[int] = Counter()
        self.refused = 0
        self.heard_at: dict[int, float] = {}
        self.longest_silence = 0.0
        paces = [Pace(rng) for _ in range(AGENTS)]
        due = [(pace.first(first_within), agent) for agent, pace in enumerate(paces)]
        heapq.heapify(due)
        while due[0][0] < until:
            now, agent = due[0]
            self.requests[int(now)] += 1
            said = answer(now, self.requests[int(now)])
            if isinstance(said, CityUnavailableError):
                self.refused += 1
                delay = paces[agent].unavailable(said)
            else:
                delay = paces[agent].taken(said)
                self.longest_silence = max(self.longest_silence, now - self.heard_at.get(agent, now))
                self.heard_at[agent] = now
            heapq.heapreplace(due, (now + delay, agent))


def _limited(a_second: int) -> Answer:
    """A city that takes so many reports a second and turns the others away, to come again after 8 s."""
    return lambda _now, number: INTERVAL if number <= a_second else CityUnavailableError("429", 8)


def test_a_fleet_that_is_switched_on_at_once_spreads_out_and_stays_so() -> None:
    fleet = Fleet(lambda _now, _number: INTERVAL, until=120)
    assert len(fleet.heard_at) == AGENTS
    assert max(fleet.requests.values()) <= 1.4 * EVEN  # in the one second in which first and second reports meet
    assert all(0.9 * EVEN <= fleet.requests[second] <= 1.1 * EVEN for second in range(20, 119))


def test_without_the_spread_the_same_fleet_would_come_at_once() -> None:
    assert Fleet(lambda _now, _number: INTERVAL, until=5, first_within=0).requests[0] == AGENTS


def test_a_city_that_takes_little_more_than_all_is_never_asked_for_much_more_and_hears_everybody_in_time() -> None:
    fleet = Fleet(_limited(int(1.1 * EVEN)), until=180)
    assert len(fleet.heard_at) == AGENTS
    after_the_first = [count for second, count in fleet.requests.items() if second >= INTERVAL]
    assert max(after_the_first) <= 1.3 * EVEN
    assert fleet.longest_silence < SILENT_AFTER_SECONDS


def test_a_fleet_that_does_come_at_once_is_spread_out_by_being_turned_away() -> None:
    fleet = Fleet(_limited(int(1.1 * EVEN)), until=180, first_within=0)
    assert fleet.requests[0] == AGENTS
    assert max(count for second, count in fleet.requests.items() if second >= 3 * INTERVAL) <= 1.5 * EVEN
    assert len(fleet.heard_at) == AGENTS


def test_a_city_that_was_away_for_a_while_is_not_overrun_when_it_is_back() -> None:
    def away(now: float, _number: int) -> int | CityUnavailableError:
        return CityUnavailableError("connection refused") if 30 <= now < 120 else INTERVAL

    fleet = Fleet(away, until=200)
    assert max(count for second, count in fleet.requests.items() if second >= 120) <= 1.5 * EVEN
    assert all(heard >= 170 for heard in fleet.heard_at.values())
