"""Names of an array's tasks."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.tasks import MAX_TASKS, index_of, job_of, task_after, task_name

INDICES = st.integers(0, MAX_TASKS - 1)


@given(INDICES, INDICES)
def test_names_sort_as_indices_do_and_say_whose_they_are(one: int, other: int) -> None:
    names = task_name("job-a", one), task_name("job-a", other)
    assert (names[0] < names[1]) == (one < other)
    assert [job_of(name) for name in names] == ["job-a"] * 2
    assert (index_of(names[0]), index_of(names[1])) == (one, other)
    if one < other:
        assert task_after(names[0], other - one) == names[1]


def test_a_job_that_is_no_array_is_its_own() -> None:
    assert (job_of("job-a"), index_of("job-a")) == ("job-a", None)


@given(INDICES)
def test_nothing_of_another_job_sorts_between(index: int) -> None:
    first, last = task_name("job-a", 0), task_name("job-a", MAX_TASKS - 1)
    for other in ("job-a", "job-", "job-aa", "job-a0", "job-b", task_name("job-b", index), task_name("job-aa", index)):
        assert not first < other < last
