"""The model of the zones before any log: one resistance and one capacity each, from the nameplate, as an ARX."""

from __future__ import annotations

import numpy as np

from systems.arx import ArxModel
from systems.assets.heat_pump import COP_BY_KIND, HeatPump, heating_feeders
from systems.assets.zone.nameplate import memory_s
from systems.house_file import House, HouseFileError

NOMINAL_OUTDOOR_C = 7.0
NAMEPLATE_STD_K = 0.2
"""Innovation of five minutes that a model from the nameplate admits to: it has one mass where a zone has quick air and
slow walls, so full power warms the air by half a kelvin where the model says a tenth."""


def inputs_of(house: House) -> tuple[str, ...]:
    """The model's inputs in their order: outdoor (degC), sun (kW/m2) where it is one, then heat or power per feeder."""
    building = house.only("building")
    sun = ("sun",) if building is not None and building.sun else ()
    return ("outdoor", *sun, *(pump.name for pump in heating_feeders(house)))


def lags_of(house: House) -> int:
    """Steps of memory of the zones' model."""
    return max(1, round(memory_s(house) / house.grid.step_s))


def nameplate_model(house: House) -> ArxModel:
    """C dT/dt = loss (T_out - T) + aperture sun + heat, exact over a step with everything held; no history needed."""
    zones, feeders, inputs = house.of("zone"), heating_feeders(house), inputs_of(house)
    lags, n = lags_of(house), len(zones)
    a, b = np.zeros((lags, n, n)), np.zeros((lags, n, len(inputs)))
    for i, zone in enumerate(zones):
        keep = np.exp(-house.grid.step_h * zone.heat_loss_kw_per_k / zone.heat_capacity_kwh_per_k)
        a[0, i, i], b[0, i, 0] = keep, 1.0 - keep
        per_kw = (1.0 - keep) / zone.heat_loss_kw_per_k
        if "sun" in inputs:
            b[0, i, 1] = per_kw * zone.sun_m2
        for pump in feeders:
            if zone.name in pump.feeds:
                fed = [z for z in zones if z.name in pump.feeds]
                share = zone.heat_loss_kw_per_k / sum(z.heat_loss_kw_per_k for z in fed)
                b[0, i, inputs.index(pump.name)] = per_kw * share * _gain(pump)
    return ArxModel(a, b, np.zeros(n), NAMEPLATE_STD_K**2 * np.eye(n), house.grid.step_s)


def _gain(pump: HeatPump) -> float:
    """Heat per unit of the input: 1 where the input is heat already, the rated COP where it is electric power."""
    if pump.zone_cop() is not None:
        return 1.0
    return float(np.interp(NOMINAL_OUTDOOR_C, *np.transpose(COP_BY_KIND[pump.kind])))


def check_fit(house: House, model: ArxModel) -> ArxModel:
    """The same model. Raises HouseFileError where it was fitted to another house."""
    zones, inputs = len(house.of("zone")), len(inputs_of(house))
    if (model.ny, model.nu) != (zones, inputs):
        raise HouseFileError(
            f"the fitted model has {model.ny} zones and {model.nu} inputs, house {house.name!r} has {zones} and "
            f"{inputs}; identify the model with this house file"
        )
    if abs(model.dt_s - house.grid.step_s) > 1e-9:
        raise HouseFileError(
            f"the fitted model steps {model.dt_s:g} s and the house {house.grid.step_s:g} s; set [grid] step = "
            f"{model.dt_s:g}, or identify the model with this house file"
        )
    return model
