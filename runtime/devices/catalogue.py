"""Which profiles there are: those that came with nisse, and files of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.devices.profile import DeviceProfile, load_profile
from runtime.errors import ConfigError
from runtime.formats.toml_lines import did_you_mean

SHIPPED = (Path(__file__).parent / "profiles", Path(__file__).parents[2] / "devices")
"""Where profiles are in an installed wheel, and in a checkout."""


def shipped() -> dict[str, Path]:
    """Name -> file."""
    folder = next((folder for folder in SHIPPED if folder.is_dir()), None)
    return {} if folder is None else {file.stem: file for file in sorted(folder.glob("*.toml"))}


def find(name: str, folder: Path) -> Path:
    """The file of a profile: a shipped one by its name, or a path that counts from `folder`. Raises ConfigError."""
    if name.endswith(".toml"):
        return folder / name
    known = shipped()
    if name not in known:
        raise ConfigError(f"no profile {name!r}{did_you_mean(name, known)}; `nisse device list` shows all")
    return known[name]


def profile_of(
    name: str, folder: Path, values: Mapping[str, float] | None = None, topic: str | None = None
) -> DeviceProfile:
    """Raises ConfigError."""
    return load_profile(find(name, folder), values, topic)
