"""A virtual environment from wheels alone, without network, compiler or pip of this machine; and its doctor's word."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import venv
from pathlib import Path
from typing import Any

from deploy.onsite.places import Places, put
from deploy.onsite.wire import OnsiteError, say

PIP_LIMIT_S, DOCTOR_LIMIT_S = 1800.0, 300.0


def make_release(places: Places, manifest: dict[str, Any]) -> None:
    """Install the release that the manifest names, unless it is there whole. Raises OnsiteError."""
    folder = places.release(manifest["release"])
    if (folder / ".complete").exists():
        return
    say("installing")
    shutil.rmtree(folder, ignore_errors=True)
    wheels = folder.with_name(f"{folder.name}.wheels")
    shutil.rmtree(wheels, ignore_errors=True)
    try:
        wheels.mkdir()
        for name, sha256 in manifest["wheels"].items():
            (wheels / name).symlink_to(places.file(sha256))
        os.umask(0o022)  # the services are other users
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        (pip,) = wheels.glob("pip-*.whl")
        install = [str(path) for path in sorted(wheels.iterdir()) if path != pip]
        _pip(folder, pip, "install", "--no-index", "--no-deps", "--no-cache-dir", "--quiet", *install)
        _pip(folder, pip, "check")
        put(folder / ".complete", b"", 0o644)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(wheels, ignore_errors=True)


def _pip(folder: Path, pip: Path, *words: str) -> None:
    command = [str(folder / "bin" / "python"), "-I", f"{pip}/pip", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_LIMIT_S, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["no word"]
        told = next((line for line in said if "No space left" in line), said[-1])
        remedy = "make room there" if "No space left" in told else "see it there with the same command"
        raise OnsiteError(f"pip {words[0]} failed: {told}; {remedy}, then run the same again")


def examined(places: Places, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """What `nisse doctor` finds with the new release and the new files, which are put aside for it.

    The folder lies beside the one in force: paths in the site file mean the same from both.
    """
    config = Path(manifest["site"]).parent
    staged = config.with_name(f"{config.name}.staged")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        for file in manifest["files"]:
            path = Path(file["path"])
            if path.is_relative_to(config):
                put(staged / path.relative_to(config), places.file(file["sha256"]).read_bytes(), file["mode"])
        with tempfile.TemporaryDirectory() as name:
            found = Path(name) / "found.json"
            handed = credentials(manifest, Path(name) / "credentials", staged)
            nisse = places.release(manifest["release"]) / "bin" / "nisse"
            command = [str(nisse), "doctor", str(staged / Path(manifest["site"]).name), "--json", str(found)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=DOCTOR_LIMIT_S, check=False,
                env={**os.environ, "CREDENTIALS_DIRECTORY": str(handed)},
            )  # fmt: skip
            if not found.exists():
                said = (done.stderr.strip().splitlines() or ["no word"])[-1]
                raise OnsiteError(f"nisse doctor says: {said.replace(str(staged), str(config))}")
            return [dict(one) for one in json.loads(found.read_text(encoding="utf-8"))]
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def credentials(manifest: dict[str, Any], folder: Path, *places: Path) -> Path:
    """A folder as a service manager hands it over: each secret `x` of the site as `nisse_x`; later ones win."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    for place in (Path(manifest["site"]).parent, *places):
        for secret in sorted((place / "credentials").glob("*")):
            link = folder / f"nisse_{secret.name}"
            link.unlink(missing_ok=True)
            shutil.copyfile(secret, link)
            link.chmod(0o600)
    return folder
