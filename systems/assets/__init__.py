"""The kinds of asset that a house may have: one folder each, known by being here.

A folder NAME/ is a package whose `KINDS` says which tables of `house.toml` it reads and what blocks it makes of them.
Nothing else in nisse names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from systems.names import AssetName
from systems.section import TableSection

if TYPE_CHECKING:
    from systems.asset_plant import AssetPlant
    from systems.block import Block
    from systems.house_file import House
    from systems.logs.lesson import Lesson
    from systems.logs.log import Log, LogColumn
    from systems.world import WorldColumn
    from systems.world.generate import WorldSurroundings

Location = tuple[str | int, ...]


class Nameplate(TableSection):
    """What the owner knows of an asset."""

    name: AssetName


@dataclass(frozen=True)
class Mistake:
    """What is wrong in a house, where in its file, and what to do."""

    where: Location
    text: str


@dataclass(frozen=True)
class Portrait:
    """What `nisse check` draws of an asset: what it is in a line, and what it needs from devices and feeds."""

    line: str
    measured: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    forecast: tuple[str, ...] = ()
    kept: str = ""
    """What the safety filter keeps of it, or why nothing; where nothing is said, the bounds of its actions."""
    notes: tuple[str, ...] = ()
    """What is allowed and hardly meant, a sentence each."""


@dataclass(frozen=True)
class AssetKind:
    """One table of `house.toml`.

    blocks(house, fits) -> what these assets give to the problem, in the order of the house; `fits` holds what a log has
    taught, by table. rank: blocks of a lower rank come first. mistakes(house): what one table alone cannot know.
    plants(house, fits) -> what really happens to these assets, in the order of their blocks. world(house, surroundings)
    -> the columns that they need of the world, by name.
    columns(house, asset) -> what of a log tells of it. learn(house, assets, log) -> what the log taught of those assets
    whose needed columns are all there. read(text) -> the fit of the table, as `blocks` takes it.
    """

    table: str
    nameplate: type[Nameplate]
    rank: int
    blocks: Callable[[House, Mapping[str, Any]], tuple[Block, ...]] = lambda house, fits: ()
    portrait: Callable[[House, Any], Portrait] | None = None
    mistakes: Callable[[House], Iterable[Mistake]] = lambda house: ()
    plants: Callable[[House, Mapping[str, Any]], tuple[AssetPlant, ...]] = lambda house, fits: ()
    world: Callable[[House, WorldSurroundings], Mapping[str, WorldColumn]] = lambda house, surroundings: {}
    columns: Callable[[House, Any], tuple[LogColumn, ...]] = lambda house, asset: ()
    learn: Callable[[House, tuple[Any, ...], Log], tuple[Lesson, ...]] | None = None
    together: bool = False
    """Learned all at once; else one by one, so that what is wrong with one leaves the others."""
    read: Callable[[str], Any] | None = None
    many: bool = True
    """An array of tables, [[battery]]; else a single one, [meter], that may be left out."""


def asset_kinds() -> tuple[AssetKind, ...]:
    """Every kind of every folder here, by rank."""
    folders = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    kinds = [kind for name in folders for kind in importlib.import_module(f"{__name__}.{name}").KINDS]
    return tuple(sorted(kinds, key=lambda kind: (kind.rank, kind.table)))
