"""What the house does and why, in a sentence: from state and plan, by the prices that the plan was made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from runtime.web.picture import CHARGE, DISCHARGE, Picture, Trace, spoken

LEAST_KW = 0.05
"""Less than this is nothing."""
CHEAPER = 0.02
"""A price that differs by a smaller share is the same."""


@dataclass(frozen=True)
class Told:
    """`doing` is the sentence, `more` what else is worth knowing, one sentence each."""

    doing: str
    more: tuple[str, ...] = ()


LEVELS = {
    "shifted_plan": "Following the last plan",
    "rule": "Following the simple rules",
    "safe": "Devices are at their safe values",
}


def told(state: Mapping[str, Any], picture: Picture | None, plan: Mapping[str, Any] | None) -> Told:
    """`plan` is the document that `picture` was made of."""
    level, reason = str(state.get("level", "")), str(state.get("reason") or "")
    if level in ("rule", "safe"):
        return Told(f"{LEVELS[level]}{f': {reason}' if reason else ''}.")
    action = {str(k): v for k, v in _mapping(state.get("action")).items() if isinstance(v, int | float)}
    sentences = []
    if picture is not None and plan is not None:
        buy = next((line for p in picture.panels if p.title == "Price" for line in p.lines if line.name == "Buy"), None)
        at = _Clock(picture.start, plan)
        sentences += [
            sentence
            for name in action
            if name.endswith(CHARGE)
            for sentence in [_battery(name.removesuffix(CHARGE), action, at, buy)]
            if sentence
        ]
        sentences += [
            sentence
            for name, power in action.items()
            if name.endswith("_power")
            for sentence in [_heating(name.removesuffix("_power"), float(power), at, name, buy)]
            if sentence
        ]
    if level == "shifted_plan":
        sentences.insert(0, f"{LEVELS[level]}{f': {reason}' if reason else ''}.")
    if not sentences:
        return Told("All is at rest; nothing is worth doing now." if level else "Nothing is known yet.")
    return Told(sentences[0], tuple(sentences[1:]))


class _Clock:
    """The plan by stage: when each begins, and what an action is there."""

    def __init__(self, start: datetime, plan: Mapping[str, Any]) -> None:
        self._start, self.step_s = start, float(plan["step_s"])
        self._signals = _mapping(plan.get("signals"))

    def time(self, stage: int) -> str:
        return f"{self._start + timedelta(seconds=stage * self.step_s):%H:%M}"

    def values(self, name: str) -> list[float]:
        entry = _mapping(self._signals.get(name))
        return [float(v) for v in entry.get("values", []) if isinstance(v, int | float)]

    def price(self, buy: Trace | None, stage: int) -> float | None:
        if buy is None:
            return None
        k = int(stage * self.step_s // buy.step_s)
        return buy.values[k] if k < len(buy.values) else None


def _battery(name: str, action: Mapping[str, float], at: _Clock, buy: Trace | None) -> str:
    """The other side of the trade: where the plan next discharges what is charged now, or charges anew."""
    power = action.get(name + CHARGE, 0.0) - action.get(name + DISCHARGE, 0.0)
    if abs(power) < LEAST_KW:
        return ""
    charging = power > 0.0
    word, later = ("charging", "needed") if charging else ("discharging", "charged again")
    pairs = list(zip(at.values(name + CHARGE), at.values(name + DISCHARGE), strict=False))
    net = [c - d for c, d in pairs]
    turn = next((k for k, kw in enumerate(net) if k > 0 and (kw < -LEAST_KW if charging else kw > LEAST_KW)), None)
    text = f"{spoken(name)} is {word} with {abs(power):.1f} kW{_at(at.price(buy, 0))}"
    if turn is None:
        return text + "."
    # The hour that the trade is for: the dearest at which it is used, or the cheapest at which it is filled again.
    end = next((k for k in range(turn, len(net)) if (net[k] > LEAST_KW if charging else net[k] < -LEAST_KW)), len(net))
    priced = [
        (price, k) for k in range(turn, end) if abs(net[k]) >= LEAST_KW if (price := at.price(buy, k)) is not None
    ]
    if not priced:
        return f"{text}; {later} at {at.time(turn)}."
    price, stage = max(priced, key=lambda p: (p[0], -p[1])) if charging else min(priced)
    return f"{text}; {later} at {at.time(stage)}{_for(price)}."


def _heating(name: str, power: float, at: _Clock, signal: str, buy: Trace | None) -> str:
    if power < LEAST_KW:
        return ""
    text = f"{spoken(name)} heats with {power:.1f} kW"
    now = at.price(buy, 0)
    if now is None:
        return text + "."
    later = [(price, k) for k in range(1, len(at.values(signal))) if (price := at.price(buy, k)) is not None]
    dear = max(later, default=None, key=lambda p: (p[0], -p[1]))
    if dear is not None and dear[0] > now * (1.0 + CHEAPER) and now >= 0.0:
        return f"{text}{_at(now)}, before it costs {dear[0]:.2f} at {at.time(dear[1])}."
    return f"{text}{_at(now)}."


def _at(price: float | None) -> str:
    return "" if price is None else f" at {price:.2f}"


def _for(price: float | None) -> str:
    return "" if price is None else f" for {price:.2f}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
