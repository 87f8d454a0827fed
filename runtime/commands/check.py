"""`nisse check`: a site file and its bundle, without touching a device."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from runtime.bundle.copies import allow_older, check_site_news
from runtime.bundle.safety_set import PowerLimit, StateLimit
from runtime.bundle.theta_update import with_update
from runtime.site.check import open_site_bundle, warnings
from runtime.site.config import SiteFile, load_site
from runtime.site.feeds_status import named, read_feeds, shown
from runtime.site.rules import rules_in_force


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example:\n  nisse check /etc/nisse/site.toml"
    parser.add_argument("site", type=Path, help="the site file, TOML")
    parser.add_argument("--no-bundle", action="store_true", help="the file by itself: before its bundle is built")
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="let the daemon take this bundle and theta with the next reload also if it had a newer one before",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    site = load_site(args.site)
    if args.no_bundle:
        size = f"inputs: {len(site.inputs)}, outputs: {len(site.outputs)}"
        print(f"site      {site.site.name}: {size}; bundle not looked at")
        _show_devices(site)
        _show_feeds(site)
        print("ok")
        if args.json is not None:
            args.json.write_text(json.dumps({"site": site.site.name}) + "\n", encoding="utf-8")
        return 0
    # Whoever asks may not be the one who may write where the daemon does.
    with tempfile.TemporaryDirectory(prefix="nisse-check-") as folder:
        bundle = open_site_bundle(site, Path(folder))
        if os.path.lexists(site.theta_file):
            bundle = with_update(bundle, site.theta_file, site.controller.trusted_keys)
    if args.allow_older:
        allow_older(site, [bundle.digest, *([bundle.theta_digest] if bundle.theta_digest else [])])
    check_site_news(site, bundle)
    manifest = bundle.manifest
    notes = warnings(site, manifest)
    print(f"site      {site.site.name}: inputs: {len(site.inputs)}, outputs: {len(site.outputs)}")
    rules = [f"{rule.kind} ({', '.join(rule.actions) or 'nothing'})" for rule in rules_in_force(site, manifest)]
    print(f"rules     {'; '.join(rules) or 'none: all rests at safe values'}")
    kept = [_kept(limit) for limit in manifest.safety.limits] if manifest.safety is not None else []
    kept += [f"{_kept(power)} kW" for power in manifest.safety.power] if manifest.safety else []
    print(f"keeps     {'; '.join(kept) or 'nothing but the bounds of actions'}")
    print(f"bundle    {manifest.name} ({manifest.system}), {manifest.horizon} steps of {manifest.dt_s:g} s")
    rhythm = site.rhythm(manifest.decide_every_s)
    print(f"decides   every {max(rhythm.every_s, rhythm.cycle_s):g} s, in cycles of {rhythm.cycle_s:g} s")
    number = manifest.serial or "none: any that has one is newer"
    print(f"signed by {bundle.signer}, serial number {number}")
    _show_devices(site)
    _show_feeds(site)
    for note in notes:
        print(f"warning   {note}")
    print("ok")
    if args.json is not None:
        document = {
            "site": site.site.name,
            "bundle": {"name": manifest.name, "digest": bundle.digest, "signer": bundle.signer},
            "warnings": notes,
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _show_devices(site: SiteFile) -> None:
    """Each device by its profile, and what of it is used."""
    for name, section in site.device.items():
        used = [i for i, entry in site.inputs.items() if entry.device == name]
        used += [o for o, output in site.outputs.items() if output.device == name]
        print(f"device    {name}: {section.profile}; {', '.join(used) or 'nothing of it is used'}")


def _show_feeds(site: SiteFile) -> None:
    """Which forecast comes from where, and how old it is where the feeds run on this machine."""
    if site.feeds is None:
        return
    for name, sources in named(site.feeds).items():
        print(f"feed      {name}: {sources}")
    status = read_feeds(site)
    for name, text in shown(status, time.time()).items() if status is not None else ():
        print(f"forecast  {name}: {text}")


def _kept(limit: StateLimit | PowerLimit) -> str:
    ends = [("from", limit.lower), ("to", limit.upper)]
    return " ".join([limit.name, *(f"{word} {end:g}" for word, end in ends if end is not None)])
