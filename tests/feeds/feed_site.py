"""Site files with a table [feeds] for tests, and a command that runs on them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from patience import PATIENCE_S

from hil.services import TOKEN

KEY = "ed25519:" + "A" * 43 + "="


def site_text(feeds: str, *, port: int | None = None, inputs: str = "", outputs: str = "") -> str:
    broker = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n' if port is not None else ""
    return f"""
[site]
name = "home"
timezone = "Europe/Oslo"

[controller]
bundle = "house.nisse"
trusted_keys = []
cycle_s = 300.0

{broker}
[inputs]
{inputs}

[outputs]
{outputs}

{feeds}
"""


def write_site(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "entsoe.token").write_text(TOKEN + "\n")
    file = folder / "site.toml"
    file.write_text(text)
    return file


def nisse(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "nisse.cli", *arguments]


def call(*arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(nisse(*arguments), capture_output=True, text=True, timeout=timeout_s)
