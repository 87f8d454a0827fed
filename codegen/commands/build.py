"""`nisse build`: emit, compile, verify, pack and sign a controller bundle."""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codegen.build import BuildRequest, build_bundle, problem_of
from codegen.commands.common import print_certificate, progress_bar
from codegen.errors import CodegenError
from codegen.targets import TARGETS, host_arch, target_arch
from codegen.verify import DEFAULT_PROBLEMS
from runtime.bundle.keys import load_key
from runtime.bundle.manifest import new_serial, serial_number
from systems.catalogue import SYSTEMS, Shape
from systems.commands.numbers import number, seed_number, whole
from systems.commands.output import output_path, write_json
from systems.design import HouseDesign
from systems.house_file import read_house
from systems.model_file import read_fits
from systems.theta import read_theta


class UsageError(CodegenError):
    """An argument that cannot be used."""

    exit_code = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "examples:\n  nisse key new signing.pem\n"
        "  nisse build house.toml --target x86_64 --target aarch64 --key signing.pem --output house.nisse\n"
        "  nisse build --system battery --theta theta.json --key signing.pem --output battery.nisse"
    )
    parser.add_argument("house", nargs="?", help="a house file, or the name of a shipped house (see `nisse check`)")
    parser.add_argument("--system", help=f"without a house file: one of {', '.join(SYSTEMS)} (default: battery)")
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
        "--spec", action="append", default=[], metavar="NAME=VALUE", help="nameplate value, e.g. capacity_kwh=13.5"
    )
    parser.add_argument("--horizon", type=whole(1, 10_000), metavar="STEPS", help="of steps (default: the system's)")
    parser.add_argument(
        "--step",
        type=number(0.0, 86_400.0, "seconds", above=True),
        metavar="SECONDS",
        help="length of a step (default: the system's)",
    )
    parser.add_argument(
        "--problems", type=whole(1), default=DEFAULT_PROBLEMS, help=f"programs to verify (default: {DEFAULT_PROBLEMS})"
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="of the verification problems (default: 0)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    targets = tuple(target_arch(name) for name in args.target or [host_arch()])
    shape = shape_of_arguments(args)
    problem = problem_of(shape)
    key = load_key(args.key)
    theta = {p.name: p.default for p in problem.theta} if args.theta is None else read_theta(args.theta, problem)
    now = datetime.now(UTC)
    request = BuildRequest(
        shape=shape,
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


def shape_of_arguments(args: argparse.Namespace) -> Shape | HouseDesign:
    """What is to be built. Raises UsageError for options that a house file answers already."""
    if args.house is None:
        model = read_model(args.model)
        return Shape(args.system or "battery", parse_spec(args.spec), args.horizon, args.step, model=model)
    given = {"--system": args.system, "--spec": args.spec, "--horizon": args.horizon, "--step": args.step}
    for name, value in given.items():
        if value:
            raise UsageError(f"{name}: the house file says it; change {args.house} instead")
    text, source = read_house(args.house)
    design = HouseDesign(text, {}, source)
    return design if args.model is None else replace(design, fits=read_fits(args.model, design.house.name))


def read_model(path: Path | None) -> str | None:
    """The text of a model file. Raises UsageError when it cannot be read."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--model {path}: {error}; name a file that `nisse identify --output` wrote") from error


def parse_spec(items: list[str]) -> dict[str, float]:
    """NAME=VALUE pairs. Raises UsageError."""
    spec = {}
    for item in items:
        name, _, value = item.partition("=")
        try:
            spec[name] = float(value)
        except ValueError:
            raise UsageError(f"--spec {item}: write NAME=NUMBER, for example capacity_kwh=13.5") from None
    return spec


def theta_provenance(path: Path | None) -> dict[str, Any]:
    """Where theta came from: the hash of its file, and what the file says of its tuning run."""
    if path is None:
        return {"theta": "defaults"}
    data = path.read_bytes()
    content = json.loads(data)
    return {"theta": {"sha256": hashlib.sha256(data).hexdigest(), "from": content.get("provenance", {})}}
