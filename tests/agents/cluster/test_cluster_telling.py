"""A message has room for so many runs: none is left out of it, and what is news comes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.telling import Telling, TooManyRunsError
from scheduler.contract.sync import MAX_RUNS, ObservedRun, RunState, SyncRequest


def run(number: int, state: RunState = RunState.RUNNING, detail: str | None = None) -> ObservedRun:
    return ObservedRun(attempt=f"att-{number}", fencing_token=number, state=state, detail=detail)


def test_while_there_is_room_every_run_is_described_every_time() -> None:
    telling, runs = Telling(), [run(number) for number in range(20)]
    for _ in range(2):
        described, others = telling.message(runs)
        assert (len(described), others) == (20, [])
        telling.told(runs, described)
    assert not telling.is_news(runs)
    assert telling.is_news(runs[1:]), "one that is gone"
    assert telling.is_news([run(0, RunState.FAILED), *runs[1:]])


@given(st.integers(0, 60), st.integers(1, 25), st.data())
def test_all_are_heard_of_and_what_is_news_is_described_in_the_end(count: int, room: int, data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.cluster.telling.MAX_RUNS", room)
        telling = Telling()
        runs = {number: run(number) for number in range(count)}
        heard: dict[int, ObservedRun] = {}
        for _ in range(4):
            for number in data.draw(st.sets(st.integers(0, max(count - 1, 0)), max_size=5)) & runs.keys():
                runs[number] = run(number, data.draw(st.sampled_from(RunState)))
            observed = list(runs.values())
            messages = 0
            while telling.is_news(observed):
                described, others = telling.message(observed)
                assert sorted([each.fencing_token for each in described] + others) == sorted(runs), "none is left out"
                if data.draw(st.booleans()):  # else the message was lost
                    heard |= {each.fencing_token: each for each in described}
                    telling.told(observed, described)
                    messages += 1
                assert messages <= count // room + 1
            assert heard == runs
            assert telling.known(observed) == observed


def test_long_details_do_not_make_a_message_the_city_refuses_for_its_size() -> None:
    runs = [run(number, RunState.FAILED, "算" * 500) for number in range(MAX_RUNS + 1000)]
    described, others = Telling().message(runs)
    assert len(described) + len(others) == MAX_RUNS + 1000
    assert len(SyncRequest(agent="a", observed=described, others=others).model_dump_json().encode()) < 2_097_152


def test_more_runs_than_can_be_told_at_all_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cluster.telling.MAX_OTHERS", 3)
    monkeypatch.setattr("agents.cluster.telling.MAX_RUNS", 2)
    Telling().message([run(number) for number in range(5)])
    with pytest.raises(TooManyRunsError, match="6 runs are more than one cluster may have"):
        Telling().message([run(number) for number in range(6)])
