"""An air-to-air heat pump seen every five minutes: capacity, COP, cycling at minimum power, and defrost.

COP = eta * T_hot / (T_hot - T_cold) with refrigerant temperatures a load-dependent approach away from the room and the
outdoor air: a smaller load means smaller approaches, hence the better COP of an inverter at part load. eta and the
approaches are set so that the map meets what 5 kW units are commonly rated at under EN 14511: COP 3.4 at 7/20 °C and
2.5 at -7/20 °C at full load, above 4 at half load and 7 °C. The loss of a start is that of EN 14825 (Cd = 0.25).
"""

from __future__ import annotations

from dataclasses import dataclass, field

KELVIN = 273.15


@dataclass(frozen=True)
class HeatPumpSpec:
    """Nameplate and map of one unit; powers in kW, temperatures in °C, differences in K."""

    max_power_kw: float = 1.5
    """Electrical limit of the inverter."""
    min_power_kw: float = 0.15
    """Below it the compressor cannot turn: the unit switches on and off to meet the average."""
    nominal_heat_kw: float = 5.0
    """Full-load heat at 7 °C outside."""
    heat_slope_per_k: float = 0.018
    """Relative change of full-load heat per K of outdoor temperature."""
    second_law_efficiency: float = 0.45
    hot_approach_k: tuple[float, float] = (8.0, 10.0)
    """Condenser above the room: constant part and part proportional to the load."""
    cold_approach_k: tuple[float, float] = (4.0, 6.0)
    """Evaporator below the outdoor air, likewise."""
    start_loss: float = 0.25
    """Share of the heat lost in the five minutes after a start."""
    standby_kw: float = 0.01
    frost_range_c: tuple[float, float, float] = (-12.0, 1.0, 6.0)
    """Outdoor temperatures where frosting begins, is worst (cold enough and still humid) and ends."""
    steps_between_defrosts: float = 12.0
    """Running steps at full load and the worst outdoor temperature until the unit defrosts."""
    defrost_heat_kw: float = -0.2
    """Heat taken from the room while the cycle is reversed."""
    defrost_power_kw: float = 0.6

    def full_heat_kw(self, outdoor_c: float) -> float:
        """Largest heat, kW; the floor of 40 % is where units switch on their own limit."""
        return self.nominal_heat_kw * max(0.4, 1.0 + self.heat_slope_per_k * (min(outdoor_c, 15.0) - 7.0))

    def cop(self, outdoor_c: float, room_c: float, load: float) -> float:
        """Heat over electricity when running at `load` in [0, 1] of max_power_kw."""
        hot = room_c + KELVIN + self.hot_approach_k[0] + self.hot_approach_k[1] * load
        cold = outdoor_c + KELVIN - self.cold_approach_k[0] - self.cold_approach_k[1] * load
        # Warm days: expansion and fans keep a lift of some 15 K, or the Carnot form would promise the moon.
        return self.second_law_efficiency * hot / max(hot - cold, 15.0)

    def frost_rate(self, outdoor_c: float) -> float:
        """Frosting relative to the worst outdoor temperature, in [0, 1]: a triangle over `frost_range_c`."""
        begin, worst, end = self.frost_range_c
        if outdoor_c <= begin or outdoor_c >= end:
            return 0.0
        return (outdoor_c - begin) / (worst - begin) if outdoor_c < worst else (end - outdoor_c) / (end - worst)


@dataclass
class HeatPumpUnit:
    """The unit's own memory between steps. `step` is deterministic: all randomness of the house lies elsewhere."""

    spec: HeatPumpSpec = field(default_factory=HeatPumpSpec)
    owed_kw: float = 0.0
    """Requested but not yet drawn, in kW times steps; what makes on/off cycling meet the average."""
    running: bool = False
    frost: float = 0.0
    """Ice on the evaporator, 1 = defrost now."""

    def step(self, requested_kw: float, outdoor_c: float, room_c: float) -> tuple[float, float]:
        """(electrical power kW, heat to the room kW), averages over the step, for a requested electrical power."""
        spec = self.spec
        requested = min(max(requested_kw, 0.0), spec.max_power_kw)
        power = requested
        if requested < spec.min_power_kw:
            self.owed_kw = min(self.owed_kw + requested, 2.0 * spec.min_power_kw)
            power = spec.min_power_kw if self.owed_kw >= spec.min_power_kw else 0.0
            self.owed_kw -= power
        else:
            self.owed_kw = 0.0
        if power == 0.0:
            self.running = False
            self.frost = max(0.0, self.frost - 0.02) if outdoor_c > 2.0 else self.frost
            return spec.standby_kw, 0.0
        if self.frost >= 1.0:
            self.frost, self.running = 0.0, True
            return spec.defrost_power_kw, spec.defrost_heat_kw
        load = power / spec.max_power_kw
        heat = power * spec.cop(outdoor_c, room_c, load)
        limit = spec.full_heat_kw(outdoor_c)
        if heat > limit:
            power, heat = power * limit / heat, limit
        if not self.running:
            heat *= 1.0 - spec.start_loss
        self.running = True
        self.frost += load * spec.frost_rate(outdoor_c) / spec.steps_between_defrosts
        return power, heat
