"""What can be kept of the daemon's limits in shipped houses, for the page of `nisse experiment invariant-sets`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from research.four_rooms.reference import reference_model
from systems.design import HouseDesign
from systems.house_file import SHIPPED
from systems.kept import coldest_kept, limited_models
from systems.kept_lags import lagged_limits

HOUSES = ("battery", "cabin", "flat", "four-heat-pumps", "tank", "villa")
FITTED = "four-heat-pumps"


@dataclass(frozen=True)
class DaemonLimit:
    """A limit of the daemon in a shipped house, and what some action can keep of it: 0 degC outside, no draw, no sun.

    kept: without disturbance, None if empty; share: of the disturbance of one decision, that may come in every
    decision; coldest: degC outside, down to which it is kept without disturbance, None where that does not matter.
    Of a fit with lags, kept is that of a house which has stood at y, by a linear law; coldest is not looked for.
    """

    house: str
    limit: str
    bounds: tuple[float, float]
    disturbance: tuple[float, float]
    kept: tuple[float, float] | None
    share: float
    coldest: float | None


def daemon_limits(house: str) -> list[DaemonLimit]:
    """Of a shipped house as it is described, without a fit."""
    design = HouseDesign((SHIPPED / f"{house}.toml").read_text(encoding="utf-8"))
    coldest = coldest_kept(design)
    return [
        DaemonLimit(
            house,
            m.name,
            (m.middle - m.half, m.middle + m.half),
            m.w,
            m.kept(0.0),
            m.largest_share(),
            coldest.get(m.name),
        )
        for m in limited_models(design)
    ]


def fitted_limits() -> list[DaemonLimit]:
    """Of the house of four heat pumps with its fitted model: all lags of all zones at once."""
    text = (SHIPPED / f"{FITTED}.toml").read_text(encoding="utf-8")
    found = lagged_limits(HouseDesign(text, {"zone": reference_model().to_json()}))
    if found is None:
        return []
    ny = len(found.names)
    reach = found.disturbance.support(np.eye(ny, len(found.x0)))
    rows = zip(found.names, found.lower, found.upper, reach, found.kept_at_rest(0.0), strict=True)
    return [
        DaemonLimit(
            f"{FITTED}, fitted", name, (float(lower), float(upper)), (-float(w), float(w)), kept,
            found.largest_share, None,
        )
        for name, lower, upper, w, kept in rows
    ]  # fmt: skip


def daemon_table(daemon: list[DaemonLimit]) -> list[tuple[str, list[str], list[list[str]]]]:
    """What is kept of the limits of shipped houses, at 0 degC outside without draw and sun."""
    rows = [
        [
            d.house,
            d.limit,
            _interval(d.bounds),
            "nothing" if d.kept is None else _interval(d.kept),
            _interval(d.disturbance),
            f"{100 * d.share:.0f} %",
            "" if d.coldest is None else f"{d.coldest:.0f} °C",
        ]
        for d in daemon
    ]
    header = ["house", "limit", "bounds", "kept for ever", "W of a decision", "of W, always", "down to, outside"]
    return [("The daemon's limits in shipped houses", header, rows)] if rows else []


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:.3g} to {ends[1]:.3g}"
