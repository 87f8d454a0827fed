"""The user's own acados: its layout, its version, and what differs between versions."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from codegen.acados import c_adapter
from codegen.errors import ToolchainError
from codegen.targets import cache_directory, host_arch
from codegen.toolchain import acados_tree, own_acados, renderer_for, wheel_acados
from codegen.tree import INTERFACE, version_of

# The declarations of three releases as far as they differ (names and order of the arguments are facts of an interface).
OLD_GET = "void ocp_nlp_get(ocp_nlp_config *config, ocp_nlp_solver *solver, const char *field, void *value);"
NEW_GET = "void ocp_nlp_get(ocp_nlp_solver *solver, const char *field, void *value);"
OLD_SET = (
    "int ocp_nlp_constraints_model_set(ocp_nlp_config *config, ocp_nlp_dims *dims,\n"
    "        ocp_nlp_in *in, int stage, const char *field, void *value);"
)
NEW_SET = OLD_SET.replace("ocp_nlp_in *in,", "ocp_nlp_in *in, ocp_nlp_out *out,")


def own_layout(root: Path) -> Path:
    """The acados of the wheel as one that somebody has built: the same libraries in the folders of a source tree."""
    wheel = wheel_acados(host_arch(), cache_directory())
    for name in ("include", "lib", "bin"):
        shutil.copytree(wheel.install / name, root / name)
    shutil.copytree(wheel.templates, root / "interfaces" / "acados_template" / "acados_template")
    return root


def bare_tree(root: Path, interface: str) -> Path:
    """Enough of a tree to read its version from."""
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "libacados.so").write_bytes(b"\x7fELF of nobody")
    (root / INTERFACE).parent.mkdir(parents=True)
    (root / INTERFACE).write_text(interface)
    return root


def test_the_interface_of_each_version_is_asked_in_its_own_way() -> None:
    functions = "typedef struct { double **args; int in_num; } external_function_param_casadi;"
    old = c_adapter(f"{OLD_GET}\n{OLD_SET}\n", functions)
    new = c_adapter(f"{NEW_GET}\n{NEW_SET}\n", functions.replace("in_num", "in_num, idx_in_p"))
    assert "KEEPS_PARAMETERS 1" in old and "KEEPS_PARAMETERS 0" in new
    assert "ocp_nlp_get((s)->nlp_config, (s)->nlp_solver, field, to)" in old
    assert "ocp_nlp_get((s)->nlp_solver, field, to)" in new
    assert "(s)->nlp_in, k, field, to)" in old and "(s)->nlp_in, (s)->nlp_out, k, field, to)" in new
    assert "nlp_out->t" in old and "qp_out->t" in new
    assert "ocp_nlp_embed_initial_value(" in old and "ocp_nlp_embed_initial_value(" not in new


def test_a_version_is_read_from_what_it_has_and_an_old_one_is_refused(tmp_path: Path) -> None:
    assert version_of(bare_tree(tmp_path / "new", f"{NEW_GET}\n{NEW_SET}\n")) == "0.5"
    later = tmp_path / "new" / "interfaces" / "acados_template" / "acados_template"
    later.mkdir(parents=True)
    (later / "acados_code_gen_options.py").touch()
    assert version_of(tmp_path / "new") == "0.5.5"
    old = bare_tree(tmp_path / "old", f"{NEW_GET}\n{OLD_SET}\n")  # 0.4
    with pytest.raises(ToolchainError, match=r"old is an acados older than 0\.5.*build 0\.5 or newer.*unset"):
        version_of(old)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("include", "has no lib/ and include/"),
        ("interfaces", "interfaces/acados_template"),
        ("lib/libacados.so", "BUILD_SHARED_LIBS=ON"),
        ("bin", "TERA_PATH"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, words: str) -> None:
    root = own_layout(tmp_path / "acados")
    path = root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    monkeypatch.setenv("ACADOS_SOURCE_DIR", str(root))
    monkeypatch.delenv("TERA_PATH", raising=False)
    with pytest.raises(ToolchainError, match=re.escape(words)):
        acados_tree(host_arch(), tmp_path / "cache")


def test_the_own_acados_is_proved_once_for_each_build_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that ACADOS_SOURCE_DIR names where these tests run, or the wheel's in the same layout."""
    if "ACADOS_SOURCE_DIR" not in os.environ:
        monkeypatch.setenv("ACADOS_SOURCE_DIR", str(own_layout(tmp_path / "own")))
    first = acados_tree(host_arch(), tmp_path / "cache")
    assert first.own and first.install == Path(os.environ["ACADOS_SOURCE_DIR"]).absolute()
    proofs = list((tmp_path / "cache" / "acados").glob("own-*.json"))
    assert len(proofs) == 1 and "solved 8 programs" in proofs[0].read_text()

    def never(*_: object) -> str:
        raise AssertionError("it was proved already")

    assert acados_tree(host_arch(), tmp_path / "cache", prover=never) == first
    assert renderer_for(first).is_file()
    rebuilt = own_layout(tmp_path / "rebuilt")
    with (rebuilt / "lib" / "libhpipm.so").open("ab") as library:
        library.write(b"\0")
    other = replace(first, install=rebuilt, templates=rebuilt / "interfaces" / "acados_template" / "acados_template")
    assert other.identity != first.identity


def test_the_renderer_may_be_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = own_layout(tmp_path / "acados")
    elsewhere = tmp_path / "elsewhere" / "t renderer"
    elsewhere.parent.mkdir()
    (root / "bin" / "t_renderer").rename(elsewhere)
    monkeypatch.setenv("ACADOS_SOURCE_DIR", str(root))
    monkeypatch.setenv("TERA_PATH", str(elsewhere))
    tree = own_acados(host_arch())
    assert tree is not None and renderer_for(tree) == elsewhere
