"""`nisse deploy`: a site and its bundle to the machine of the house, on trial, and back if it does not hold."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from deploy.commands.reaching import add_reaching, reached
from deploy.deployment import DeploymentWishes, carried_out, planned, rolled_back
from deploy.errors import DeployFilesError
from deploy.ssh import Host
from runtime.formats.documents import read_toml


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse deploy villa.toml pi@house --dry-run     # each step, and nothing is changed\n"
        "  nisse deploy villa.toml pi@house\n  nisse deploy --rollback pi@house"
    )
    parser.add_argument("words", nargs="+", metavar="SITE HOST", help="the site file, and what ssh takes: user@host")
    parser.add_argument("--dry-run", action="store_true", help="show each step")
    parser.add_argument("--rollback", action="store_true", help="put what was in force before in force again")
    parser.add_argument(
        "--credentials",
        type=Path,
        metavar="DIR",
        help="secrets, one file each; those that the site file names are sent",
    )
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the wheel of nisse (default: of this one)")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="take packages from this folder, not from the index")
    parser.add_argument(
        "--wait", type=float, metavar="MINUTES", help="how long the trial may take (default: its rhythm)"
    )
    add_reaching(parser)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    wishes = DeploymentWishes(
        root=args.root,
        credentials=args.credentials,
        wheel=args.wheel,
        wheels=args.wheels,
        wait_s=None if args.wait is None else 60.0 * args.wait,
    )
    words = list(args.words)
    host = reached(words.pop(), args)
    found: dict[str, object]
    if args.rollback:
        if words:
            raise DeployFilesError("--rollback takes the host alone: what was in force before is there")
        found = {"done": "rolled back", "why": rolled_back(host, wishes, _say)}
        print(f"accepted: {found['why']}")
    elif len(words) != 1:
        raise DeployFilesError("name the site file and the host: nisse deploy villa.toml pi@house")
    else:
        found = _deploy(Path(words[0]), host, wishes, dry=args.dry_run)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def _deploy(site: Path, host: Host, wishes: DeploymentWishes, *, dry: bool) -> dict[str, object]:
    _refuse_house(site)
    plan = planned(site, host, wishes)
    for step in plan.steps:
        print(f"{step.what:<8} {step.about}", flush=True)
    steps = [[step.what, step.about] for step in plan.steps]
    if dry or plan.nothing:
        return {"done": "nothing", "steps": steps}
    why = carried_out(plan, host, wishes, _say)
    print(f"accepted: {why}")
    return {"done": "accepted", "why": why, "steps": steps, "release": plan.manifest["release"]}


def _refuse_house(file: Path) -> None:
    """A house file says what is there, the site file how it is reached: the second is what a house needs."""
    try:
        document = read_toml(file)
    except (OSError, ValueError):
        return  # whoever reads it as a site file says what is wrong
    if "house" in document and "site" not in document:
        raise DeployFilesError(f"{file}: is a house file; name the site file, which `nisse init` wrote beside it")


def _say(text: str) -> None:
    print(f"         {text}", flush=True)
