"""The adapter to acados' Python templates: everything that differs between acados versions is in this file."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from codegen.errors import ToolchainError
from codegen.toolchain import AcadosTree

OCP_NAME = "nisse_ocp"
"""Every generated solver has this name: the shim calls it without macros, and symbols stay private to one library."""


def load_templates(tree: AcadosTree) -> ModuleType:
    """Import `acados_template` of the tree: the wheel keeps it inside `acados`, a source tree beside its interfaces."""
    candidates = (
        (tree.root.parent, "acados.acados_template"),
        (tree.root / "interfaces" / "acados_template", "acados_template"),
    )
    for folder, name in candidates:
        if not folder.joinpath(*name.split("."), "__init__.py").exists():
            continue
        os.environ["ACADOS_SOURCE_DIR"] = str(tree.install)
        os.environ["TERA_PATH"] = str(tree.renderer)
        os.environ["ACADOS_PYTHON_INTERFACE_PATH"] = str(folder.joinpath(*name.split(".")))
        sys.path.insert(0, str(folder))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in acados' docstrings, in newer Pythons
                return importlib.import_module(name)
        finally:
            sys.path.remove(str(folder))
    raise ToolchainError(f"no acados_template under {tree.root}: reinstall acados with its Python interface")


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """acados reads its paths from the environment; put back what the user had there."""
    names = ("ACADOS_SOURCE_DIR", "TERA_PATH", "ACADOS_PYTHON_INTERFACE_PATH")
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def render(templates: ModuleType, ocp: Any, tree: AcadosTree, directory: Path) -> None:
    """Write the C sources of the solver into `directory`. Raises ToolchainError with acados' own words."""
    directory.mkdir(parents=True, exist_ok=True)
    ocp.acados_include_path = str(tree.include)
    ocp.acados_lib_path = str(tree.lib)
    ocp.code_export_directory = str(directory)
    said = io.StringIO()
    here = Path.cwd()
    try:
        # acados writes its JSON and the CasADi sources relative to the working directory, and prints as it goes.
        os.chdir(directory)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            templates.AcadosOcpSolver.generate(ocp, json_file=str(directory / "ocp.json"))
    except Exception as error:
        raise ToolchainError(
            f"acados could not generate the solver: {error} {said.getvalue()[-400:]}".strip()
        ) from error
    finally:
        os.chdir(here)


def generated_sources(directory: Path) -> list[Path]:
    """The C files that make up the solver, without acados' examples and what it does not call; paths relative to
    `directory`."""
    folders = [directory / f"{OCP_NAME}_{part}" for part in ("model", "cost", "constraints")]
    sources = [directory / f"acados_solver_{OCP_NAME}.c"]
    called = set(re.findall(r"\w+", sources[0].read_text()))
    for folder in folders:
        sources += sorted(path for path in folder.glob("*.c") if path.stem in called)
    return [path.relative_to(directory) for path in sources]


def generated_headers(directory: Path) -> list[Path]:
    """The headers of `generated_sources`, relative to `directory`."""
    return sorted(path.relative_to(directory) for path in directory.rglob("*.h") if "sim_solver" not in path.name)


def libraries(tree: AcadosTree) -> list[Path]:
    """The shared libraries a controller needs at run time, in link order. Raises ToolchainError when one is missing."""
    qpoases = "libqpOASES_e.so.3.1" if (tree.lib / "libqpOASES_e.so.3.1").exists() else "libqpOASES_e.so"
    found = [tree.lib / name for name in ("libacados.so", "libhpipm.so", "libblasfeo.so", qpoases)]
    missing = [path.name for path in found if not path.exists()]
    if missing:
        raise ToolchainError(f"{tree.lib} lacks {', '.join(missing)}: reinstall acados with shared libraries")
    return found
