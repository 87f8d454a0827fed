"""Which bundle follows which: the first one at start, newcomers by reload, their trials, and what is remembered."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.bundle.archive import Bundle
from runtime.bundle.copies import BundleCopies, check_site_news
from runtime.bundle.theta_update import with_update
from runtime.bundle.trial import TrialOutcome
from runtime.decide.policy import Policy
from runtime.decide.solver_process import SolverProcess
from runtime.errors import BundleError, ConfigError, SolverProcessError, ThetaMisfitError
from runtime.site.check import check_against, open_site_bundle
from runtime.site.config import SiteFile, load_site

if TYPE_CHECKING:
    from runtime.cycle import ControlLoop
    from runtime.cycle_record import Cycle, TrialStep

SUBJECT = "bundle"

log = logging.getLogger("nisse.bundle")


@dataclass(frozen=True)
class Replacement:
    """A site file and its bundle, in order; `remark`: what is wrong with a theta update that was left out."""

    site: SiteFile
    bundle: Bundle
    remark: str = ""


class BundleReplacement:
    """Used by the daemon's thread only. `notice(subject, text)` tells the operator; an empty text takes it back."""

    def __init__(
        self,
        site: SiteFile,
        notice: Callable[[str, str], None],
        *,
        lasting: bool,
        lockstep: bool = False,
        allow_older: bool = False,
    ) -> None:
        """lasting: keep copies and remember; a dry run does neither. lockstep: as for the solver's process.

        allow_older: what lies in the bundle's place may be older than what was accepted last.
        """
        self._notice, self._lockstep, self._allow_older = notice, lockstep, allow_older
        self._copies = BundleCopies(site, allow_older=allow_older) if lasting else None
        self.looking: Callable[[], bool] = lambda: False
        """Whether `look` is at work in another thread."""
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._stood = 0
        self._standing = ""

    def first(self, site: SiteFile) -> tuple[Bundle, Bundle | None]:
        """The bundle to start with, and one to put on trial. Raises BundleError, ConfigError when there is none.

        What was good before is the first; what the site file names now, if it is another, must stand its trial, also
        when the machine was switched off in the middle of it.
        """
        if self._copies is None:
            return self._only_looked_at(site), None
        good = self._copies.last_good(site)
        standby = good if good is not None else self._copies.begun(site)
        try:
            configured = self._copies.configured(site)
        except BundleError as error:
            if standby is None:
                raise
            self._notice(SUBJECT, f"{_name(standby)} runs on: {error}")
            return standby, None
        try:
            configured = self._copies.updated(configured, site)
        except BundleError as error:
            self._notice("theta", f"theta update not used: {error}")
            if standby is not None and standby.digest == configured.digest and not isinstance(error, ThetaMisfitError):
                configured = standby  # with the theta that it had
        if good is None:
            self._copies.begin(configured)
        if good is None or good.identity == configured.identity or site.controller.trial_cycles == 0:
            return configured, None
        refusal = self._copies.refusal(configured)
        if refusal:
            self._notice(SUBJECT, f"{_name(configured)} was refused before: {refusal}; {_name(good)} runs on")
            return good, None
        return good, configured

    def look(self, now: Policy) -> Replacement:
        """What lies in the bundle's place now: files only, so that it may be done while the loop goes on.

        Raises BundleError, ConfigError.
        """
        if self._copies is None:
            raise ConfigError("a dry run does not reload; start it again")
        site = load_site(now.site.path)
        fixed = {"path", "text", "controller", "rule"}
        changed = [n for n in type(site).model_fields if n not in fixed and getattr(site, n) != getattr(now.site, n)]
        if changed:
            raise ConfigError(f"{site.path}: [{changed[0]}] changed; that takes a restart")
        bundle = self._copies.configured(site)
        try:
            return Replacement(site, self._copies.updated(bundle, site))
        except ThetaMisfitError as error:
            # An update that outlived its bundle is no reason to refuse the next bundle.
            return Replacement(site, bundle, f"theta update not used: {error}")

    def take(self, loop: ControlLoop, found: Replacement) -> None:
        """Put what was found on trial. Raises BundleError, SolverProcessError."""
        assert self._copies is not None  # or nothing is found
        now, site, bundle = loop.policy, found.site, found.bundle
        self._notice("theta", found.remark)
        self._copies.forgive(bundle)
        if loop.trial is not None and loop.trial.newcomer.bundle.identity == bundle.identity:
            log.warning("reloaded: %s is on trial already", _name(bundle))
            return
        if bundle.identity == now.bundle.identity:
            loop.end_trial()
            loop.policy.site = site
            self._notice(SUBJECT, "")
            log.warning("reloaded: %s is in force already", _name(bundle))
            return
        loop.policy.site = site if _fits(site, now.bundle) else now.site
        self.propose(loop, bundle, site)

    def propose(self, loop: ControlLoop, bundle: Bundle, site: SiteFile | None = None) -> None:
        """Put a verified bundle on trial; one that brings only another theta skips the shadow and is live at once.

        Raises SolverProcessError for a library that does not load, BundleError for a theta that does not solve.
        """
        site = loop.policy.site if site is None else site
        trial_cycles = site.controller.trial_cycles
        if bundle.digest == loop.policy.bundle.digest:
            newcomer = Policy(site, bundle, loop.policy.solver)
            problem = loop.propose(newcomer, 0, trial_cycles)
            if problem:
                self._refused(bundle, problem)
                raise BundleError(f"{_name(bundle)} refused: {problem}")
            log.info("%s is in force", _name(bundle))
        else:
            newcomer = self.started(site, bundle)
            if trial_cycles == 0:
                try:
                    newcomer.solver.dimensions()
                except SolverProcessError:
                    newcomer.solver.close()
                    raise
            loop.propose(newcomer, trial_cycles, trial_cycles)
            log.info(
                "%s is %s", _name(bundle), f"in shadow for {trial_cycles} decisions" if trial_cycles else "in force"
            )
        self._notice(SUBJECT, "")
        self._prune([loop.policy.bundle, bundle])

    def told(self, step: TrialStep) -> None:
        """What a cycle did to the trial."""
        bundle = step.newcomer.bundle
        match step.outcome:
            case TrialOutcome.SWAPPED:
                log.info("%s decided %d times in shadow and is in force", _name(bundle), step.passed)
            case TrialOutcome.REFUSED:
                self._refused(bundle, f"in shadow: {step.reason}")
                self._notice(SUBJECT, f"{_name(bundle)} refused in shadow: {step.reason}")
            case TrialOutcome.ROLLED_BACK:
                self._refused(bundle, f"on probation: {step.reason}")
                self._notice(SUBJECT, f"{_name(bundle)} rolled back: {step.reason}")
            case TrialOutcome.ACCEPTED:
                log.info("%s stood its trial", _name(bundle))
                self._accepted(bundle)
            case TrialOutcome.GOES_ON:
                pass

    def stands(self, cycle: Cycle) -> None:
        """A cycle without a trial: the first bundle of a site stands its own by deciding as often."""
        bundle = cycle.policy.bundle
        if self._standing == bundle.identity or cycle.solved is None or cycle.solver_problem or cycle.held:
            return
        self._stood += 1
        if self._stood >= cycle.policy.site.controller.trial_cycles:
            self._accepted(bundle)

    def started(self, site: SiteFile, bundle: Bundle, *, first: bool = False) -> Policy:
        """A policy whose solver is loading already."""
        m = bundle.manifest
        sizes = (len(m.states), len(m.actions), m.forecast_columns, m.horizon)
        solver = SolverProcess(bundle.library_or_fail(), bundle.library_hashes, sizes, lockstep=self._lockstep)
        solver.start()
        return Policy(site, bundle, solver, first=first)

    def close(self) -> None:
        if self._copies is not None:
            self._copies.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _accepted(self, bundle: Bundle) -> None:
        self._standing, self._stood = bundle.identity, 0
        if self._copies is not None:
            self._copies.accept(bundle)
            self._prune([bundle])

    def _prune(self, used: list[Bundle]) -> None:
        """Not while something is looked at: what it unpacks is in nobody's use yet."""
        if self._copies is not None and not self.looking():
            self._copies.prune(used)

    def _only_looked_at(self, site: SiteFile) -> Bundle:
        """For a dry run: what lies there, if the daemon would take it."""
        self._scratch = tempfile.TemporaryDirectory(prefix="nisse-dry-")
        bundle = open_site_bundle(site, Path(self._scratch.name))
        if os.path.lexists(site.theta_file):
            bundle = with_update(bundle, site.theta_file, site.controller.trusted_keys)
        if not self._allow_older:
            check_site_news(site, bundle)
        return bundle

    def _refused(self, bundle: Bundle, reason: str) -> None:
        if self._copies is not None:
            self._copies.refuse(bundle, reason)


def _fits(site: SiteFile, bundle: Bundle) -> bool:
    """Whether the bundle in force can go on under a new site file."""
    try:
        check_against(site, bundle.manifest)
    except ConfigError:
        return False
    return True


def _name(bundle: Bundle) -> str:
    return f"bundle {bundle.manifest.name} {bundle.identity}"
