"""An acados on disk: where its parts are, and which version it is."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from codegen.errors import ToolchainError

WHEEL_VERSION = "0.2.2"
"""Of the acados inside the wheels, whatever the number of their release."""
WHEEL_LIBRARIES = (
    "b5496cea328d9a239b1c1cb69b1327753e54eeebe331ef29ca91b97a85544228",
    "c3b25e257ed8befa95c5d56493289881c34c790f7f75deae7acfc6d6bdd60335",
)
"""sha256 of libacados.so in the wheels for x86-64 and aarch64, the same in all of their releases that are known."""
OLDEST_OWN = "0.5"
INTERFACE = Path("include/acados_c/ocp_nlp_interface.h")

# acados writes its version into no file: a release is told by what it was the first to have. Newest first, found by
# comparing the tagged releases.
MARKS = (
    ("0.6", "include/acados/ocp_nlp/ocp_nlp_common.h", "with_solution_sens_wrt_params_forw"),
    ("0.5.5", "interfaces/acados_template/acados_template/acados_code_gen_options.py", ""),
    ("0.5.4", "interfaces/acados_template/acados_template/acados_code_gen_opts.py", ""),
    ("0.5.2", "interfaces/acados_template/acados_template/acados_casadi_ocp.py", ""),
    ("0.5.1", "interfaces/acados_template/acados_template/acados_casadi_ocp_solver.py", ""),
    ("0.5", str(INTERFACE), r"ocp_nlp_constraints_model_set\([^)]*ocp_nlp_out \*"),
)


@dataclass(frozen=True)
class AcadosTree:
    """`install` holds include/, lib/ and bin/ for one architecture; `templates` is the Python package's folder."""

    install: Path
    templates: Path
    arch: str
    version: str
    own: bool = False
    """The user's, not a wheel's."""

    @property
    def lib(self) -> Path:
        return self.install / "lib"

    @property
    def include(self) -> Path:
        return self.install / "include"

    @property
    def renderer(self) -> Path:
        return self.install / "bin" / "t_renderer"

    @property
    def identity(self) -> str:
        """What a controller is a function of: the release of a wheel, the bytes of the user's own acados."""
        if not self.own:
            return self.version
        digest = hashlib.sha256()
        parts = (self.lib.glob("*.so*"), self.include.rglob("*.h"), self.templates.rglob("*"))
        for path in sorted(p for part in parts for p in part if p.is_file() and p.suffix != ".pyc"):
            digest.update(path.read_bytes())
        return f"{self.version}-{digest.hexdigest()[:16]}"


def wheel_tree(folder: Path, arch: str, version: str) -> AcadosTree:
    """Of the package folder `acados` that a wheel was unpacked to."""
    return AcadosTree(folder / "install", folder / "acados_template", arch, version)


def own_tree(root: Path, arch: str) -> AcadosTree:
    """The user's acados, in its own layout. Raises ToolchainError when something is missing or it is too old."""
    said = f"ACADOS_SOURCE_DIR={root}"
    if not (root / "lib").is_dir() or not (root / "include").is_dir():
        raise ToolchainError(f"{said} has no lib/ and include/: run acados' `make install`, or unset it")
    templates = root / "interfaces" / "acados_template" / "acados_template"
    if not (templates / "__init__.py").is_file():
        raise ToolchainError(
            f"{said} has no interfaces/acados_template: it must be acados' source folder with what was installed into "
            "it; or unset it"
        )
    return AcadosTree(root.absolute(), templates.absolute(), arch, version_of(root), own=True)


def version_of(root: Path) -> str:
    """The version of an acados in its own layout. Raises ToolchainError where it is too old."""
    library = root / "lib" / "libacados.so"
    if not library.is_file():
        raise ToolchainError(
            f"{root}/lib has no libacados.so: build acados with -DBUILD_SHARED_LIBS=ON, and install it"
        )
    if hashlib.sha256(library.read_bytes()).hexdigest() in WHEEL_LIBRARIES:
        return WHEEL_VERSION
    for version, name, pattern in MARKS:
        path = root / name
        if path.is_file() and re.search(pattern, path.read_text(encoding="utf-8", errors="replace")):
            return version
    raise ToolchainError(
        f"ACADOS_SOURCE_DIR={root} is an acados older than {OLDEST_OWN}, which nisse cannot use: build {OLDEST_OWN} or "
        "newer, or unset ACADOS_SOURCE_DIR to take the one that `nisse toolchain fetch` brings"
    )
