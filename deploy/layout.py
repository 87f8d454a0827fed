"""Where things lie in the house, in Debian's layout, below a folder that stands for the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runtime.site.service_unit import CONFIGURATION, CREDENTIALS


@dataclass(frozen=True)
class Layout:
    """`root` is / for a machine that is nisse's own."""

    root: Path = Path("/")

    @property
    def site(self) -> Path:
        return self.root / CONFIGURATION / "site.toml"

    @property
    def configuration(self) -> Path:
        return self.root / CONFIGURATION

    @property
    def credentials(self) -> Path:
        return self.root / CREDENTIALS

    @property
    def base(self) -> Path:
        """Contents, releases and what is remembered of deployments."""
        return self.root / "opt/nisse"

    @property
    def executable(self) -> Path:
        return self.base / "current/bin/nisse"

    @property
    def command(self) -> Path:
        """For people at the machine."""
        return self.root / "usr/local/bin/nisse"

    @property
    def runtime(self) -> Path:
        return self.root / "run"
