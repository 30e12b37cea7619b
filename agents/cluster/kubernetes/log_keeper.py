"""What the ranks print, kept by the agent: pods go and kubelets cut their logs, so it is taken up while it is there.

Each rank has a ring on the agent's disk (`agents.cluster.ring`), fed from the pod log API. One feeding is one call, or a few where
a program prints more in a second than one call may bring; whoever feeds decides how many there are in a round.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.cluster.kubernetes.client import Kubernetes
from agents.cluster.kubernetes.errors import KubernetesError
from agents.cluster.kubernetes.pod_logs import Place, place_of, skipped, take
from agents.cluster.kubernetes.pod_status import is_over
from agents.cluster.launcher import LauncherUnavailableError, LogPiece
from agents.cluster.ring import Ring

FEED_BYTES = 1_048_576
MOST_FEED_BYTES = 16 * FEED_BYTES
"""What one call brings; and where one second of a log holds more."""


TROUBLE_SECONDS = 30.0
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.5, 5.0
"""How long a pod is left alone whose log could not be had; and one that had printed nothing new, twice as long each time."""

GIVE_UP_SECONDS = 600.0
"""How long the rest of a log that is over is waited for while it cannot be had."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rank's log comes from: a pod, and the container of it that counts."""

    run: str
    rank: int
    pod: Mapping[str, Any]
    container: str

    @property
    def uid(self) -> str:
        return str(self.pod["metadata"]["uid"])


@dataclass(frozen=True, slots=True)
class _Pause:
    until: float
    seconds: float


class LogKeeper:
    """The logs of a cluster's runs under `folder`, by their names. Raises OSError where that cannot be read."""

    def __init__(self, api: Kubernetes, namespace: str, folder: Path, monotonic: Callable[[], float]) -> None:
        self._api = api
        self._namespace = namespace
        self._folder = folder
        self._monotonic = monotonic
        self._pauses: dict[str, _Pause] = {}
        self._troubled: dict[str, float] = {}
        """Since when the logs of which pods could not be had."""
        self._rings: dict[tuple[str, int], Ring] = {}
        self._turn = 0
        self._fed: dict[tuple[str, int], int] = {}

    def read(self, run: str, rank: int, source: Source | None, offset: int, most_bytes: int) -> LogPiece:
        """From what is kept, and where that is read to its end, from what there is new."""
        start, data = self._ring(run, rank).read(offset, most_bytes)
        if not data and source is not None:
            self.feed(source)
            start, data = self._ring(run, rank).read(offset, most_bytes)
        return LogPiece(start, data, self._ring(run, rank).end, waits=not data and source is not None and self._waits(source))

    def by_turns(self, sources: Iterable[Source]) -> list[Source]:
        """The sources that have more to give: those that may soon be gone first, then those fed longest ago."""
        waiting = [source for source in sources if not self._is_drained(source) and not self._is_paused(source)]
        return sorted(waiting, key=lambda source: (not is_over(source.pod), self._fed.get((source.run, source.rank), 0)))

    def feed(self, source: Source) -> bool:
        """Takes up what is new, at most FEED_BYTES of it. False where its kubelet could not be reached, or our disk took no more: a
        node that does not answer is trouble of its own pods only, which are then left alone for a while."""
        self._turn += 1
        self._fed[source.run, source.rank] = self._turn
        if self._is_drained(source) or self._is_paused(source):
            return True
        try:
            self._take_up(source)
        except (LauncherUnavailableError, OSError) as error:
            if source.uid not in self._troubled:
                log.warning("the log of %s (rank %d): %s", source.run, source.rank, error)
            self._troubled.setdefault(source.uid, self._monotonic())
            self._pauses[source.uid] = _Pause(self._monotonic() + TROUBLE_SECONDS, TROUBLE_SECONDS)
            self._rings.pop((source.run, source.rank), None)  # what it wrote by half is cut off when it is opened again
            return False
        self._troubled.pop(source.uid, None)
        return True

    def _take_up(self, source: Source) -> None:
        ring = self._ring(source.run, source.rank)
        before = place_of(ring.mark) if ring.mark.get("pod") == source.uid else Place()
        over = is_over(source.pod)
        try:
            data, place, cut = self._new(source, before, over)
        except KubernetesError:
            # No container yet, or none any more: what the pod printed before, if anything, is all there will be
            data, place, cut = b"", before, False
        self._pause(source, printed=bool(data))
        mark = {**place.mark(), "pod": source.uid, "over": over and not cut}
        if data:
            ring.append(data, mark)
        elif mark != ring.mark:
            ring.note(mark)

    def keep_only(self, runs: Iterable[str]) -> None:
        """Removes the logs of all other runs."""
        kept = set(runs)
        long_ago = self._monotonic() - TROUBLE_SECONDS
        self._pauses = {uid: pause for uid, pause in self._pauses.items() if pause.until > long_ago}
        self._troubled = {uid: since for uid, since in self._troubled.items() if uid in self._pauses}
        for name, rank in [key for key in self._rings if key[0] not in kept]:
            self._rings.pop((name, rank))
            self._fed.pop((name, rank), None)
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _new(self, source: Source, before: Place, over: bool) -> tuple[bytes, Place, bool]:
        """What is new, the place after it, and whether there may be more."""
        limit = FEED_BYTES
        while True:
            answer = self._api.read_log(
                self._namespace,
                source.pod["metadata"]["name"],
                container=source.container,
                since=before.since,
                max_bytes=limit,
                timestamps=True,
            )
            cut = len(answer) >= limit
            data, place = take(before, answer, cut=cut, last=over)
            if not cut or place != before:
                return data, place, cut
            if limit >= MOST_FEED_BYTES:
                return *skipped(before), True
            limit = MOST_FEED_BYTES

    def _pause(self, source: Source, *, printed: bool) -> None:
        if printed or is_over(source.pod):
            self._pauses.pop(source.uid, None)
            return
        before = self._pauses.get(source.uid)
        seconds = FIRST_PAUSE_SECONDS if before is None else min(2 * before.seconds, MOST_PAUSE_SECONDS)
        self._pauses[source.uid] = _Pause(self._monotonic() + seconds, seconds)

    def _is_paused(self, source: Source) -> bool:
        """A pod that has ended since is asked for the rest at once, but for one that could not be asked."""
        pause = self._pauses.get(source.uid)
        if pause is None or self._monotonic() >= pause.until:
            return False
        return pause.seconds == TROUBLE_SECONDS or not is_over(source.pod)

    def _waits(self, source: Source) -> bool:
        """Whether the rest of a log that is over may still be had, though not now."""
        since = self._troubled.get(source.uid)
        return since is not None and is_over(source.pod) and self._monotonic() - since < GIVE_UP_SECONDS

    def _is_drained(self, source: Source) -> bool:
        mark = self._ring(source.run, source.rank).mark
        return mark.get("over") is True and mark.get("pod") == source.uid

    def _ring(self, run: str, rank: int) -> Ring:
        key = (run, rank)
        if key not in self._rings:
            self._rings[key] = Ring(self._folder / run / str(rank))
        return self._rings[key]
