"""The battery's controller as a signed bundle, built once per test session by the real toolchain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from codegen.solver import build_solver
from codegen.toolchain import host_arch
from runtime.bundle import Manifest, ParameterSpec, SignalSpec, write_bundle
from runtime.keys import new_key
from systems.battery.problem import home_battery


@dataclass(frozen=True)
class BuiltBundle:
    path: Path
    trusted_key: str


@pytest.fixture(scope="session")
def battery_bundle(tmp_path_factory: pytest.TempPathFactory) -> BuiltBundle:
    directory = tmp_path_factory.mktemp("bundle")
    problem, key = home_battery(), new_key(directory / "key.pem")
    solver = build_solver(problem, host_arch())
    manifest = Manifest(
        name="battery",
        system="battery",
        dt_s=problem.dt_s,
        horizon=problem.horizon,
        discount=problem.discount,
        states=_signals(problem.states),
        actions=_signals(problem.actions),
        forecasts=_signals(problem.forecasts),
        theta=tuple(ParameterSpec(name=p.name, unit=p.unit, lower=p.lower, upper=p.upper) for p in problem.theta),
    )
    files = {f"lib/{solver.arch}/{f.name}": f for f in (solver.directory / "lib").iterdir()}
    theta = {p.name: p.default for p in problem.theta}
    return BuiltBundle(write_bundle(directory / "battery", manifest, files, theta, {}, key), key.public)


def _signals(signals) -> tuple[SignalSpec, ...]:
    return tuple(SignalSpec(name=s.name, unit=s.unit, lower=s.lower, upper=s.upper) for s in signals)
