"""What a house file alone does not show: signals that share a name, and whether there is anything to decide."""

from __future__ import annotations

from collections.abc import Sequence

from systems.block import Block
from systems.house_file import House, HouseFileError


def check_blocks(house: House, blocks: Sequence[Block]) -> None:
    """Raises HouseFileError.

    Names are made of names: pump `a_b` for tank `c` and pump `a` for tank `b_c` would both be moved by `a_b_c_power`.
    """
    owners: dict[str, str] = {}
    for block in blocks:
        own = [signal.name for signal in (*block.states, *block.actions, *block.auxiliaries)]
        for name in (*own, *(parameter.name for parameter in block.theta)):
            _claim(house, owners, name, block.asset)
    shared = {forecast.name: block.asset for block in reversed(blocks) for forecast in block.forecasts}
    for name, asset in shared.items():
        _claim(house, owners, name, asset)
    if not any(block.actions for block in blocks) or not any(block.states for block in blocks):
        raise HouseFileError(
            f"house {house.name!r} has nothing to decide: add a [[battery]], or a [[heat_pump]] with a [[zone]] or a "
            "[[tank]] that it feeds"
        )


def _claim(house: House, owners: dict[str, str], name: str, asset: str) -> None:
    if name in owners:
        between = repr(asset) if owners[name] == asset else f"{owners[name]!r} and {asset!r}"
        raise HouseFileError(
            f"house {house.name!r}: {name!r} would be the name of two things of {between}; rename one of the assets "
            "whose names it is made of"
        )
    owners[name] = asset
