"""The operator's view of the daemon: one document per cycle, on MQTT, in the status file and over HTTP."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.bundle.archive import Bundle
from runtime.bundle.packing import MANIFEST, MAX_MANIFEST_BYTES, MAX_PACKED_BYTES, read_manifest
from runtime.clock import Clock
from runtime.cycle_record import Cycle
from runtime.decide.overrides import comfort_document
from runtime.errors import BundleError, LinkError
from runtime.formats.plain_files import open_plain, read_inside
from runtime.formats.text import document_text, plain_document
from runtime.publish.cycle_documents import plan_document, plan_forecast, shown, state_document
from runtime.publish.homeassistant import discovery, discovery_topic
from runtime.publish.metrics import Snapshot
from runtime.publish.operator_commands import Wishes
from runtime.publish.status_file import Status, write_status
from runtime.site.config import SiteFile
from runtime.version import VERSION

if TYPE_CHECKING:
    from runtime.links.mqtt import MqttLink
    from runtime.publish.http_status import StatusServer

# What a cycle may take beyond its grid and its solver before the daemon counts as overdue.
OVERDUE_MARGIN_S = 30.0
# Characters of one text in `state`: a notice with a path and what to do about it.
LONGEST_SAID = 1000
DIGITS = 16

log = logging.getLogger("nisse.publish")


@dataclass(frozen=True)
class ViewPlaces:
    """Where to be seen besides MQTT; neither is needed. A dry run is seen nowhere."""

    status_file: Path | None = None
    http_port: int | None = None


@dataclass
class OperatorView:
    """Shows cycles. Trouble with a place is told once in the log and stops nothing."""

    site: SiteFile
    clock: Clock
    mqtt: MqttLink | None
    places: ViewPlaces
    commands: Counter[str] = field(default_factory=Counter)
    """ok, error -> how many."""
    snapshot: Snapshot | None = None
    on_show: Callable[[Status], None] | None = None
    """Called with every cycle; a dry run prints it."""
    _server: StatusServer | None = None
    _introduced: str = ""
    _file_trouble: str = ""
    _seen: tuple[tuple[int, int], str] = ((0, 0), "")
    _plan: tuple[dict[str, Any] | None, str] = (None, "null")
    _plan_of: tuple[object, ...] = ()
    """What the plan was made of: it changes with a decision, and there are cycles in between."""

    def open(self) -> None:
        """Start to serve HTTP, if that is wanted."""
        if self.places.http_port is None:
            return
        # The base of most sites does without; http.server costs a megabyte of memory.
        from runtime.publish.http_status import StatusServer

        try:
            self._server = StatusServer(self.places.http_port, lambda: self.snapshot, self.clock.monotonic, VERSION)
        except LinkError as error:
            log.error("%s", error)
            return
        self._server.start()

    def show(
        self, cycle: Cycle, bundle: Bundle, notices: dict[str, str], wishes: Wishes, cycles: Mapping[str, int]
    ) -> None:
        """One complete cycle."""
        image = cycle.image
        state = {
            **state_document(cycle, bundle, self.site, notices),
            "control": {
                "mode": wishes.mode,
                "caps": {a.name: wishes.caps.get(a.name, a.upper) for a in bundle.manifest.actions},
                **comfort_document(wishes.overrides, bundle.manifest, image.columns, image.time_s, self.site.zone),
            },
            "timing": {
                "solve_s": cycle.timing.solve_s,
                "link_s": cycle.timing.link_s,
                "overhead_s": cycle.timing.overhead_s,
                **_solved_before(cycle),
            },
        }
        # The log keeps actions in full.
        state["action"] = {name: shown(value) for name, value in state["action"].items()}
        state["bundle"]["available"] = self._available(bundle)
        plan, plan_text = self._planned(cycle, bundle)
        state = plain_document(state, LONGEST_SAID)
        self.snapshot = Snapshot(
            state=state,
            monotonic_s=self.clock.monotonic(),
            healthy_for_s=self.site.controller.cycle_s + self.site.controller.solve_timeout_s + OVERDUE_MARGIN_S,
            cycles=dict(cycles),
            commands=dict(self.commands),
        )
        if self.mqtt is not None:
            self._introduce(self.mqtt, bundle)
            self.mqtt.say(f"{self.mqtt.prefix}/state", state)
            if plan is not None:
                self.mqtt.say(f"{self.mqtt.prefix}/plan", plan_text)
        status = Status(self.site.site.name, self.clock.wall(), state, plan)
        self._write(status, plan_text)
        if self.on_show is not None:
            self.on_show(status)

    def close(self) -> None:
        """No more HTTP, and no file that looks alive."""
        if self._server is not None:
            self._server.stop()
        if self.places.status_file is not None:
            try:
                self.places.status_file.unlink(missing_ok=True)
            except OSError as error:
                log.warning("%s: %s; it stays", self.places.status_file, error.strerror)

    def _introduce(self, mqtt: MqttLink, bundle: Bundle) -> None:
        """To Home Assistant, once per bundle: another one may have other signals."""
        if self.site.homeassistant.discovery and self._introduced != bundle.digest:
            mqtt.say(discovery_topic(self.site), discovery(self.site, bundle.manifest, VERSION))
            self._introduced = bundle.digest

    def _planned(self, cycle: Cycle, bundle: Bundle) -> tuple[dict[str, Any] | None, str]:
        """The plan and its text, made anew where the cycle has another than the one before."""
        made_of = (cycle.plan, plan_forecast(cycle), cycle.level, bundle, self.site)
        if len(self._plan_of) != len(made_of) or any(a is not b for a, b in zip(self._plan_of, made_of, strict=True)):
            plan = plan_document(cycle, bundle, self.site)
            self._plan_of, self._plan = made_of, (plan, document_text(plan))
        return self._plan

    def _write(self, status: Status, plan_text: str) -> None:
        if self.places.status_file is None:
            return
        try:
            write_status(self.places.status_file, status, plan_text)
        except OSError as error:
            trouble = f"{self.places.status_file}: {error.strerror}; name another under [status] file"
            if trouble != self._file_trouble:
                log.warning("%s", trouble)
            self._file_trouble = trouble
        else:
            if self._file_trouble:
                log.info("%s: written again", self.places.status_file)
            self._file_trouble = ""

    def _available(self, bundle: Bundle) -> str:
        """Digest of the bundle that lies where the site file points; read again only when the file changed."""
        path = self.site.relative(self.site.controller.bundle)
        try:
            stat = (path / MANIFEST if path.is_dir() else path).stat()
        except OSError:
            return bundle.digest[:DIGITS]
        if self._seen[0] != (stat.st_mtime_ns, stat.st_size):
            self._seen = (stat.st_mtime_ns, stat.st_size), peek_digest(path) or bundle.digest
        return self._seen[1][:DIGITS]


def _solved_before(cycle: Cycle) -> dict[str, float]:
    """What the decision in force took to solve: a cycle that holds it has solved nothing."""
    made = cycle.decision
    return {} if made is None or cycle.next_decision_s is None else {"decision_solve_s": made.solve_s}


def peek_digest(path: Path) -> str | None:
    """The digest that a bundle claims, unverified: only to say that another one is there. None for no bundle.

    Bounded in what is read and unpacked, whatever stands at `path`: it is done in a cycle.
    """
    try:
        if path.is_dir():
            return hashlib.sha256(read_inside(path, MANIFEST, MAX_MANIFEST_BYTES)).hexdigest()
        with open_plain(path, MAX_PACKED_BYTES) as file:
            return hashlib.sha256(read_manifest(file, path)).hexdigest()
    except (OSError, BundleError):
        return None
