"""Options of every command that reaches the machine of the house."""

from __future__ import annotations

import argparse
from pathlib import Path

from deploy.ssh import Host


def add_reaching(parser: argparse.ArgumentParser) -> None:
    """-o, --root and --no-sudo."""
    parser.add_argument(
        "-o",
        dest="ssh_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="handed to ssh, again and again",
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="the folder there that stands for / (default: /)"
    )
    parser.add_argument("--no-sudo", action="store_true", help="the user there may do all of it without sudo")


def reached(target: str, args: argparse.Namespace) -> Host:
    """The host; sudo only where it is another user's whole machine."""
    user, at, _ = target.rpartition("@")
    sudo = args.root == Path("/") and not args.no_sudo and not (at and user == "root")
    return Host(target, tuple(args.ssh_options), sudo)
