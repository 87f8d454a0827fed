"""`nisse check`: of a house file what it describes, of a site file whether the daemon can run it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from runtime.commands import check as site_check
from runtime.formats.plain_files import read_text

LARGEST_FILE = 1_000_000
_TABLES = {
    name: re.compile(rf"^\s*(\[\s*)?{name}\s*[\].=]|^\s*\[\[?\s*{more}", re.MULTILINE)
    for name, more in (("house", "(zone|battery|heat_pump|tank|pv)\\s*\\]"), ("site", "(inputs|outputs|controller)\\b"))
}
"""How a file of either kind begins a table of its own."""


class CheckError(ValueError):
    """A file of neither kind."""

    exit_code = 78


def add_arguments(parser: argparse.ArgumentParser) -> None:
    site_check.add_arguments(parser)
    parser.epilog = "examples:\n  nisse check /etc/nisse/site.toml\n  nisse check house.toml\n  nisse check villa"


def run(args: argparse.Namespace) -> int:
    if is_house(args.site):
        from systems.commands import check_house

        return check_house.run(args)
    if is_neither(args.site):
        raise CheckError(
            f"{args.site}: describes neither a house ([house], docs/reference/house-file.md) nor a site ([site], "
            "docs/reference/site-file.md); `nisse init` writes both"
        )
    return site_check.run(args)


def is_house(path: Path) -> bool:
    """A file with a table of a house, or the bare name of a house that is shipped."""
    if not path.exists():
        return not path.suffix and path.parent == Path()
    text = _text(path)
    return text is not None and _TABLES["house"].search(text) is not None and _TABLES["site"].search(text) is None


def is_neither(path: Path) -> bool:
    """A file that can be read and has no table of either kind."""
    text = _text(path)
    return text is not None and not any(table.search(text) for table in _TABLES.values())


def _text(path: Path) -> str | None:
    """None for what is no text of reasonable size: whoever reads it as a site file says what is wrong with it."""
    try:
        return read_text(path, LARGEST_FILE)
    except (OSError, UnicodeDecodeError):
        return None
