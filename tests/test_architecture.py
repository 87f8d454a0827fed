"""The lines between the parts: who may import whom, and what the runtime must do without."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("pages", "systems", "tuner", "codegen", "runtime", "feeds", "hil", "deploy", "research", "nisse")

# part -> the parts it may import. Nobody imports research, nor nisse, which composes the parts and calls the
# sub-command of each by name.
MAY_IMPORT = {
    "systems": {"runtime"},
    "runtime": set[str](),
    "pages": set[str](),
    "codegen": {"systems", "runtime"},
    "feeds": {"runtime"},
    "deploy": {"runtime"},
    "tuner": {"codegen", "systems", "runtime", "pages"},
    "hil": {"runtime", "systems", "pages"},
    "research": {"systems", "tuner", "codegen", "runtime", "hil", "pages"},
    "nisse": {"systems", "tuner", "codegen", "runtime", "feeds", "hil", "deploy", "pages"},
}
# Of runtime, codegen may know how files are read, the bundle format and the C ABI only.
CODEGEN_MAY_USE = (
    "runtime.bundle.archive", "runtime.bundle.manifest", "runtime.bundle.keys", "runtime.errors", "runtime.abi",
    "runtime.version", "runtime.formats.documents", "runtime.formats.plain_files",
)  # fmt: skip
# Of runtime, systems may know how files and schedules are read, the rules, and what a peak costs.
SYSTEMS_MAY_USE = (
    "runtime.formats.duration", "runtime.formats.toml_lines", "runtime.formats.toml_source", "runtime.formats.weekly",
    "runtime.decide.rules", "runtime.decide.rules_data", "runtime.decide.rules_laws", "runtime.inputs.uncharged",
    "runtime.inputs.correction", "runtime.formats.documents", "runtime.formats.plain_files",
)  # fmt: skip
# And the tuner how files are read, the rules that it judges by, the daemon's log, and the law of the meter.
TUNER_MAY_USE = (
    "runtime.decide.rules", "runtime.decide.rules_data", "runtime.decide.rules_laws", "runtime.store.transitions",
    "runtime.bundle.tracking", "runtime.track.aim", "runtime.track.interval", "runtime.track.law",
    "runtime.track.planned", "runtime.inputs.correction", "runtime.inputs.uncharged", "runtime.version",
    "runtime.formats.documents", "runtime.formats.plain_files",
)  # fmt: skip
# The feeds know how files and messages are written and the site file is read, and nothing of how control is done.
FEEDS_MAY_USE = (
    "runtime.channel", "runtime.clock", "runtime.errors", "runtime.formats", "runtime.inputs.plausibility",
    "runtime.interrupts", "runtime.links.mqtt", "runtime.site.config", "runtime.site.credentials", "runtime.site.feeds",
    "runtime.site.section", "runtime.site.signals", "runtime.store.transitions", "runtime.systemd", "runtime.version",
)  # fmt: skip
# What a Raspberry Pi has: the standard library and the base install.
RUNTIME_MAY_USE = {"numpy", "paho", "pydantic", "serial", "pymodbus", "cryptography"}
BUILD_MACHINE_ONLY = (
    "casadi", "acados", "acados_template", "rich", "scipy", "matplotlib", "jinja2", "gymnasium", "joblib", "pandas",
)  # fmt: skip


def imports_of(file: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every import anywhere in the file, those for type checkers included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            yield node.module or "", node.lineno
            if node.module in PARTS:  # from runtime import bundle
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def sources(part: str) -> list[Path]:
    return sorted((ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("part", PARTS)
def test_imports_between_parts_run_one_way(part: str) -> None:
    allowed = MAY_IMPORT[part] | {part}
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sources(part)
        for name, line in imports_of(file)
        if name.partition(".")[0] in PARTS and name.partition(".")[0] not in allowed
    ]
    assert sources(part) and not wrong


@pytest.mark.parametrize(
    ("part", "may_use"),
    [
        ("codegen", CODEGEN_MAY_USE),
        ("systems", SYSTEMS_MAY_USE),
        ("tuner", TUNER_MAY_USE),
        ("feeds", FEEDS_MAY_USE),
    ],
)
def test_other_parts_know_little_of_the_runtime(part: str, may_use: tuple[str, ...]) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sources(part)
        for name, line in imports_of(file)
        if name.startswith("runtime") and name != "runtime" and not name.startswith(may_use)
    ]
    assert not wrong


@pytest.mark.parametrize(("part", "more"), [("runtime", {"waitress"}), ("feeds", {"httpx", "runtime"})])
def test_what_runs_on_a_pi_uses_the_small_install_only(part: str, more: set[str]) -> None:
    allowed = RUNTIME_MAY_USE | {part} | more | set(sys.stdlib_module_names)
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in sources(part)
        for name, line in imports_of(file)
        if name.partition(".")[0] not in allowed
    ]
    assert not wrong


def test_every_module_of_the_runtime_loads_where_the_build_tools_are_missing() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in sources("runtime")
    ]
    program = f"""
import importlib, sys
for name in {BUILD_MACHINE_ONLY!r}:
    sys.modules[name] = None  # an import of it raises ModuleNotFoundError
for name in {modules!r}:
    importlib.import_module(name)
from nisse.cli import build_parser
for name in ("run", "check", "key", "init", "doctor", "status", "service"):
    build_parser(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_daemon_does_not_load_numpy_or_unused_links() -> None:
    program = """
import sys
import runtime.commands.run, runtime.daemon, runtime.lockstep
heavy = sorted({"numpy", "pymodbus", "serial", "cryptography", "asyncio"} & set(sys.modules))
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", PARTS)
def test_files_stay_readable(part: str) -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in sources(part)}
    assert not {name: length for name, length in lengths.items() if length > 400}
    undocumented = [str(f.relative_to(ROOT)) for f in sources(part) if not ast.get_docstring(ast.parse(f.read_text()))]
    assert not undocumented


def _as_it_loads(statements: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run with the module: not those of functions, nor those for type checkers."""
    for node in statements:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _as_it_loads(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in ("body", "orelse", "handlers", "finalbody"):
                yield from _as_it_loads(getattr(node, part, ()))


def test_no_module_needs_itself_to_be_loaded() -> None:
    """Not by way of others either, over all parts."""
    files = {
        ".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): f
        for part in PARTS
        for f in sources(part)
    }
    needs: dict[str, set[str]] = {}
    for module, file in files.items():
        named: set[str] = set()
        for node in _as_it_loads(ast.parse(file.read_text(encoding="utf-8")).body):
            if isinstance(node, ast.ImportFrom):
                named |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
            else:
                named |= {alias.name for alias in node.names}
        needs[module] = (named & set(files)) - {module}
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError, with the circle
