"""What tenants have used, fading by half with every half-life: the part of a fair share that looks back.

For a tenant that held `held(s)` of a resource at every moment `s`, and a half-life H,

    past(t) = (ln 2 / H) · ∫ held(s) · 2^-((t - s) / H) ds        over every s up to t

which is the mean of what it held, a moment one half-life ago counting half. Who has always held h comes out at h, so that past
and present are in one unit, and who stops falls to h/2 after one half-life. Slurm fades usage in the same way
(`PriorityDecayHalfLife`, https://slurm.schedmd.com/priority_multifactor.html), and so do Kueue's admission fair sharing
(`usageHalfLifeTime`) and KAI's time-aware fairness (`docs/timeaware`).

Exact: with g(s) = 2^((s - origin) / H), a span of `amount` from b to e adds amount · (g(e) - g(b)) / g(t). The growths g are
integers in units of 2^-40, so the sums are sums of integers: the same spans give the same past, told in whatever order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from scheduler.engine.fleet import Ints

HALF_LIVES = 10
"""How far back is looked: what was used before that counted less than a thousandth."""

FINENESS = 1000
"""`Past` is in thousandths of what it is the past of: of milli-cards and milli-cores."""

_GROWTH_BITS = 40


@dataclass(frozen=True, slots=True)
class Past:
    """What tenants used before, at one moment: `held` by tenant is an array of resources, in 1/`FINENESS` of milli-cards and
    milli-cores held on average."""

    half_life: int
    """Microseconds."""
    held: Mapping[str, Ints]

    def unit_hours(self, tenant: str, resource: int) -> int:
        """The card-hours (core-hours) behind it, what is one half-life old counting half."""
        found = self.held.get(tenant)
        hours = 0.0 if found is None else float(found[resource]) / (1000 * FINENESS) * self.half_life / log(2) / 3_600_000_000
        return round(hours)


@dataclass(slots=True)
class _Used:
    """One tenant, by resource: what it holds now, and the sum of amount × growth over the ends of its spans less that over the
    beginnings."""

    held: list[int]
    grown: list[int]


@dataclass(slots=True)
class History:
    """The spans in which tenants held something, as sums that any later moment can be asked of. Changes as it is told.

    `half_life` and `origin` are microseconds. What was held before the origin is not counted: see `origin_for`.
    """

    half_life: int
    origin: int
    _tenants: dict[str, _Used] = field(default_factory=dict)

    @staticmethod
    def origin_for(half_life: int, now: int) -> int:
        """A moment `HALF_LIVES` half-lives ago or up to one more: it moves once a half-life, so that answers do not flicker."""
        return (now // half_life - HALF_LIVES) * half_life

    def begin(self, tenant: str, amounts: Sequence[int], at: int) -> None:
        """From then on the tenant holds so much more of each resource, in milli-cards or milli-cores."""
        self._change(tenant, amounts, at, 1)

    def end(self, tenant: str, amounts: Sequence[int], at: int) -> None:
        """From then on it holds so much less. Ends may be told late, and in any order."""
        self._change(tenant, amounts, at, -1)

    def past(self, now: int) -> Past:
        """What every tenant used up to now."""
        growth = self._growth(now)
        return Past(
            self.half_life,
            {
                tenant: np.array(
                    [
                        max(0, FINENESS * (held * growth + grown) // growth)
                        for held, grown in zip(used.held, used.grown, strict=True)
                    ],
                    dtype=np.int64,
                )
                for tenant, used in sorted(self._tenants.items())
            },
        )

    def _change(self, tenant: str, amounts: Sequence[int], at: int, sign: int) -> None:
        used = self._tenants.get(tenant)
        if used is None:
            used = self._tenants[tenant] = _Used([0] * len(amounts), [0] * len(amounts))
        growth = self._growth(at)
        for resource, amount in enumerate(amounts):
            if amount:
                used.held[resource] += sign * amount
                used.grown[resource] -= sign * amount * growth

    def _growth(self, at: int) -> int:
        """How often a unit held at `at` outweighs one at the origin, in units of 2^-40."""
        doublings, rest = divmod(max(0, at - self.origin), self.half_life)
        # 12 bits fewer than a float carries: the last digits of a power, which machines may differ in, are rounded away
        return round(2 ** (rest / self.half_life) * (1 << _GROWTH_BITS)) << doublings
