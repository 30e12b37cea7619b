"""Who need not be served in a round: what a round asks, and the answer of one that serves everybody."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from scheduler.engine.backlog import Shares
from scheduler.engine.fleet import Bools
from scheduler.engine.round import Round


class Sleepers(Protocol):
    """Knows who need not be served."""

    def candidates(self, round_: Round, shares: Shares, decided: Sequence[tuple[int, str]]) -> Bools:
        """Which lines to serve, as it looks after what the round has decided; it may err on the side of too many. The same array as
        before is the same answer."""


class Everybody:
    """Nobody sleeps."""

    def __init__(self, lines: int) -> None:
        self._all = np.ones(lines, dtype=np.bool_)

    def candidates(self, round_: Round, shares: Shares, decided: Sequence[tuple[int, str]]) -> Bools:
        return self._all
