"""Tools that are missing, altered or useless here: one sentence with a remedy, and nothing half-written."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from codegen import toolchain
from codegen.errors import TargetError, ToolchainError
from codegen.ocp import check_penalties, condensed_stages
from codegen.toolchain import ACADOS_PINS, acados_tree, require_avx2, target_arch, unpack_package
from nisse.cli import main
from tests.codegen.problems import bare_problem


def test_unknown_target_names_the_known_ones(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="x86_64, aarch64"):
        target_arch("riscv64")
    output = tmp_path / "b.nisse"
    code = main(["build", "--target", "riscv64", "--key", str(tmp_path / "no.pem"), "--output", str(output)])
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


def test_no_network_at_first_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACADOS_SOURCE_DIR", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"could not be downloaded.*connect to a package index") as caught:
        acados_tree("aarch64", tmp_path / "cache")
    assert caught.value.exit_code == 78
    assert list((tmp_path / "cache" / "acados").iterdir()) == []


def test_altered_wheel_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = replace(ACADOS_PINS[1], sha256="0" * 64)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    name = f"{pin.package.replace('-', '_')}-{pin.version}-py3-none-manylinux_2_28_{pin.arch}.whl"
    with zipfile.ZipFile(wheels / name, "w") as wheel:
        info = f"{pin.package.replace('-', '_')}-{pin.version}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {pin.package}\nVersion: {pin.version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    destination = tmp_path / "cache" / "acados"
    with pytest.raises(ToolchainError, match=r"sha256.*expected 0000.*altered"):
        toolchain.wheel_to_cache(pin, f"manylinux_2_28_{pin.arch}", "acados", destination)
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


def test_own_acados_without_libraries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACADOS_SOURCE_DIR", str(tmp_path))
    with pytest.raises(ToolchainError, match="has no lib/ and include/"):
        acados_tree(toolchain.host_arch(), tmp_path)


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
