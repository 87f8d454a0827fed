"""The controllers of battery and house as signed bundles, built once per test session by the real toolchain."""

from __future__ import annotations

import pytest
from built_bundle import BuiltBundle

from codegen.build import BuildRequest, build_bundle
from codegen.targets import host_arch
from research.smart_home.data import exciting_log
from runtime.bundle.keys import new_key
from systems.assets.zone.arx_fit import fit_arx
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.world.weather import generate_conditions


@pytest.fixture(scope="session")
def battery_bundle(tmp_path_factory: pytest.TempPathFactory) -> BuiltBundle:
    directory = tmp_path_factory.mktemp("bundle")
    key = new_key(directory / "key.pem")
    design = HouseDesign(*read_house("battery")[:1])
    request = BuildRequest(
        design=design,
        targets=(host_arch(),),
        theta={p.name: p.default for p in design.problem.theta},
        created="2024-01-01T00:00:00+00:00",
        provenance={"theta": {"from": "defaults"}},
        problems=10,
    )
    return BuiltBundle(build_bundle(request, key, directory / "battery.nisse").path, key.public)


@pytest.fixture(scope="session")
def house_bundle(tmp_path_factory: pytest.TempPathFactory) -> BuiltBundle:
    """Of a model fitted to three weeks of the physical house: its expected value, and a COP that falls with load."""
    directory = tmp_path_factory.mktemp("house")
    log = exciting_log(generate_conditions(0, days=21.0))
    model = fit_arx(log.outputs, log.inputs).model
    design = HouseDesign(read_house("four-heat-pumps")[0], {"zone": model.to_json()})
    theta = {p.name: 0.03 if p.name.endswith("power_curvature") else p.default for p in design.problem.theta}
    zones = [zone.name for zone in design.house.of("zone")]
    theta |= {f"{zone}_bias": float(mean) for zone, mean in zip(zones, model.innovation_mean, strict=True)}
    key = new_key(directory / "key.pem")
    request = BuildRequest(
        design=design,
        targets=(host_arch(),),
        theta=theta,
        created="2024-01-01T00:00:00+00:00",
        provenance={"theta": {"from": "the fit"}},
        problems=8,
    )
    return BuiltBundle(build_bundle(request, key, directory / "house.nisse").path, key.public)
