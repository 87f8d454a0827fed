"""What is installed: the wheel holds all that runs, works outside the clone, and is never a stranger's package."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_wheel import ROOT, make_wheel, outside, share_dependencies
from patience import PATIENCE_S

from nisse.cli import COMMANDS
from runtime.version import DISTRIBUTION

PACKAGES = ("nisse", "pages", "systems", "tuner", "codegen", "runtime", "feeds", "hil", "deploy", "research")
NOT_SHIPPED = re.compile(r"__pycache__|\.pyc$|\.so$|^hil/firmware/build/")
MADE = {"out", "dist", "build", "__pycache__"}
"""Folders with what is made here; so are those that begin with a dot, but for that of the continuous integration."""
TEXTS = {".py", ".md", ".toml", ".html", ".j2", ".css", ".sh", ".yml", ".yaml", ".c", ".h", ".json", ""}
WHAT_A_MACHINE_LACKS = {"tzdata", "future-fstrings"}
"""Named by remedies: Python's own time zones (PEP 615), and what older acados templates import."""
OTHERS_BY_INTENT = {"daqp", "mpcrl", "statsforecast"}
"""Compared with in benchmarks/, where each is pinned."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True, timeout=PATIENCE_S)
    share_dependencies(folder)
    return folder


def test_the_wheel_holds_every_file_of_the_packages_and_the_scenarios(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    ours = {
        str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()
    }
    ours |= {f"hil/scenarios/{file.name}" for file in (ROOT / "scenarios").iterdir()}
    ours |= {f"runtime/devices/profiles/{file.name}" for file in (ROOT / "devices").iterdir()}
    assert packed == {name for name in ours if not NOT_SHIPPED.search(name)}
    assert re.fullmatch(r"nisse_mpc-\d[\w.+]*-py3-none-any.whl", wheel.name)


def test_the_wheel_runs_outside_the_clone(wheel: Path, environment: Path, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import research.condensed.library, hil.board, hil.scenario, nisse, research.four_rooms.reference
from runtime.devices.catalogue import profile_of, shipped
from hil.campaign_report import *
from hil.report import *
from pages.page import Page, render
assert sys.prefix in nisse.__file__, nisse.__file__
assert research.condensed.library.build(Path("cache")).exists()
assert Path(*hil.board.build("posix", Path("board"))).exists()
assert research.four_rooms.reference.reference_model() is not None
assert "<h1>A page</h1>" in render(Page("A page", "It is there.", ()))
for file in hil.scenario.shipped_scenario("battery-week").parent.glob("*.toml"):
    hil.scenario.load_scenario(file)
assert len([profile_of(name, Path()) for name in shipped()]) >= 16
"""
    for command in (
        ["python", "-c", program],
        ["nisse", "--version"],
        ["nisse", "init", "--yes", "--house", "battery", "site.toml"],
        ["nisse", "check", "--no-bundle", "site.toml"],
        ["nisse", "experiment", "optimal-model", "--case", "2", "--delta", "0.11"],
    ):
        done = subprocess.run(
            [str(environment / "bin" / command[0]), *command[1:]],
            cwd=tmp_path,
            env=outside(tmp_path, environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        if command[-1] == "--version":
            assert done.stdout == f"nisse {wheel.name.split('-')[1]}\n"


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.extra])
def test_a_missing_extra_is_named_as_pip_knows_it(name: str, environment: Path, tmp_path: Path) -> None:
    program = """
import sys
for missing in ("casadi", "scipy", "matplotlib", "jinja2", "joblib", "rich", "gymnasium", "amqtt", "httpx",
                "waitress", "shtab"):
    sys.modules[missing] = None  # an import of it raises ModuleNotFoundError
from nisse.cli import main
sys.exit(main(sys.argv[1:]))
"""
    needed = {
        "experiment": ["lqr"], "hil": ["battery-week"], "verify": ["x.nisse"], "feed": ["once", "site.toml"],
        "completion": ["bash"], "build": ["--key", "x.pem", "--output", "x.nisse"],
    }.get(name, [])  # fmt: skip
    python = environment / "bin" / "python"
    done = subprocess.run(
        [str(python), "-c", program, name, *needed], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith(f"{python} -m pip install '{DISTRIBUTION}[{COMMANDS[name].extra}]'\n")


def test_the_extras_are_those_of_the_commands() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {command.extra for command in COMMANDS.values()} - {""} <= set(extras)


def is_made(file: Path) -> bool:
    return any(part in MADE or part[0] == "." for part in file.parts if part != ".ci")


def texts() -> Iterator[tuple[Path, str]]:
    for file in sorted(ROOT.rglob("*")):
        if file.suffix in TEXTS and file.is_file() and not is_made(file.relative_to(ROOT)):
            yield file, file.read_text(encoding="utf-8", errors="replace")


def named(arguments: str) -> Iterator[str]:
    """The requirements in what follows `pip install`: neither options nor files."""
    for word in arguments.replace('"', "").replace("'", "").split():
        if re.match(r"[#|&>)]", word):
            return
        if not re.match(r"-|\.|/|\$|~|\[|\{", word) and not word.endswith(".whl"):
            yield word.rstrip("`.,:;)")


def wrong_installs(text: str) -> list[str]:
    """Requirements that would be fetched from a package index under a name that is not meant."""
    found = []
    for arguments in re.findall(r"\bpipx? +(?:install|download|run)\s+([^`;\n]*)", text):
        by_url = " @ " in arguments
        for word in named(arguments.partition(" @ ")[0]):
            name = re.split(r"[\[=<>~!]", word)[0].lower()
            pinned = name in OTHERS_BY_INTENT and "==" in word
            if name not in WHAT_A_MACHINE_LACKS and not pinned and not (by_url and name == DISTRIBUTION):
                found.append(word)
    return [*found, *re.findall(r"(?<![\w-])nisse\[[\w{]", text)]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("run `pip install nisse` first", ["nisse"]),
        ("/opt/nisse/bin/pip install --upgrade nisse     # not below /home", ["nisse"]),
        ("pip install 'nisse[hil]'", ["nisse[hil]", "nisse[h"]),
        ("install it with: pip install 'nisse[{command.extra}]'", ["nisse[{command.extra}]", "nisse[{"]),
        ("pip install nisse-mpc", ["nisse-mpc"]),
        ("pip install daqp", ["daqp"]),
        ("pip install daqp==0.11.0` and `pip install\nmpcrl==1.4.1 numpy`", ["numpy"]),
        ("pip install 'nisse-mpc[all] @ git+https://host/nisse.git'", []),
        ("pip install '.[all]'; pip install ./nisse_mpc-0.1.0-py3-none-any.whl   # here", []),
    ],
)
def test_what_counts_as_an_install_of_a_stranger(text: str, wrong: list[str]) -> None:
    assert wrong_installs(text) == wrong


def test_no_page_and_no_message_installs_a_package_of_a_stranger() -> None:
    here = Path(__file__)
    wrong = {file: found for file, text in texts() if file != here and (found := wrong_installs(text))}
    assert not wrong
