"""`nisse init`: house file, site file and signing key by a few questions; or the site file of a bundle alone."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from runtime.bundle.keys import load_key, new_key
from runtime.bundle.manifest import Manifest
from runtime.commands import init as site_init
from runtime.commands.init import LOCALTIME, ask_site, machine_zone, questions, site_beside
from runtime.site.questions import InitError
from runtime.site.template import Answers, signals_of
from runtime.version import DISTRIBUTION
from systems.commands import init_house
from systems.house_file import parse_house, read_house

HOUSE, KEY = "house.toml", "signing.pem"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    site_init.add_arguments(parser)
    parser.epilog = (
        "examples:\n  nisse init                                   # asks what there is; house.toml and site.toml\n"
        "  nisse init --zones living,bedroom --heat-pump air-air:1.5:each --battery 10:5 --pv 6 --yes\n"
        "  nisse init --house villa --yes               # a shipped house, or a house file of your own\n"
        "  nisse init /etc/nisse/site.toml --bundle cabin.nisse    # the site file alone: the bundle says what there is"
    )
    parser.add_argument("--house", metavar="FILE", help="a house file that is there, or the name of a shipped house")
    init_house.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if args.bundle is not None:
        needless = ["--house"] * (args.house is not None) + init_house.said(args)
        if needless:
            raise InitError(f"{needless[0]}: what is controlled is said by --bundle already; leave one out")
        return site_init.run(args)
    if importlib.util.find_spec("casadi") is None:
        raise InitError(
            "on a machine that only runs a house: nisse init --bundle HOUSE.nisse; to write and build one here: "
            f"{sys.executable} -m pip install '{DISTRIBUTION}[build]'"
        )
    if args.house is not None and init_house.said(args):
        raise InitError(f"{init_house.said(args)[0]}: {args.house} says what there is; leave one of them out")
    return _from_house(args)


def _from_house(args: argparse.Namespace) -> int:
    """House file, site file and key: all of them, or none."""
    house_file, key_file = args.path.parent / HOUSE, args.path.parent / KEY
    given = None if args.house is None else read_house(args.house)
    own = given is not None and given[1].resolve() == house_file.resolve()
    ask = questions(args, [args.path] if own else [house_file, args.path])
    if given is not None:
        text, source = given
    else:
        text, source = init_house.ask_house(args, ask, machine_zone(LOCALTIME), silent=ask.silent), house_file
    manifest = described(text, source)
    signals = signals_of(manifest)
    args.name, args.timezone = args.name or manifest.system, args.timezone or parse_house(text).timezone.key
    known = load_key(key_file).public if args.trusted_key is None and key_file.exists() else None
    answers = ask_site(args, ask, f"{manifest.system}.nisse", signals, known)
    # After the last question: who changes their mind leaves nothing behind.
    made: list[Path] = []
    try:
        if not answers.trusted_keys:
            answers = replace(answers, trusted_keys=(new_key(key_file).public,))
            made.append(key_file)
        partial = site_beside(args.path, answers, signals, manifest)
        made.append(partial)
        if not own:
            write_whole(house_file, text)
        partial.replace(args.path)
    except BaseException:  # Ctrl-C as well: what was begun leaves no half of a site, and goes on up
        for path in made:
            path.unlink(missing_ok=True)
        raise
    _tell(args, given[1] if own and given else house_file, answers)
    return 0


def described(text: str, source: Path) -> Manifest:
    """What a bundle of the house will say of itself. Raises HouseFileError."""
    from codegen.build import BuildRequest, make_manifest  # CasADi: a site file alone does without
    from systems.design import HouseDesign

    design = HouseDesign(text, source=source)
    theta = {parameter.name: parameter.default for parameter in design.problem.theta}
    return make_manifest(design.problem, BuildRequest(design, (), theta, created="", provenance={}), {})


def write_whole(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _tell(args: argparse.Namespace, house_file: Path, answers: Answers) -> None:
    key, bundle = args.path.parent / KEY, args.path.parent / answers.bundle
    signed = key if args.trusted_key is None else Path("YOUR_KEY.pem")
    steps = [
        (f"nisse check {house_file}", "what there is, and what it needs"),
        (f"nisse identify {house_file} --log LOG.csv --output model.json", "where there is a log; then --model below"),
        (f"nisse build {house_file} --key {signed} --output {bundle}", "the controller"),
        (f"nisse hil {house_file} --bundle {bundle} --days 2", "two days of it, on simulated devices"),
        (f"nano {args.path}", "registers and topics that are left: only you know them"),
        (f"nisse check {args.path}", "the site file and its bundle"),
        (f"nisse doctor {args.path}", "the machine"),
        (f"nisse run {args.path} --dry-run --cycles 1", "what it would do"),
    ]
    print(f"wrote {house_file} and {args.path}; trusted is {answers.trusted_keys[0]}")
    print("next:")
    for command, why in steps:
        print(f"  {command:<52}  # {why}")
    if args.trusted_key is None:
        print(f"{key} signs bundles: keep it off the machine that runs them")
    if args.json is not None:
        document = {
            "path": str(args.path),
            "house": str(house_file),
            "trusted_keys": answers.trusted_keys,
            "bundle_found": bundle.exists(),
        }
        args.json.write_text(json.dumps(document) + "\n", encoding="utf-8")
