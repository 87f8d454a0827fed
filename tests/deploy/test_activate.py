"""A trial in the house ends with what was there before, whatever goes wrong in it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from deploy.onsite.activate import run
from deploy.onsite.places import Places, put


def test_an_error_that_nobody_foresaw_gives_the_house_back(tmp_path: Path) -> None:
    places = Places(tmp_path / "nisse")
    places.make()
    site = tmp_path / "site.toml"
    site.write_text("old")
    sha256 = hashlib.sha256(b"new").hexdigest()
    put(places.file(sha256), b"new", 0o600)
    manifest: dict[str, Any] = {  # without a rhythm, which is looked for once the files are in force
        "files": [{"path": str(site), "sha256": sha256, "mode": 0o644}],
        "release": None, "services": {}, "status": str(tmp_path / "status.json"), "root": str(tmp_path),
        "command": str(tmp_path / "bin" / "nisse"), "hot": {"bundle": "", "theta": ""}, "systemd": False,
    }  # fmt: skip
    during: list[str] = []
    run(places, manifest, "deploy", lambda: during.append(site.read_text()))
    assert during == ["old"] and site.read_text() == "old"
    last = places.state()["last"]
    assert not last["held"] and "nobody foresaw" in last["why"] and "rhythm" in last["why"]
    assert places.state()["trial"] is None
