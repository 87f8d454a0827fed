"""The adapter to acados: everything that differs between its versions is in this file.

Tried: 0.2.2 (the wheel) and 0.6.0; 0.5.0 as far as the compiler. What a version has is looked up in it, never
concluded from its number.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from codegen.errors import ToolchainError
from codegen.tree import INTERFACE, AcadosTree

OCP_NAME = "nisse_ocp"
"""Every generated solver has this name: the shim calls it without macros, and symbols stay private to one library."""
C_ADAPTER = "nisse_acados.h"
FUNCTIONS = Path("include/acados/utils/external_function_generic.h")
VARIABLES = ("ACADOS_SOURCE_DIR", "TERA_PATH", "ACADOS_PYTHON_INTERFACE_PATH")


def load_templates(tree: AcadosTree, renderer: Path) -> ModuleType:
    """Import acados' Python package of this very tree, made to render with `renderer`. Raises ToolchainError."""
    # The wheel keeps it inside the package `acados`, a source tree beside its other interfaces.
    name = "acados_template" if tree.own else "acados.acados_template"
    top = name.partition(".")[0]
    folder = tree.templates.parents[name.count(".")]
    loaded = sys.modules.get(name)
    if loaded is not None and Path(str(loaded.__file__)).parent != tree.templates:
        for other in [n for n in sys.modules if n == top or n.startswith(f"{top}.")]:
            del sys.modules[other]
    _point_to(tree, renderer)
    sys.path.insert(0, str(folder))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in acados' docstrings, in newer Pythons
            templates = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ToolchainError(
            f"acados_template of {tree.install} needs the Python package {error.name!r}: install it with "
            f"`{sys.executable} -m pip install {str(error.name).partition('.')[0]}`"
        ) from error
    except SyntaxError as error:  # 0.5.0 and older name a codec that a package brings
        raise ToolchainError(
            f"acados_template of {tree.install} cannot be read ({error.msg}): install what it needs with "
            f"`{sys.executable} -m pip install future-fstrings`"
        ) from error
    finally:
        sys.path.remove(str(folder))
    _render_with(templates, renderer)
    return templates


def _point_to(tree: AcadosTree, renderer: Path) -> None:
    values = (str(tree.install), str(renderer), str(tree.templates))
    os.environ.update(zip(VARIABLES, values, strict=True))


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """acados reads its paths from the environment; put back what the user had there."""
    before = {name: os.environ.get(name) for name in VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _render_with(templates: ModuleType, renderer: Path) -> None:
    """Replace acados' way to run its renderer: a line for the shell, in which a path with a space or a quote is two
    words, and which looks for another renderer on the network when it does not like this one's version."""
    package = Path(str(templates.__file__)).parent

    def render_template(
        in_file: str, out_file: str, output_dir: str, json_path: str, template_glob: str | None = None
    ) -> None:
        if not out_file.endswith((".c", ".h")) or out_file.startswith("main_") or "sim_solver" in out_file:
            return  # examples, build files and interfaces that nobody here reads
        # Relative, since a path may hold what means something in a pattern.
        folder, name = (Path("c_templates_tera") / in_file).parts[:-1], Path(in_file).name
        pattern = template_glob or "/".join((*folder, "**", "*"))
        target = Path(output_dir).absolute() / out_file
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [str(renderer), pattern, name, str(Path(json_path).absolute()), str(target)]
        done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise ToolchainError(
                f"{renderer} cannot render {name}: {said[:300]}; acados 0.5.1 and newer need t_renderer 0.2 or newer"
            )

    for name, module in list(sys.modules.items()):
        if name.startswith(templates.__name__) and hasattr(module, "render_template"):
            vars(module)["render_template"] = render_template


def set_horizon(ocp: Any, stages: int) -> None:
    """dims.N became solver_options.N_horizon in 0.4."""
    if hasattr(ocp.solver_options, "N_horizon"):
        ocp.solver_options.N_horizon = stages
    else:
        ocp.dims.N = stages


def rows_from_the_first_stage_on(ocp: Any) -> None:
    """Up to 0.2 the rows of a stage held at every stage; since 0.3 those of the first one are named apart."""
    if not hasattr(ocp.constraints, "lh_0"):
        return
    ocp.model.con_h_expr_0 = ocp.model.con_h_expr
    for field in ("lh", "uh", "idxsh"):
        setattr(ocp.constraints, f"{field}_0", getattr(ocp.constraints, field))
    for field in ("zl", "zu", "Zl", "Zu"):
        setattr(ocp.cost, f"{field}_0", getattr(ocp.cost, field))


def render(templates: ModuleType, ocp: Any, tree: AcadosTree, directory: Path) -> None:
    """Write the C sources of the solver into `directory`. Raises ToolchainError with acados' own words."""
    directory.mkdir(parents=True, exist_ok=True)
    # Paths and the file of the rendered values moved from the problem to an object of their own in 0.5.4.
    options = getattr(ocp, "code_gen_options", None) or getattr(ocp, "code_gen_opts", None) or ocp
    options.acados_include_path = str(tree.include)
    options.acados_lib_path = str(tree.lib)
    options.code_export_directory = str(directory)
    if hasattr(ocp, "name"):
        ocp.name = OCP_NAME  # since 0.5.4 apart from the model's, and a hash unless it is given
    arguments = {}
    if "json_file" in inspect.signature(templates.AcadosOcpSolver.generate).parameters:
        arguments["json_file"] = str(directory / "ocp.json")
    else:
        options.json_file = str(directory / "ocp.json")
    said = io.StringIO()
    here = Path.cwd()
    try:
        # acados writes its JSON and the CasADi sources relative to the working directory, and prints as it goes.
        os.chdir(directory)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that this CasADi is newer than it
            templates.AcadosOcpSolver.generate(ocp, **arguments)
    except ToolchainError:
        raise
    except Exception as error:
        raise ToolchainError(
            f"acados could not generate the solver: {error} {said.getvalue()[-400:]}".strip()
        ) from error
    finally:
        os.chdir(here)
    headers = ((tree.install / path).read_text(encoding="utf-8") for path in (INTERFACE, FUNCTIONS))
    (directory / C_ADAPTER).write_text(c_adapter(*headers))


def c_adapter(interface: str, functions: str) -> str:
    """C macros for what the shim asks of acados in one way, whatever its interface (ocp_nlp_interface.h) and its stage
    functions (external_function_generic.h) ask for."""

    def takes(function: str, argument: str) -> bool:
        found = re.search(rf"\b{function}\(([^)]*)\)", interface)
        return found is not None and argument in found[1]

    get = "(s)->nlp_config, " if takes("ocp_nlp_get", "ocp_nlp_config") else ""
    out = "(s)->nlp_out, " if takes("ocp_nlp_constraints_model_set", "ocp_nlp_out") else ""
    # Since 0.4 the distances to the bounds are the QP's alone, and its vectors come with the bounds of the moment.
    distances = "memory->qp_out->t" if out else "capsule->nlp_out->t"
    # Until 0.2 parameters are the last argument of every function of every stage; later ones look up where they are.
    keeps = "external_function_param_casadi" in functions and "idx_in_p" not in functions
    embed = "ocp_nlp_embed_initial_value((s)->nlp_config, (s)->nlp_dims, (s)->nlp_in, (s)->nlp_out, opts, mem, work)"
    lines = [
        "/* What differs between versions of acados; s is the generated solver's capsule, c the controller. */",
        "#ifndef NISSE_ACADOS_H",
        "#define NISSE_ACADOS_H",
        f"#define ACADOS_GET(s, field, to) ocp_nlp_get({get}(s)->nlp_solver, field, to)",
        "#define ACADOS_SET_BOUND(s, k, field, to) \\",
        f"    ocp_nlp_constraints_model_set((s)->nlp_config, (s)->nlp_dims, (s)->nlp_in, {out}k, field, to)",
        f"#define ACADOS_DISTANCES(c) ((c)->{distances})",
        "#define ACADOS_EMBED_BOUNDS(s, opts, mem, work) \\",
        f"    {'(void)0' if out else embed}",
        f"#define ACADOS_KEEPS_PARAMETERS {int(keeps)}",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


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


def libraries(tree: AcadosTree) -> dict[str, Path]:
    """The shared libraries a controller needs at run time, in link order, by the names they ask for each other by.

    Raises ToolchainError when one is missing.
    """
    found = {}
    for stem in ("libacados", "libhpipm", "libblasfeo", "libqpOASES_e"):
        path = tree.lib / f"{stem}.so"
        if not path.exists():
            raise ToolchainError(
                f"{tree.lib} lacks {path.name}: build acados with -DBUILD_SHARED_LIBS=ON -DACADOS_WITH_QPOASES=ON"
            )
        # The name that a library was linked under may carry a version; it stands in its table of strings.
        names = re.findall(rb"\0(%s\.so[.\d]*)\0" % stem.encode(), path.read_bytes())
        found[names[0].decode() if names else path.name] = path
    return found
