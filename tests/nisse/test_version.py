"""The version is what the tags say: in a clone, without tags, in a release unpacked, in a bare folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from installed_wheel import ROOT
from patience import PATIENCE_S

from codegen.versions import commit_of, versions_of

BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "runtime/version.py", "scenarios/battery-week.toml")


def git(folder: Path, *words: str) -> str:
    """A git that reads no settings of this machine."""
    who = [
        "-c",
        "user.name=A",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "protocol.file.allow=always",
    ]
    done = subprocess.run(["git", *who, "-C", str(folder), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def version_of(folder: Path) -> str:
    command = [sys.executable, "-m", "hatchling", "version"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """What says the version, and no repository around it."""
    folder = tmp_path / "sources"
    for name in BUILT_FROM:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture
def clone(sources: Path) -> Path:
    git(sources, "init", "-q")
    for k in range(3):
        (sources / "change").write_text(str(k))
        git(sources, "add", "-A")
        git(sources, "commit", "-qm", f"change {k}")
    return sources


def test_a_tag_is_the_version_and_what_follows_it_is_on_the_way_to_the_next(clone: Path) -> None:
    git(clone, "tag", "v1.4.0")
    assert version_of(clone) == "1.4.0"
    (clone / "change").write_text("more")
    git(clone, "commit", "-qam", "more")
    commit = git(clone, "rev-parse", "--short=7", "HEAD")
    assert re.fullmatch(rf"1\.4\.1\.dev1\+g{commit}\w*", version_of(clone))


def test_a_shallow_clone_without_tags_names_its_commit(clone: Path, tmp_path: Path) -> None:
    git(clone, "tag", "v1.4.0", "HEAD~1")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-tags", f"file://{clone}", str(shallow))
    assert re.fullmatch(rf"0\.1\.0\.dev\d+\+g{git(clone, 'rev-parse', '--short=7', 'HEAD')}\w*", version_of(shallow))


def test_a_release_unpacked_keeps_its_version_and_a_bare_folder_has_one_before_any_release(clone: Path) -> None:
    git(clone, "tag", "v1.4.0")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(clone.parent)]
    subprocess.run(command, cwd=clone, check=True, capture_output=True, timeout=PATIENCE_S)
    (release,) = clone.parent.glob("*.tar.gz")
    with tarfile.open(release) as archive:
        archive.extractall(clone.parent, filter="data")
    assert version_of(clone.parent / release.name.removesuffix(".tar.gz")) == "1.4.0"
    shutil.rmtree(clone / ".git")
    assert version_of(clone) == "0.1.0.dev0"


def test_what_is_made_in_a_clone_says_the_commit_and_whether_files_were_changed(clone: Path, sources: Path) -> None:
    assert commit_of(clone) == git(clone, "rev-parse", "--short=7", "HEAD")
    (clone / "change").write_text("not committed")
    assert str(commit_of(clone)).endswith("-dirty")
    assert commit_of(clone / "runtime") is None  # as an installed wheel: no repository there
    assert versions_of("numpy").keys() >= {"nisse", "numpy"}
