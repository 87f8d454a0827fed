"""A house that is not shipped goes the same way: generated, compiled, and proven by another solver, without a line of
code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import casadi as ca
import numpy as np

from codegen.ocp import QP_ITERATIONS, expressions, hessian_of_stage
from codegen.solver import build_solver
from codegen.targets import host_arch
from codegen.verify import certify, failures
from systems.design import HouseDesign

# Five zones and a tank on two heat pumps, seven lags, two batteries, no panels, a staircase for the mean peak of 3
# days.
HOUSE = """
[house]
name = "five"
timezone = "Europe/Oslo"
[grid]
horizon = "5 h"
[meter]
capacity = { tiers = [[2, 125], [5, 200], [10, 350], [15, 500]], days = 3, interval = "1 h" }
[load]
[building]
memory = "35 min"
[[zone]]
name = "hall"
[[zone]]
name = "kitchen"
[[zone]]
name = "north"
[[zone]]
name = "south"
[[zone]]
name = "attic"
set_point = 18
lower = 15
[[tank]]
name = "water"
litres = 120
[[battery]]
name = "old"
capacity_kwh = 4
max_charge_kw = 2
max_discharge_kw = 2
[[battery]]
name = "fresh"
capacity_kwh = 9
max_charge_kw = 4
max_discharge_kw = 4
wear_per_kwh = 0.02
[[heat_pump]]
name = "big"
kind = "air-water"
feeds = ["hall", "kitchen", "north", "water"]
max_power_kw = 3
min_power_kw = 0.8
[[heat_pump]]
name = "split"
feeds = ["south", "attic"]
max_power_kw = 1.5
"""


MEMORY = """
import sys
from pathlib import Path
from runtime.abi.library import PlainController
def resident_kb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4.096
kept = [PlainController(Path(sys.argv[1]))]
before = resident_kb()
kept += [PlainController(Path(sys.argv[1])) for _ in range(8)]
assert "numpy" not in sys.modules
print((resident_kb() - before) / 8)
"""


def memory_of_a_controller_kb(library: Path) -> float:
    """Of one more in a process that has the library already."""
    done = subprocess.run([sys.executable, "-c", MEMORY, str(library)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_a_house_that_nobody_wrote_is_built_and_verified() -> None:
    problem = HouseDesign(HOUSE).problem
    assert (problem.nx, problem.na, problem.horizon) == (5 * 7 + 2 + 1 + 1, 3 + 2 * 2, 10)
    library = build_solver(problem, host_arch()).library
    assert memory_of_a_controller_kb(library) < 12_500  # 16,000 where every function of every stage has its parameters
    certificate = certify(problem, {host_arch(): library}, count=4)
    entry = certificate["arch"][host_arch()]
    assert not failures(certificate), failures(certificate)
    assert entry["solved"] == 4 and entry["max_relative_objective_gap"] < 1e-6
    # A search among modes takes many programs: told apart from what one takes.
    taken = entry["iterations_of"]
    assert sum(part["problems"] for part in taken.values()) == 4
    assert taken["searched"]["mean"] > 100.0 and taken["searched"]["most"] == entry["iterations_max"]
    assert "one" not in taken or taken["one"]["most"] <= QP_ITERATIONS


def test_the_hessian_of_many_zones_only_copies_and_scales_what_parameters_say() -> None:
    zones = "".join(
        f'[[zone]]\nname = "zone{i}"\n[[heat_pump]]\nname = "pump{i}"\nfeeds = ["zone{i}"]\nmax_power_kw = 1.5\n'
        for i in range(6)
    )
    problem = HouseDesign(f'[house]\nname = "six"\n{zones}').problem
    e, rng = expressions(problem), np.random.default_rng(0)
    # A function of the parameters alone: what went over the columns of the cost would need a point as well.
    hessian = ca.Function("hessian", [e.parameters], [hessian_of_stage(problem, e)])
    parameters, direction = rng.standard_normal(e.parameters.numel()), rng.standard_normal(problem.nu + problem.nx)
    cost = ca.Function("cost", [e.u, e.x, e.parameters], [e.cost])

    def along(step: float) -> float:
        v = step * direction
        return float(cost(v[: problem.nu], v[problem.nu :], parameters))

    bend = along(1.0) - 2.0 * along(0.0) + along(-1.0)
    np.testing.assert_allclose(direction @ np.array(hessian(parameters)) @ direction, bend, rtol=1e-10)
