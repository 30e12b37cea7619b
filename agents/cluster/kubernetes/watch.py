"""One kind of object as the API has it now, kept up to date by the API's own changes.

List once, then watch from that version, and on from the last version seen whenever the stream ends; list again only where that
version is no longer kept. The client library's informer does the same without deadlines, without pauses between failures and
without ever saying that it no longer knows; and what is not known here may not look as if it were gone.
"""

import logging
import math
import time
from collections.abc import Callable, Mapping
from random import Random
from threading import Condition, Thread
from types import TracebackType
from typing import Self

from agents.cluster.kubernetes.client import Kubernetes, Listed, Object, Stream
from agents.cluster.kubernetes.errors import ExpiredError, KubernetesError
from agents.cluster.kubernetes.resources import Resource
from agents.cluster.launcher import LauncherUnavailableError
from agents.terms import backoff_seconds

WATCH_SECONDS = 30
"""How long one watch lasts. Its end says that nothing was missed until then, so what is known is at most this old, plus a call."""

FRESH_SECONDS = 75.0
"""What was last confirmed longer ago is not told any more: two watches and a call that failed."""

STEADY_SECONDS = 1.0
"""A watch that ends sooner than this is followed by a pause, like one that failed."""

FIRST_SECONDS = 15.0
CLOSE_SECONDS = 5.0
"""How long the first question waits for the first list, and `close` for the thread."""

log = logging.getLogger(__name__)


class Known:
    """The objects of one kind at one version, by name. Pure: what the API tells is put in, in the order in which it tells it.

    Versions of one kind are numbers that grow with every write (Kubernetes KEP-5504). So an answer to a write of our own can be
    told from what the watch has reached already, and a list from one that is older than such an answer.
    """

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace
        self.objects: dict[str, Object] = {}
        self.version: str | None = None
        self._noted: dict[str, int] = {}

    def replace(self, listed: Listed) -> None:
        """What a list says: all there is, but for what we wrote after it. The next list has that too, or it is no more."""
        after = [name for name, version in self._noted.items() if version > int(listed.resource_version)]
        later = {name: self.objects[name] for name in after if name in self.objects}
        self.objects = {self._name(found): found for found in listed.items} | later
        self.version = listed.resource_version
        self._noted.clear()

    def apply(self, event: Object) -> None:
        """What a watch says next."""
        found = event["object"]
        self.version = str(_version(found))
        if event["type"] == "BOOKMARK":
            return
        if _version(found) >= self._noted.get(self._name(found), 0):
            self._noted.pop(self._name(found), None)
        if event["type"] == "DELETED":
            self._gone(found)
        else:
            self._put(found)

    def note(self, found: Object) -> None:
        """What a write of our own answered; nothing new if the watch has told what came after it."""
        if self.version is not None and _version(found) <= int(self.version):
            return
        self._noted[self._name(found)] = _version(found)
        self._put(found)

    def _put(self, found: Object) -> None:
        known = self.objects.get(self._name(found))
        if known is None or _version(known) < _version(found):
            self.objects[self._name(found)] = found

    def _gone(self, found: Object) -> None:
        known = self.objects.get(self._name(found))
        if known is not None and _version(known) <= _version(found):
            del self.objects[self._name(found)]

    def _name(self, found: Object) -> str:
        metadata = found["metadata"]
        return (
            str(metadata["name"])
            if self._namespace or "namespace" not in metadata
            else f"{metadata['namespace']}/{metadata['name']}"
        )


class Watched:
    """What there is of `resource`, by name (`namespace/name` where all namespaces are watched), kept in a thread until closed."""

    def __init__(
        self,
        api: Kubernetes,
        resource: Resource,
        namespace: str | None,
        *,
        label_selector: str | None = None,
        rng: Random,
        monotonic: Callable[[], float] = time.monotonic,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._selector = label_selector
        self._rng = rng
        self._monotonic = monotonic
        self._fresh_seconds = fresh_seconds
        self._known = Known(namespace)
        self._confirmed_at: float | None = None
        self._trouble = ""
        self._stream: Stream | None = None
        self._closed = False
        self._turn = Condition()
        """Guards all of the above that changes."""
        self._thread = Thread(target=self._run, name=f"watch {resource.qualified}", daemon=True)
        self._thread.start()

    def snapshot(self) -> Mapping[str, Object]:
        """What there is. Objects are not to be changed. The first call waits for the first list, at most FIRST_SECONDS.

        Raises LauncherUnavailableError when nothing is known, or nothing fresh enough to say that something is not there.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._confirmed_at is not None or self._trouble, FIRST_SECONDS)
            if self._confirmed_at is None:
                raise LauncherUnavailableError(self._trouble or f"list {self._resource.qualified}: no answer yet")
            age = self._age()
            if age > self._fresh_seconds:
                why = self._trouble or "the watch has gone silent"
                raise LauncherUnavailableError(f"{self._resource.qualified}: last known {age:.0f} s ago ({why})")
            return dict(self._known.objects)

    def note(self, found: Object) -> None:
        """Take up what a create or patch of our own answered, so that the next snapshot has it though no watch has told it yet.

        It must be one of those that are watched.
        """
        with self._turn:
            self._known.note(found)

    def close(self) -> None:
        with self._turn:
            self._closed = True
            if self._stream is not None:
                self._stream.interrupt()
            self._turn.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self) -> None:
        backoff = backoff_seconds(self._rng)
        while not self._closed:
            began = self._monotonic()
            try:
                self._once()
            except ExpiredError:
                self._forget_version()
            except (LauncherUnavailableError, KubernetesError) as error:
                self._say(str(error))
            except Exception as error:
                # Whatever an answer was that nothing here expects: begin again rather than stand still with what was known.
                log.error("watch %s: %s", self._resource.qualified, type(error).__name__)
                self._forget_version()
                self._say(f"watch {self._resource.qualified}: an answer this agent cannot read ({type(error).__name__})")
            if self._monotonic() - began >= STEADY_SECONDS:
                backoff = backoff_seconds(self._rng)
            else:
                self._pause(max(next(backoff), self._api.keep_off_seconds()))

    def _once(self) -> None:
        """A list if one is needed, and one watch to its end.

        A watch confirms what is known only by its first event or its end. What is no longer fresh shall not wait for that.
        """
        version = self._known.version
        if version is None or self._age() > self._fresh_seconds:
            version = self._list()
        seconds = round(WATCH_SECONDS * self._rng.uniform(0.8, 1.0))
        stream = self._api.watch(
            self._resource, self._namespace, resource_version=version, seconds=seconds, label_selector=self._selector
        )
        with stream:
            with self._turn:
                self._stream = stream
                if self._closed:
                    return
            try:
                for event in stream:
                    self._take(event)
            finally:
                with self._turn:
                    self._stream = None
        self._confirm(self._monotonic())

    def _list(self) -> str:
        asked_at = self._monotonic()
        listed = self._api.list(self._resource, self._namespace, label_selector=self._selector)
        with self._turn:
            self._known.replace(listed)
        self._confirm(asked_at)
        return listed.resource_version

    def _take(self, event: Object) -> None:
        with self._turn:
            self._known.apply(event)
        self._confirm(self._monotonic())

    def _confirm(self, moment: float) -> None:
        """What is known was so at `moment`."""
        with self._turn:
            self._confirmed_at = max(moment, self._confirmed_at or moment)
            self._turn.notify_all()
        self._say("")

    def _age(self) -> float:
        """Seconds since what is known was last confirmed."""
        return math.inf if self._confirmed_at is None else self._monotonic() - self._confirmed_at

    def _forget_version(self) -> None:
        with self._turn:
            self._known.version = None

    def _say(self, trouble: str) -> None:
        """Logs trouble when it begins and ends, not each time it is met again."""
        with self._turn:
            before, self._trouble = self._trouble, "" if self._closed else trouble
            self._turn.notify_all()
        if self._trouble and not before:
            log.warning("%s; trying again", trouble)
        if before and not trouble:
            log.info("watch %s: goes on", self._resource.qualified)

    def _pause(self, seconds: float) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._closed, seconds)


def _version(found: Object) -> int:
    return int(found["metadata"]["resourceVersion"])
