"""`nisse key`: make and show signing keys."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from runtime.bundle.keys import SigningKey, load_key, new_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  nisse key new site.pem\n  nisse key show site.pem    # the line for trusted_keys"
    parser.add_argument("verb", choices=("new", "show"), help="make a key, or show the public half of one")
    parser.add_argument("path", type=Path, help="the private key, PEM")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    key: SigningKey = new_key(args.path) if args.verb == "new" else load_key(args.path)
    print(key.public)
    if args.json is not None:
        args.json.write_text(json.dumps({"path": str(args.path), "public_key": key.public}) + "\n", encoding="utf-8")
    return 0
