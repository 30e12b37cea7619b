"""Names and labels of a run's objects, and the way back."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.kubernetes import names
from tests.agents.cluster.doubles import desired

KEYS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._:-]{0,127}\Z")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")


@given(cluster=KEYS, attempt=KEYS, token=st.integers(0, 2**53))
def test_any_run_has_a_name_labels_may_hold_and_is_found_by_it(cluster: str, attempt: str, token: int) -> None:
    run = desired(attempt, token, job=attempt)
    labels, annotations = names.labels(cluster, run), names.annotations(cluster, run)
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", labels[names.RUN])
    assert all(LABEL.fullmatch(value) for value in labels.values())
    found = {"metadata": {"labels": labels, "annotations": annotations}}
    assert names.key_of(cluster, found) == (attempt, token)
    assert names.key_of(cluster + "x", found) is None


@given(st.lists(KEYS, unique=True, min_size=2, max_size=2))
def test_two_ids_are_two_labels(ids: list[str]) -> None:
    assert names.label_value(ids[0]) != names.label_value(ids[1])


def test_what_holds_anothers_annotations_is_not_ours() -> None:
    run = desired("att-1", 7)
    labels, annotations = names.labels("c", run), names.annotations("c", run)
    for forged in ({names.ATTEMPT: "att-2"}, {names.FENCING_TOKEN: "8"}, {names.FENCING_TOKEN: "seven"}, {names.CLUSTER: "d"}):
        assert names.key_of("c", {"metadata": {"labels": labels, "annotations": annotations | forged}}) is None
    assert names.key_of("c", {"metadata": {}}) is None


def test_a_selector_selects_one_cluster() -> None:
    assert names.selector("sz-1") == "app.kubernetes.io/managed-by=suanwang,suanwang.io/cluster=sz-1"
    assert ":" not in names.selector("sz:1")
