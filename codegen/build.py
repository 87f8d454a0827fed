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
from systems.design import HouseDesign
from systems.problem import Parameter, Problem, Signal

if TYPE_CHECKING:
    from runtime.bundle.keys import SigningKey


class ForeignBundleError(ValueError):
    """A bundle whose problem cannot be made again."""

    exit_code = 65


@dataclass(frozen=True)
class BuildRequest:
    """Everything a bundle is a function of, but the signing key."""

    design: HouseDesign
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
    problem = request.design.problem.with_theta(dict(request.theta))
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


def make_manifest(problem: Problem, request: BuildRequest, acados_versions: Mapping[str, str]) -> Manifest:
    """What the bundle says of itself; `files` is filled in by the writer."""
    design, theta = request.design, request.theta
    document = {
        "name": problem.name,
        "system": problem.name,
        "dt_s": problem.dt_s,
        "horizon": problem.horizon,
        "discount": problem.discount,
        "decide_every_s": problem.decide_every_s,
        "states": [asdict(s) for s in problem.states],
        "actions": [asdict(s) for s in problem.actions],
        "forecasts": [_forecast(f) for f in design.forecasts],
        "theta": [_parameter(p) for p in problem.theta],
        "safety": design.safety(theta),
        "rules": design.rules(theta),
        "compressors": design.compressors,
        "tracking": design.tracking(theta),
        "estimator": design.estimator(theta),
        "provenance": {
            "problem": {"house": design.text, "fits": dict(design.fits)},
            "tools": {**versions_of(), "casadi": ca.CasadiMeta.version(), "acados": dict(acados_versions)},
            **request.provenance,
        },
        "created": request.created,
        "serial": request.serial,
    }
    manifest = Manifest.model_validate({**document, "format_version": FORMAT_VERSION})
    return manifest.model_copy(update={"format_version": manifest.oldest_format})


def design_of(manifest: Manifest) -> HouseDesign:
    """The design that `make_manifest` recorded, so that a bundle can be verified again later.

    Raises ForeignBundleError for the bundle of a system that no house file describes.
    """
    recorded = manifest.provenance.get("problem", {})
    if not isinstance(recorded, dict) or "house" not in recorded:
        raise ForeignBundleError(
            f"the bundle of {manifest.system!r} says no house file that it was built from; build it again from one"
        )
    return HouseDesign(str(recorded["house"]), dict(recorded.get("fits", {})))


def _forecast(forecast: Signal) -> dict[str, Any]:
    said = {name: getattr(forecast, name, None) for name in ("schedule", "carries")}
    return asdict(forecast) | {name: value.model_dump() for name, value in said.items() if value is not None}


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
