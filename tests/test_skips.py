"""A skip is explained, and where CI=true it is a failure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = """
import pytest
def test_inside(): pytest.skip("needs a moon")
@pytest.mark.skipif(True, reason="needs a sun")
def test_mark(): pass
@pytest.fixture
def star(): pytest.skip("needs a star")
def test_fixture(star): pass
@pytest.mark.xfail(reason="known", strict=True)
def test_known(): assert False
def test_fine(): pass
"""


@pytest.mark.parametrize("ci", [True, False])
def test_skips_fail_where_ci_is_true_and_are_explained_elsewhere(tmp_path: Path, ci: bool) -> None:
    shutil.copyfile(HERE / "conftest.py", tmp_path / "conftest.py")
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module_here')\n")
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]["addopts"].split()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    command.append("--continue-on-collection-errors")
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, cwd=tmp_path)
    for reason in ("needs a moon", "needs a sun", "needs a star", "no_such_module_here"):
        assert reason in done.stdout, done.stdout
    assert done.returncode == (1 if ci else 0), done.stdout
    assert ("no test may be skipped where CI=true" in done.stdout) == ci
