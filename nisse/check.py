"""`nisse check`: of a house file what it describes, of a site file whether the daemon can run it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from runtime.commands import check as site_check

LARGEST_FILE = 1_000_000
_HOUSE_TABLE = re.compile(r"^\s*\[\s*house\s*\]", re.MULTILINE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    site_check.add_arguments(parser)
    parser.epilog = "examples:\n  nisse check /etc/nisse/site.toml\n  nisse check house.toml\n  nisse check villa"


def run(args: argparse.Namespace) -> int:
    if is_house(args.site):
        from systems.commands import check_house

        return check_house.run(args)
    return site_check.run(args)


def is_house(path: Path) -> bool:
    """A file with a [house] table, or the bare name of a house that is shipped."""
    if not path.exists():
        return not path.suffix and path.parent == Path()
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return False
        return _HOUSE_TABLE.search(path.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False  # whoever reads it as a site file says what is wrong with it
