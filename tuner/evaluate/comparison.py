"""The policies of a described house on held-out weeks, paired: the same weather, people, prices and draws for all.

What a person would try first stands beside the tuned theta: the rules, the data fit, the data fit with its mean error
removed, weights turned by hand and a black-box search over the same parameters, both chosen on the weeks that the tuner
learns from; above them the program with a perfect forecast, which still has the model of the MPC, and where it can be
computed what dynamic programming on the true plant makes of the week, without seeing the future and with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from codegen.solver import build_solver
from codegen.targets import host_arch
from systems.design import HouseDesign
from systems.house_file import House
from systems.logs.log import Array
from systems.plant import HousePlant
from systems.problem import Parameter
from systems.world import Exogenous
from systems.world.inside import Inside
from tuner.bound.house import BestPolicy, Horizon, why_not
from tuner.evaluate.statistics import Interval, clustered_interval
from tuner.loop.follow import Follower
from tuner.loop.policies import Mpc, RulePolicy
from tuner.loop.week import LoopPolicy, Result, run_stretch
from tuner.loop.workers import LocalWorkers, Workers

RULE, PLAIN, UNBIASED, TUNED = "rule", "data fit", "data fit, mean removed", "tuned"
PERFECT = "perfect forecast, the MPC's model"
CAUSAL, CEILING = "best causal policy", "future known, true plant"
BOUNDS = (PERFECT, CAUSAL, CEILING)
"""What nobody can have: they are held against nothing."""
BY_HAND, SEARCHED = "hand-set weights", "black-box search"
DAY_S = 86_400.0


class NothingFollowsError(ValueError):
    """A house that has nothing to follow a meter with."""

    exit_code = 64


@dataclass(frozen=True)
class Contender:
    """A policy by name: one of dynamic programming, or rules where theta is None."""

    name: str
    theta: tuple[float, ...] | None
    forecast_error: float = 1.0

    def same_as(self, other: Contender) -> bool:
        """Whether one run of a week serves both: a tuned theta that is the data fit is not run twice."""
        return self == other or (self.theta is not None and replace(self, name=other.name) == other)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Results by policy, one for each week; the first week's with its trace."""

    house: str
    currency: str
    contenders: tuple[Contender, ...]
    results: Mapping[str, tuple[Result, ...]]
    weeks: tuple[int, ...]
    parameters: tuple[Parameter, ...]
    source: str
    months: tuple[str, ...]
    """In which each week begins."""

    def totals(self, name: str) -> Array:
        """(weeks,)"""
        return np.array([result.total for result in self.results[name]])

    def saving(self, name: str, against: str) -> Interval | None:
        """Paired, per week, clustered by month; None for a single week."""
        difference = self.totals(against) - self.totals(name)
        return clustered_interval(difference, self.months) if len(difference) > 1 else None

    @property
    def fit(self) -> str:
        """The data fit at its best."""
        return UNBIASED if UNBIASED in self.results else PLAIN

    @property
    def about(self) -> str:
        """The policy that the verdict is about."""
        return TUNED if TUNED in self.results else self.fit

    def rivals(self) -> list[str]:
        """What the policy of the verdict is held against, in order."""
        return [name for name in self.results if name not in (self.about, *BOUNDS)]


def contenders(
    parameters: Sequence[Parameter], tuned: Mapping[str, float] | None, chosen: Mapping[str, Array] | None = None
) -> tuple[Contender, ...]:
    """The data fit is what the parameters default to; its biases are what the mean of its errors has taught.

    chosen: theta by name, in the order of the parameters, of what was chosen on the training weeks.
    """
    fit = tuple(p.default for p in parameters)
    plain = tuple(0.0 if is_bias(p) else p.default for p in parameters)
    found = [Contender(RULE, None), Contender(PLAIN, plain)]
    if plain != fit:
        found.append(Contender(UNBIASED, fit))
    found += [Contender(name, tuple(theta.tolist())) for name, theta in (chosen or {}).items()]
    if tuned is not None:
        found.append(Contender(TUNED, tuple(tuned[p.name] for p in parameters)))
    return (*found, Contender(PERFECT, fit, forecast_error=0.0))


def bounds(house: House) -> tuple[Contender, ...]:
    """None where they cannot be computed; `why_not` of `tuner.bound.house` says why."""
    return () if why_not(house) else (Contender(CAUSAL, None), Contender(CEILING, None))


def is_bias(parameter: Parameter) -> bool:
    """Whether it stands for the mean of a forecast's errors."""
    return parameter.name.endswith("_bias")


def evaluate_house(
    design: HouseDesign,
    world: Exogenous,
    weeks: Sequence[int],
    policies: Sequence[Contender],
    *,
    days: float = 7.0,
    seed: int = 0,
    minutes: bool = False,
    workers: Workers | None = None,
    cache_dir: Path | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Policies that are the same under two names run once.

    minutes: steps vary inside, and batteries follow the meter by the law that the daemon runs, the rules' as well.

    Raises CodegenError where the program cannot be compiled, NothingFollowsError for minutes where nothing does.
    """
    if minutes:
        name = design.house.name
        if design.tracking({p.name: p.default for p in design.problem.theta}) is None:
            raise NothingFollowsError(
                f"nothing of {name} follows a meter, which takes a [[battery]] and a [meter]; leave minutes out"
            )
        policies = [policy for policy in policies if policy.name not in (CAUSAL, CEILING)]
    library = build_solver(design.problem, host_arch(), cache_dir).library
    shared = (design.text, tuple(sorted(design.fits.items())), library, world, days, minutes)
    alike = {policy.name: next(p for p in policies if p.same_as(policy)) for policy in policies}
    asked = [policy for policy in policies if alike[policy.name] is policy]
    tasks = [(policy, week, (seed, k), k == 0) for k, week in enumerate(weeks) for policy in asked]
    found: list[Result] = []
    for result in (workers or LocalWorkers()).run(run_week, shared, tasks):
        found.append(result)
        if report is not None:
            report(len(found), len(tasks))
    results = {
        policy.name: tuple(r for (p, *_), r in zip(tasks, found, strict=True) if p is alike[policy.name])
        for policy in policies
    }
    return Evaluation(
        design.house.name, design.house.currency, tuple(policies), results, tuple(weeks), design.problem.theta,
        world.source, tuple(f"{world.time(week):%Y-%m}" for week in weeks),
    )  # fmt: skip


def run_week(
    text: str,
    fits: tuple[tuple[str, str], ...],
    library: Path,
    world: Exogenous,
    days: float,
    minutes: bool,
    policy: Contender,
    week: int,
    seed: tuple[int, int],
    traced: bool,
) -> Result:
    """In a worker: the same week and disturbances whichever policy."""
    design = design_of(text, fits)
    stages = round(days * DAY_S / design.house.grid.hold_s)
    number = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    theta = policy.theta or tuple(p.default for p in design.problem.theta)
    return run_stretch(
        design,
        HousePlant(design.house, world, inside=Inside(number) if minutes else None),
        policy_of(design, library, policy, Horizon(design, world, week, stages, known=policy.name == CEILING)),
        first=week,
        stages=stages,
        seed=number,
        traced=traced,
        follower=Follower(design, theta) if minutes else None,
    )


def policy_of(design: HouseDesign, library: Path, contender: Contender, horizon: Horizon) -> LoopPolicy:
    if contender.name in (CAUSAL, CEILING):
        return BestPolicy(horizon)
    if contender.theta is None:
        return RulePolicy(design, np.array([p.default for p in design.problem.theta]))
    return Mpc(design, library, np.array(contender.theta), forecast_error=contender.forecast_error)


@lru_cache(maxsize=2)
def design_of(text: str, fits: tuple[tuple[str, str], ...]) -> HouseDesign:
    """Composed once a process."""
    return HouseDesign(text, dict(fits))
