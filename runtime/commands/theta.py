"""`nisse theta`: pack new parameters for a bundle that is already there, and install them without a compiler."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.copies import allow_older, check_site_news
from runtime.bundle.keys import load_key
from runtime.bundle.manifest import new_serial, serial_number
from runtime.bundle.theta_update import MAX_BYTES, with_update, write_update
from runtime.errors import BundleMalformedError, LinkError, ThetaMisfitError
from runtime.formats.plain_files import read_plain, replace_durably
from runtime.site.check import open_site_bundle
from runtime.site.config import SiteFile, load_site
from runtime.site.credentials import mqtt_password, mqtt_section
from runtime.systemd import UnitContext

ANSWER_TIMEOUT_S = 10.0
MAX_THETA_BYTES = 4 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "example:\n"
        "  nisse theta pack battery.nisse theta.json --key site.pem --output new.theta\n"
        "  nisse theta install new.theta site.toml    # both take --json PATH"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="pack|install", required=True)
    packing = verbs.add_parser("pack", help="write a signed theta update for a bundle")
    packing.add_argument("bundle", type=Path, help="the bundle that it is for")
    packing.add_argument("theta", type=Path, help="what `nisse tune` wrote, or JSON of name -> value; the rest stays")
    packing.add_argument("--key", type=Path, required=True, help="the signing key, PEM")
    packing.add_argument(
        "--serial",
        type=serial_number,
        metavar="N",
        help="larger than that of any update before (default: milliseconds since 1970)",
    )
    packing.add_argument("--output", type=Path, required=True, metavar="FILE", help="where to write it")
    installing = verbs.add_parser("install", help="put a theta update beside the site's bundle and make it live")
    installing.add_argument("update", type=Path, help="what `nisse theta pack` wrote")
    installing.add_argument("site", type=Path, help="the site file")
    installing.add_argument(
        "--allow-older",
        action="store_true",
        help="also if a newer one was accepted before; needs the daemon's state folder",
    )
    installing.add_argument("--no-reload", action="store_true", help="put it there only; the daemon takes it up later")
    for verb in (packing, installing):
        verb.add_argument("--json", type=Path, metavar="PATH", help="write the result as JSON")


def run(args: argparse.Namespace) -> int:
    found = _pack(args) if args.verb == "pack" else _install(args)
    if args.json is not None:
        args.json.write_text(json.dumps(found) + "\n", encoding="utf-8")
    return 0


def _pack(args: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="nisse-theta-") as folder:
        bundle = open_bundle(args.bundle, None, arch="any", unpack_dir=Path(folder))
    theta = {**bundle.theta, **_read_theta(args.theta, bundle.manifest.system)}
    now_s = time.time()
    serial = new_serial(now_s) if args.serial is None else args.serial
    created = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    file = write_update(args.output, bundle, theta, load_key(args.key), serial=serial, created=created)
    changed = {name: value for name, value in theta.items() if value != bundle.theta.get(name)}
    print(f"{file}: {file.stat().st_size} bytes, changes {len(changed)} of {len(theta)} parameters")
    return {"update": str(file), "bundle": bundle.digest, "changed": changed}


def _install(args: argparse.Namespace) -> dict[str, Any]:
    site = load_site(args.site)
    with tempfile.TemporaryDirectory(prefix="nisse-theta-") as folder:
        bundle = open_site_bundle(site, Path(folder))
    updated: Bundle = with_update(bundle, args.update, site.controller.trusted_keys)
    if args.allow_older:
        allow_older(site, [updated.theta_digest])
    check_site_news(site, updated)
    target = site.theta_file
    if args.update.absolute() != target.absolute():
        try:
            replace_durably(target, read_plain(args.update, MAX_BYTES))
        except OSError as error:
            raise LinkError(f"{target}: {error.strerror}; install as a user who may write there") from error
    print(f"{target}: theta {updated.theta_digest[:16]} for {updated.manifest.name}")
    told = False
    if not args.no_reload and site.mqtt is None:
        print("the site has no broker: tell the daemon with SIGHUP (systemctl reload nisse)")
    elif not args.no_reload:
        ask_to_reload(site)
        told = True
        print("live")
    return {"installed": str(target), "theta": updated.theta_digest, "live": told}


def ask_to_reload(site: SiteFile) -> None:
    """`request/reload` by MQTT, and the daemon's answer. Raises LinkError for none, or for one that says no."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    from runtime.links.mqtt import secure

    section = mqtt_section(site)
    assert section is not None
    topic, transaction = f"nisse/{site.site.name}", f"theta-{os.getpid()}"
    heard, answer = threading.Event(), dict[str, Any]()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    if section.username is not None:
        client.username_pw_set(section.username, mqtt_password(site, UnitContext.of(os.environ).credentials))
    if section.tls:
        secure(client, section)

    def on_subscribe(*_: object) -> None:
        client.publish(f"{topic}/request/reload", json.dumps({"transaction": transaction}), qos=1)

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            document = json.loads(message.payload)
        except ValueError:
            return
        if isinstance(document, dict) and document.get("transaction") == transaction:
            answer.update(document)
            heard.set()

    client.on_connect = lambda c, *_: c.subscribe(f"{topic}/response/reload", qos=1)
    client.on_subscribe = on_subscribe
    client.on_message = on_message
    try:
        client.connect(section.host, section.port)
        client.loop_start()
        heard.wait(ANSWER_TIMEOUT_S)
    except OSError as error:
        raise LinkError(
            f"broker {section.host}:{section.port}: {error}; the update is in place, tell the daemon with SIGHUP"
        ) from error
    finally:
        client.disconnect()
        client.loop_stop()
    if not answer:
        raise LinkError("no daemon answered; the update is in place and will be taken up at the next start or SIGHUP")
    if answer.get("status") != "ok":
        raise LinkError(f"the daemon says: {answer.get('error')}")


def _read_theta(file: Path, system: str) -> dict[str, float]:
    """Name -> value: plain, as in a bundle's theta.json, or what `nisse tune` and `identify` write for `system`.

    Raises BundleMalformedError, and ThetaMisfitError for a file of another system.
    """
    try:
        document = json.loads(read_plain(file, MAX_THETA_BYTES))
        if isinstance(document.get("theta"), dict):
            if document.get("system", system) != system:
                raise ThetaMisfitError(f"{file}: is for system {document['system']!r}, not {system!r}")
            document = document["theta"]
        return {n: float(v["value"] if isinstance(v, dict) else v) for n, v in document.items()}
    except OSError as error:
        raise BundleMalformedError(f"{file}: {error.strerror}; name a JSON file of name -> value") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BundleMalformedError(f"{file}: not a JSON object of name -> value ({error})") from None
