"""The shelf: the daemon's own copies of bundles, which one was good last, and which ones were refused and why.

A copy cannot be altered by whoever prepares the next bundle, and it is still there when the next one turns out to be
bad. Lives beside the log. Where nothing can be written, copies live in memory for as long as the daemon does.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runtime.bundle import Bundle, open_bundle, take_copy
from runtime.config import SiteFile
from runtime.errors import BundleError, ConfigError, ThetaMisfitError
from runtime.files import read_plain
from runtime.site_check import bundle_folder, check_against
from runtime.theta_update import with_update

RECORD = "record.json"
KEPT_REFUSALS = 16
MAX_RECORD_BYTES = 1 << 20

log = logging.getLogger("nisse.shelf")


class Shelf:
    """Used by the daemon's thread only. Trouble with the disk is logged; what is on the shelf already stays usable."""

    def __init__(self, site: SiteFile) -> None:
        self.root = bundle_folder(site)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if not _writable(self.root):
            log.error("%s: cannot be written; bundles are kept in memory and forgotten at the end", self.root)
            self._temporary = tempfile.TemporaryDirectory(prefix="nisse-bundles-")
        document = _read_record(self.root / RECORD)
        self._good: dict[str, str] = document["good"]
        self._refused: dict[str, str] = document["refused"]

    def configured(self, site: SiteFile) -> tuple[Bundle, str]:
        """The bundle that the site file names, with its theta update, and what is wrong with an update left out.

        Raises BundleError, also for a theta update that is not in order, and ConfigError.
        """
        path = site.relative(site.controller.bundle)
        place = self._place
        bundle = open_bundle(path, site.controller.trusted_keys, unpack_dir=place)
        if path.is_dir():
            bundle = take_copy(bundle, place, site.controller.trusted_keys)
        check_against(site, bundle.manifest)
        if not site.theta_file.exists():
            return bundle, ""
        try:
            return self._with_theta(bundle, site, site.theta_file), ""
        except ThetaMisfitError as error:
            # An update that outlived its bundle is no reason to refuse the next bundle.
            return bundle, f"theta update not used: {error}"

    def last_good(self, site: SiteFile) -> Bundle | None:
        """What was in force when it last stood its trial, verified again; None if it is gone or fits no more."""
        digest, theta = self._good.get("bundle", ""), self._good.get("theta", "")
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

    def refusal(self, bundle: Bundle) -> str:
        """Why this bundle was refused before; empty if it was not."""
        return self._refused.get(bundle.identity, "")

    def refuse(self, bundle: Bundle, reason: str) -> None:
        self._refused[bundle.identity] = reason
        self._refused = dict(list(self._refused.items())[-KEPT_REFUSALS:])
        self._write()

    def forgive(self, bundle: Bundle) -> None:
        """Somebody asks for this bundle again."""
        if self._refused.pop(bundle.identity, None) is not None:
            self._write()

    def accept(self, bundle: Bundle) -> None:
        """It stood its trial: come back to it whenever the next one fails."""
        good = {"bundle": bundle.digest, "theta": bundle.theta_digest}
        if good != self._good:
            self._good = good
            self._write()

    def prune(self, used: Iterable[Bundle]) -> None:
        """Remove copies that are neither in use nor the last good one; only what this class put there."""
        if self._temporary is not None:
            return
        keep = {RECORD, self._good.get("bundle", "")[:16], f"{self._good.get('theta', '')[:16]}.theta"}
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

    def _with_theta(self, bundle: Bundle, site: SiteFile, file: Path) -> Bundle:
        updated = with_update(bundle, file, site.controller.trusted_keys)
        copy = self._place / f"{updated.theta_digest[:16]}.theta"
        try:
            if not copy.exists():
                partial = copy.with_suffix(".partial")
                shutil.copyfile(file, partial)
                partial.replace(copy)
        except OSError as error:
            log.error("%s: %s; the theta update will not outlive its file", copy, error.strerror)
        return updated

    def _write(self) -> None:
        partial = self.root / f".{RECORD}.partial"
        document = {"good": self._good, "refused": self._refused}
        try:
            with partial.open("w", encoding="utf-8") as stream:
                json.dump(document, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(self.root / RECORD)
        except OSError as error:
            log.error("%s: %s; what became of bundles is forgotten at the end", self.root / RECORD, error.strerror)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe."):
            return True
    except OSError:
        return False


def _read_record(file: Path) -> dict[str, dict[str, str]]:
    """An empty record for none, or for one that makes no sense: it is a memory aid, and bundles are verified anyway."""
    try:
        document: Any = json.loads(read_plain(file, MAX_RECORD_BYTES))
    except FileNotFoundError:
        document = None
    except (OSError, ValueError, RecursionError) as error:
        log.warning("%s: cannot be read (%s); starting afresh", file, error)
        document = None
    known = document if isinstance(document, dict) else {}
    tables = {name: known.get(name) for name in ("good", "refused")}
    return {
        name: {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}
        for name, table in tables.items()
    }
