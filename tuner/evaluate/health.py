"""Whether the model of a house still holds: what its log shows of batteries, heat pumps and the drift of innovations.

For each store (state of charge, zone, tank) and each asset that moves it, decisions are compared with the model: w is
what the model did not foresee of the store over a decision, p what it says that the asset did. Were the asset worth
1 + g times what the model says, w = g p + noise. The noise is correlated with p, because a controller answers to sun
and people; exploration is not. So with exploration z, the part of p that does not follow from what was seen,

    g = sum w (z - mean z) / sum p (z - mean z),

the instrumental-variables estimate; without exploration, and of a battery, it is least squares of w on p.
A battery of 1 + g times the answer has 1 / (1 + g) of the capacity.

Source: Angrist and Pischke, "Mostly Harmless Econometrics" (2009), section 4.1; the standard error is the robust one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from systems.design import HouseDesign
from systems.grid import HOUR_S
from systems.logs.log import Array
from tuner.loop.replay import Replay

LEAST_DECISIONS = 60
ERRORS = 2.0
"""Standard errors on either side of an estimate."""
CHANGED, CHANGED_UNEXPLORED = 0.1, 0.4
"""Of the answer: by so much an asset must differ, for sure, to be called changed. Without exploration a controller that
answers to what was not foreseen looks like another asset: 0.81 (0.73 to 0.90) was seen where 1 was true."""
EXPLORED = 0.02
"""Of the spread of p, the least that exploration must have to be of use."""
RECENT_DAYS = 7
DRIFT = 0.15
"""Of what moves a store in a day: by so much innovations must have shifted."""


@dataclass(frozen=True)
class HealthFinding:
    """What the log says of an asset's answer, or of a store's innovations."""

    about: str
    holds: bool
    said: str
    """In a sentence, with the numbers."""
    value: float
    low: float
    high: float
    count: int
    """Decisions or days that it rests on."""


def health_of(replay: Replay, design: HouseDesign) -> list[HealthFinding]:
    """Assets first, then drift; empty where the log is too short to tell."""
    assets = {asset.name: asset for asset in design.house.assets}
    actions = [action.name for action in design.problem.actions]
    found = list[HealthFinding]()
    for k, store in enumerate(replay.stores):
        for name, columns in _movers(replay, k, actions, list(assets)).items():
            finding = _answer(replay, k, store, name, columns, design)
            if finding is not None:
                found.append(finding)
    return found + [drift for k, store in enumerate(replay.stores) for drift in _drift(replay, k, store, design)]


def document(findings: Sequence[HealthFinding]) -> list[dict[str, Any]]:
    """For machines."""
    return [dict(vars(finding)) for finding in findings]


def _movers(replay: Replay, k: int, actions: Sequence[str], assets: Sequence[str]) -> dict[str, list[int]]:
    """Actions that move store k, by the asset whose they are."""
    moving = np.abs(replay.effect_kwh[:, k]).sum(0) > 1e-6
    found: dict[str, list[int]] = {}
    for j in np.flatnonzero(moving).tolist():
        owner = max((a for a in assets if actions[j].startswith(f"{a}_")), key=len, default=actions[j])
        found.setdefault(owner, []).append(j)
    return found


def _answer(
    replay: Replay, k: int, store: str, asset: str, columns: Sequence[int], design: HouseDesign
) -> HealthFinding | None:
    def of_decisions(values: Array) -> Array:
        return np.asarray(np.bincount(replay.decision, weights=values), dtype=float)

    w = of_decisions(replay.residual_kwh[:, k])
    p, z = (of_decisions(part[:, k, columns].sum(1)) for part in (replay.effect_kwh, replay.explored_kwh))
    explored = bool(z.std() > EXPLORED * max(float(p.std()), 1e-12))
    # No sun and no people act on cells: least squares hold there, and they are far sharper.
    sheltered = any(asset == battery.name for battery in design.house.of("battery"))
    instrument = p - p.mean() if sheltered or not explored else z - z.mean()
    moved = float((p - p.mean()) @ instrument)
    if len(w) < LEAST_DECISIONS or abs(moved) < 1e-9:
        return None
    g = float((w - w.mean()) @ instrument) / moved
    left = (w - w.mean()) - g * (p - p.mean())
    error = float(np.sqrt(np.sum((left * instrument) ** 2)) / abs(moved))
    low, high = g - ERRORS * error, g + ERRORS * error
    margin = CHANGED if explored or sheltered else CHANGED_UNEXPLORED
    holds = not (low > margin or high < -margin)
    return HealthFinding(
        f"{asset} on {store}", holds, _said(asset, store, (g, low, high), len(w), explored, holds, design),
        1.0 + g, 1.0 + low, 1.0 + high, len(w),
    )  # fmt: skip


def _said(
    asset: str,
    store: str,
    share: tuple[float, float, float],
    count: int,
    explored: bool,
    holds: bool,
    design: HouseDesign,
) -> str:
    g, low, high = share
    basis = f"{count} decisions" + ("" if explored else ", without exploration")
    battery = next((b for b in design.house.of("battery") if b.name == asset), None)
    if battery is not None:
        now, least, most = (battery.capacity_kwh / max(1.0 + x, 0.05) for x in (g, high, low))
        word = "holds" if holds else "has changed: correct capacity_kwh, or identify the house again"
        return (
            f"capacity of {asset} by its log {now:.1f} kWh ({least:.1f} to {most:.1f}; {basis}), the house file says "
            f"{battery.capacity_kwh:g}: {word}"
        )
    changed = "has changed (a new or mended heat pump, another COP): identify the house again"
    if not design.fits:
        changed = "the nameplate's model does not answer as the house does: identify it from its log"
    word = "holds" if holds else changed
    return (
        f"a kWh of {asset} moves {store} {1.0 + g:.2f} times as much as the model says ({1.0 + low:.2f} to "
        f"{1.0 + high:.2f}; {basis}): {word}"
    )


def _drift(replay: Replay, k: int, store: str, design: HouseDesign) -> list[HealthFinding]:
    """The last days' innovations against those before; nothing where either side is short."""
    day = np.floor((replay.time_s - replay.time_s[0]) / (24 * HOUR_S)).astype(int)
    full = np.bincount(day) > 0.9 * np.bincount(day).max()
    daily = np.bincount(day, weights=replay.residual_kwh[:, k])[full]
    moved = np.bincount(day, weights=np.abs(replay.effect_kwh[:, k]).sum(1))[full]
    before, recent = daily[:-RECENT_DAYS], daily[-RECENT_DAYS:]
    if len(before) < RECENT_DAYS:
        return []
    shift = float(recent.mean() - before.mean())
    error = float(np.sqrt(recent.var(ddof=1) / len(recent) + before.var(ddof=1) / len(before)))
    low, high = shift - ERRORS * error, shift + ERRORS * error
    most = DRIFT * max(float(moved.mean()), 1e-9)
    holds = not (low > most or high < -most)
    word = "no drift" if holds else "drift: something of the house or a sensor has changed; identify it again"
    said = (
        f"innovations of {store} shifted by {shift:+.2f} kWh a day ({low:+.2f} to {high:+.2f}) in the last "
        f"{RECENT_DAYS} days, against {moved.mean():.1f} that is moved: {word}"
    )
    return [HealthFinding(f"innovations of {store}", holds, said, shift, low, high, len(daily))]
