"""The smart-home experiment of "All AI Models are Wrong, but Some are Optimal", V-B: ten models tuned and judged.

The world is the ARX of the whole learning season with its innovations (eq. 37). Each seed draws 90 days of that season,
fits its model to them and starts from the deterministic part (eq. 38); it learns in their weather and prices, by the
one learner of the product. After each iteration every model is judged on the same periods of separate data with the
same innovations.
Where the paper's text leaves room the reading is a field of SmartHomeSpec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from research.condensed.solver import ClosedLoop, CondensedMpc, Rollout, run
from research.four_rooms.cost import HouseCost
from research.four_rooms.theta import LAGS, ROOMS, HouseMpc, coarsening_moves, held_moves, house_theta, theta_values
from research.smart_home.data import STEPS_PER_DAY, ExperimentData, draw_windows, window_starts
from research.smart_home.parameters import learning_entries
from systems.arx import ArxModel
from systems.assets.zone.arx_fit import fit_arx
from systems.world.weather import Conditions
from tuner.learn.critic import StepOptions
from tuner.learn.tuning import TuningSpec
from tuner.loop.periods import PeriodError

Array = NDArray[np.float64]
MOVES = {"held": held_moves(), "free": held_moves(every=1), "coarsening": coarsening_moves()}
WEIGH_DAYS, WEIGH_PERIODS = 10, 16
"""The weight of comfort is set on so many periods of so many days, evenly spread over the learning season."""
WINDOW, JUDGE, WEIGH = range(2, 5)
"""First words of the seeds, so that no two uses share random numbers."""


@dataclass(frozen=True)
class SmartHomeSpec:
    """The protocol; the defaults are the paper's where it states them, and our reading where it does not."""

    models: int = 10
    iterations: int = 30
    learning_days: int = 90
    """Length of the period that each seed draws from the learning season."""
    days_per_iteration: int = 90
    """A reading: every iteration runs the whole period; 3 would spread it over the thirty iterations."""
    periods: int = 4
    period_days: int = 10
    model_reading: str = "sampled"
    """"sampled": each seed's model is fitted to the log of its own period, as the paper says; "exact": the predictive
    model is the deterministic part of the world, they differ in the innovations alone."""
    groups: tuple[str, ...] = ("bias",)
    """What of theta learns."""
    moves: str = "held"
    comfort_share: float = 0.5
    """Of the data-fitted cost in the learning season: sets beta, the weight of comfort."""
    beta: float | None = None
    """EUR/(K^2 h); None: from comfort_share."""
    exploration_kw: float = 0.1
    rate: float = 0.25
    """Share of the Gauss-Newton step that an iteration takes."""
    replay: int = 1
    """Iterations whose experience teaches."""
    certainty: float = 0.0
    """0: the step as it is, as in the paper; the product shrinks directions by their error."""
    trace: float = 0.0
    """lambda of the critic: 0 trusts V_theta after half an hour, towards 1 what was really paid counts longer."""
    step: StepOptions = field(default_factory=lambda: StepOptions(support=0.1))
    """Eq. (30) holds theta near the data fit; without it biases of changeable weather drift once they are learned."""
    seed: int = 0

    def mpc(self, beta: float) -> HouseMpc:
        return HouseMpc(moves=MOVES[self.moves], cost=HouseCost(beta=beta))

    def tuning(self, seed: int) -> TuningSpec:
        """What the one learner is asked for."""
        return TuningSpec(
            learn=self.groups, iterations=self.iterations, replay=self.replay, trace=self.trace, rate=self.rate,
            certainty=self.certainty, step=self.step, seed=seed,
        )  # fmt: skip


QUICK = SmartHomeSpec(models=3, iterations=6, learning_days=30, days_per_iteration=10, period_days=5)


@dataclass(frozen=True, eq=False)
class Agent:
    """One of the seeds: its learning period and its data-fitted model."""

    seed: int
    first: int
    """First step of its period in the learning season."""
    model: ArxModel
    theta: Array
    """Data-fitted, (ntheta,)"""


@dataclass(frozen=True, eq=False)
class Setting:
    """What all agents share."""

    spec: SmartHomeSpec
    mpc: HouseMpc
    world: ArxModel
    data: ExperimentData
    entries: NDArray[np.int64]
    scale: Array
    lower: Array
    upper: Array
    threads: int


def make_agents(spec: SmartHomeSpec, data: ExperimentData) -> tuple[ArxModel, list[Agent]]:
    """The world, and one agent per seed."""
    world = fit_arx(data.log.outputs, data.log.inputs).model
    agents = []
    for seed in range(spec.models):
        rng = np.random.default_rng([WINDOW, spec.seed, seed])
        first = int(draw_windows(data.learning, spec.learning_days, 1, MOVES_HORIZON, rng)[0])
        model = world
        if spec.model_reading == "sampled":
            part = slice(first, first + spec.learning_days * STEPS_PER_DAY)
            model = fit_arx(data.log.outputs[part], data.log.inputs[part]).model
        agents.append(Agent(seed, first, model, theta_values(model)))
    return world, agents


MOVES_HORIZON = HouseMpc().horizon


def weigh_comfort(
    spec: SmartHomeSpec, data: ExperimentData, world: ArxModel, agents: Sequence[Agent], threads: int
) -> float:
    """beta at which the comfort share of the data-fitted cost, averaged over the learning season, is `comfort_share`.

    Shares are averaged, not costs: in a warm week rooms overheat whatever the controller does, and that week alone
    would set the weight. EUR/(K^2 h). Raises PeriodError for data without ten heating days.
    """
    if spec.beta is not None:
        return spec.beta
    starts = window_starts(data.learning, WEIGH_DAYS, MOVES_HORIZON)
    if len(starts) == 0:
        raise PeriodError(
            f"no {WEIGH_DAYS} days within September to April to weigh comfort on; bring more learning data"
        )
    firsts = starts[np.linspace(0, len(starts) - 1, WEIGH_PERIODS).round().astype(int)]
    low, high = np.log(1e-3), np.log(10.0)
    for _ in range(10):
        beta = float(np.exp((low + high) / 2))
        episodes = []
        for j, first in enumerate(firsts):
            mpc = CondensedMpc(spec.mpc(beta), agents[j % len(agents)].theta)
            rng = np.random.default_rng([WEIGH, spec.seed, j])
            episodes.append(closed_loop(mpc, world, data.learning, int(first), WEIGH_DAYS, rng))
        costs = np.array([rollout.costs[:, :3].sum(0) for rollout in run(episodes, threads=threads)])
        share = float(np.mean(costs[:, 1:].sum(1) / costs.sum(1)))
        low, high = (np.log(beta), high) if share < spec.comfort_share else (low, np.log(beta))
    return float(np.exp((low + high) / 2))


def rest_power(model: ArxModel, temperature_c: ArrayLike, outdoor_c: float, max_power_kw: float) -> Array:
    """(ny,) powers that would hold these temperatures in the model, clipped to what the heat pumps can draw, kW."""
    gain = model.steady_state_gain()
    needed = np.linalg.solve(gain[:, 1:], np.asarray(temperature_c, dtype=float) - gain[:, 0] * outdoor_c)
    return np.clip(needed, 0.0, max_power_kw)


def rest_history(world: ArxModel, temperature_c: float, outdoor_c: float, max_power_kw: float) -> tuple[Array, Array]:
    """An hour at rest: outputs (12, rooms) and inputs (11, 1 + rooms)."""
    power = rest_power(world, np.full(ROOMS, temperature_c), outdoor_c, max_power_kw)
    return np.full((LAGS, ROOMS), temperature_c), np.tile([outdoor_c, *power], (LAGS - 1, 1))


def closed_loop(
    mpc: CondensedMpc, world: ArxModel, conditions: Conditions, first: int, days: int, rng: np.random.Generator
) -> ClosedLoop:
    """An episode from rest at the set-point, without exploration."""
    steps, spec = days * STEPS_PER_DAY, mpc.spec
    part = slice(first, first + steps + spec.horizon)
    outdoor, price = conditions.outdoor_c[part], conditions.price_eur_kwh[part]
    outputs, inputs = rest_history(world, spec.cost.setpoint_c, float(outdoor[0]), spec.max_power_kw)
    return ClosedLoop(mpc, world, outputs, inputs, outdoor, price, world.sample_innovations(rng, (steps,)))


def judge(
    thetas: Sequence[Array],
    setting: Setting,
    periods: NDArray[np.int64],
    *,
    conditions: Conditions | None = None,
    salt: int = 0,
) -> tuple[Array, list[Rollout]]:
    """Costs (models, periods, 3) of price, comfort and violation, EUR, in closed loop without exploration.

    Period j has the same weather, prices and innovations for every theta, and at every call with the same `salt`.
    """
    spec = setting.spec
    conditions = conditions or setting.data.evaluation
    episodes = []
    for theta in thetas:
        mpc = CondensedMpc(setting.mpc, theta)
        for j, first in enumerate(periods):
            rng = np.random.default_rng([JUDGE, spec.seed, salt, j])
            episodes.append(closed_loop(mpc, setting.world, conditions, int(first), spec.period_days, rng))
    rollouts = run(episodes, threads=setting.threads)
    costs = np.array([rollout.costs[:, :3].sum(0) for rollout in rollouts])
    return costs.reshape(len(thetas), len(periods), 3), rollouts


def make_setting(
    spec: SmartHomeSpec, data: ExperimentData, threads: int
) -> tuple[Setting, list[Agent], NDArray[np.int64]]:
    """What is fixed before learning begins: world, agents, weights, and the periods that judge."""
    world, agents = make_agents(spec, data)
    beta = weigh_comfort(spec, data, world, agents, threads)
    table = house_theta(world)
    entries, scale = learning_entries(table, spec.groups)
    wide = 1.0 if "arx" in spec.groups else 1e3
    lower, upper = np.array([p.lower for p in table]), np.array([p.upper for p in table])
    arx = np.array([p.group == "arx" for p in table])
    # The table's bounds on the ARX lie around the world's coefficients; an agent's own fit is always allowed.
    lower[arx], upper[arx] = lower[arx] - wide, upper[arx] + wide
    setting = Setting(spec, spec.mpc(beta), world, data, entries, scale, lower, upper, threads)
    rng = np.random.default_rng([JUDGE, spec.seed])
    periods = draw_windows(data.evaluation, spec.period_days, spec.periods, MOVES_HORIZON, rng)
    return setting, agents, periods
