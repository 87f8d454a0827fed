"""The battery's controller as a signed bundle, built once per test session by the real toolchain."""

from __future__ import annotations

import pytest
from built_bundle import BuiltBundle

from codegen.build import BuildRequest, build_bundle
from codegen.toolchain import host_arch
from runtime.keys import new_key
from systems.battery.problem import home_battery
from systems.catalogue import Shape


@pytest.fixture(scope="session")
def battery_bundle(tmp_path_factory: pytest.TempPathFactory) -> BuiltBundle:
    directory = tmp_path_factory.mktemp("bundle")
    key = new_key(directory / "key.pem")
    request = BuildRequest(
        shape=Shape("battery", {}),
        targets=(host_arch(),),
        theta={p.name: p.default for p in home_battery().theta},
        created="2024-01-01T00:00:00+00:00",
        provenance={"theta": {"from": "defaults"}},
        problems=10,
    )
    return BuiltBundle(build_bundle(request, key, directory / "battery.nisse").path, key.public)
