"""A house with what a log has taught of it: everything that its problem, its estimators and its limits follow from.

A design is text, so that a bundle can carry it and be verified again later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import casadi as ca
import numpy as np
from numpy.typing import NDArray

from systems.assets import asset_kinds
from systems.block import Block, Forecast
from systems.compose import ComposeError, compose_blocks, house_blocks, house_power, layout_of
from systems.house_file import House, HouseFileError, parse_house
from systems.model_file import THETA
from systems.problem import Problem
from systems.soundness import check_blocks


@dataclass(frozen=True)
class HouseDesign:
    """`text` of the house file; `fits` what a log taught, as text by table, and theta: see `systems.model_file`.

    Raises HouseFileError, and what the readers of the fits raise.
    """

    text: str
    fits: Mapping[str, str] = field(default_factory=dict)
    source: Path = Path("house.toml")
    """Where the text is from, for messages."""

    @cached_property
    def house(self) -> House:
        return parse_house(self.text, self.source)

    @cached_property
    def fitted(self) -> Mapping[str, Any]:
        """The fits as the blocks and plants of their tables take them."""
        readers = {kind.table: kind.read for kind in asset_kinds() if kind.read is not None}
        unknown = [table for table in self.fits if table not in readers and table != THETA]
        if unknown:
            raise HouseFileError(
                f"a fitted model of {unknown[0]!r}, which nothing here reads; identify the house again"
            )
        return {table: readers[table](text) for table, text in self.fits.items() if table != THETA}

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        blocks = house_blocks(self.house, self.fitted)
        check_blocks(self.house, blocks)
        return with_defaults(blocks, json.loads(self.fits.get(THETA, "{}")))

    @cached_property
    def problem(self) -> Problem:
        return compose_blocks(self.house, self.blocks)

    @property
    def forecasts(self) -> tuple[Forecast, ...]:
        """Grouped: the problem's forecasts are their columns."""
        return layout_of(self.house, self.blocks).forecasts

    def estimator(self, theta: Mapping[str, float]) -> dict[str, Any]:
        """The manifest's estimator as plain data: one for all states, or groups in their order."""
        groups: list[dict[str, Any]] = []
        for block in self.blocks:
            names = [state.name for state in block.states]
            if not names:
                continue
            if block.observer is not None:
                groups.append({"states": names, "estimator": block.observer(theta)})
            elif groups and groups[-1]["estimator"] == {"type": "direct"}:
                groups[-1]["states"] += names
            else:
                groups.append({"states": names, "estimator": {"type": "direct"}})
        return groups[0]["estimator"] if len(groups) == 1 else {"type": "groups", "groups": groups}

    @property
    def compressors(self) -> list[dict[str, Any]]:
        """The manifest's compressors as plain data."""
        return [compressor for block in self.blocks for compressor in block.compressors]

    def rules(self, theta: Mapping[str, float]) -> list[dict[str, Any]]:
        """The manifest's rules as plain data: what the assets propose."""
        proposed = [rule for block in self.blocks for rule in block.rules]
        return [self._with_net_load(rule, theta) if rule["kind"] == "self_consumption" else rule for rule in proposed]

    def tracking(self, theta: Mapping[str, float]) -> dict[str, Any] | None:
        """What follows the meter between decisions, as plain data; None where no battery does, or there is no meter.

        A meter with a capacity charge that is measured, or counted, says the import that raises nothing by its state.
        """
        batteries = [block.tracked for block in self.blocks if block.tracked is not None]
        meters = [block.tracks for block in self.blocks if block.tracks is not None]
        if not batteries or not meters:
            return None
        return {**self._house_power(self._prepared(theta)), **meters[0], "batteries": batteries}

    def _with_net_load(self, rule: dict[str, Any], theta: Mapping[str, float]) -> dict[str, Any]:
        """Factors on the forecasts and the other actions that the house draws by."""
        drawn = self._house_power(self._prepared(theta))
        terms = [term for term in (*drawn["forecasts"], *drawn["actions"]) if "by" not in term]
        own = {rule["charge"], rule["discharge"]}
        factors = {term["signal"]: term["factor"] for term in terms if term["signal"] not in own}
        return {"net_load": factors, **rule}

    def _prepared(self, theta: Mapping[str, float]) -> NDArray[np.float64]:
        """(np) what the functions of the problem see of theta."""
        p = self.problem
        values = np.array([theta[parameter.name] for parameter in p.theta])
        return values if p.prepare is None else np.array(ca.densify(p.prepare(values))).ravel()

    def safety(self, theta: Mapping[str, float]) -> dict[str, Any] | None:
        """The manifest's safety set as plain data, None where no asset has a limit.

        Its one-step model is the problem's own dynamics, linear in state, actions and forecasts about a mild day. A
        state that only auxiliaries move stays where it is.
        """
        limits = [limit for block in self.blocks for limit in block.limits(theta)]
        power = [limit for block in self.blocks for limit in block.power_limits]
        if not limits and not power:
            return None
        p = self.problem
        prepared = self._prepared(theta)
        x, a, d = ca.MX.sym("x", p.nx), ca.MX.sym("a", p.na), ca.MX.sym("d", p.nd)
        u = ca.vertcat(a, ca.MX.zeros(p.nu - p.na))
        after = p.dynamics(x, u, d, ca.DM.zeros(p.nz), prepared)
        slopes = ca.Function("slopes", [x, a, d], [after, *(ca.jacobian(after, of) for of in (x, a, d))])
        at = (np.zeros(p.nx), np.zeros(p.na), np.zeros(p.nd))
        offset, state, action, forecast = (np.array(ca.densify(value)) for value in slopes(*at))
        idle = ~np.any(np.hstack([state, action, forecast]), axis=1)
        state[idle, idle] = 1.0
        whole = self._house_power(prepared) if power else {}
        given_up = [name for block in self.blocks for name in block.gives_up]
        return {
            "gamma": 0.0,
            "limits": limits,
            "state_matrix": state.tolist(),
            "action_matrix": action.tolist(),
            "forecast_matrix": forecast.tolist(),
            "offset": offset.ravel().tolist(),
            "action_gains": [_per_unit(gain) for block in self.blocks for gain in block.gains],
            "power": [
                limit
                if "actions" in limit
                else {**whole, **limit, **({"gives_up": given_up} if "lower" in limit else {})}
                for limit in power
            ],
        }

    def _house_power(self, prepared: NDArray[np.float64]) -> dict[str, Any]:
        """What all assets draw, as the terms of a limit on power: it is affine in actions and in forecasts."""
        p, power = self.problem, house_power(self.house, self.blocks)
        a, d = ca.MX.sym("a", p.na), ca.MX.sym("d", p.nd)
        drawn = power(a, d, prepared)
        by_action = ca.jacobian(drawn, a)
        slopes = ca.Function("slopes", [a, d], [drawn, by_action, ca.jacobian(drawn, d), ca.jacobian(by_action, d)])
        offset, action, forecast, both = (np.array(ca.densify(v)) for v in slopes(np.zeros(p.na), np.zeros(p.nd)))
        actions, columns = [a.name for a in p.actions], [f.name for f in self.forecasts for _ in range(f.steps)]
        terms = [{"signal": name, "factor": v} for name, v in zip(actions, action.ravel().tolist(), strict=True) if v]
        terms += [
            {"signal": name, "factor": v, "by": column}
            for name, row in zip(actions, both.reshape(p.na, p.nd).tolist(), strict=True)
            for column, v in zip(columns, row, strict=True)
            if v
        ]
        given = [{"signal": name, "factor": v} for name, v in zip(columns, forecast.ravel().tolist(), strict=True) if v]
        if any(columns.count(str(term["signal"])) > 1 for term in given):
            raise ComposeError("an asset draws by a forecast with steps of its own, which no limit on power can say")
        return {"actions": terms, "forecasts": given, "offset": float(offset.item())}


def _per_unit(gain: Mapping[str, Any]) -> dict[str, Any]:
    """The gain over what it is at 0, where the one-step model is linear about."""
    x, factors = np.transpose(gain["points"])
    at_zero = float(np.interp(0.0, x, factors))
    return {**gain, "points": [[float(a), float(b) / at_zero] for a, b in zip(x, factors, strict=True)]}


def with_defaults(blocks: tuple[Block, ...], theta: Mapping[str, float]) -> tuple[Block, ...]:
    """The blocks with these values as the defaults of their parameters. Raises HouseFileError for foreign ones."""
    known = {p.name: p for block in blocks for p in block.theta}
    for name, value in theta.items():
        if name not in known:
            raise HouseFileError(f"the fitted model has {name!r}, which this house has not; identify the house again")
        p = known[name]
        if not p.lower <= value <= p.upper:
            raise HouseFileError(
                f"the fitted {name} = {value:g} is outside {p.lower:g}..{p.upper:g}; identify the house again"
            )
    return tuple(
        replace(block, theta=tuple(replace(p, default=float(theta.get(p.name, p.default))) for p in block.theta))
        for block in blocks
    )
