"""The options that the scalar-battery experiments share, and the decision problems they stand for."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

from research.experiments.settings import Settings
from research.scalar_battery import CASES, DISCOUNT, ScalarCase
from research.tabular.errors import BadOption
from research.tabular.noise import BoundedNoise, QuadratureNoise, TruncatedGaussian
from research.tabular.scalar import ScalarProblem, expected_value_model, scalar_world
from systems.commands.numbers import number, whole

DEFAULT_GRID = 800
MAX_GRID = 8000
"""Above, the dense linear system no longer fits the memory of a small machine."""
GRID_MULTIPLE = 80
"""The grid is halved twice, and 1/2, 1/4 and 1/20, where V has kinks, are to be nodes on the coarsest level too."""
GRID_ALONE = Settings(
    "The grid is the only setting: halved twice, and digits are those that three levels agree on; expectations are "
    "exact integrals unless quadrature is asked for."
)


@dataclass(frozen=True)
class ScalarOptions:
    """Which scalar battery, and how finely."""

    case: ScalarCase
    penalty: float | None
    intervals: int
    noise_nodes: int | None
    """Quadrature nodes for the disturbance; None integrates exactly."""
    discount: float

    @property
    def gaussian(self) -> TruncatedGaussian:
        return TruncatedGaussian(self.case.noise_std, self.case.noise_limit)

    @property
    def leaving(self) -> str:
        return "hard" if self.penalty is None else f"penalty={self.penalty:g}"

    def world(self, intervals: int | None = None, *, exact: bool = False) -> ScalarProblem:
        noise: BoundedNoise = self.gaussian
        if self.noise_nodes is not None and not exact:
            noise = QuadratureNoise.of(self.gaussian, self.noise_nodes)
        return scalar_world(
            self.case,
            penalty=self.penalty,
            intervals=intervals or self.intervals,
            discount=self.discount,
            noise=noise,
        )

    def model(self, intervals: int | None = None) -> ScalarProblem:
        return expected_value_model(
            self.case, penalty=self.penalty, intervals=intervals or self.intervals, discount=self.discount
        )


def add_scalar_arguments(parser: argparse.ArgumentParser, *, grid: int = DEFAULT_GRID) -> None:
    parser.add_argument(
        "--leaving",
        default="hard",
        metavar="hard|penalty=X",
        help="leaving [0, 1] is forbidden for every disturbance, or costs X per unit of energy that does not fit",
    )
    parser.add_argument(
        "--grid",
        type=int,
        default=grid,
        metavar="N",
        help=f"least number of intervals of [0, 1] (default {grid}), rounded up to a multiple of {GRID_MULTIPLE}",
    )
    parser.add_argument(
        "--noise-nodes",
        type=whole(1, 10_000),
        metavar="N",
        help="Gauss-Legendre nodes for the noise (default: exact integral)",
    )
    parser.add_argument(
        "--noise-std", type=number(0.0, 10.0), metavar="X", help="standard deviation of w before truncation"
    )
    parser.add_argument("--noise-limit", type=number(0.0, 10.0), metavar="X", help="largest |w|")
    parser.add_argument(
        "--discount", type=number(0.0, 1.0), default=DISCOUNT, metavar="GAMMA", help=f"default {DISCOUNT}"
    )


def scalar_options(args: argparse.Namespace, case_number: int) -> ScalarOptions:
    """Raises BadOption for a value that cannot be used; feasibility and discount are checked where they matter."""
    case = CASES[case_number]
    if args.noise_std is not None:
        case = replace(case, noise_std=args.noise_std)
    if args.noise_limit is not None:
        case = replace(case, noise_limit=args.noise_limit)
    if not 1 <= args.grid <= MAX_GRID:
        raise BadOption(f"--grid {args.grid}: needs between 1 and {MAX_GRID} intervals")
    intervals = GRID_MULTIPLE * -(-args.grid // GRID_MULTIPLE)
    return ScalarOptions(case, parse_leaving(args.leaving), intervals, args.noise_nodes, args.discount)


def parse_leaving(text: str) -> float | None:
    """`hard` -> None, `penalty=X` -> X."""
    if text == "hard":
        return None
    name, _, number = text.partition("=")
    try:
        penalty = float(number)
    except ValueError:
        penalty = -1.0
    if name != "penalty" or not 0.0 < penalty < 1e9:
        raise BadOption(f"--leaving {text}: use `hard`, or `penalty=X` with X > 0, for example penalty=100")
    return penalty
