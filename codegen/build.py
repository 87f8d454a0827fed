"""Problem + theta -> signed controller bundle: generate, compile, verify, pack; all of it or nothing is written."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import casadi as ca
import numpy as np

from codegen import acados
from codegen.errors import TargetError
from codegen.licenses import license_texts
from codegen.making import LIBRARY, compile_flags, extra_flags, link_flags, source_list
from codegen.solver import BuiltSolver, build_solver
from codegen.targets import TARGETS, target_arch
from codegen.toolchain import acados_tree
from codegen.verify import DEFAULT_PROBLEMS, Progress, VerificationError, certify, failures
from codegen.versions import versions_of
from runtime.bundle.archive import FORMAT_VERSION, Manifest, pack, write_bundle
from systems.catalogue import Shape, full_spec, make_observer, make_problem, make_safety
from systems.design import HouseDesign
from systems.problem import Parameter, Problem, Signal

if TYPE_CHECKING:
    from runtime.bundle.keys import SigningKey


@dataclass(frozen=True)
class BuildRequest:
    """Everything a bundle is a function of, but the signing key."""

    shape: Shape | HouseDesign
    targets: tuple[str, ...]
    theta: Mapping[str, float]
    created: str
    """ISO 8601; from the caller's clock."""
    provenance: Mapping[str, Any]
    serial: int = 0
    """Larger than that of any bundle before; 0 for none."""
    problems: int = DEFAULT_PROBLEMS
    seed: int = 0


@dataclass(frozen=True)
class BuildResult:
    """The packed bundle and what verification found."""

    path: Path
    certificate: dict[str, Any]


def build_bundle(
    request: BuildRequest,
    key: SigningKey,
    output: Path,
    *,
    cache: Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> BuildResult:
    """Build, verify, sign and pack. Raises CodegenError; VerificationError when a controller does not pass."""
    targets = tuple(dict.fromkeys(target_arch(name) for name in request.targets))
    if not targets:
        raise TargetError("no target: name at least one with --target")
    problem = problem_of(request.shape).with_theta(dict(request.theta))
    built: dict[str, BuiltSolver] = {}
    for i, arch in enumerate(targets):
        progress(f"compile {arch}", i, len(targets))
        built[arch] = build_solver(problem, arch, cache)
    progress("compile", len(targets), len(targets))
    certificate = certify(
        problem,
        {arch: solver.library for arch, solver in built.items()},
        count=request.problems,
        seed=request.seed,
        theta=np.array([request.theta[p.name] for p in problem.theta]),
        cache=cache,
        progress=progress,
    )
    broken = failures(certificate)
    if broken:
        raise VerificationError(f"verification failed, no bundle was written: {'; '.join(broken)}")
    manifest = make_manifest(problem, request, {arch: acados_tree(arch, cache).version for arch in targets})
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "bundle"
        write_bundle(directory, manifest, bundle_files(built, cache), request.theta, certificate, key)
        output.parent.mkdir(parents=True, exist_ok=True)
        pack(directory, output)
    return BuildResult(output, certificate)


def problem_of(shape: Shape | HouseDesign) -> Problem:
    """What the controller solves, with its default theta. Raises UnknownSystemError and HouseFileError."""
    return shape.problem if isinstance(shape, HouseDesign) else make_problem(shape)


def make_manifest(problem: Problem, request: BuildRequest, acados_versions: Mapping[str, str]) -> Manifest:
    """What the bundle says of itself; `files` is filled in by the writer."""
    shape, theta = request.shape, request.theta
    forecasts: Sequence[Signal]
    recorded: dict[str, Any]
    safety: dict[str, Any] | None
    rules: list[dict[str, Any]] = []
    compressors: list[dict[str, Any]] = []
    tracking: dict[str, Any] | None = None
    estimator: dict[str, Any] | None
    if isinstance(shape, HouseDesign):
        system, recorded = problem.name, {"house": shape.text, "fits": dict(shape.fits)}
        safety, estimator, rules = shape.safety(theta), shape.estimator(theta), shape.rules(theta)
        forecasts, compressors, tracking = shape.forecasts, shape.compressors, shape.tracking(theta)
    else:
        system, grid = shape.system, {"horizon": problem.horizon, "dt_s": problem.dt_s, "discount": problem.discount}
        model = {} if shape.model is None else {"model": shape.model}
        recorded = {"spec": full_spec(shape), **grid, **model}
        safety, estimator = make_safety(shape, theta, problem.dt_s), make_observer(shape, theta)
        forecasts = problem.forecasts
    document = {
        "name": problem.name,
        "system": system,
        "dt_s": problem.dt_s,
        "horizon": problem.horizon,
        "discount": problem.discount,
        "decide_every_s": problem.decide_every_s,
        "states": [asdict(s) for s in problem.states],
        "actions": [asdict(s) for s in problem.actions],
        "forecasts": [_forecast(f) for f in forecasts],
        "theta": [_parameter(p) for p in problem.theta],
        "safety": safety,
        "rules": rules,
        "compressors": compressors,
        "tracking": tracking,
        "estimator": estimator or {"type": "direct"},
        "provenance": {
            "problem": recorded,
            "tools": {**versions_of(), "casadi": ca.CasadiMeta.version(), "acados": dict(acados_versions)},
            **request.provenance,
        },
        "created": request.created,
        "serial": request.serial,
    }
    manifest = Manifest.model_validate({**document, "format_version": FORMAT_VERSION})
    return manifest.model_copy(update={"format_version": manifest.oldest_format})


def shape_of(manifest: Manifest) -> Shape | HouseDesign:
    """The shape that `make_manifest` recorded, so that a bundle can be verified again later."""
    recorded = manifest.provenance.get("problem", {})
    recorded = recorded if isinstance(recorded, dict) else {}
    if "house" in recorded:
        return HouseDesign(str(recorded["house"]), dict(recorded.get("fits", {})))
    spec, model = recorded.get("spec", {}), recorded.get("model")
    return Shape(manifest.system, spec, manifest.horizon, manifest.dt_s, manifest.discount, model)


def _forecast(forecast: Signal) -> dict[str, Any]:
    schedule = getattr(forecast, "schedule", None)
    document = asdict(forecast)
    return document if schedule is None else {**document, "schedule": schedule.model_dump()}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    """What a daemon needs of it: its default is in theta.json, its group matters to the tuner."""
    return {name: getattr(parameter, name) for name in ("name", "unit", "lower", "upper", "description")}


def bundle_files(built: Mapping[str, BuiltSolver], cache: Path | None = None) -> dict[str, bytes | Path]:
    """Path in the bundle -> content: libraries per architecture, sources with a build command, licences."""
    files: dict[str, bytes | Path] = {}
    for arch, solver in built.items():
        for library in sorted(solver.library.parent.iterdir()):
            files[f"lib/{arch}/{library.name}"] = library
    sources = next(iter(built.values())).sources
    for path in sorted(p for p in sources.rglob("*") if p.is_file()):
        files[f"src/{path.relative_to(sources)}"] = path
    tree = acados_tree(next(iter(built)), cache)
    for header in sorted(tree.include.rglob("*.h")):
        if "qpOASES" not in str(header):
            files[f"src/include/{header.relative_to(tree.include)}"] = header
    files["src/build.sh"] = build_script(source_list(sources), list(acados.libraries(tree))).encode()
    files.update({f"licenses/{name}": text.encode() for name, text in license_texts(tree).items()})
    return files


def build_script(sources: Sequence[str], libraries: Sequence[str]) -> str:
    """A shell script that rebuilds the library on the machine it is for, with nothing but a C compiler."""
    includes = "-I. -Iinclude -Iinclude/acados -Iinclude/blasfeo/include -Iinclude/hpipm/include"
    own = {name: [path for path in sources if extra_flags(path, name)] for name in TARGETS}
    cases = "\n".join(
        f"        {path}:{name}) own='{' '.join(extra_flags(path, name))}' ;;" for name in TARGETS for path in own[name]
    )
    link = " ".join(f"'{flag}'" if "$" in flag else flag for flag in link_flags())
    return f"""#!/bin/sh
# Rebuilds the controller library from these sources, on the machine it is for:  sh build.sh [OUTPUT]
# It needs the libraries in ../lib/<arch> beside it at run time, as the shipped one does.
set -eu
output=${{1:-{LIBRARY}}}
case $output in /*) ;; *) output=$(pwd)/$output ;; esac
cd "$(dirname "$0")"
arch=$(uname -m)
lib=../lib/$arch
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for source in {" ".join(sources)}; do
    own=
    case $source:$arch in
{cases}
    esac
    ${{CC:-cc}} {" ".join(compile_flags())} $own {includes} \\
        -c "$source" -o "$objects/$(basename "$source" .c).o"
done
${{CC:-cc}} {link} "$objects"/*.o -o "$output" -L"$lib" -Wl,--no-as-needed \\
    {" ".join(f"-l:{name}" for name in libraries)} -lm
"""
