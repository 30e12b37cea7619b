"""Traces of our own: what a recipe may say, and what comes of it."""

import pytest

from scheduler.replay.driver import replay
from scheduler.replay.generate import Recipe, generate, parse_recipe
from scheduler.replay.trace import TraceError

RECIPE = Recipe(nodes=60, jobs=300, seed=7)


def test_a_recipe_in_any_order() -> None:
    assert parse_recipe("seed=0,jobs=8000,nodes=1500") == Recipe(nodes=1500, jobs=8000, seed=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not allowed; write nodes=N,jobs=N,seed=N"),
        ("nodes=1,jobs=1", "seed is missing"),
        ("nodes=1,jobs=1,seed=1,colour=2", "'colour=2' is not allowed"),
        ("nodes,jobs=1,seed=1", "'nodes' is not allowed"),
        ("nodes=1,nodes=2,jobs=1,seed=1", "nodes is given twice"),
        ("nodes=0,jobs=1,seed=1", "nodes=0 is not allowed; a whole number from 1 to 100000 is"),
        ("nodes=1,jobs=-1,seed=1", "jobs=-1 is not allowed"),
        ("nodes=1,jobs=1e6,seed=1", "jobs=1e6 is not allowed"),
        ("nodes=1,jobs=1000001,seed=1", "jobs=1000001 is not allowed"),
        ("nodes=1,jobs=1,seed=4294967296", "seed=4294967296 is not allowed"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(text: str, message: str) -> None:
    with pytest.raises(TraceError) as refused:
        parse_recipe(text)
    assert message in str(refused.value)


def test_equal_recipes_give_equal_traces_and_other_seeds_others() -> None:
    assert generate(RECIPE) == generate(RECIPE)
    assert generate(RECIPE) != generate(Recipe(nodes=60, jobs=300, seed=8))


def test_it_has_something_of_everything() -> None:
    trace = generate(RECIPE)
    shapes = [shape for entry in trace.jobs for shape in entry.job.shapes]
    assert (len(trace.nodes), len(trace.jobs)) == (60, 300)
    assert any(shape.per_node == 0 for shape in shapes)
    assert any(shape.card_milli < 1000 for shape in shapes)
    assert any(shape.nodes > 1 for shape in shapes)
    assert any(shape.models for shape in shapes)
    assert {card.kind.hardware_class for node in trace.nodes for card in node.cards if card.kind} == {"domestic", "foreign"}
    assert any(not node.cards for node in trace.nodes)
    assert all(entry.leaves_at > entry.job.submitted_at for entry in trace.jobs)


def test_it_replays_and_is_not_too_easy() -> None:
    found = replay(generate(RECIPE))
    assert found.placed + found.waiting + found.never == 300
    assert found.placed > 200
    assert any(found.waits)


def test_the_smallest_recipe_replays() -> None:
    assert replay(generate(Recipe(nodes=1, jobs=1, seed=1))).jobs == 1
