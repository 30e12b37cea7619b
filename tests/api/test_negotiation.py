"""What an Accept header wants, by RFC 9110: the most liked form that is offered, and the first where nothing decides."""

import pytest

from api.negotiation import preferred

OFFERED = ("application/json", "application/x-ndjson", "application/cloudevents-batch+json")


@pytest.mark.parametrize(
    ("accept", "place"),
    [
        ("*/*", 0),
        ("", 0),
        ("text/html", 0),
        ("application/*", 0),
        ("application/x-ndjson", 1),
        ("Application/X-NDJSON; charset=utf-8", 1),
        ("application/x-ndjson, */*", 1),
        ("application/*;q=0.9, application/x-ndjson;q=0.8", 0),
        ("application/json;q=0.1, application/cloudevents-batch+json;q=0.2", 2),
        ("application/json;q=0, application/x-ndjson;q=0.001", 1),
        ("text/html, application/x-ndjson;q=nonsense", 1),
        ("application/json;q=0.9, application/x-ndjson;q=9", 1),
        ("application/x-ndjson;q=9, application/json", 0),
        (", ;, ;q=", 0),
    ],
)
def test_the_form_that_is_liked_best(accept: str, place: int) -> None:
    assert preferred(accept, OFFERED) == OFFERED[place]


def test_a_header_is_read_so_far_and_no_further() -> None:
    assert preferred("a/b," * 30 + "application/x-ndjson", OFFERED) == OFFERED[0]
