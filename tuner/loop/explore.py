"""What learning sees of a described house: stretches that explore its plants, and what a theta says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.problem import Parameter
from systems.world import Exogenous
from tuner.errors import TrainingError
from tuner.evaluate.comparison import design_of, is_bias
from tuner.learn.transitions import Labelled, join
from tuner.learn.tuning import TuningSpec
from tuner.learn.world import EXPLORE, TRY, Tried
from tuner.loop.label import Deeds, Noise, labelled
from tuner.loop.policies import Mpc, loaded
from tuner.loop.view import Moment, ThetaEstimator
from tuner.loop.week import run_stretch
from tuner.loop.workers import Workers

DAY_S = 86_400.0
LEARN = ("cost", "terminal")
"""The weights, which a data fit knows nothing of."""
SCALE_SHARE, ARX_SHARE = 0.1, 0.01
"""Of the width of a parameter's bounds: how far from the data fit it may plausibly lie."""
HEAT_LASTS_H = 10.0
"""Time constant of the critic's trace where heat is stored: V_theta does not know what warm walls are worth, and for so
long what was really paid counts instead. On a flat lambda = 0.5 is ten standard errors sure that a warmer set-point
pays, which it does not."""
LOOKS_AHEAD_H = 25.0
"""Time constant of the discount where the house's own is 1: the program looks a day ahead."""


class Explorer(Mpc):
    """The program with noise on its first move, held for the stage."""

    def __init__(self, design: HouseDesign, library: Path, theta: Array, rng: np.random.Generator) -> None:
        super().__init__(design, library, theta)
        self.noise, self._rng = Noise.of(design.problem), rng
        self.asked: list[Array] = []

    def decide(self, moment: Moment) -> Array:
        asked, action = self.noise.draw(super().decide(moment), self._rng)
        self.asked.append(asked)
        return action


class Experience(Protocol):
    """Decisions that followed each other, and what was seen around them."""

    @property
    def deeds(self) -> Deeds: ...

    def seen(self, design: HouseDesign, theta: Array) -> tuple[Sequence[Array], Sequence[Array]]:
        """n + 1 states (nx,) and forecasts (N + 1, nd)."""
        ...


@dataclass(frozen=True, eq=False)
class Stretch:
    """n decisions and the n + 1 moments around them; what they cost is billed or not."""

    moments: tuple[Moment, ...]
    deeds: Deeds

    def seen(self, design: HouseDesign, theta: Array) -> tuple[list[Array], list[Array]]:
        """States (nx,) and forecasts (N + 1, nd) as this theta's estimator has them."""
        estimator = ThetaEstimator(design, theta)
        return [estimator.state(moment) for moment in self.moments], [moment.forecast for moment in self.moments]


@dataclass(frozen=True, eq=False)
class PlantWorld:
    """The plants of a house in a world, to explore from `starts` and to try a theta on the held-in weeks."""

    design: HouseDesign
    library: Path
    world: Exogenous
    starts: tuple[int, ...]
    held_in: tuple[int, ...]
    episodes: int
    days: float
    seed: int
    workers: Workers
    name: str = "the plants of the house"
    truth: dict[str, Any] = field(default_factory=dict)
    """Fitted models that are the truth, by table, in the place of plants."""
    held_in_days: float = 7.0
    recorded: bool = False

    def explore(self, theta: Array, iteration: int) -> list[Stretch]:
        shared = (*self._shared(), theta, self.starts, self.days)
        seeds = [((EXPLORE, self.seed, iteration, k),) for k in range(self.episodes)]
        return list(self.workers.run(_explored, shared, seeds))

    def compare(self, thetas: Sequence[Array], iteration: int) -> Array:
        """The stretches are spread over the season, each at random within its share of it."""
        rng, count = np.random.default_rng([EXPLORE, self.seed, iteration]), self.episodes
        places = (np.arange(count) + rng.random(count)) / count * len(self.starts)
        firsts = np.sort(np.asarray(self.starts))[places.astype(int)]
        stretches = [(int(f), self.days, (EXPLORE, self.seed, iteration, k)) for k, f in enumerate(firsts)]
        tasks = [(theta, *stretch) for theta in thetas for stretch in stretches]
        costs = list(self.workers.run(_compared, self._shared(), tasks))
        return np.array(costs).reshape(len(thetas), count)

    def try_out(self, theta: Array) -> Tried:
        return self.try_all([theta])[0]

    def try_all(self, thetas: Sequence[Array]) -> list[Tried]:
        """Each of the thetas on the same held-in weeks, side by side."""
        weeks = [(first, self.held_in_days, (TRY, self.seed, k)) for k, first in enumerate(self.held_in)]
        tasks = [(theta, *week) for theta in thetas for week in weeks]
        found = np.array(list(self.workers.run(_tried, self._shared(), tasks))).reshape(len(thetas), len(weeks), 2)
        return [Tried(costs[:, 0], costs[:, 1]) for costs in found]

    def _shared(self) -> tuple[Any, ...]:
        return _key(self.design), self.library, self.world, self.truth


@dataclass(frozen=True, eq=False)
class CompiledLabeller:
    """By the compiled program that is deployed, and its derivatives in C."""

    design: HouseDesign
    library: Path
    workers: Workers
    exploration: float = 1.0

    @property
    def gamma(self) -> float:
        grid = self.design.house.grid
        return min(grid.discount, float(np.exp(-grid.hold_s / HOUR_S / LOOKS_AHEAD_H)))

    def label(
        self,
        experience: Sequence[Experience],
        theta: Array,
        entries: NDArray[np.int64],
        scale: Array,
        *,
        with_advantage: bool,
    ) -> Labelled:
        shared = (_key(self.design), self.library, theta, entries, scale, with_advantage)
        tasks = [(stretch, number) for number, stretch in enumerate(experience)]
        parts = list(self.workers.run(_labelled, shared, tasks))
        return Labelled(
            join([part.transitions for part in parts]),
            sum(part.solves for part in parts),
            sum(part.failures for part in parts),
            np.concatenate([part.used for part in parts]),
        )


def trace_of(house: House) -> float:
    """lambda of the critic a decision: that of stored heat where there is any, else the learner's own."""
    if house.of("zone") or house.of("tank"):
        return float(np.exp(-house.grid.hold_s / HOUR_S / HEAT_LASTS_H))
    return TuningSpec().trace


def learned_by_default(parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """The weights, what a battery keeps by the hour where it has knots, and the mean errors of forecasts and models.

    The mean of a fit is not what decides best.

    Rare spikes lift the mean error of a load forecast, and a battery that reckons with it all day loses by it.
    """
    by_hour = ("reserve",) if any(p.group == "reserve" for p in parameters) else ()
    return (*LEARN, *by_hour, *(p.name for p in parameters if is_bias(p)))


def learning_entries(parameters: Sequence[Parameter], learn: Sequence[str]) -> tuple[NDArray[np.int64], Array]:
    """(indices in theta (p,), scales (p,)) of groups and single parameters. Raises TrainingError for unknown names."""
    groups = {p.group for p in parameters}
    unknown = sorted(set(learn) - groups - {p.name for p in parameters})
    if unknown or not learn:
        raise TrainingError(
            f"theta of this house has no {unknown[0] if unknown else ''!r} to learn; choose among its parameters and "
            f"the groups {', '.join(sorted(groups))}"
        )
    entries = [i for i, p in enumerate(parameters) if p.group in learn or p.name in learn]
    scale = [
        (ARX_SHARE if parameters[i].group == "arx" else SCALE_SHARE) * (parameters[i].upper - parameters[i].lower)
        for i in entries
    ]
    return np.array(entries), np.array(scale)


def _key(design: HouseDesign) -> tuple[str, tuple[tuple[str, str], ...]]:
    return design.text, tuple(sorted(design.fits.items()))


def _explored(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    world: Exogenous,
    truth: dict[str, Any],
    theta: Array,
    starts: Sequence[int],
    days: float,
    seeds: tuple[int, ...],
) -> Stretch:
    rng, design = np.random.default_rng(list(seeds)), design_of(*key)
    explorer = Explorer(design, library, theta, rng)
    moments: list[Moment] = []
    actions: list[Array] = []
    costs: list[float] = []

    def keep(moment: Moment, action: Array, cost: float) -> None:
        moments.append(moment)
        actions.append(action)
        costs.append(cost)

    run_stretch(
        design,
        HousePlant(design.house, world, fits=truth),
        explorer,
        first=int(rng.choice(np.asarray(starts))),
        stages=round(days * DAY_S / design.house.grid.hold_s),
        seed=int(rng.integers(2**31)),
        on_stage=keep,
    )
    asked = np.array(explorer.asked[-len(actions) :])
    return Stretch(tuple(moments), Deeds(asked[:-1], np.array(actions)[:-1], np.array(costs)[:-1]))


def _tried(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    world: Exogenous,
    truth: dict[str, Any],
    theta: Array,
    first: int,
    days: float,
    seeds: tuple[int, ...],
) -> tuple[float, float]:
    """(bill, what is not billed) of a held-in week."""
    design = design_of(*key)
    result = run_stretch(
        design,
        HousePlant(design.house, world, fits=truth),
        Mpc(design, library, theta),
        first=first,
        stages=round(days * DAY_S / design.house.grid.hold_s),
        seed=int(np.random.SeedSequence(list(seeds)).generate_state(1)[0]),
    )
    return result.bill, sum(result.unbilled.values())


def _compared(*of: Any) -> float:
    """What a theta costs in a stretch, arguments as of `_tried`."""
    return sum(_tried(*of))


def _labelled(
    key: tuple[str, tuple[tuple[str, str], ...]],
    library: Path,
    theta: Array,
    entries: NDArray[np.int64],
    scale: Array,
    with_advantage: bool,
    stretch: Experience,
    number: int,
) -> Labelled:
    design = design_of(*key)
    controller = loaded(design, library)
    controller.set_theta(theta)
    states, forecasts = stretch.seen(design, theta)
    return labelled(
        design.problem, theta, controller, Noise.of(design.problem), states, forecasts, stretch.deeds, entries, scale,
        with_advantage=with_advantage, number=number,
    )  # fmt: skip
