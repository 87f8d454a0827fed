"""`nisse doctor`: look at the machine and say what would keep the site from running."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from runtime.publish.status_view import Style
from runtime.site.config import load_site
from runtime.site.doctor import Finding, examine
from runtime.systemd import UnitContext

EXIT_OK, EXIT_CHECK_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  nisse doctor /etc/nisse/site.toml      # exit code 1 if anything fails"
    parser.add_argument("site", type=Path, help="the site file, TOML")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the findings as JSON")


def run(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    style = Style(colour=sys.stdout.isatty())
    findings = [Finding("ok", "site", f"{args.site} is in order")]
    print(_line(findings[0], style))
    for finding in examine(site, UnitContext.of(os.environ).credentials):
        findings.append(finding)
        print(_line(finding, style), flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps([asdict(f) for f in findings], indent=1) + "\n", encoding="utf-8")
    return EXIT_CHECK_FAILED if any(f.verdict == "fail" for f in findings) else EXIT_OK


def _line(finding: Finding, style: Style) -> str:
    paint = {"ok": style.good, "warn": style.fair, "fail": style.bad}[finding.verdict]
    remedy = f"; {finding.remedy}" if finding.remedy else ""
    return f"{paint(f'{finding.verdict:<4}')}  {finding.subject:<16} {finding.text}{remedy}"
