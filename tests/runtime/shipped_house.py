"""The manifest that a bundle of a shipped house would carry, without building one."""

from __future__ import annotations

from functools import cache

from codegen.build import BuildRequest, make_manifest
from runtime.bundle.manifest import Manifest
from systems.design import HouseDesign
from systems.house_file import SHIPPED


@cache
def shipped_house(name: str) -> tuple[Manifest, dict[str, float]]:
    """(manifest, default theta) of `battery`, `four-heat-pumps`, ..."""
    design = HouseDesign((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
    theta = {parameter.name: parameter.default for parameter in design.problem.theta}
    return make_manifest(design.problem, BuildRequest(design, (), theta, created="", provenance={}), {}), theta
