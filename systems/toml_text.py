"""How TOML files are read and mistakes in them told, for those who reach the runtime through systems only."""

from __future__ import annotations

from runtime.formats.toml_lines import did_you_mean
from runtime.formats.toml_source import TomlSource

__all__ = ["TomlSource", "did_you_mean"]
