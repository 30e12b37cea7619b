"""What is known of a kind of object stays true through everything an API does, or is not told."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cluster.kubernetes import watch as watch_module
from agents.cluster.kubernetes.client import Kubernetes, Listed
from agents.cluster.kubernetes.resources import PODS, RAY_JOBS
from agents.cluster.kubernetes.watch import Known, Watched
from agents.cluster.launcher import LauncherUnavailableError
from tests.agents.cluster.kube.api_server import ApiServer, Fault, events_of
from tests.agents.cluster.kube.manifests import pod
from tests.agents.cluster.kube.store import BUILT_IN, Object, Store
from tests.agents.cluster.kube.world import Kube

PATIENCE_SECONDS = 10.0


class Hasty(Random):
    """Never waits longer than it must."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Slow(Random):
    """Always waits as long as it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Ticks:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def watching(kube: Kube, rng: Random | None = None, **options: object) -> Iterator[Watched]:
    with Watched(kube.api, PODS, kube.namespace, rng=rng or Hasty(), **options) as watched:  # type: ignore[arg-type]
        yield watched


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.002)


def known(watched: Watched) -> list[str]:
    return sorted(watched.snapshot())


# What holds on every cluster


def test_what_is_there_is_known_at_once_and_what_changes_soon(kube: Kube) -> None:
    kube.api.create(PODS, kube.namespace, pod("one"))
    with watching(kube) as watched:
        assert known(watched) == ["one"]
        kube.api.create(PODS, kube.namespace, pod("two"))
        until(lambda: known(watched) == ["one", "two"])
        kube.api.patch(PODS, kube.namespace, "one", {"metadata": {"labels": {"a": "b"}}})
        until(lambda: watched.snapshot()["one"]["metadata"].get("labels") == {"a": "b"})
        kube.api.delete(PODS, kube.namespace, "one")
        until(lambda: known(watched) == ["two"])


def test_only_what_is_selected_is_known(kube: Kube) -> None:
    for name, app in (("mine", "x"), ("other", "y")):
        kube.api.create(PODS, kube.namespace, pod(name, labels={"app": app}))
    with watching(kube, label_selector="app=x") as watched:
        assert known(watched) == ["mine"]
        kube.api.patch(PODS, kube.namespace, "other", {"metadata": {"labels": {"app": "x"}}})
        kube.api.patch(PODS, kube.namespace, "mine", {"metadata": {"labels": {"app": "y"}}})
        until(lambda: known(watched) == ["other"])


def test_what_we_wrote_ourselves_is_known_before_any_watch_has_told_it(kube: Kube) -> None:
    with watching(kube) as watched:
        for index in range(20):
            watched.note(kube.api.create(PODS, kube.namespace, pod(f"p{index}")))
            assert f"p{index}" in watched.snapshot()
        for index in range(20):
            kube.api.delete(PODS, kube.namespace, f"p{index}")
        until(lambda: not watched.snapshot())


def test_a_short_watch_is_followed_by_the_next_and_nothing_is_lost_between(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WATCH_SECONDS", 1)
    with watching(kube, Slow()) as watched:
        for index in range(12):
            kube.api.create(PODS, kube.namespace, pod(f"p{index}"))
            time.sleep(0.1)
        until(lambda: len(watched.snapshot()) == 12)


def test_a_kind_that_is_not_installed_is_not_known_to_be_empty(kube: Kube) -> None:
    other = RAY_JOBS.__class__("nobody.example.cn", "v1", "things", "Thing")
    with (
        Watched(kube.api, other, kube.namespace, rng=Hasty()) as watched,
        pytest.raises(LauncherUnavailableError, match=r"things\.nobody\.example\.cn"),
    ):
        watched.snapshot()


# Trouble on order


def lists(server: ApiServer) -> int:
    return len(server.requests("list", "pods"))


def watches(server: ApiServer) -> list[str]:
    return [seen.query["resourceVersion"] for seen in server.requests("watch", "pods")]


@pytest.mark.parametrize("how", ["cut", "end"])
def test_after_a_disconnect_it_goes_on_from_the_last_version_without_a_list(kube: Kube, server: ApiServer, how: str) -> None:
    with watching(kube) as watched:
        until(lambda: server.watching["pods"])
        kube.api.create(PODS, kube.namespace, pod("one"))
        until(lambda: known(watched) == ["one"])
        server.tell_watches(how)
        kube.api.create(PODS, kube.namespace, pod("two"))
        until(lambda: known(watched) == ["one", "two"])
        until(lambda: len(watches(server)) == 2)
        assert watches(server)[1] in [found["metadata"]["resourceVersion"] for found in watched.snapshot().values()]
        assert lists(server) == 1


def test_a_bookmark_moves_on_where_it_goes_on_from(kube: Kube, server: ApiServer) -> None:
    with watching(kube) as watched:
        assert known(watched) == []
        until(lambda: server.watching["pods"])
        kube.world.add_node("a")  # other kinds move the version on
        version = str(server.store.version)
        server.tell_watches("bookmark")
        until(lambda: watched._known.version == version)
        server.store.compact()
        server.tell_watches("cut")
        until(lambda: len(watches(server)) == 2)
        kube.api.create(PODS, kube.namespace, pod("one"))
        until(lambda: known(watched) == ["one"])
        assert watches(server)[1] == version
        assert lists(server) == 1, "the version of the list is no longer kept, that of the bookmark is"


@pytest.mark.parametrize("how", ["expire", "compact"])
def test_a_version_no_longer_kept_is_followed_by_a_new_list(kube: Kube, server: ApiServer, how: str) -> None:
    """As an ERROR within the stream, and as the answer to the next watch after changes were missed."""
    kube.api.create(PODS, kube.namespace, pod("gone"))
    with watching(kube) as watched:
        assert known(watched) == ["gone"]
        until(lambda: server.watching["pods"])
        with server.store.changed:
            if how == "compact":
                server.faults = [Fault("watch", "pods", status=500)]
                server.tell_watches("cut")
                kube.world.server.store.delete(BUILT_IN[2], kube.namespace, "gone", {})  # type: ignore[union-attr]
                server.store.compact()
            else:
                server.tell_watches("expire")
        kube.api.create(PODS, kube.namespace, pod("new"))
        wanted = ["new"] if how == "compact" else ["gone", "new"]
        until(lambda: known(watched) == wanted and lists(server) == 2)


def test_what_is_known_is_told_while_it_is_fresh_and_not_after(kube: Kube, server: ApiServer) -> None:
    clock = Ticks()
    kube.api.create(PODS, kube.namespace, pod("one"))
    with watching(kube, Slow(), monotonic=clock, fresh_seconds=60) as watched:
        assert known(watched) == ["one"]
        until(lambda: server.watching["pods"])
        server.faults = [Fault("", "pods", times=10**6, status=503, message="etcd is away")]
        server.tell_watches("cut")
        until(lambda: "etcd is away" in watched._trouble)
        clock.now += 59
        assert known(watched) == ["one"]
        clock.now += 2
        with pytest.raises(LauncherUnavailableError, match=r"pods: last known 61 s ago .*etcd is away"):
            watched.snapshot()
        server.faults = []
        until(lambda: _is_known(watched))
        assert known(watched) == ["one"]


def test_a_watch_that_says_nothing_at_all_is_not_fresh_for_ever(kube: Kube, server: ApiServer) -> None:
    clock = Ticks()
    with watching(kube, monotonic=clock) as watched:
        assert known(watched) == []
        clock.now += watch_module.FRESH_SECONDS + 1
        with pytest.raises(LauncherUnavailableError, match="silent"):
            watched.snapshot()
        until(lambda: server.watching["pods"])
        server.tell_watches("bookmark")
        until(lambda: _is_known(watched))


def test_what_was_never_listed_is_not_known(kube: Kube, server: ApiServer) -> None:
    server.faults = [Fault("list", "pods", times=2, status=500), Fault("list", "pods", cut_after=30), Fault("list", garbage=b"{}")]
    with watching(kube) as watched:
        with pytest.raises(LauncherUnavailableError, match="trouble on order"):
            watched.snapshot()
        until(lambda: _is_known(watched))
        assert lists(server) == 5


def test_half_a_list_is_none_though_its_first_page_came(kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cluster.kubernetes.client.PAGE", 1)
    for name in ("one", "two"):
        kube.api.create(PODS, kube.namespace, pod(name))
    server.faults = [Fault("list", "pods", times=1), Fault("list", "pods", status=500)]
    with watching(kube) as watched:
        with pytest.raises(LauncherUnavailableError):
            watched.snapshot()
        until(lambda: _is_known(watched))
        assert known(watched) == ["one", "two"]


def test_an_answer_nobody_expects_begins_anew_and_stops_nothing(kube: Kube, server: ApiServer) -> None:
    strange = b'{"type": "ADDED", "object": {"metadata": {"name": "no version"}}}\n'
    server.faults = [Fault("watch", "pods", garbage=strange), Fault("watch", "pods", garbage=b'{"type": "ADDED"}\n')]
    with watching(kube) as watched:
        kube.api.create(PODS, kube.namespace, pod("one"))
        until(lambda: _is_known(watched) and known(watched) == ["one"])
        until(lambda: lists(server) == 2)


def test_failures_are_followed_by_growing_pauses_and_by_what_the_server_demands(kube: Kube, server: ApiServer) -> None:
    server.faults = [Fault("", "pods", times=10**6, status=500)]
    with watching(kube, Slow()):
        until(lambda: lists(server) >= 1)
        time.sleep(0.3)
        assert lists(server) == 1, "the first pause is half a second at most"
    server.faults = [Fault("", "pods", times=10**6, status=429, headers={"Retry-After": "30"})]
    with watching(kube, Hasty()):
        until(lambda: lists(server) >= 2)
        time.sleep(0.1)
        assert lists(server) == 2


def test_watches_that_end_at_once_are_not_opened_without_a_pause(kube: Kube, server: ApiServer) -> None:
    server.faults = [Fault("watch", "pods", times=10**6, garbage=b"")]
    with watching(kube, Slow()):
        until(lambda: watches(server))
        time.sleep(0.3)
        assert len(watches(server)) == 1


@pytest.mark.parametrize("moment", ["watching", "listing", "pausing"])
def test_its_thread_ends_when_it_is_closed(kube: Kube, server: ApiServer, moment: str) -> None:
    held = threading.Event()
    if moment == "listing":
        server.faults = [Fault("list", "pods", hold=held)]
    if moment == "pausing":
        server.faults = [Fault("list", "pods", times=10**6, status=500)]
    watched = Watched(kube.api, PODS, kube.namespace, rng=Slow())
    until(lambda: server.watching["pods"] if moment == "watching" else lists(server))
    began = time.monotonic()
    if moment == "listing":
        threading.Timer(0.05, held.set).start()
    watched.close()
    assert not watched._thread.is_alive()
    assert time.monotonic() - began < 2


def _is_known(watched: Watched) -> bool:
    try:
        watched.snapshot()
    except LauncherUnavailableError:
        return False
    return True


# The rules by which what is told is put together


POD = BUILT_IN[2]
Step = tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(["create", "note", "change", "delete", "tell", "list", "late list"]), st.integers(0, 3)), max_size=40
)


@settings(max_examples=300)
@given(steps)
def test_whatever_comes_in_between_what_is_known_ends_as_it_is(taken: list[Step]) -> None:
    """Writes of ours and of others, each told by the watch sooner or later, lists that answer late, in any order."""
    store = Store()
    store.create(BUILT_IN[0], "", {"metadata": {"name": "ns"}})
    known = Known("ns")
    known.replace(listed(store))
    late = listed(store)
    ours: dict[str, str] = {}
    for what, number in taken:
        name = f"p{number % 2}"
        there = ("pods", "ns", name) in store.objects
        if what in ("create", "note") and not there:
            made = store.create(POD, "ns", pod(name))
            if what == "note":
                known.note(made)
                ours[name] = made["metadata"]["uid"]
        elif what == "change" and there:
            known.note(store.patch(POD, "ns", name, {"metadata": {"annotations": {"at": str(store.version)}}}))
            ours[name] = store.objects["pods", "ns", name]["metadata"]["uid"]
        elif what == "delete" and there:
            store.delete(POD, "ns", name, {})
        elif what == "tell":
            tell(known, store, number + 1)
        elif what == "list":
            if int(late.resource_version) < int(known.version or 0):
                late = listed(store)  # a list is begun after what the watch before it has told
            known.replace(late)
            late = listed(store)
        elif what == "late list":
            late = listed(store)
        there_now = {found["metadata"]["uid"] for found in store.all("pods")}
        known_now = {found["metadata"]["uid"] for found in known.objects.values()}
        assert there_now.intersection(ours.values()) <= known_now, "what we wrote is never missed, not for a moment"
    tell(known, store, 10**6)
    assert known.objects == {key[2]: found for key, found in store.objects.items() if key[0] == "pods"}


def listed(store: Store) -> Listed:
    return Listed(tuple(store.all("pods", "ns")), str(store.version))


def tell(known: Known, store: Store, most: int) -> None:
    """The next changes, as a watch from the known version tells them."""
    changes = list(store.changes_after(int(known.version or 0)))
    for event in list(events_of([change for change in changes if change.kind == "pods"], "ns", None, None))[:most]:
        known.apply(event)


def test_an_answer_to_a_write_that_comes_after_the_watch_told_its_deletion_brings_nothing_back() -> None:
    store = Store()
    store.create(BUILT_IN[0], "", {"metadata": {"name": "ns"}})
    known = Known("ns")
    known.replace(listed(store))
    made = store.create(POD, "ns", pod("one"))
    store.delete(POD, "ns", "one", {})
    tell(known, store, 2)
    known.note(made)
    assert known.objects == {}


def test_after_a_cluster_was_restored_from_an_older_state_nothing_of_the_newer_one_stays() -> None:
    known = Known("ns")
    newer: Object = {"metadata": {"name": "one", "resourceVersion": "900"}}
    known.replace(Listed((newer,), "900"))
    known.note({"metadata": {"name": "two", "resourceVersion": "950"}})
    known.replace(Listed((), "500"))
    assert list(known.objects) == ["two"], "our own answer may be newer than a list"
    known.replace(Listed((), "501"))
    assert known.objects == {}


def test_all_namespaces_are_kept_apart(kubeconfig: object, kube: Kube) -> None:
    kube.api.create(PODS, kube.namespace, pod("one", labels={"of": kube.namespace}))
    assert isinstance(kube.api, Kubernetes)
    with Watched(kube.api, PODS, None, label_selector=f"of={kube.namespace}", rng=Hasty()) as watched:
        assert known(watched) == [f"{kube.namespace}/one"]


def test_what_was_made_again_under_its_old_name_outlives_the_news_of_the_old_ones_end_and_a_list_from_before() -> None:
    store = Store()
    store.create(BUILT_IN[0], "", {"metadata": {"name": "ns"}})
    store.create(POD, "ns", pod("one"))
    known = Known("ns")
    known.replace(listed(store))
    store.delete(POD, "ns", "one", {})
    before = listed(store)
    made = store.create(POD, "ns", pod("one"))
    known.note(made)
    tell(known, store, 1)
    assert known.objects == {"one": made}
    known.replace(before)
    assert known.objects == {"one": made}
