"""The daemon's own copies of bundles, which one was good last, and which ones were refused and why.

A copy cannot be altered by whoever prepares the next bundle, and it is still there when the next one turns out to be
bad. Lives beside the log. Where nothing can be written, copies live in memory for as long as the daemon does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from runtime.bundle.archive import Bundle, open_bundle, take_copy
from runtime.bundle.copies_record import CopiesRecord, read_record, write_record
from runtime.bundle.serials import PERMISSION, Stamp, check_news, permit, permitted
from runtime.bundle.theta_update import MAX_BYTES, with_update
from runtime.errors import BundleError, ConfigError
from runtime.formats.plain_files import read_plain, replace_durably
from runtime.site.check import bundle_folder, check_against
from runtime.site.config import SiteFile

log = logging.getLogger("nisse.bundles")


class BundleCopies:
    """Used by the daemon's thread only, but for `configured`, which changes nothing that is remembered.

    Trouble with the disk is logged; what was copied already stays usable.
    """

    def __init__(self, site: SiteFile, *, allow_older: bool = False) -> None:
        """allow_older: the operator has said so, for as long as this daemon lives."""
        self.root = bundle_folder(site)
        self._allow_older = allow_older
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if not _writable(self.root):
            log.error("%s: cannot be written; bundles are kept in memory and forgotten at the end", self.root)
            self._temporary = tempfile.TemporaryDirectory(prefix="nisse-bundles-")
        else:
            self._sweep()
        self._record = read_record(self.root)

    def configured(self, site: SiteFile) -> Bundle:
        """The bundle that the site file names, which nothing newer has been accepted before.

        Raises BundleError and ConfigError.
        """
        path = site.relative(site.controller.bundle)
        place = self._place
        bundle = open_bundle(path, site.controller.trusted_keys, unpack_dir=place)
        if path.is_dir():
            bundle = take_copy(bundle, place, site.controller.trusted_keys)
        check_against(site, bundle.manifest)
        self._check_news("bundle", bundle.stamp)
        return bundle

    def updated(self, bundle: Bundle, site: SiteFile) -> Bundle:
        """`bundle` with the theta update beside it, if there is one. Raises BundleError; see `with_update`."""
        file = site.theta_file
        if not os.path.lexists(file):
            return bundle
        updated = with_update(bundle, file, site.controller.trusted_keys)
        assert updated.theta_stamp is not None
        self._check_news("theta", updated.theta_stamp)
        copy = self._place / f"{updated.theta_digest[:16]}.theta"
        try:
            if not copy.exists():
                replace_durably(copy, read_plain(file, MAX_BYTES))
        except OSError as error:
            log.error("%s: %s; the theta update will not outlive its file", copy, error.strerror)
        return updated

    def last_good(self, site: SiteFile) -> Bundle | None:
        """What was in force when it last stood its trial, verified again; None if it is gone or fits no more."""
        good = self._on_shelf(site, self._record.good)
        if good is None and not self._record.good and not self._record.begun:
            good = self._recovered(site)
        if good is not None and "bundle" not in self._record.newest:
            # From a daemon that knew of no serial numbers, or from a record that was lost.
            self._record = replace(self._record, newest={**self._record.newest, "bundle": good.stamp})
        return good

    def begun(self, site: SiteFile) -> Bundle | None:
        """What a site began with that has no last good one yet; None as above."""
        return self._on_shelf(site, self._record.begun)

    def begin(self, bundle: Bundle) -> None:
        """A site without a last good bundle begins with this one: better than none, should its file be spoilt."""
        begun = {"bundle": bundle.digest, "theta": bundle.theta_digest}
        if begun != self._record.begun:
            self._write(replace(self._record, begun=begun))

    def refusal(self, bundle: Bundle) -> str:
        """Why this bundle was refused before; empty if it was not."""
        return self._record.refused.get(bundle.identity, "")

    def refuse(self, bundle: Bundle, reason: str) -> None:
        self._write(self._record.with_refusal(bundle.identity, reason))

    def forgive(self, bundle: Bundle) -> None:
        """Somebody asks for this bundle again."""
        if bundle.identity in self._record.refused:
            rest = {i: why for i, why in self._record.refused.items() if i != bundle.identity}
            self._write(replace(self._record, refused=rest))

    def accept(self, bundle: Bundle) -> None:
        """It stood its trial: come back to it whenever the next one fails, and take nothing older for news."""
        good = {"bundle": bundle.digest, "theta": bundle.theta_digest}
        newest = {**self._record.newest, "bundle": bundle.stamp}
        if bundle.theta_stamp is not None:
            newest["theta"] = bundle.theta_stamp
        record = replace(self._record, good=good, begun={}, newest=newest)
        if record != self._record:
            self._write(record)
            if permitted(self.root) & {bundle.digest, bundle.theta_digest}:
                with contextlib.suppress(OSError):  # it names these very ones, and does no harm
                    (self.root / PERMISSION).unlink()

    def prune(self, used: Iterable[Bundle]) -> None:
        """Remove copies that are neither in use nor the last good one; only what this class put there."""
        if self._temporary is not None:
            return
        keep = set[str]()
        for kept in (self._record.good, self._record.begun):
            keep |= {kept.get("bundle", "")[:16], f"{kept.get('theta', '')[:16]}.theta"}
        for bundle in used:
            keep |= {bundle.digest[:16], f"{bundle.theta_digest[:16]}.theta"}
        for entry in self.root.iterdir() if self.root.is_dir() else ():
            if entry.name in keep or len(entry.name.split(".")[0]) != 16:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.suffix == ".theta":
                entry.unlink(missing_ok=True)

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def _place(self) -> Path:
        return self.root if self._temporary is None else Path(self._temporary.name)

    def _check_news(self, what: str, new: Stamp) -> None:
        if not self._allow_older and new.digest not in permitted(self.root):
            check_news(what, new, self._record.newest.get(what))

    def _on_shelf(self, site: SiteFile, which: Mapping[str, str]) -> Bundle | None:
        digest, theta = which.get("bundle", ""), which.get("theta", "")
        if not digest:
            return None
        try:
            bundle = open_bundle(self.root / digest[:16], site.controller.trusted_keys)
            check_against(site, bundle.manifest)
            if theta:
                bundle = with_update(bundle, self.root / f"{theta[:16]}.theta", site.controller.trusted_keys)
        except (BundleError, ConfigError) as error:
            log.warning("the last good bundle cannot be used: %s", error)
            return None
        return bundle

    def _recovered(self, site: SiteFile) -> Bundle | None:
        """The newest copy that is there, where no record says which was good."""
        copies = [entry for entry in self.root.iterdir() if len(entry.name) == 16] if self.root.is_dir() else []
        found = [self._on_shelf(site, {"bundle": copy.name}) for copy in copies]
        bundles = [bundle for bundle in found if bundle is not None]
        return max(bundles, key=lambda bundle: (bundle.stamp.serial, bundle.stamp.created_s), default=None)

    def _sweep(self) -> None:
        """Remove what a daemon left that was killed while it unpacked or moved something: nobody else works here."""
        for entry in self.root.iterdir():
            if not entry.name.startswith("."):
                continue
            with contextlib.suppress(OSError):  # a leftover that stays costs room only
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    entry.unlink(missing_ok=True)

    def _write(self, record: CopiesRecord) -> None:
        self._record = record
        write_record(self.root, record)


def allow_older(site: SiteFile, digests: list[str]) -> None:
    """For tools: the operator wants these, however old, and may write in the state folder. Raises BundleError."""
    folder = bundle_folder(site)
    try:
        permit(folder, digests)
    except OSError as error:
        raise BundleError(
            f"{folder}: {error.strerror}; who allows something older must be able to write here, as root for one"
        ) from error


def check_site_news(site: SiteFile, bundle: Bundle) -> None:
    """For tools: whether the daemon of this site would take it, where that may be read. Raises BundleOlderError."""
    folder = bundle_folder(site)
    newest, allowed = read_record(folder).newest, permitted(folder)
    for what, new in (("bundle", bundle.stamp), ("theta", bundle.theta_stamp)):
        if new is not None and new.digest not in allowed:
            check_news(what, new, newest.get(what))


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe."):
            return True
    except OSError:
        return False
