"""The one learner with the condensed program of four rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from research.condensed.solver import CondensedMpc
from research.four_rooms.theta import HouseMpc
from research.smart_home.experience import HouseStretch, label
from tuner.learn.transitions import Labelled

Array = NDArray[np.float64]
EXPLORATION_KW = 0.15


@dataclass(frozen=True, eq=False)
class CondensedLabeller:
    """By the condensed program of the four-room house."""

    mpc: HouseMpc
    exploration: float = EXPLORATION_KW
    threads: int = 1

    @property
    def gamma(self) -> float:
        return self.mpc.interval_discount

    def label(
        self,
        experience: Sequence[HouseStretch],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        mpc = CondensedMpc(self.mpc, theta)
        return label(experience, mpc, entries, scale, with_advantage=with_advantage, threads=self.threads)
