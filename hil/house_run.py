"""A house without a scenario: some days in which nothing breaks, and what any house may be held to meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hil.errors import BenchUsageError
from hil.scenario import Expect, Head, Scenario
from runtime.formats.documents import read_toml
from systems.house_file import SHIPPED, House, load_house, read_house
from systems.world.generate import WorldError, moment

DAY_S = 86_400.0
OUTSIDE_K = 0.6
"""A zone may leave its band by so much: its model may be that of a nameplate, which knows no walls, no people and no
open window, and a band is kept by what is decided for half an hour."""
SOC_SLACK = 0.02
"""Cells at rest lose 0.0015 an hour that no plan knows of, displays round to a hundredth, and what is missing to the
band is bought when it is cheap, within half a day or so."""
HEATING_MONTHS = (11, 12, 1, 2, 3)
"""Those in which no sun makes a zone warmer than it should be; nothing here cools."""


@dataclass(frozen=True)
class HouseRun:
    days: float = 7.0
    start: str = "2024-01-15"
    """A date, or a time; local where it says nothing else."""
    seed: int = 0


def is_house(given: str) -> bool:
    """Whether this names a house, as a file or a shipped one, and no scenario."""
    path = Path(given)
    if path.is_file():
        try:
            return "house" in read_toml(path)
        except (ValueError, OSError):
            return False  # whoever reads it as a scenario says what is wrong with it
    return not path.suffix and (SHIPPED / f"{given}.toml").is_file()


def house_scenario(given: str, run: HouseRun) -> Scenario:
    """Nothing breaks. Raises HouseFileError and BenchUsageError."""
    text, place = read_house(given)
    house = load_house(given)
    if not 0.0 < run.days <= 400.0:
        raise BenchUsageError(f"--days {run.days:g}: give more than 0, and no more than 400")
    try:
        start = moment(run.start, house.timezone)
    except WorldError as error:
        raise BenchUsageError(f"--start {error}") from error
    head = Head(
        name=house.name.replace("_", "-"),
        description="nothing breaks",
        house=str(place.absolute()),
        duration=run.days * DAY_S,
        start=start,
        seed=run.seed,
    )
    expectations = tuple(Expect(that=that) for that in expected(house, start))
    return Scenario(scenario=head, expect=expectations, source=f"{run}\n{text}")


def expected(house: House, start: datetime) -> Iterator[str]:
    """What must hold in a house that nothing breaks."""
    yield "unexplained_cycles == 0"
    yield "missed_cycles + deadline_misses == 0"
    for zone in house.of("zone"):
        yield f"{zone.name}_temperature >= {zone.lower.lowest - OUTSIDE_K:g}"
        if start.month in HEATING_MONTHS:
            yield f"{zone.name}_temperature <= {zone.upper.highest + OUTSIDE_K:g}"
    for tank in house.of("tank"):
        yield f"{tank.name}_cold_litres == 0"
    for battery in house.of("battery"):
        yield f"{battery.name}_soc >= {battery.soc_min - SOC_SLACK:g}"
        yield f"{battery.name}_soc <= {battery.soc_max + SOC_SLACK:g}"
        most = max(battery.max_charge_kw, battery.max_discharge_kw)
        yield f"abs(set_point.{battery.name}_power) <= {most:g}"
    meter = house.only("meter")
    if meter is not None and not house.of("load"):
        yield f"grid_kw <= {meter.import_limit_kw:g}"
