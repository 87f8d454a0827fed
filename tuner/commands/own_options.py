"""Options that only one system takes: with another they would be ignored, so they are refused instead."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence


class ForeignOptionError(ValueError):
    """An option of another system."""

    exit_code = 2


def declare_own(parser: argparse.ArgumentParser, own: Mapping[str, Sequence[str]]) -> None:
    """Tell which options (by their names in the parsed arguments) belong to which system alone."""
    defaults = {system: {name: parser.get_default(name) for name in names} for system, names in own.items()}
    parser.set_defaults(own_options=defaults)


def refuse_foreign(args: argparse.Namespace) -> None:
    """Raises ForeignOptionError where an option of a system other than `args.system` was given."""
    for system, defaults in args.own_options.items():
        if system == args.system:
            continue
        given = ["--" + name.replace("_", "-") for name, value in defaults.items() if getattr(args, name) != value]
        if given:
            raise ForeignOptionError(
                f"{', '.join(given)}: with --system {system} only, and this is {args.system}; leave it out, "
                f"or add --system {system}"
            )


def refuse_system(args: argparse.Namespace) -> None:
    """Raises ForeignOptionError where a system is named beside a house."""
    if args.system is not None:
        raise ForeignOptionError(f"--system {args.system} and {args.house} exclude each other; leave --system out")
