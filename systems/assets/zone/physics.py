"""The house itself, as physics: four rooms and their envelope masses as an RC network, air exchange, sun and people.

    C dT/dt = -L T + G T_out + q,    T = (4 room airs, 4 envelope masses)

L is a weighted Laplacian (conductances between nodes and to the outside), so C^-1/2 L C^-1/2 is symmetric and the step
with q held is exact by its eigendecomposition. What is not linear (air exchange, heat pumps) enters through q.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from systems.world.weather import (
    DAY_S,
    HOUR_S,
    MARKET_OFFSET_S,
    ClimateSpec,
    Conditions,
    clear_sky_w_m2,
    sun_position,
)

Array = NDArray[np.float64]
ROOMS = ("living", "kitchen", "bedroom", "office")
AIR_KWH_PER_M3_K = 1.2 * 1.005 / 3600.0


@dataclass(frozen=True)
class PhysicalSpec:
    """A wooden Norwegian house of four rooms in a ring; tuples are per room in the order of ROOMS."""

    air_kwh_per_k: tuple[float, ...] = (0.95, 0.70, 0.60, 0.52)
    """Heat capacity of air, furniture and inner surfaces."""
    mass_kwh_per_k: tuple[float, ...] = (2.9, 2.1, 1.8, 1.7)
    """Heat capacity of walls, floor and ceiling."""
    air_to_mass_kw_per_k: tuple[float, ...] = (0.34, 0.26, 0.24, 0.22)
    mass_to_outside_kw_per_k: tuple[float, ...] = (0.055, 0.042, 0.040, 0.036)
    windows_kw_per_k: tuple[float, ...] = (0.035, 0.022, 0.018, 0.020)
    neighbours_kw_per_k: tuple[float, ...] = (0.060, 0.035, 0.030, 0.025)
    """Between each room and the next of the ring: 0-1 (an open kitchen), 1-2, 2-3, 3-0."""
    volume_m3: tuple[float, ...] = (95.0, 60.0, 50.0, 42.0)
    air_changes_per_h: float = 0.3
    stack_air_changes_per_h_k: float = 0.008
    """More air exchange per square root of the temperature difference (chimney effect), 1/h/K^0.5."""
    window_m2: tuple[float, ...] = (4.0, 2.0, 1.6, 1.4)
    """Effective solar aperture: glass area times transmittance."""
    window_azimuth_deg: tuple[float, ...] = (180.0, 270.0, 0.0, 90.0)
    """Where the windows look: 180 is south."""
    solar_to_air: float = 0.4
    """Share of the sun that warms air and furniture at once; the rest goes into the mass."""
    sensor_std_k: float = 0.02
    sensor_step_k: float = 0.01
    """Resolution of the thermometers."""

    @property
    def rooms(self) -> int:
        return len(self.air_kwh_per_k)


@dataclass(frozen=True, eq=False)
class RcStep:
    """T_{k+1} = Phi T_k + gamma_out T_out + Gamma q, exact for T_out and q held over the step; T and q (8,), kW."""

    phi: Array
    gamma_out: Array
    gamma_heat: Array


def discretise(spec: PhysicalSpec, dt_s: float) -> RcStep:
    """Exact zero-order-hold step of the RC network."""
    n = spec.rooms
    capacity = np.array([*spec.air_kwh_per_k, *spec.mass_kwh_per_k])
    outside = np.array([*spec.windows_kw_per_k, *spec.mass_to_outside_kw_per_k])
    laplacian = np.diag(outside)
    links = [(i, n + i, spec.air_to_mass_kw_per_k[i]) for i in range(n)]
    links += [(i, (i + 1) % n, spec.neighbours_kw_per_k[i]) for i in range(n)]
    for a, b, conductance in links:
        laplacian[[a, b], [a, b]] += conductance
        laplacian[[a, b], [b, a]] -= conductance
    root = np.sqrt(capacity)
    rates, modes = np.linalg.eigh(laplacian / np.outer(root, root))
    decay = np.exp(-rates * dt_s / HOUR_S)
    phi = (modes * decay) @ modes.T * root[None, :] / root[:, None]
    gamma_heat = (modes * (-np.expm1(-rates * dt_s / HOUR_S) / rates)) @ modes.T / np.outer(root, root)
    return RcStep(phi, gamma_heat @ outside, gamma_heat)


def air_exchange_kw(spec: PhysicalSpec, rooms_c: Array, outdoor_c: float, open_window: Array) -> Array:
    """(4,) heat brought in by outside air, kW; an open window (4,) multiplies the air changes by about five."""
    difference = outdoor_c - rooms_c
    changes = spec.air_changes_per_h + spec.stack_air_changes_per_h_k * np.sqrt(np.abs(difference)) + 1.5 * open_window
    return np.asarray(changes * np.array(spec.volume_m3) * AIR_KWH_PER_M3_K * difference)


def solar_gain_kw(spec: PhysicalSpec, conditions: Conditions, climate: ClimateSpec | None = None) -> Array:
    """(T, 4) sun through the windows, kW.

    Global irradiance is split into beam and diffuse by its ratio to the clear sky (a line in place of the Erbs curve);
    the beam is turned from the horizontal onto each vertical window, the diffuse sky is seen by half.
    """
    climate = climate or ClimateSpec()
    sine, azimuth = sun_position(conditions.time_s, climate.latitude_deg, climate.longitude_deg)
    clear = clear_sky_w_m2(sine)
    beam_share = np.clip(conditions.irradiance_w_m2 / np.maximum(clear, 1.0) - 0.2, 0.0, 0.8)
    beam = beam_share * conditions.irradiance_w_m2
    # cot(elevation) explodes at the horizon, where hills and trees stand: cap it.
    cotangent = np.minimum(np.sqrt(np.maximum(1.0 - sine**2, 0.0)) / np.maximum(sine, 1e-3), 4.0)
    facing = np.cos(azimuth[:, None] - np.deg2rad(spec.window_azimuth_deg)[None, :])
    vertical = (beam * cotangent)[:, None] * np.maximum(facing, 0.0) + 0.5 * (conditions.irradiance_w_m2 - beam)[
        :, None
    ]
    return np.asarray(vertical * np.array(spec.window_m2) / 1000.0)


def occupancy(spec: PhysicalSpec, conditions: Conditions, rng: np.random.Generator) -> tuple[Array, Array]:
    """((T, 4) gains of people and appliances kW, (T, 4) open windows 0 or 1) for a family of four.

    A daily pattern per room, a random activity that holds for an hour, cooking, and windows opened for ten minutes.
    """
    steps, n = len(conditions), spec.rooms
    hour = ((conditions.time_s + MARKET_OFFSET_S) % DAY_S) / HOUR_S
    home = np.where((hour < 8) | (hour > 16), 1.0, 0.35)
    awake = ((hour > 6.5) & (hour < 23)).astype(float)
    pattern = np.column_stack(
        [
            0.05 + 0.30 * home * awake * (hour > 15) + 0.10 * awake,
            0.10 + 0.25 * awake * home,
            0.03 + 0.20 * (1.0 - awake) + 0.03 * home,
            0.04 + 0.18 * awake * home,
        ]
    )[:, :n]
    per_hour = max(1, round(HOUR_S / conditions.dt_s))
    blocks = steps // per_hour + 1
    activity = np.repeat(rng.gamma(2.0, 0.5, size=(blocks, n)), per_hour, axis=0)[:steps]
    cooking = np.repeat(rng.random(blocks) < 0.6, per_hour)[:steps] * ((hour > 16.5) & (hour < 18.5))
    gains = pattern * activity
    gains[:, 1] += 0.5 * cooking
    opening = (rng.random((steps, n)) < 0.3 * conditions.dt_s / DAY_S * 24.0 / 16.0) & (awake[:, None] > 0)
    length = max(1, round(600.0 / conditions.dt_s))
    windows = opening.astype(float)
    for lag in range(1, length):
        windows[lag:] = np.maximum(windows[lag:], opening[:-lag])
    return gains, windows
