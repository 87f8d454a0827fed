"""`nisse completion`: what bash, zsh or tcsh needs to complete the command, made from its parser by shtab."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

EPILOG = """\
examples:
  nisse completion bash > ~/.local/share/bash-completion/completions/nisse
  nisse completion zsh > ~/.zfunc/_nisse        # a folder that is in $fpath
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose completion to write to standard output")
    parser.add_argument("--json", action="store_true", help="the same as one JSON document")


def run(args: argparse.Namespace) -> int:
    import shtab

    from nisse.cli import full_parser

    parser = full_parser()
    for action in _actions(parser):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    text = shtab.complete(parser, args.shell)
    print(json.dumps({"shell": args.shell, "script": text}) if args.json else text)
    return 0


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    found: list[argparse.Action] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [inner for sub in action.choices.values() for inner in _actions(sub)]
        else:
            found.append(action)
    return found
