"""`nisse verify`: check the controllers of a bundle against an independent solver."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from codegen.build import design_of
from codegen.commands.common import print_certificate, progress_bar
from codegen.targets import TARGETS
from codegen.verify import DEFAULT_PROBLEMS, certify, failures
from runtime.bundle.archive import LIBRARY, open_bundle
from systems.commands.numbers import seed_number, whole
from systems.commands.output import output_path, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  nisse verify battery.nisse --problems 500 --seed 1"
    parser.add_argument("bundle", type=Path, help="a bundle, packed or as a directory")
    parser.add_argument("--problems", type=whole(1), default=DEFAULT_PROBLEMS, help=f"default: {DEFAULT_PROBLEMS}")
    parser.add_argument("--seed", type=seed_number, default=0, help="of the problems (default: 0)")
    parser.add_argument("--json", type=output_path, metavar="PATH", help="write the certificate as JSON")


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as unpacked:
        bundle = open_bundle(args.bundle, None, "any", Path(unpacked))
        problem = design_of(bundle.manifest).problem.with_theta(bundle.theta)
        libraries = {arch: bundle.directory / "lib" / arch / LIBRARY for arch in TARGETS}
        with progress_bar() as progress:
            certificate = certify(
                problem,
                {arch: path for arch, path in libraries.items() if path.is_file()},
                count=args.problems,
                seed=args.seed,
                theta=np.array(list(bundle.theta.values())),
                progress=progress,
            )
    print_certificate(certificate)
    if args.json:
        write_json(args.json, certificate)
    broken = failures(certificate)
    for sentence in broken:
        print(f"not verified: {sentence}")
    return 1 if broken else 0
