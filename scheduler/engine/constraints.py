"""What a job asks of the nodes themselves, beside what is free on them: labels, driver and toolkit versions.

A node that does not say something is taken not to have it. Constraints print as a tenant writes them, so a reason can name one.
"""

from dataclasses import dataclass
from typing import Literal

from scheduler.domain.versions import Version, VersionRange


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a node that no job uses up. `driver` and `toolkit` are None where it reports no readable version."""

    labels: frozenset[tuple[str, str]] = frozenset()
    driver: Version | None = None
    toolkit: Version | None = None


NO_TRAITS = Traits()


@dataclass(frozen=True, slots=True)
class LabelIn:
    """The node has this label with one of some values."""

    key: str
    values: frozenset[str]

    def holds(self, traits: Traits) -> bool:
        return any((self.key, value) in traits.labels for value in self.values)

    def __str__(self) -> str:
        return f"{self.key}={'|'.join(sorted(self.values))}"


@dataclass(frozen=True, slots=True)
class VersionIn:
    """The version of the node's driver or toolkit is in a range."""

    of: Literal["driver", "toolkit"]
    range: VersionRange

    def holds(self, traits: Traits) -> bool:
        version = traits.driver if self.of == "driver" else traits.toolkit
        return version is not None and self.range.holds(version)

    def __str__(self) -> str:
        return f"{self.of}{self.range.text}"


Constraint = LabelIn | VersionIn
