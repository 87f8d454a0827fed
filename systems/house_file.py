"""House: `house.toml`, validated. What there is to control, as data; mistakes come with file, line and remedy.

[house]    name, timezone, currency
[grid]     step, hold, horizon, discount
and a table for each kind of asset that stands in `systems/assets/`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, create_model, field_validator

from runtime.formats.duration import parse_duration
from runtime.formats.plain_files import read_text
from runtime.formats.toml_lines import did_you_mean
from runtime.formats.toml_source import TomlSource
from systems.assets import Mistake, Nameplate, asset_kinds
from systems.grid import GridError, TimeGrid
from systems.names import RESERVED, AssetName, suggested
from systems.section import TableSection

SHIPPED = Path(__file__).parent / "houses"
LARGEST_FILE = 1_000_000
MOST_STEPS, MOST_STAGES = 120, 500
"""Model steps in a decision, decisions in a horizon."""
Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, allow_inf_nan=False)]


class HouseFileError(ValueError):
    """A house file that cannot be used; the message names file, line and remedy."""

    exit_code = 78


class HouseSection(TableSection):
    """[house]"""

    name: AssetName
    timezone: str = "UTC"
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    """All money of the house is in it."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        return known_timezone(name)


def known_timezone(name: str) -> str:
    """The name itself. Raises ValueError with a remedy."""
    if name not in available_timezones():
        raise ValueError(f"unknown time zone {name!r}{did_you_mean(name, _near(name))}")
    return name


def _near(zone: str) -> list[str]:
    """Zones to guess from: those of the same continent, else one that everybody knows."""
    continent = zone.partition("/")[0].lower()
    return [z for z in available_timezones() if z.lower().startswith(continent)] or ["Europe/Oslo", "UTC"]


class GridSection(TableSection):
    """[grid]"""

    step: Duration = 300.0
    hold: Duration = 1800.0
    horizon: Duration = 86400.0
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass(frozen=True)
class House:
    """What there is. `tables` holds the nameplates of each kind, in the order of the file."""

    name: str
    timezone: ZoneInfo
    currency: str
    grid: TimeGrid
    tables: Mapping[str, tuple[Nameplate, ...]]

    def of(self, table: str) -> tuple[Any, ...]:
        """The assets of a table; empty where there is none."""
        return self.tables.get(table, ())

    def only(self, table: str) -> Any:
        """The asset of a single table, or None."""
        return next(iter(self.of(table)), None)

    @property
    def assets(self) -> tuple[Nameplate, ...]:
        return tuple(asset for table in self.tables.values() for asset in table)


def load_house(path: Path | str) -> House:
    """A file, or the name of a house that is shipped with nisse. Raises HouseFileError."""
    return parse_house(*read_house(path))


def read_house(path: Path | str) -> tuple[str, Path]:
    """The text of a house file and where it was found; as `load_house`. Raises HouseFileError."""
    place = Path(path)
    shipped = SHIPPED / f"{path}.toml"
    if not place.suffix and not place.exists() and shipped.parent == SHIPPED and shipped.is_file():
        place = shipped
    try:
        return read_text(place, LARGEST_FILE), place
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise HouseFileError(
            f"{place}: {error.strerror}; name a house file, or one of the shipped houses: {names}"
        ) from error
    except UnicodeDecodeError as error:
        raise HouseFileError(f"{place}: not UTF-8 text; save it as UTF-8") from error


def parse_house(text: str, path: Path = Path("house.toml")) -> House:
    """Raises HouseFileError for the first mistake."""
    source = TomlSource(path, text, HouseFileError)
    kinds = asset_kinds()
    single = {kind.table for kind in kinds if not kind.many}
    written = source.load()
    _check_brackets(source, written, {"house", "grid", *single}, {kind.table for kind in kinds if kind.many})
    document = {
        table: {"name": table, **value} if table in single and isinstance(value, dict) else value
        for table, value in written.items()
    }
    model = _file_model()
    try:
        file = model.model_validate(document)
    except ValidationError as error:
        raise source.explain(error, model) from error
    head, given = file.house, file.grid  # type: ignore[attr-defined]
    try:
        grid = TimeGrid(given.step, given.hold, given.horizon, given.discount)
    except GridError as error:
        raise source.error(("grid",), str(error)) from error
    if grid.steps > MOST_STEPS or grid.stages > MOST_STAGES:
        raise source.error(
            ("grid",),
            f"a decision of {grid.steps} model steps and a horizon of {grid.stages} decisions are more than can be "
            f"solved, {MOST_STEPS} and {MOST_STAGES}; lengthen step or hold, or shorten horizon",
        )
    tables: dict[str, tuple[Nameplate, ...]] = {}
    for kind in kinds:
        value = getattr(file, kind.table)
        found = value if kind.many else () if value is None else (value,)
        if found:
            tables[kind.table] = tuple(found)
    house = House(head.name, ZoneInfo(head.timezone), head.currency, grid, tables)
    mistakes = [*_shared_names(house), *(mistake for kind in kinds for mistake in kind.mistakes(house))]
    if mistakes:
        more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        raise source.error(mistakes[0].where, mistakes[0].text + more)
    return house


def _check_brackets(source: TomlSource, written: Mapping[str, Any], single: set[str], many: set[str]) -> None:
    """Tables of which there is one, and those of which there may be several. Raises HouseFileError."""
    for table, value in written.items():
        if table in single and not isinstance(value, dict):
            raise source.error((table,), f"{table} is one table: write [{table}] and its keys below")
        if table in many and not (isinstance(value, list) and all(isinstance(one, dict) for one in value)):
            raise source.error(
                (table,), f"there may be several of {table}: write [[{table}]] for each, in two brackets"
            )


def _file_model() -> type[BaseModel]:
    """The whole file: the two tables above, and one field for each kind of asset."""
    fields: dict[str, Any] = {
        kind.table: (tuple[kind.nameplate, ...], ()) if kind.many else (kind.nameplate | None, None)  # type: ignore[name-defined]
        for kind in asset_kinds()
    }
    return create_model(
        "HouseFile", __base__=TableSection, house=(HouseSection, ...), grid=(GridSection, GridSection()), **fields
    )


def _shared_names(house: House) -> list[Mistake]:
    """Names are parts of topics and columns: each belongs to one asset."""
    seen: dict[str, str] = {}
    mistakes = []
    for table, assets in house.tables.items():
        for i, asset in enumerate(assets):
            if asset.name in RESERVED and asset.name != table:
                other = suggested(f"{table}_{asset.name}")
                text = f"{asset.name!r} is what a signal of every house is called; call it {other!r} for example"
                mistakes.append(Mistake((table, i, "name"), text))
            if asset.name in seen:
                text = f"{asset.name!r} is the name of a {seen[asset.name]} already; give each asset a name of its own"
                mistakes.append(Mistake((table, i, "name"), text))
            seen[asset.name] = table
    return mistakes
