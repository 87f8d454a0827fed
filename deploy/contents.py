"""What a house gets: the site file, its bundle, what the site file names, units; and never what must stay here."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import DeployFilesError
from deploy.layout import Layout
from deploy.machine import Machine
from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.keys import load_key
from runtime.bundle.theta_update import with_update
from runtime.errors import KeyFileError
from runtime.formats.plain_files import LARGEST_TEXT, read_plain
from runtime.publish.status_file import DEFAULT_DIRECTORY
from runtime.site.check import bundle_folder, check_against
from runtime.site.config import SiteFile, load_site
from runtime.site.service_unit import FeedsUnit, ServiceUnit, WebUnit

SECRET, PLAIN = 0o600, 0o644
CREDENTIAL = "nisse_"
"""Before the name of a file in the folder of credentials, as systemd hands it over."""
START_S = 600.0


@dataclass(frozen=True)
class Item:
    """A file of the house: where it goes, and what is in it."""

    path: Path
    content: bytes
    mode: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Contents:
    """`about` is what the other side must know of the site to judge it, as JSON."""

    items: tuple[Item, ...]
    extras: tuple[str, ...]
    about: dict[str, Any]
    bundle_name: str


def contents(
    site_file: Path, there: Machine, layout: Layout, credentials: Path | None, wait_s: float | None
) -> Contents:
    """Raises ConfigError and BundleError for files that the daemon would refuse, DeployFilesError for what may not go.

    credentials: a folder of secrets, of which those go that the site file names. wait_s: how long the trial may take.
    """
    site = load_site(site_file)
    systemd = there.systemd and layout.root == Path("/")
    bundle = _bundle(site, there.arch)
    items = [Item(layout.site, read_plain(site_file, LARGEST_TEXT), PLAIN)]
    for relative, local, mode in _named(site, systemd):
        items.append(_item(site, relative, local, mode, layout))
    items += _secrets(site, credentials, layout)
    extras = tuple(name for name, section in (("feeds", site.feeds), ("web", site.web)) if section is not None)
    items += _units(site, layout) if systemd else []
    there_site = site.model_copy(update={"path": layout.site})
    named = site.status.file
    status = there_site.relative(named) if named is not None else layout.runtime / DEFAULT_DIRECTORY.name / _json(site)
    rhythm = site.rhythm(bundle.manifest.decide_every_s)
    trial = site.controller.trial_cycles
    about = {
        "site": str(layout.site),
        "name": site.site.name,
        "systemd": systemd,
        "services": _services(site, layout, status),
        "runtime": str(layout.runtime),
        "command": str(layout.command),
        "status": str(status),
        "record": str(bundle_folder(there_site)),
        "bundle": {"digest": bundle.digest, "theta": bundle.theta_digest, "identity": bundle.identity},
        "hot": {"bundle": str(layout.configuration / site.controller.bundle), "theta": str(_theta(site, layout))},
        "rhythm": {
            "cycle_s": site.controller.cycle_s,
            "trial_cycles": trial,
            "deadline_s": START_S + (2 * trial + 4) * rhythm.every_s if wait_s is None else wait_s,
        },
    }
    return Contents(tuple(items), extras, about, f"{bundle.manifest.name} {bundle.identity}")


def _bundle(site: SiteFile, arch: str) -> Bundle:
    path = site.relative(site.controller.bundle)
    if path.is_dir():
        raise DeployFilesError(f"{path}: an unpacked bundle; name the file that `nisse build --output` wrote")
    with tempfile.TemporaryDirectory(prefix="nisse-deploy-") as folder:
        bundle = open_bundle(path, site.controller.trusted_keys, arch=arch, unpack_dir=Path(folder))
        check_against(site, bundle.manifest)
        return with_update(bundle, site.theta_file, site.controller.trusted_keys) if _has_theta(site) else bundle


def _has_theta(site: SiteFile) -> bool:
    return site.theta_file.is_file()


def _theta(site: SiteFile, layout: Layout) -> Path:
    bundle = layout.configuration / site.controller.bundle
    return bundle.with_name(f"{bundle.name}.theta")


def _json(site: SiteFile) -> str:
    return f"{site.site.name}.json"


def _named(site: SiteFile, systemd: bool) -> Iterator[tuple[Path, Path, int]]:
    """(as the site file says it, the file here, mode) of every file that it names and that goes along."""
    bundle = site.controller.bundle
    yield bundle, site.relative(bundle), PLAIN
    if _has_theta(site):
        yield bundle.with_name(f"{bundle.name}.theta"), site.theta_file, PLAIN
    mqtt = site.mqtt
    named: list[tuple[str, Path | None, int]] = []
    if mqtt is not None:
        named += [("ca_file", mqtt.ca_file, PLAIN), ("cert_file", mqtt.cert_file, PLAIN)]
        named += [("key_file", mqtt.key_file, SECRET), ("password_file", mqtt.password_file, SECRET)]
    if site.web is not None:
        named.append(("password_file", site.web.password_file, SECRET))
    named += [("token_file", section.token_file, SECRET) for section in feed_sections(site)]
    for key, path, mode in named:
        if path is None or path.is_absolute():
            continue  # an absolute one is a file of the house
        if mode == SECRET and systemd:
            raise DeployFilesError(
                f"{site.path}: {key} is a secret file that the service, a user of its own, cannot read; write "
                f'{key.replace("_file", "_credential")} = "{CREDENTIAL}NAME" and hand it over with --credentials DIR'
            )
        yield path, site.relative(path), mode


def feed_sections(site: SiteFile) -> Iterator[Any]:
    """Every table of [feeds] that asks a service, second ones too."""
    if site.feeds is None:
        return
    for section in (site.feeds.price, site.feeds.weather, *site.feeds.pv.values(), *site.feeds.load.values()):
        for one in (section, None if section is None else section.second):
            if one is not None:
                yield one


def _item(site: SiteFile, relative: Path, local: Path, mode: int, layout: Layout) -> Item:
    if relative.is_absolute() or ".." in relative.parts:
        raise DeployFilesError(
            f"{site.path}: {relative} leads out of the folder of the site file; put the file beside it and name it so"
        )
    try:
        content = read_plain(local, LARGEST_TEXT)
    except OSError as error:
        raise DeployFilesError(f"{local}: {error.strerror}; the site file names it") from error
    _refuse_signing_key(site, local, content)
    return Item(layout.configuration / relative, content, mode)


def _secrets(site: SiteFile, folder: Path | None, layout: Layout) -> list[Item]:
    """Those of the folder that the site file names."""
    sections = [site.mqtt, site.web, *feed_sections(site)]
    wanted = [
        getattr(section, key)
        for section in sections
        for key in ("password_credential", "token_credential")
        if getattr(section, key, None)
    ]
    items = []
    for name in dict.fromkeys(wanted):
        file = str(name).removeprefix(CREDENTIAL)
        if folder is None or not (folder / file).is_file():
            continue  # there already, or the doctor will say so
        content = read_plain(folder / file, LARGEST_TEXT)
        _refuse_signing_key(site, folder / file, content)
        items.append(Item(layout.credentials / file, content, SECRET))
    return items


def _refuse_signing_key(site: SiteFile, file: Path, content: bytes) -> None:
    """Whoever has it can make bundles that the house obeys. Raises DeployFilesError."""
    if b"PRIVATE KEY" not in content:
        return
    try:
        public = load_key(file).public
    except KeyFileError:
        return  # of another kind: a key for TLS
    if public in site.controller.trusted_keys:
        raise DeployFilesError(
            f"{file}: is a key that signs bundles, and those never leave this machine; name another file"
        )


def _units(site: SiteFile, layout: Layout) -> list[Item]:
    serial = any(not section.port.startswith("socket://") for section in site.serial.values())
    units: list[ServiceUnit | FeedsUnit | WebUnit] = [ServiceUnit(layout.executable, layout.site, serial=serial)]
    if site.feeds is not None:
        units.append(FeedsUnit(layout.executable, layout.site))
    if site.web is not None:
        units.append(WebUnit(layout.executable, layout.site))
    return [Item(layout.root / unit.place, unit.text().encode(), PLAIN) for unit in units]


def _services(site: SiteFile, layout: Layout, status: Path) -> dict[str, list[str]]:
    """Name -> command."""
    executable, file = str(layout.executable), str(layout.site)
    services = {"nisse": [executable, "run", file]}
    if site.feeds is not None:
        services["nisse-feeds"] = [executable, "feed", "run", file]
    if site.web is not None:
        services["nisse-web"] = [executable, "web", file, "--status", str(status)]
    return services
