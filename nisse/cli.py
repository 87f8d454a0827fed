"""The command `nisse`: one table of sub-commands, each imported only when it is called."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from nisse.exits import EXIT_OK, EXIT_USAGE, delivered, open_streams, run_command
from runtime.version import DISTRIBUTION, VERSION


@dataclass(frozen=True)
class Command:
    """A sub-command: its module offers `add_arguments(parser)` and `run(args) -> exit code`."""

    module: str
    help: str
    extra: str = ""
    """The install extra that brings its dependencies; empty for the base install."""


COMMANDS: dict[str, Command] = {
    "demo": Command("nisse.demo", "take a house from a log to the bench, and show what it was worth", "all"),
    "example": Command("tuner.commands.example", "write example files, in the format of a log and of prices", "tune"),
    "identify": Command("tuner.commands.identify", "fit a model to a log", "tune"),
    "tune": Command("tuner.commands.tune", "learn theta so that decisions get better", "tune"),
    "evaluate": Command("tuner.commands.evaluate", "compare policies on held-out periods", "tune"),
    "savings": Command("tuner.commands.savings", "what a house saved against its rules, from the daemon's log", "tune"),
    "retune": Command("nisse.retune", "learn from the log of a house that runs, and send what is shown to pay", "tune"),
    "fleet": Command("tuner.commands.fleet", "tune or evaluate many houses, on this machine or on a cluster", "tune"),
    "experiment": Command("research.command", "the experiments of the literature, by one command each", "tune"),
    "build": Command("codegen.commands.build", "emit, compile, verify, pack and sign a controller bundle", "build"),
    "verify": Command("codegen.commands.verify", "check a bundle against an independent solver", "build"),
    "toolchain": Command(
        "codegen.commands.toolchain", "fetch what builds need while there is a network, and show what is there", "build"
    ),
    "key": Command("runtime.commands.key", "make and show signing keys"),
    "theta": Command("runtime.commands.theta", "pack and install new parameters for a bundle that runs"),
    "hil": Command("hil.commands.hil", "run the daemon against a simulated plant over real links", "hil"),
    "feed": Command("feeds.commands.feed", "prices, weather, sun and load from where they come to the daemon", "feeds"),
    "device": Command("runtime.commands.device", "inverters, heat pumps, relays and meters that are known by name"),
    "run": Command("runtime.commands.run", "run the controller daemon"),
    "init": Command("nisse.init", "write commented house and site files, by a few questions", "build"),
    "check": Command("nisse.check", "validate a house file or a site file"),
    "doctor": Command("runtime.commands.doctor", "look at the machine: broker, ports, clock, disk, processor, bundle"),
    "status": Command("runtime.commands.status", "what the daemon does and why, live"),
    "web": Command("runtime.commands.web", "serve the page of the running house", "web"),
    "deploy": Command("deploy.commands.deploy", "bring a site and its bundle to the house, on trial, and back"),
    "logs": Command("deploy.commands.logs", "fetch the daemon's log from the house, and show what is in it"),
    "service": Command("runtime.commands.service", "install or show the systemd unit"),
    "completion": Command("nisse.completion", "write what a shell needs to complete this command", "all"),
}


OURS = {"nisse", "pages", "systems", "tuner", "codegen", "runtime", "feeds", "hil", "deploy", "research"}
"""The packages of the distribution: one of them that is missing is a defect, not an extra."""


class HintingParser(argparse.ArgumentParser):
    """A usage error names the word that was probably meant."""

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            # Told by the sub-command's own parser: its usage is the one that helps.
            getattr(parsed, "parser", self).error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed

    def error(self, message: str) -> NoReturn:
        word = re.search(r"(?:unrecognized arguments: |invalid choice: ')([^\s'=]+)", message)
        known = [*self._option_string_actions, *re.findall(r"'([^']+)'", message.partition("choose from")[2])]
        close = difflib.get_close_matches(word[1], known, n=1) if word else []
        super().error(message + (f"; did you mean {close[0]!r}?" if close else ""))


def build_parser(*names: str | None) -> argparse.ArgumentParser:
    """The parser; only the sub-commands `names` get their arguments, the others their line of help."""
    parser = HintingParser(
        prog="nisse",
        description="Model predictive control for heat pumps and home batteries, tuned for decisions.",
        epilog="Start with `nisse demo`.",
    )
    parser.add_argument("--version", action="version", version=f"nisse {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command_name, command in COMMANDS.items():
        sub = commands.add_parser(
            command_name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(parser=sub)
        if command_name in names:
            importlib.import_module(command.module).add_arguments(sub)
    return parser


def full_parser() -> argparse.ArgumentParser:
    """The parser with the arguments of every sub-command, for what is made from it: completion and the manual page."""
    return build_parser(*COMMANDS)


def _imported(module: str, args: argparse.Namespace) -> int:
    """Imported here, so that an interrupt in the long imports of a command is one of the command."""
    return int(importlib.import_module(module).run(args))


def main(argv: Sequence[str] | None = None) -> int:
    open_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = next((a for a in arguments if not a.startswith("-")), None)
    try:
        return delivered(name, _main(name, arguments))
    except SystemExit as leaving:
        raise SystemExit(delivered(name, int(leaving.code or EXIT_OK))) from None


def _main(name: str | None, arguments: list[str]) -> int:
    # Our matrices are small: more BLAS threads only wait for each other, and take the cores from our own processes.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        args = build_parser(name).parse_args(arguments)
        return run_command(args.command, partial(_imported, COMMANDS[args.command].module), args)
    except ModuleNotFoundError as error:
        command = COMMANDS.get(name or "")
        root = (error.name or "").split(".")[0]
        if command is None or root in OURS:
            raise
        print(
            f"nisse {name}: needs the Python package {root!r}; install it with: "
            f"{sys.executable} -m pip install '{DISTRIBUTION}[{command.extra}]'",
            file=sys.stderr,
        )
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
