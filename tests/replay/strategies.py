"""Random small traces: few nodes, so that jobs get into each other's way, and few moments, so that they coincide."""

from hypothesis import strategies as st

from scheduler.engine.fleet import Card, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import GIB, Shape
from scheduler.replay.trace import SECOND, Trace, TraceJob
from tests.engine.builders import ASCEND, HOPPER


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    nodes = [draw(_nodes(number)) for number in range(draw(st.integers(1, 4)))]
    jobs = [draw(_jobs(number)) for number in range(draw(st.integers(1, 12)))]
    return Trace(tuple(nodes), tuple(jobs))


@st.composite
def _nodes(draw: st.DrawFn, number: int) -> Node:
    kind = draw(st.sampled_from((ASCEND, HOPPER)))
    cards = tuple(Card(f"n{number}/{slot}", kind) for slot in range(draw(st.sampled_from((0, 1, 2, 4)))))
    return Node(draw(st.sampled_from("ab")), f"n{number}", draw(st.integers(2, 8)) * 1000, 8 * GIB, cards)


@st.composite
def _jobs(draw: st.DrawFn, number: int) -> TraceJob:
    arrives = draw(st.integers(0, 6))
    per_node = draw(st.sampled_from((0, 1, 1, 2, 4)))
    size = draw(st.sampled_from((1, 1, 1, 2)))
    shape = Shape(
        nodes=size,
        min_nodes=size,
        per_node=per_node,
        card_milli=draw(st.sampled_from((300, 500, 1000))) if per_node == 1 else 1000,
        models=draw(st.sampled_from((frozenset(), frozenset(), frozenset({"H800"})))),
        cpu_milli=draw(st.integers(0, 4)) * 1000,
    )
    job = QueuedJob(f"j{number}", draw(st.sampled_from(("s", "t"))), draw(st.sampled_from((0, 0, 1))), arrives * SECOND, (shape,))
    return TraceJob(job, (arrives + draw(st.integers(0, 6))) * SECOND)
