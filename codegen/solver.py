"""Problem -> compiled controller: generate, compile, keep in the cache, load."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import casadi as ca

from codegen.compilers import Compiler, find_compiler
from codegen.making import ABI_HEADER, LIBRARY, SHIM, compile_controller, generate_sources
from codegen.targets import cache_directory, host_arch
from codegen.toolchain import acados_tree, renderer_for
from codegen.tree import AcadosTree
from runtime.abi.controller import Controller
from systems.problem import Problem

ABANDONED_S = 86400.0
"""A build takes minutes; what is half done after a day was killed."""


@dataclass(frozen=True)
class BuiltSolver:
    """A folder with the controller library, everything it loads, and (in src/) what it was made of."""

    directory: Path
    arch: str

    @property
    def library(self) -> Path:
        return self.directory / "lib" / LIBRARY

    @property
    def sources(self) -> Path:
        return self.directory / "src"


def compiled_controller(problem: Problem, cache_dir: Path | None = None) -> Controller:
    """The controller of `problem` on this machine, built at first use. Raises CodegenError."""
    return Controller(build_solver(problem, host_arch(), cache_dir).library)


def build_solver(problem: Problem, arch: str, cache_dir: Path | None = None) -> BuiltSolver:
    """Generate and compile `problem` for `arch`, or take it from the cache when the same was built before."""
    cache = cache_dir or cache_directory()
    tree = acados_tree(arch, cache)
    compiler = find_compiler(arch, cache)
    solvers = cache / "solvers"
    solvers.mkdir(parents=True, exist_ok=True)
    destination = solvers / f"{problem.name}-{arch}-{cache_key(problem, tree, compiler)[:16]}"
    if not destination.is_dir():
        clear_abandoned(solvers, time.time())
        with tempfile.TemporaryDirectory(dir=solvers, prefix=".partial-") as name:
            work = Path(name) / "solver"
            work.mkdir()
            generate_sources(problem, tree, renderer_for(tree, cache), work / "src")
            compile_controller(work, tree, compiler)
            try:
                work.rename(destination)
            except OSError:
                # Another process built the same solver meanwhile.
                if not destination.is_dir():
                    raise
    return BuiltSolver(destination, arch)


def clear_abandoned(solvers: Path, now_s: float) -> None:
    """Remove what a build that was killed more than a day ago has left half done; now_s is Unix time."""
    for folder in solvers.glob(".partial-*"):
        try:
            if now_s - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder)
        except FileNotFoundError:
            # Another process cleared it, or finished with it.
            continue


def cache_key(problem: Problem, tree: AcadosTree, compiler: Compiler) -> str:
    """sha256 over everything the library is a function of: problem, generator, acados and compiler."""
    digest = hashlib.sha256()
    for field in fields(problem):
        value = getattr(problem, field.name)
        digest.update(f"{field.name}={value.serialize() if isinstance(value, ca.Function) else value!r};".encode())
    generator = [Path(__file__).with_name(f"{name}.py") for name in ("acados", "functions", "ocp", "making")]
    for path in (*sorted(SHIM.glob("*.[ch]")), ABI_HEADER, *generator):
        digest.update(path.read_bytes())
    digest.update(f"{tree.arch} {tree.identity} {compiler.name} {ca.CasadiMeta.version()}".encode())
    return digest.hexdigest()
