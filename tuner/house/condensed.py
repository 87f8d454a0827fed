"""The one learner with the condensed program of four rooms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codegen.condensed.solver import CondensedMpc
from systems.house.theta import HouseMpc
from systems.problem import Parameter
from tuner.house.experience import Experience, label
from tuner.house.parameters import learning_entries
from tuner.learn.transitions import Labelled
from tuner.learn.tuning import Tuning, TuningProgress, TuningSpec, tune
from tuner.learn.world import World

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
        experience: Sequence[Experience],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        mpc = CondensedMpc(self.mpc, theta)
        return label(experience, mpc, entries, scale, with_advantage=with_advantage, threads=self.threads)


def tune_house(
    world: World,
    mpc: HouseMpc,
    parameters: Sequence[Parameter],
    start: Array,
    spec: TuningSpec,
    *,
    exploration_kw: float = EXPLORATION_KW,
    threads: int = 1,
    checkpoint: Path | None = None,
    resume: bool = False,
    report: Callable[[TuningProgress], None] | None = None,
    time_limit_s: float | None = None,
) -> Tuning:
    """`tune` with the condensed program of the four-room house."""
    labeller = CondensedLabeller(mpc, exploration_kw, threads)
    learning = learning_entries(parameters, spec.learn)
    return tune(
        world, labeller, parameters, learning, start, spec,
        checkpoint=checkpoint, resume=resume, report=report, time_limit_s=time_limit_s,
    )  # fmt: skip
