"""House -> Problem: the blocks of all assets side by side, heat led to what it feeds, the meter balanced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import casadi as ca
import numpy as np

from systems.assets import asset_kinds
from systems.block import Block, Forecast, Inflow, Scope, Symbols, Terms
from systems.house_file import House
from systems.problem import STAGE_INPUTS, TERMINAL_INPUTS, Parameter, Problem, SoftPenalty

Maker = Callable[[str, list[Symbols], Symbols, str], ca.Function]
"""(name, arguments, value, name of the output) -> a function of the problem."""


class ComposeError(ValueError):
    """Blocks that do not go together: a fault of an asset's code, not of a house file."""


@dataclass(frozen=True)
class BlockLayout:
    """Where each block's part lies in the vectors of the problem."""

    blocks: tuple[Block, ...]
    x: tuple[slice, ...]
    actions: tuple[slice, ...]
    auxiliaries: tuple[slice, ...]
    z: tuple[slice, ...]
    theta: tuple[slice, ...]
    p: tuple[slice, ...]
    forecasts: tuple[Forecast, ...]
    columns: Mapping[str, slice]
    """Of the forecast row, by name of the forecast."""


def house_blocks(house: House, fits: Mapping[str, Any] | None = None) -> tuple[Block, ...]:
    """The blocks of all assets, by rank of their kinds; the meter's is the last. fits: by table, see `AssetKind`."""
    return tuple(block for kind in asset_kinds() for block in kind.blocks(house, fits or {}))


def compose(house: House, fits: Mapping[str, Any] | None = None) -> Problem:
    """The problem of a house. Raises HouseFileError for a fit of another house."""
    return compose_blocks(house, house_blocks(house, fits))


def compose_blocks(house: House, blocks: Sequence[Block]) -> Problem:
    """Raises ComposeError where two blocks want different forecasts of one name."""
    kind: Any = ca.MX if any(block.in_matrices for block in blocks) else ca.SX
    layout = layout_of(house, blocks)
    nd = sum(forecast.steps for forecast in layout.forecasts)
    nx, nz, n_p = (places[-1].stop if places else 0 for places in (layout.x, layout.z, layout.p))
    nu = layout.actions[-1].stop + layout.auxiliaries[-1].stop
    x, u, d, z, p = (kind.sym(name, size) for name, size in zip(STAGE_INPUTS, (nx, nu, nd, nz, n_p), strict=True))
    stage_args: list[Symbols] = [x, u, d, z, p]
    terminal_args: list[Symbols] = [x, d, z, p]
    scopes = _scopes(layout, x, u, d, z, p)
    inflows = _inflows(blocks, scopes)
    stage = [block.stage(scope, inflow) for block, scope, inflow in zip(blocks, scopes, inflows, strict=True)]
    end = [block.terminal(scope) for block, scope in zip(blocks, _scopes(layout, x, None, d, z, p), strict=True)]
    soft, soft_penalty = _soft(stage)
    soft_e, soft_penalty_e = _soft(end)
    hard = [terms.hard for terms in stage if terms.hard is not None]

    def function(name: str, arguments: list[Symbols], value: Symbols, output: str) -> ca.Function:
        inputs = STAGE_INPUTS if arguments is stage_args else TERMINAL_INPUTS
        return ca.Function(name, arguments, [ca.densify(kind(value))], list(inputs), [output])

    return Problem(
        name=house.name,
        dt_s=house.grid.hold_s,
        horizon=house.grid.stages,
        discount=house.grid.discount,
        states=tuple(chain.from_iterable(block.states for block in blocks)),
        actions=tuple(chain.from_iterable(block.actions for block in blocks)),
        auxiliaries=tuple(chain.from_iterable(block.auxiliaries for block in blocks)),
        forecasts=tuple(chain.from_iterable(forecast.columns() for forecast in layout.forecasts)),
        theta=_theta(blocks),
        dynamics=function(
            "dynamics", stage_args, ca.vertcat(*(t.x_next for t in stage if t.x_next is not None)), "x_next"
        ),
        stage_cost=function("stage_cost", stage_args, sum(t.cost for t in stage), "cost"),
        terminal_cost=function("terminal_cost", terminal_args, sum(t.cost for t in end), "cost"),
        soft=function("soft", stage_args, soft, "h") if soft_penalty.linear else None,
        soft_penalty=soft_penalty,
        soft_terminal=function("soft_terminal", terminal_args, soft_e, "h") if soft_penalty_e.linear else None,
        soft_terminal_penalty=soft_penalty_e,
        hard=function("hard", stage_args, ca.vertcat(*hard), "g") if hard else None,
        exclusive=tuple(chain.from_iterable(block.exclusive for block in blocks)),
        **_concave(layout, function, stage_args, scopes, inflows),
        features=_features(layout, house.grid.stages)[0] if nz else None,
        prepare=_prepare(layout) if any(block.prepare for block in blocks) else None,
        decide_every_s=house.grid.hold_s,
    )


def house_power(house: House, blocks: Sequence[Block]) -> ca.Function:
    """(actions, forecast row, p) -> what all assets draw together, kW; affine in the actions, and in the forecasts."""
    layout = layout_of(house, blocks)
    nd = sum(forecast.steps for forecast in layout.forecasts)
    sizes = (layout.x[-1].stop, layout.actions[-1].stop, layout.auxiliaries[-1].stop, layout.z[-1].stop)
    a, d, p = (ca.MX.sym(name, size) for name, size in zip("adp", (sizes[1], nd, layout.p[-1].stop), strict=True))
    x, u, z = ca.MX.zeros(sizes[0]), ca.vertcat(a, ca.MX.zeros(sizes[2])), ca.MX.zeros(sizes[3])
    drawn = sum(
        block.ports(scope).electric_kw for block, scope in zip(blocks, _scopes(layout, x, u, d, z, p), strict=True)
    )
    return ca.Function("power", [a, d, p], [ca.densify(ca.MX(drawn))], ["a", "d", "p"], ["kw"])


def layout_of(house: House, blocks: Sequence[Block]) -> BlockLayout:
    forecasts: dict[str, Forecast] = {}
    for block in blocks:
        for forecast in block.forecasts:
            known = forecasts.setdefault(forecast.name, forecast)
            if known != forecast:
                raise ComposeError(f"{block.asset} and another asset want different forecasts {forecast.name!r}")
    ends = np.cumsum([0, *(forecast.steps for forecast in forecasts.values())]).tolist()
    columns = {name: slice(a, b) for name, (a, b) in zip(forecasts, pairwise(ends), strict=True)}
    layout = BlockLayout(
        tuple(blocks),
        _places([len(block.states) for block in blocks]),
        _places([len(block.actions) for block in blocks]),
        _places([len(block.auxiliaries) for block in blocks]),
        (),
        _places([len(block.theta) for block in blocks]),
        _places([_prepared_size(block) for block in blocks]),
        tuple(forecasts.values()),
        columns,
    )
    return replace(layout, z=_places(_features(layout, house.grid.stages)[1]))


def _places(sizes: Sequence[int]) -> tuple[slice, ...]:
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(slice(a, b) for a, b in pairwise(ends))


def _prepared_size(block: Block) -> int:
    if block.prepare is None:
        return len(block.theta)
    return int(block.prepare(ca.MX.sym("theta", len(block.theta))).numel())


def _scopes(layout: BlockLayout, x: Symbols, u: Symbols | None, d: Symbols, z: Symbols, p: Symbols) -> list[Scope]:
    """Each block's own part of the symbols; u is None at the terminal stage."""
    forecasts = dict(zip(layout.columns, _cut(d, layout.columns.values()), strict=True))
    parts = (_cut(x, layout.x), _cut(z, layout.z), _cut(p, layout.p))
    if u is None:
        inputs = [type(x)(0, 1)] * len(layout.blocks)
    else:
        actions, auxiliaries = ca.vertsplit(u, [0, layout.actions[-1].stop, u.numel()])
        pairs = zip(_cut(actions, layout.actions), _cut(auxiliaries, layout.auxiliaries), strict=True)
        inputs = [ca.vertcat(*pair) for pair in pairs]
    return [Scope(x_, u_, z_, p_, forecasts) for x_, z_, p_, u_ in zip(*parts, inputs, strict=True)]


def _cut(vector: Symbols, places: Iterable[slice]) -> list[Symbols]:
    """The parts of a column at places that follow one another."""
    return list(ca.vertsplit(vector, [0, *(place.stop for place in places)]))


def _inflows(blocks: Sequence[Block], scopes: Sequence[Scope]) -> list[Inflow]:
    """What flows, from decisions and forecasts alone: before any block says what it makes of it."""
    ports = [block.ports(scope) for block, scope in zip(blocks, scopes, strict=True)]
    delivered: dict[str, list[Symbols]] = {}
    for port in ports:
        for name, power in port.delivered.items():
            delivered.setdefault(name, []).append(power)
    ranges = [_electric_range(block, scope) for block, scope in zip(blocks, scopes, strict=True)]
    drawn = sum(port.electric_kw for port in ports)
    idle, lowest, highest = (sum(values) for values in zip(*ranges, strict=True))
    return [Inflow(ca.vertcat(*delivered.get(block.asset, [])), drawn, idle, lowest, highest) for block in blocks]


def _electric_range(block: Block, scope: Scope) -> tuple[Symbols, Symbols, Symbols]:
    """(with all decisions at 0, lowest, highest) of what a block draws, which is affine in its decisions."""

    def at(u: Symbols) -> Symbols:
        return block.ports(replace(scope, u=u)).electric_kw

    n = scope.u.numel()
    zero = type(scope.u)(ca.DM.zeros(n))
    idle = lowest = highest = at(zero)
    for j, signal in enumerate((*block.actions, *block.auxiliaries)):
        unit = ca.DM.zeros(n)
        unit[j] = 1.0
        slope = at(type(scope.u)(unit)) - idle
        lowest += ca.fmin(slope * signal.lower, slope * signal.upper)
        highest += ca.fmax(slope * signal.lower, slope * signal.upper)
    return idle, lowest, highest


def _soft(terms: Sequence[Terms]) -> tuple[Symbols, SoftPenalty]:
    soft = [t.soft for t in terms if t.soft is not None]
    penalty = SoftPenalty(
        tuple(chain.from_iterable(s.linear for s in soft)), tuple(chain.from_iterable(s.quadratic for s in soft))
    )
    return ca.vertcat(*(s.rows for s in soft)), penalty


def _concave(
    layout: BlockLayout, function: Maker, arguments: list[Symbols], scopes: Sequence[Scope], inflows: Sequence[Inflow]
) -> dict[str, ca.Function]:
    """The problem's `relaxed`, `tangent` and `settled`; nothing where no stage cost is concave anywhere."""
    if not any(block.concave for block in layout.blocks):
        return {}
    _, u, d, _, _ = arguments
    forecasts = dict(zip(layout.columns, _cut(d, layout.columns.values()), strict=True))
    rows = {"relaxed": dict(forecasts), "tangent": dict(forecasts)}
    actions, auxiliaries = ca.vertsplit(u, [0, layout.actions[-1].stop, u.numel()])
    given = _cut(auxiliaries, layout.auxiliaries)
    for i, (block, scope, inflow) in enumerate(zip(layout.blocks, scopes, inflows, strict=True)):
        if block.concave is not None:
            rows["relaxed"] |= block.concave.relaxed(scope, inflow)
            rows["tangent"] |= block.concave.tangent(scope, inflow)
            given[i] = block.concave.settled(scope, inflow)
    found = {name: function(name, arguments, ca.vertcat(*row.values()), "value") for name, row in rows.items()}
    return {**found, "settled": function("settled", arguments, ca.vertcat(actions, *given), "value")}


def _theta(blocks: Sequence[Block]) -> tuple[Parameter, ...]:
    return tuple(chain.from_iterable(block.theta for block in blocks))


def _features(layout: BlockLayout, stages: int) -> tuple[ca.Function, list[int]]:
    """z of all blocks from the whole forecast and x_0, and how many of it each block makes."""
    nd, nx = sum(f.steps for f in layout.forecasts), layout.x[-1].stop
    rows, x = ca.SX.sym("forecast", stages + 1, nd), ca.SX.sym("x", nx)
    whole = {name: rows[:, columns] for name, columns in layout.columns.items()}
    none = ca.SX(0, 1)
    parts = [
        none if block.features is None else block.features(whole, x[place])
        for block, place in zip(layout.blocks, layout.x, strict=True)
    ]
    function = ca.Function("features", [rows, x], [ca.vertcat(*parts)], ["forecast", "x"], ["z"])
    return function, [part.numel() for part in parts]


def _prepare(layout: BlockLayout) -> ca.Function:
    theta = ca.MX.sym("theta", layout.theta[-1].stop)
    made = [
        part if block.prepare is None else block.prepare(part)
        for block, part in zip(layout.blocks, _cut(theta, layout.theta), strict=True)
    ]
    return ca.Function("prepare", [theta], [ca.densify(ca.vertcat(*made))], ["theta"], ["p"])
