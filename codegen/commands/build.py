"""`nisse build`: emit, compile, verify, pack and sign a controller bundle."""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codegen.build import BuildRequest, build_bundle
from codegen.commands.common import print_certificate, progress_bar
from codegen.targets import TARGETS, host_arch, target_arch
from codegen.verify import DEFAULT_PROBLEMS
from runtime.bundle.keys import load_key
from runtime.bundle.manifest import new_serial, serial_number
from runtime.formats.documents import parse_json
from runtime.formats.plain_files import LARGEST_TEXT, read_plain
from systems.commands.numbers import seed_number, whole
from systems.commands.output import output_path, write_json
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.model_file import read_fits
from systems.theta import read_theta


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse key new signing.pem\n"
        "  nisse build house.toml --target x86_64 --target aarch64 --key signing.pem --output house.nisse\n"
        "  nisse build battery --model model.json --theta theta.json --key signing.pem --output battery.nisse"
    )
    parser.add_argument("house", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument(
        "--target", action="append", metavar="ARCH", help=f"one of {', '.join(TARGETS)}; repeatable (default: this one)"
    )
    parser.add_argument("--theta", type=Path, metavar="FILE", help="what `nisse tune` or `identify` wrote")
    parser.add_argument("--model", type=Path, metavar="FILE", help="what `nisse identify` wrote")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="signing key, from `nisse key new`")
    parser.add_argument("--output", type=output_path, required=True, metavar="FILE", help="the bundle, NAME.nisse")
    parser.add_argument(
        "--serial",
        type=serial_number,
        metavar="N",
        help="larger than that of any bundle before (default: milliseconds since 1970)",
    )
    parser.add_argument(
        "--problems", type=whole(1), default=DEFAULT_PROBLEMS, help=f"programs to verify (default: {DEFAULT_PROBLEMS})"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of the verification problems (default: 0)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    targets = tuple(target_arch(name) for name in args.target or [host_arch()])
    design = design_from(args.house, args.model)
    problem = design.problem
    key = load_key(args.key)
    theta = {p.name: p.default for p in problem.theta} if args.theta is None else read_theta(args.theta, problem)
    now = datetime.now(UTC)
    request = BuildRequest(
        design=design,
        targets=targets,
        theta=theta,
        created=now.isoformat(timespec="seconds"),
        serial=new_serial(now.timestamp()) if args.serial is None else args.serial,
        provenance=theta_provenance(args.theta),
        problems=args.problems,
        seed=args.seed,
    )
    with progress_bar() as progress:
        result = build_bundle(request, key, args.output, progress=progress)
    print_certificate(result.certificate)
    print(f"{result.path}: signed by {key.public}")
    if args.json:
        document = {"bundle": str(result.path), "targets": list(targets), "certificate": result.certificate}
        write_json(args.json, document)
    return 0


def design_from(house: str, model: Path | None) -> HouseDesign:
    """A house file or a shipped house, with what `nisse identify` learned of it."""
    text, source = read_house(house)
    design = HouseDesign(text, {}, source)
    return design if model is None else replace(design, fits=read_fits(model, design.house.name))


def theta_provenance(path: Path | None) -> dict[str, Any]:
    """Where theta came from: the hash of its file, and what the file says of its tuning run."""
    if path is None:
        return {"theta": "defaults"}
    data = read_plain(path, LARGEST_TEXT)
    content = parse_json(data.decode("utf-8-sig"))
    return {"theta": {"sha256": hashlib.sha256(data).hexdigest(), "from": content.get("provenance", {})}}
