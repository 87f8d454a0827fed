"""State and plan as lines of a terminal: what decides and why, inputs with ages, set-points, the plan as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from runtime.formats.text import LONGEST_LINE, plain_document
from runtime.inputs.signals import USABLE, Validity
from runtime.publish.status_file import Status

BARS = "▁▂▃▄▅▆▇█"
LEAST_WIDTH, LABEL_WIDTH = 60, 20
# A state that is this many seconds old is called old: longer than any cycle that a tariff asks for.
OLD_S = 3600.0


@dataclass(frozen=True)
class Style:
    """ANSI colours, or none of them where the output is no terminal."""

    colour: bool

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def good(self, text: str) -> str:
        return self(text, "32")

    def fair(self, text: str) -> str:
        return self(text, "33")

    def bad(self, text: str) -> str:
        return self(text, "31")

    def dim(self, text: str) -> str:
        return self(text, "2")

    def strong(self, text: str) -> str:
        return self(text, "1")


PLAIN = Style(colour=False)


def view(status: Status, now_s: float, width: int = 80, style: Style = PLAIN, written: str = "in force") -> list[str]:
    """The whole screen; now_s is Unix time, width the columns there are, `written` what to say of a set-point."""
    # Whoever may write to the broker may have written it: no text of it moves the cursor or paints.
    status = replace(status, state=plain_document(status.state, LONGEST_LINE), plan=plain_document(status.plan))
    state, width = status.state, max(width, LEAST_WIDTH)
    age = None if status.written_s is None else max(0.0, now_s - status.written_s)
    lines = [_headline(status, age, style), *_notices(state, style), "", style.strong("inputs")]
    lines += [_input(name, entry, age or 0.0, style) for name, entry in state.get("inputs", {}).items()]
    lines += ["", style.strong("set-points"), *_outputs(state, style, written)]
    lines += _comfort(state.get("control", {}), style)
    if status.plan is not None:
        lines += ["", *_plan(status.plan, width, style)]
    return [*lines, "", *_footer(state, style)]


def _headline(status: Status, age: float | None, style: Style) -> str:
    level = str(status.state.get("level", "unknown"))
    paint = {"mpc": style.good, "shifted_plan": style.fair, "rule": style.fair}.get(level, style.bad)
    shown = style.bad("offline, last") + f" {level}" if not status.online else paint(level)
    reason = status.state.get("reason") or ""
    when = "" if age is None else f"  {_age(age)} ago"
    mode = status.state.get("control", {}).get("mode", "auto")
    words = [
        style.strong(status.site),
        shown,
        *([f"({reason})"] if reason else []),
        *([style.fair(f"mode {mode}")] if mode != "auto" else []),
    ]
    return "  ".join(words) + (style.bad(when) if age is not None and age > OLD_S else style.dim(when))


def _notices(state: Mapping[str, Any], style: Style) -> list[str]:
    lines = [f"{style.bad('notice')}  {subject}: {text}" for subject, text in state.get("notices", {}).items()]
    trial = state.get("trial")
    if trial is not None:
        stood = f"{trial['passed']} of {trial['needed']} decisions"
        reason = f": {trial['reason']}" if trial.get("reason") else ""
        lines.append(f"{style.fair('trial')}   {trial['name']} {trial['digest']}, {trial['phase']}, {stood}{reason}")
    return lines


def _input(name: str, entry: Mapping[str, Any], since_s: float, style: Style) -> str:
    value = "-" if entry.get("value") is None else f"{entry['value']:.4g}"
    age = "" if entry.get("age_s") is None else f"{_age(entry['age_s'] + since_s)} old"
    validity = str(entry.get("validity"))
    paint = style.good if validity == Validity.OK else style.fair if validity in USABLE else style.bad
    verdict = paint(validity)
    problem = entry.get("problem") or ""
    return f"  {name:<{LABEL_WIDTH}} {value:>7} {_unit(entry.get('unit')):<8} {age:>10}  {verdict}  {problem}".rstrip()


def _outputs(state: Mapping[str, Any], style: Style, written: str) -> list[str]:
    action = ", ".join(f"{name} {value:.4g}" for name, value in state.get("action", {}).items())
    lines = [f"  {'action':<{LABEL_WIDTH}} {action or 'none: the defaults of the devices apply'}"]
    for name, output in state.get("outputs", {}).items():
        problem = output.get("problem")
        verdict = style.bad(problem) if problem else style.good(written)
        more = style.dim(_writes(output))
        lines.append(f"  {name:<{LABEL_WIDTH}} {output['value']:>7.4g} {'':<8} {'':>10}  {verdict}  {more}".rstrip())
    limits = [*state.get("limits", []), *state.get("filter", {}).get("limits", [])]
    return [*lines, *([f"  {'changed by':<{LABEL_WIDTH}} {', '.join(limits)}"] if limits else [])]


def _writes(output: Mapping[str, Any]) -> str:
    """How often it was written today, and what waits because that was nearly too often."""
    usage = output.get("writes")
    if not usage:
        return ""
    budget = f" of {usage['budget']}" if usage.get("budget") is not None else ""
    alive = f", {usage['kept_alive']} more to keep alive" if usage.get("kept_alive") else ""
    waits = f"; {output['wanted']:.4g} waits" if output.get("wanted") is not None else ""
    return f"{usage['today']}{budget} writes today{alive}{waits}"


def _comfort(control: Mapping[str, Any], style: Style) -> list[str]:
    """What is wanted of each zone and tank now, and why where that is not the schedule."""
    if not control.get("comfort"):
        return []
    lines = ["", style.strong("comfort")]
    for name, wanted in control["comfort"].items():
        target = wanted.get("set_point", wanted.get("lower"))
        band = f"{wanted.get('lower', 0):g}..{wanted.get('upper', 0):g}"
        shown = "-" if target is None else f"{target:.4g}"
        by = "" if wanted["by"] == "schedule" else style.fair(f"{wanted['by'].replace('_', ' ')}{_until(wanted)}")
        lines.append(f"  {name:<{LABEL_WIDTH}} {shown:>7} {_unit(wanted['unit']):<5} {band:<9} {by}".rstrip())
    return lines


def _until(wanted: Mapping[str, Any]) -> str:
    if not wanted.get("until"):
        return " until told otherwise"
    return f" until {datetime.fromisoformat(wanted['until']):%a %d %b %H:%M}"


def _plan(plan: Mapping[str, Any], width: int, style: Style) -> list[str]:
    """A line of bars per signal, from its least to its greatest value on the horizon."""
    columns = width - LABEL_WIDTH - 26
    start = datetime.fromisoformat(plan["start"])
    series = {**plan.get("forecasts", {}), **plan["signals"]}
    steps = max((len(entry["values"]) for entry in plan["signals"].values()), default=0)
    end = start + timedelta(seconds=plan["step_s"] * steps)
    lines = [style.strong("plan") + style.dim(f"  {start:%a %H:%M} to {end:%a %H:%M}, steps of {_age(plan['step_s'])}")]
    for name, entry in series.items():
        values = [float(value) for value in entry["values"]]
        low, high = min(values), max(values)
        span = f"{low:.3g}" if low == high else f"{low:.3g} .. {high:.3g}"
        scale = f"{span} {_unit(entry['unit'])}"
        lines.append(f"  {name:<{LABEL_WIDTH}} {spark(values, columns)} {style.dim(scale)}")
    return lines


def spark(values: Sequence[float], columns: int) -> str:
    """The values as bars, averaged into at most `columns` of them; a constant is a low line."""
    columns = max(1, min(columns, len(values)))
    edges = [round(i * len(values) / columns) for i in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    if high - low <= 1e-12 * max(1.0, abs(high)):
        return BARS[0] * columns
    return "".join(BARS[min(len(BARS) - 1, int((m - low) / (high - low) * len(BARS)))] for m in means)


def _footer(state: Mapping[str, Any], style: Style) -> list[str]:
    solver, timing, bundle = state.get("solver", {}), state.get("timing", {}), state.get("bundle", {})
    words = []
    if "status" in solver:
        words.append(f"{solver['status']}, {solver['iterations']} iterations")
        if solver.get("residual") is not None:
            words.append(f"residual {solver['residual']:.1e}")
    solve_s = timing.get("decision_solve_s", timing.get("solve_s"))
    if solve_s is not None:
        words.append(f"{solve_s * 1000:.1f} ms")
    if solver.get("problem"):
        words.append(style.fair(str(solver["problem"])))
    waiting = bundle.get("available", bundle.get("digest")) != bundle.get("digest")
    more = style.fair(f"  another one waits: {bundle.get('available')}") if waiting else ""
    trial = state.get("trial")
    if trial:
        more = style.fair(f"  {trial['name']} in {trial['phase']}, {trial['passed']} of {trial['needed']} decisions")
    name, system, digest = (bundle.get(key, "?") for key in ("name", "system", "digest"))
    return [
        f"{style.strong('solver')}  {', '.join(words) or 'not run'}",
        *_decision(state, style),
        f"{style.strong('bundle')}  {name} ({system}) {digest}{more}",
    ]


def _decision(state: Mapping[str, Any], style: Style) -> list[str]:
    """Where decisions are rarer than cycles: when the one in force was made, and when the next is due."""
    decision = state.get("decision")
    if not decision:
        return []
    made, due = (f"{datetime.fromisoformat(decision[key]):%H:%M}" for key in ("made", "next"))
    return [f"{style.strong('decided')} {made}{', held since' if decision['held'] else ''}, next at {due}"]


def _unit(unit: object) -> str:
    return "" if unit in (None, "1") else str(unit)


def _age(seconds: float) -> str:
    for limit, size, name in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds / 86400.0:.0f} days"
