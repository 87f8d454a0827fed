"""`nisse toolchain`: fetch what builds need while there is a network, and show what is there."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from codegen.compilers import find_compiler, installed_compiler
from codegen.errors import ToolchainError
from codegen.targets import TARGETS, cache_directory, host_arch, target_arch
from codegen.toolchain import OWN, folder_of, newest_tree, own_acados, pins_of, proof_of, renderer_for, tree_of
from codegen.tree import AcadosTree
from systems.commands.output import output_path, write_json


@dataclass(frozen=True)
class Tool:
    """One line of what is there."""

    target: str
    kind: str
    name: str
    path: str
    state: str
    """How it was proved, or what it lacks."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n"
        "  nisse toolchain fetch --target aarch64   # acados and compilers for this machine and a Raspberry Pi\n"
        "  nisse toolchain show\n"
        "NISSE_CACHE names another folder to keep them in; it may be copied to a machine without a network."
    )
    parser.add_argument("action", choices=("fetch", "show"), help="fetch what is missing, or show what is there")
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="ARCH",
        help=f"beside this machine, one of {', '.join(TARGETS)}; repeatable (show: all)",
    )
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write what is there as JSON")


def run(args: argparse.Namespace) -> int:
    cache = cache_directory()
    named = [target_arch(name) for name in args.target]
    if args.action == "fetch":
        targets = list(dict.fromkeys([host_arch(), *named]))
        for arch in targets:
            print(f"{arch}: compiler, acados, and a known problem solved with them ...", flush=True)
            find_compiler(arch, cache)
            renderer_for(newest_tree(arch, cache), cache)
    else:
        targets = list(dict.fromkeys([host_arch(), *(named or TARGETS)]))
    print(f"cache {cache}")
    tools = [tool for arch in targets for tool in tools_of(arch, cache)]
    for arch in targets:
        print(f"{arch}{' (this machine)' if arch == host_arch() else ''}")
        for tool in tools:
            if tool.target == arch:
                print(f"  {tool.kind:<9} {tool.name:<24} {tool.state}{f'  {tool.path}' if tool.path else ''}")
    if args.json:
        document = {"cache": str(cache), "tools": [asdict(tool) for tool in tools]}
        write_json(args.json, document)
    return 0


def tools_of(arch: str, cache: Path) -> list[Tool]:
    """What is there for a target, without fetching anything: acados in the order of use, then the compiler."""
    found = []
    try:
        own = own_acados(arch)
    except ToolchainError as error:
        found.append(Tool(arch, "acados", f"own ({OWN})", "", str(error)))
    else:
        if own is not None:
            found.append(_acados(own, f"own {own.version} ({OWN})", cache))
    for pin in pins_of(arch):
        folder = folder_of(pin, cache)
        if folder.is_dir():
            found.append(_acados(tree_of(pin, folder), pin.version, cache))
        else:
            found.append(Tool(arch, "acados", pin.version, "", "not fetched"))
    compiler = installed_compiler(arch, cache)
    if compiler is None:
        missing = f"none: `nisse toolchain fetch --target {arch}` fetches one"
        return [*found, Tool(arch, "compiler", "-", "", missing)]
    return [*found, Tool(arch, "compiler", compiler.name, _program(compiler.command[0]), "found")]


def _acados(tree: AcadosTree, name: str, cache: Path) -> Tool:
    return Tool(tree.arch, "acados", name, str(tree.install), proof_of(tree, cache) or "not proved yet")


def _program(command: str) -> str:
    """The path of a command that is looked up."""
    return shutil.which(command) or command
