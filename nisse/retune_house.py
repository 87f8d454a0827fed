"""The house that a retune reaches: its log comes, a theta goes and is settled here once it is in force, savings go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.errors import DeployError, HostError, TakenBackError
from deploy.logs import SITE, pull
from deploy.ssh import Host
from deploy.theta import send_savings, send_theta
from nisse.retune_verdict import settle
from runtime.bundle.archive import Bundle
from runtime.bundle.theta_update import with_update
from runtime.errors import ThetaMisfitError
from runtime.formats.plain_files import replace_durably
from tuner.retune.watch import read_watch, write_watch

WATCH = "watch.json"


@dataclass(frozen=True)
class Reached:
    """`root` is what stands for / there."""

    host: Host
    root: Path

    @property
    def site(self) -> Path:
        return self.root / SITE.relative_to("/")

    def pulled(self, log: Path) -> str:
        """Bring the log here up to date. Raises HostError and LogError, and their kinds."""
        found = pull(self.host, log, site=self.site)
        return f"{log}: {found.new} new cycles of {found.site}, {found.rows} in all"

    def shown(self, savings: Path) -> str:
        """Let the page of the house say what was saved. Raises HostError."""
        return send_savings(savings.read_text(encoding="utf-8"), self.host, self.site)

    def delivered(
        self, file: Path, bundle: Bundle, place: Path, folder: Path, say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> bool:  # fmt: skip
        """Bring a packed update that is newer than the field's to the house; whether there was one.

        bundle: what runs there, with the theta in force. place: where the theta in force is kept here; it becomes the
        update. What is watched in `folder` is settled as well: a theta that was sent is watched from now on, one that
        came back is watched no more. A link that breaks leaves all as it is, and the same again completes it.
        Raises HostError, DeployError; TakenBackError where the house does not accept it: then it is forgotten here.
        """
        if not file.exists():
            return False
        try:
            updated = with_update(bundle, file, None)
        except ThetaMisfitError:
            return False  # left over from a bundle before
        before = 0 if bundle.theta_stamp is None else bundle.theta_stamp.serial
        serial = 0 if updated.theta_stamp is None else updated.theta_stamp.serial
        if serial <= before:
            return False
        record = folder / WATCH
        watch = read_watch(record)
        try:
            why = send_theta(file, updated, self.host, self.root, say)
        except TakenBackError as error:
            file.unlink()
            if watch is not None and watch.serial == serial:
                record.unlink()
            settle(folder, serial, "taken back", str(error))
            raise
        except (HostError, DeployError) as error:
            settle(folder, serial, "under way", f"it is not known to be in force, and the same again goes on: {error}")
            raise
        replace_durably(place, file.read_bytes())
        settle(folder, serial, "in force", f"{self.host.target} accepted it ({why}), and a week is watched")
        if watch is not None and watch.serial == serial:
            write_watch(record, replace(watch, sent_s=clock()))
        elif watch is not None:
            record.replace(record.with_name(f"watch-{watch.serial}.back.json"))
            settle(
                folder, watch.serial, "gone back", f"it broke its promise, and theta {serial} is in force in its place"
            )
        say(f"{self.host.target}: theta {serial} is in force ({why})")
        return True
