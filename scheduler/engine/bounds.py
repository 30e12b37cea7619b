"""What binds a job in time: the places promised to others that it could still be on, and the windows it would reach into.

Either is, for a round, a picture of what is left beside it; a job takes what all of those that bind it leave.
"""

from dataclasses import dataclass

from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.reserve import Promise
from scheduler.engine.window import Window, left_inside, left_outside


@dataclass(frozen=True, slots=True)
class Bounds:
    """What binds one job. `within`, where given, are reservations it is kept to, being tried there first."""

    promises: tuple[Promise, ...] = ()
    windows: tuple[Window, ...] = ()
    within: tuple[Window, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.promises or self.windows or self.within)

    def key(self) -> tuple[tuple[str, ...], ...]:
        """Equal bounds have equal keys."""
        windows = (tuple(each.id for each in windows) for windows in (self.windows, self.within))
        return tuple(each.job for each in self.promises), *windows

    def lefts(self, fleet: Fleet) -> list[Free]:
        """The pictures none of which may be exceeded."""
        found = [each.left for each in self.promises]
        if self.windows:
            found.append(left_outside(fleet, self.windows))
        if self.within:
            found.append(left_inside(fleet, self.within))
        return found


UNBOUND = Bounds()
