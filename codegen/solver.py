"""Problem -> compiled controller: generate, compile, keep in the cache, load."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import casadi as ca

from codegen import acados
from codegen.compilers import Compiler, find_compiler
from codegen.functions import write_config, write_functions
from codegen.ocp import build_ocp, expressions
from codegen.toolchain import AcadosTree, acados_tree, cache_directory, host_arch
from runtime.abi.controller import Controller
from systems.problem import Problem

SHIM = Path(__file__).parent / "shim"
ABI_HEADER = Path(__file__).parents[1] / "runtime" / "abi" / "nisse_controller.h"
LIBRARY = "libnisse_controller.so"
INCLUDES = ("acados", "blasfeo/include", "hpipm/include", "")
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
    with acados.environment_kept():
        tree = acados_tree(arch, cache)
        # The renderer runs here, the libraries run there: templates come from the host's tree.
        templates_tree = tree if arch == host_arch() else acados_tree(host_arch(), cache)
    compiler = find_compiler(arch, cache)
    solvers = cache / "solvers"
    solvers.mkdir(parents=True, exist_ok=True)
    destination = solvers / f"{problem.name}-{arch}-{cache_key(problem, tree, compiler)[:16]}"
    if not destination.is_dir():
        clear_abandoned(solvers, time.time())
        with tempfile.TemporaryDirectory(dir=solvers, prefix=".partial-") as name:
            work = Path(name) / "solver"
            work.mkdir()
            generate_sources(problem, templates_tree, work / "src")
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
    generator = [Path(__file__).with_name(f"{name}.py") for name in ("acados", "functions", "ocp", "solver")]
    for path in (*sorted(SHIM.glob("*.[ch]")), ABI_HEADER, *generator):
        digest.update(path.read_bytes())
    digest.update(f"{tree.arch} {tree.version} {tree.root} {compiler.name} {ca.CasadiMeta.version()}".encode())
    return digest.hexdigest()


def generate_sources(problem: Problem, tree: AcadosTree, directory: Path) -> None:
    """Write every C file of the controller into `directory`: acados', CasADi's, the shim's and the ABI header."""
    e = expressions(problem)
    raw = directory.parent / "acados"
    with acados.environment_kept():
        templates = acados.load_templates(tree)
        acados.render(templates, build_ocp(problem, e, templates), tree, raw)
    for path in (*acados.generated_sources(raw), *acados.generated_headers(raw)):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(raw / path, directory / path)
    shutil.rmtree(raw)
    write_functions(problem, e, directory)
    write_config(problem, e, directory)
    for path in (*sorted(SHIM.glob("*.[ch]")), ABI_HEADER):
        shutil.copyfile(path, directory / path.name)


def source_list(directory: Path) -> list[str]:
    """The C files of a source folder, in a fixed order."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*.c"))


def compile_flags() -> list[str]:
    """Compiler flags that matter for the result."""
    return ["-O2", "-fPIC", "-std=gnu11", "-fvisibility=hidden", "-Werror=implicit-function-declaration"]


def extra_flags(source: str, arch: str) -> list[str]:
    """For the interior-point method alone: unrolled, and on x86-64 with what the acados libraries need anyway."""
    if Path(source).name != "interior_point.c":
        return []
    return ["-O3", "-fno-math-errno", *(["-mavx2", "-mfma"] if arch == "x86_64" else [])]


def link_flags() -> list[str]:
    """Linker flags: what the library loads lies beside it."""
    return ["-shared", "-Wl,-rpath,$ORIGIN"]


def compile_controller(work: Path, tree: AcadosTree, compiler: Compiler) -> None:
    """Compile work/src into work/lib, file by file on all cores, with the libraries it needs beside it."""
    source, lib = work / "src", work / "lib"
    lib.mkdir()
    shipped = acados.libraries(tree)
    for library in shipped:
        shutil.copyfile(library, lib / library.name)
    includes = ["-I.", *(f"-I{tree.include / part}" for part in INCLUDES)]
    with tempfile.TemporaryDirectory(dir=work) as name:
        objects = {path: str(Path(name) / f"{Path(path).stem}.o") for path in source_list(source)}
        jobs = [
            [*compile_flags(), *extra_flags(path, tree.arch), *includes, "-c", path, "-o", target]
            for path, target in objects.items()
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda arguments: compiler.run(arguments, source), jobs))
        links = ["-L../lib", "-Wl,--no-as-needed", *(f"-l:{library.name}" for library in shipped), "-lm"]
        compiler.run([*link_flags(), *objects.values(), "-o", f"../lib/{LIBRARY}", *links], source)
