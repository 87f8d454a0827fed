"""A policy: what one bundle, with its theta, would do about what has arrived - observe, estimate, solve, gate.

The daemon asks one policy for its actions. A newcomer is another policy, asked the same questions and not obeyed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.bundle.archive import Bundle
from runtime.decide.correcting import Correcting
from runtime.decide.decision import Rhythm
from runtime.decide.estimate import Estimate
from runtime.decide.estimator import make_estimator
from runtime.decide.gate import refusal
from runtime.decide.overrides import Overrides
from runtime.decide.solver_process import FIRST_PATIENCE_S, Solved, SolverProcess
from runtime.errors import SolverProcessError, SolverStartingError
from runtime.inputs.doubts import Doubts
from runtime.inputs.forecast import Memory
from runtime.inputs.peaks import peaks_of
from runtime.inputs.process_image import ProcessImage, forecast_rows, take_image
from runtime.inputs.signals import Arrival
from runtime.inputs.substitutes import Substitutes
from runtime.site.config import SiteFile
from runtime.site.rules import wishes

Vector = tuple[float, ...]


@dataclass(frozen=True)
class Observation:
    """What a policy makes of the inputs of a cycle; `problem` says why it cannot solve, empty if it can.

    `at_fault`: the reason is the bundle's observer, not the inputs.
    """

    image: ProcessImage
    estimate: Estimate
    forecast: tuple[Vector, ...] | None
    problem: str = ""
    at_fault: bool = False


@dataclass(frozen=True)
class Decision:
    """An answer of the solver, and why it must not be used. `at_fault`: the reason is the bundle, not the inputs.

    `held`: it is the one in force, made in an earlier cycle.
    """

    solved: Solved | None
    problem: str
    at_fault: bool
    solve_s: float
    held: bool = False


class Policy:
    """One bundle at work. Several policies may share a solver process: theta goes with each question."""

    def __init__(self, site: SiteFile, bundle: Bundle, solver: SolverProcess, *, first: bool = False) -> None:
        """first: nothing else can decide, so that its solver is waited for, once."""
        self.site, self.bundle, self.solver = site, bundle, solver
        self._in_first_place = first
        self._theta = tuple(bundle.theta.values())
        self._substitutes = Substitutes(site.inputs, bundle.manifest)
        finest = max((forecast.steps for forecast in bundle.manifest.forecasts), default=1)
        self.memory = Memory(bundle.manifest.dt_s / finest, site.zone)
        """Of the forecasts; who knows their past may tell it."""
        self.doubts = Doubts(bundle.manifest, wishes(site, bundle.manifest))
        """Of the readings."""
        self.peaks = peaks_of(bundle.manifest, site.zone)
        """Of the month, where the bundle counts them; who knows the time before may tell them."""
        self._estimator = make_estimator(bundle.manifest, self.peaks)
        self._correcting = Correcting(bundle.manifest, site.inputs)

    @property
    def rhythm(self) -> Rhythm:
        """How often it decides, under the site file of now."""
        return self.site.rhythm(self.bundle.manifest.decide_every_s)

    def follow(self, other: Policy) -> None:
        """Know of forecasts and peaks what another policy knows: they are the site's, whichever bundle is in force."""
        units = {spec.name: spec.unit for spec in other.bundle.manifest.forecasts}
        same = [spec.name for spec in self.bundle.manifest.forecasts if units.get(spec.name) == spec.unit]
        self.memory.inherit(other.memory, same)
        if self.peaks is not None and other.peaks is not None:
            self.peaks.recall(other.peaks.text)

    def observe(
        self,
        arrivals: Mapping[str, Arrival],
        time_s: float,
        monotonic_s: float,
        last_action: Vector | None,
        overrides: Overrides,
    ) -> Observation:
        """Once per cycle, whether or not a decision is wanted: the estimator needs every step."""
        manifest = self.bundle.manifest
        settle = self._substitutes.settle(monotonic_s, last_action)
        image = take_image(
            self.site,
            manifest,
            arrivals,
            time_s,
            monotonic_s,
            self.memory,
            lambda samples: settle(self.doubts.judge(samples, monotonic_s)),
            overrides,
        )
        image = self._correcting.corrected(image, last_action)
        self._substitutes.remember(image)
        estimate = self._estimator.update(image, last_action)
        diverged = estimate.state is not None and not all(map(math.isfinite, estimate.state))
        if diverged:
            self._estimator = make_estimator(manifest, self.peaks)
            unknown = (math.nan,) * len(manifest.states)
            estimate = Estimate(None, "the estimate of the state is not finite; starting afresh", unknown)
        forecast = forecast_rows(image, manifest)
        problem = ""
        if estimate.state is None:
            problem = estimate.problem
        elif forecast is None:
            missing = next(image.samples[s.name] for s in manifest.forecasts if s.name not in image.columns)
            problem = f"{missing.name}: {missing.problem or missing.validity}"
        return Observation(image, estimate, forecast, problem, diverged)

    def decide(self, seen: Observation) -> Decision:
        """Solve whenever the inputs allow, obeyed or not, to know when `mpc` is back."""
        if seen.problem or seen.estimate.state is None or seen.forecast is None:
            return Decision(None, seen.problem, seen.at_fault, 0.0)
        begun = time.perf_counter()
        try:
            solved = self.solver.solve(
                seen.estimate.state, seen.forecast, self._theta, self.site.solve_deadline_s, self._patience_s()
            )
        except SolverStartingError as error:
            return Decision(None, str(error), False, time.perf_counter() - begun)
        except SolverProcessError as error:
            return Decision(None, str(error), True, time.perf_counter() - begun)
        problem = refusal(solved, self.bundle.manifest)
        return Decision(solved, problem, bool(problem), time.perf_counter() - begun)

    def _patience_s(self) -> float:
        """The first action of a daemon may wait for its solver; later cycles come when they are due."""
        first, self._in_first_place = self._in_first_place, False
        if first:
            return FIRST_PATIENCE_S
        return min(FIRST_PATIENCE_S, self.site.controller.cycle_s / 2)
