"""The house as text: who feeds what, and what has to be measured, moved, forecast and logged for it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain

from systems.assets import Portrait, asset_kinds
from systems.house_file import House
from systems.logs.log import LogColumn

WIDTH = 80
LABEL = 12


def asset_portraits(house: House) -> Iterator[tuple[str, str, Portrait]]:
    """(table, name, portrait) of every asset that can be drawn."""
    for kind in asset_kinds():
        if kind.portrait is not None:
            for asset in house.of(kind.table):
                yield kind.table, asset.name, kind.portrait(house, asset)


def draw_house(house: House) -> str:
    """A few lines for a terminal."""
    grid = house.grid
    portraits = {name: portrait for _, name, portrait in asset_portraits(house)}
    fed = {name: pump.name for pump in house.of("heat_pump") for name in reversed(pump.feeds)}
    lines = [
        f"house {house.name}, {house.timezone.key}, money in {house.currency}",
        f"decides every {grid.hold_s / 60:g} min, looks {grid.horizon_s / 3600:g} h ahead, models in steps of "
        f"{grid.step_s / 60:g} min",
        "",
        "grid",
    ]
    label = max(LABEL, *(len(name) + 1 for name in portraits))

    def branch(begin: str, beyond: str, name: str, more: str = "") -> None:
        """An asset, with what hangs below it `beyond`; what does not fit goes on under its beginning."""
        text, after = f"{portraits[name].line}{more}", beyond + " " * label
        lines.extend(textwrap.wrap(text, WIDTH, initial_indent=f"{begin}{name:<{label}}", subsequent_indent=after))

    root = "meter" if "meter" in portraits else None
    top = [name for name in portraits if name != root and name not in fed]
    indent = ""
    if root is not None:
        indent = "   "
        branch("└─ ", indent + ("│  " if top else "   "), root)
    for i, name in enumerate(top):
        beyond = indent + ("   " if i == len(top) - 1 else "│  ")
        children = [child for pump in house.of("heat_pump") if pump.name == name for child in pump.feeds]
        branch(f"{indent}{'└─' if i == len(top) - 1 else '├─'} ", beyond + ("│  " if children else ""), name)
        for child in children:
            also = "" if fed[child] == name else "; drawn above"
            last = child == children[-1]
            branch(f"{beyond}{'└─' if last else '├─'} ", beyond + ("   " if last else "│  "), child, also)
    lines.append("")
    for title, what in (
        ("measured", "measured"),
        ("moved", "moved"),
        ("forecast", "forecast"),
    ):
        names = dict.fromkeys(name for portrait in portraits.values() for name in getattr(portrait, what))
        if "meter" not in portraits and what == "forecast":
            names["buy"] = None
        lines += _listed(title, names)
    kept = {name: what_is_kept(portrait) for name, portrait in portraits.items()}
    lines += _listed("kept", [f"{name}: {what}" for name, what in kept.items() if what], "; ")
    lines += _listed("log columns", [column.name for column in log_columns(house) if column.needed])
    for note in (note for portrait in portraits.values() for note in portrait.notes):
        lines += _listed("note", [note])
    return "\n".join(lines)


def what_is_kept(portrait: Portrait) -> str:
    """Of an asset, by the safety filter; empty where nothing is moved and nothing limited."""
    return portrait.kept or ("nothing but the bounds of what is moved" if portrait.moved else "")


def _listed(title: str, names: Iterable[str], between: str = ", ") -> list[str]:
    text = between.join(names) or "nothing"
    return textwrap.wrap(text, WIDTH, initial_indent=f"{title:<13}", subsequent_indent=" " * 13)


def asset_columns(house: House) -> dict[str, tuple[LogColumn, ...]]:
    """What of a log tells of each asset, by its name."""
    return {asset.name: kind.columns(house, asset) for kind in asset_kinds() for asset in house.of(kind.table)}


def log_columns(house: House) -> tuple[LogColumn, ...]:
    """Of all assets, each once; one that any asset needs is needed."""
    found: dict[str, LogColumn] = {}
    for column in chain.from_iterable(asset_columns(house).values()):
        known = found.get(column.name)
        if known is None or (column.needed and not known.needed):
            found[column.name] = column
    return tuple(found.values())
