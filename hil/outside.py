"""What services know of the plant's world: prices as the market has made them, weather as it is foreseen every hour."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from hil.errors import ScenarioError
from hil.plant import Plant
from hil.services import ServedWorld
from systems.tariff import Tariff
from systems.world.weather import ClimateSpec, clear_sky_w_m2, sun_position

HOUR_S, DAY_S = 3600.0, 86_400.0
DAYS_AHEAD = 4
MOST_BEAM, SKY_SHARE = 0.8, 0.2
"""The split of `systems.assets.pv.plant.panel_power`: beam = clip(level / clear sky - 0.2, 0, 0.8) level."""
LOWEST_SINE = 0.05


class Outside:
    """`now_s`: the time of the services. Values are functions of Unix times."""

    def __init__(self, plant: Plant, climate: ClimateSpec | None = None) -> None:
        """Raises ScenarioError for a house whose money is not the market's."""
        if plant.house.currency != "EUR":
            raise ScenarioError(
                f"the bench's services tell prices in EUR, and the house counts in {plant.house.currency}; take one in "
                "EUR, or leave [feeds] out"
            )
        self._plant, self._climate, self.now_s = plant, climate or ClimateSpec(), plant.time_s()
        self._issued = lru_cache(maxsize=8)(self._issue)
        self.faults: dict[str, str] = {}
        """Service -> what goes wrong with it now."""
        self.world = ServedWorld(
            now=lambda: self.now_s, fault=self._fault, slow_s=0.005, price=self.price, outdoor=self.outdoor,
            sun=self.sun, beam=self.beam, cloud=self.cloud,
        )  # fmt: skip

    def _fault(self, service: str) -> str:
        return self.faults.get(service) or self.faults.get("", "")

    @property
    def place(self) -> tuple[float, float]:
        """Degrees north and east."""
        return self._climate.latitude_deg, self._climate.longitude_deg

    def price(self, time_s: float) -> float:
        """EUR/MWh, without fees and taxes."""
        return round(1000.0 * (self._true("sell", time_s) + Tariff().sell_fee), 3)

    def outdoor(self, time_s: float) -> float:
        return round(self._at("outdoor", time_s), 2)

    def sun(self, time_s: float) -> float:
        """Mean over the hour in whose middle `time_s` is, W/m2."""
        step_s = self._plant.step_s
        count = max(1, round(HOUR_S / step_s))
        times = [time_s - HOUR_S / 2 + (k + 0.5) * step_s for k in range(count)]
        return round(sum(self._at("sun", t) for t in times) / count, 1)

    def beam(self, sun: float, time_s: float) -> tuple[float, float]:
        """Direct normal and diffuse, W/m2."""
        sine = self._sine(time_s)
        level = min(MOST_BEAM, max(0.0, sun / max(float(clear_sky_w_m2(sine)), 1.0) - SKY_SHARE)) * sun
        return round(level / max(sine, LOWEST_SINE), 1), round(sun - level, 1)

    def cloud(self, time_s: float) -> float:
        """% of the sky, by the sun that comes through (Kasten and Czeplak: 1 - 0.75 N^3.4 of the clear sky's)."""
        clear = float(clear_sky_w_m2(self._sine(time_s)))
        if clear < 10.0:
            return 50.0
        lost = min(1.0, max(0.0, 1.0 - self._at("sun", time_s) / clear) / 0.75)
        return float(round(100.0 * lost ** (1 / 3.4), 1))

    def _sine(self, time_s: float) -> float:
        sine, _ = sun_position(np.asarray(time_s), *self.place)
        return float(sine)

    def _at(self, name: str, time_s: float) -> float:
        """As it came, up to the hour that has begun; from there on as it is foreseen in it."""
        issued_s = math.floor(self.now_s / HOUR_S) * HOUR_S
        if time_s < issued_s:
            return self._true(name, time_s)
        values = self._issued(name, issued_s)
        return values[min(int((time_s - issued_s) // self._plant.step_s), len(values) - 1)]

    def _issue(self, name: str, issued_s: float) -> tuple[float, ...]:
        count = round(DAYS_AHEAD * DAY_S / self._plant.step_s)
        return tuple(self._plant.foreseen(name, self._step(issued_s), count))

    def _true(self, name: str, time_s: float) -> float:
        world = self._plant.world
        return float(world[name][min(max(self._step(time_s), 0), len(world) - 1)])

    def _step(self, time_s: float) -> int:
        return math.floor((time_s - self._plant.world.time_s(0)) / self._plant.step_s)
