"""What the daemon says of a cycle, as JSON documents: MQTT state and plan, the row of the log, the bench's event."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Any

from runtime.actuate.actuator import Written
from runtime.bundle.archive import Bundle
from runtime.bundle.manifest import Manifest
from runtime.cycle_record import Cycle, Timing, TrialStep
from runtime.decide.gate import STATUS_TEXT
from runtime.formats.profile import Profile
from runtime.inputs.signals import Sample
from runtime.site.config import SiteFile
from runtime.site.rules import all_inputs
from runtime.store.transitions import Transition
from runtime.track.tracker import Tracked

# Enough for any sensor, few enough to read; the log keeps states and actions in full.
DECIMALS = 6


def state_document(cycle: Cycle, bundle: Bundle, site: SiteFile, notices: dict[str, str]) -> dict[str, Any]:
    """`nisse/<site>/state`. `notices` are troubles that do not stop control (log, broker)."""
    return {
        "time": _iso(cycle.image.time_s, site.zone),
        "level": cycle.level.label,
        "reason": cycle.reason,
        "inputs": _inputs(cycle, bundle.manifest),
        "action": action_document(cycle, bundle.manifest),
        **_details(cycle),
        "tracking": tracking_document(cycle.tracked),
        "outputs": {name: _output(written) for name, written in cycle.outputs.items()},
        **_decision_for_people(cycle, site.zone),
        "bundle": {
            "name": bundle.manifest.name,
            "system": bundle.manifest.system,
            "digest": bundle.digest[:16],
            "theta": bundle.theta_digest[:16],
            "serial": bundle.manifest.serial,
        },
        "trial": trial_document(cycle.trial),
        "notices": notices,
    }


def plan_document(cycle: Cycle, bundle: Bundle, site: SiteFile) -> dict[str, Any] | None:
    """`nisse/<site>/plan`: the horizon with times and units; None while there is no plan."""
    if cycle.plan is None:
        return None
    manifest, plan = bundle.manifest, cycle.plan
    forecast = plan_forecast(cycle)
    columns = [(spec, k, plan.states) for k, spec in enumerate(manifest.states)]
    columns += [(spec, k, plan.actions) for k, spec in enumerate(manifest.actions)]
    return {
        "start": _iso(plan.time_s, site.zone),
        "step_s": plan.dt_s,
        "level": cycle.level.label,
        "signals": {s.name: {"unit": s.unit, "values": [shown(row[k]) for row in rows]} for s, k, rows in columns},
        "forecasts": {} if forecast is None else _forecasts(manifest, forecast),
    }


def plan_forecast(cycle: Cycle) -> tuple[tuple[float, ...], ...] | None:
    """What the plan was made with: one that is held began earlier than the forecast of now."""
    return cycle.decision.forecast if cycle.decision is not None else cycle.forecast


def _forecasts(manifest: Manifest, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """By name; one with a step of its own says so."""
    found: dict[str, Any] = {}
    first = 0
    for spec in manifest.forecasts:
        values = [round(v, DECIMALS) for row in rows for v in row[first : first + spec.steps]]
        step = {} if spec.steps == 1 else {"step_s": manifest.dt_s / spec.steps}
        found[spec.name] = {"unit": spec.unit, **step, "values": values}
        first += spec.steps
    return found


def event_document(cycle: Cycle, bundle: Bundle, timing: Timing) -> dict[str, Any]:
    """What the bench hears of a cycle in lockstep; everything that depends on the computer is under `timing`."""
    return {
        "event": "cycle",
        "time": cycle.image.time_s,
        "level": cycle.level.label,
        "reason": cycle.reason,
        "inputs": _inputs(cycle, bundle.manifest),
        "action": action_document(cycle, bundle.manifest),
        **_details(cycle),
        "overhead_s": timing.overhead_s,
        "timing": asdict(timing),
    }


def transition(cycle: Cycle, bundle: Bundle) -> Transition:
    """The row of the log."""
    manifest, state = bundle.manifest, cycle.estimate.state
    return Transition(
        time_s=cycle.image.time_s,
        level=cycle.level.label,
        reason=cycle.reason,
        bundle=bundle.digest,
        state={s.name: None if state is None else state[k] for k, s in enumerate(manifest.states)},
        action=action_document(cycle, manifest),
        nominal={} if cycle.nominal is None else _named(manifest, cycle.nominal),
        forecast=cycle.forecast,
        details={"inputs": _inputs(cycle, manifest), **_details(cycle), **_theta(bundle)},
    )


def remarks(cycle: Cycle) -> dict[str, str]:
    """What is worth a notice while it lasts: by subject, empty where all is well."""
    said = {"forecasts": cycle.image.makeshift, "readings": cycle.policy.doubts.standing, "rules": cycle.at_rest}
    return {subject: "; ".join(f"{name}: {text}" for name, text in of.items()) for subject, of in said.items()}


def action_document(cycle: Cycle, manifest: Manifest) -> dict[str, float]:
    """Name -> value; empty at level `safe`, where no action of the controller is in force."""
    return {} if cycle.action is None else _named(manifest, cycle.action)


def tracking_document(tracked: Tracked | None) -> dict[str, Any]:
    """What follows the meter: the power that is tracked, what each battery may do for it, and why nothing does."""
    if tracked is None or tracked.aim is None:
        return {"on": False, "why": "" if tracked is None else tracked.why}
    aim, most = tracked.aim, tracked.caps.import_kw
    return {
        "on": not tracked.why,
        "why": tracked.why,
        "target_kw": shown(aim.grid_kw),
        "meter_kw": None if tracked.meter_kw is None else shown(tracked.meter_kw),
        "import_up_to_kw": None if most == math.inf else shown(most),
        "batteries": {
            name: {"planned_kw": shown(planned), "lowest_kw": shown(lowest), "highest_kw": shown(highest)}
            for name, planned, (lowest, highest) in zip(tracked.batteries, aim.planned_kw, aim.within_kw, strict=True)
        },
    }


def trial_document(step: TrialStep | None) -> dict[str, Any] | None:
    """Where the trial of a newcomer stands after this cycle; None while there is none."""
    if step is None:
        return None
    bundle = step.newcomer.bundle
    return {
        "name": bundle.manifest.name,
        "digest": bundle.digest[:16],
        "theta": bundle.theta_digest[:16],
        "phase": step.phase.value,
        "passed": step.passed,
        "needed": step.needed,
        "outcome": step.outcome.value,
        "reason": step.reason,
    }


def _details(cycle: Cycle) -> dict[str, Any]:
    solver: dict[str, Any] = {"problem": cycle.solver_problem}
    if cycle.solved is not None:
        known = 0 <= cycle.solved.status < len(STATUS_TEXT)
        solver |= {
            "status": STATUS_TEXT[cycle.solved.status] if known else str(cycle.solved.status),
            "iterations": cycle.solved.iterations,
            "residual": _finite(cycle.solved.residual),
            "value": _finite(cycle.solved.value),
        }
    safety: dict[str, Any] = {"changed": False}
    if cycle.filtered is not None:
        safety = {
            "changed": cycle.filtered.changed,
            "limits": list(cycle.filtered.limits),
            "feasible": cycle.filtered.feasible,
        }
    return {
        "solver": solver,
        "limits": [] if cycle.limited is None else list(cycle.limited.limits),
        "filter": safety,
        **_compressors(cycle),
        "outputs": {n: {"value": shown(w.value), "problem": w.problem} for n, w in cycle.outputs.items()},
        **_decision(cycle),
    }


def _compressors(cycle: Cycle) -> dict[str, Any]:
    """What each does, and the mean that it is there for; nothing where there is none."""
    if cycle.pulsed is None or not cycle.pulsed.compressors:
        return {}
    each = cycle.pulsed.compressors.items()
    return {"compressors": {name: {"mean_kw": shown(mean), "on": on} for name, (mean, on) in each}}


def _output(written: Written) -> dict[str, Any]:
    """A set-point for people: also what waits, and how often it was written today."""
    found: dict[str, Any] = {"value": shown(written.value), "problem": written.problem}
    if written.wanted is not None:
        found["wanted"] = shown(written.wanted)
    if written.writes is not None:
        usage = written.writes
        found["writes"] = {"today": usage.today, "budget": usage.budget, "kept_alive": usage.kept_alive}
    return found


def shown(value: float) -> float:
    """Rounded for people and charts; what rounds to nothing is 0, and not -0."""
    return round(value, DECIMALS) + 0.0


def _decision(cycle: Cycle) -> dict[str, Any]:
    """When the decision was made that this cycle acted on; nothing where every cycle makes its own."""
    if cycle.next_decision_s is None:
        return {}
    made = cycle.decision
    return {"decision": None if made is None else {"held": cycle.held, "made_s": made.time_s}}


def _decision_for_people(cycle: Cycle, where: tzinfo) -> dict[str, Any]:
    """The same with times to read, and when the next one is due."""
    made, next_s = cycle.decision, cycle.next_decision_s
    if made is None or next_s is None:
        return {}
    age_s = cycle.image.monotonic_s - made.monotonic_s
    times = {"made": _iso(made.time_s, where), "age_s": round(age_s, 3), "next": _iso(next_s, where)}
    return {"decision": {"held": cycle.held, **times}}


def _inputs(cycle: Cycle, manifest: Manifest) -> dict[str, Any]:
    specs = all_inputs(cycle.policy.site, manifest)
    return {s.name: _input(cycle.image.samples[s.name], s.unit, cycle) for s in specs}


def _input(sample: Sample, unit: str, cycle: Cycle) -> dict[str, Any]:
    value = sample.value
    if isinstance(value, Profile):
        column = cycle.image.columns.get(sample.name)
        value = None if column is None else column[0]
    return {
        "value": None if value is None else shown(value),
        "unit": unit,
        "age_s": None if sample.age_s is None else round(sample.age_s, 3),
        "validity": sample.validity.value,
        "problem": sample.problem,
    }


def _theta(bundle: Bundle) -> dict[str, str]:
    """A log must say with which theta it was written, where that is not the bundle's own."""
    return {"theta": bundle.theta_digest} if bundle.theta_digest else {}


def _named(manifest: Manifest, action: tuple[float, ...]) -> dict[str, float]:
    return dict(zip((a.name for a in manifest.actions), action, strict=True))


def _iso(time_s: float, where: tzinfo) -> str:
    return datetime.fromtimestamp(time_s, where).isoformat().replace("+00:00", "Z")


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
