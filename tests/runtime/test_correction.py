"""A forecast that corrects itself by what the meter showed: the law, the daemon's image, what a log teaches of it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest
from tracking_rig import battery_manifest

from runtime.bundle.manifest import Manifest
from runtime.decide.correcting import Correcting
from runtime.inputs.correction import Carries, Deviation
from runtime.inputs.process_image import ProcessImage
from runtime.inputs.signals import Sample, Validity
from systems.assets.load.fit import carried_on
from systems.design import HouseDesign
from systems.house_file import SHIPPED
from systems.plant import HousePlant
from systems.profile import WeekProfile
from systems.world import WorldColumn
from systems.world.foresight import Usual
from systems.world.generate import generated_world
from tuner.loop.view import View

HOUR_S = 3600.0
GOES_ON = Carries(share=0.8, memory_h=2.0)


def test_what_was_unforeseen_goes_on_fades_and_is_forgotten() -> None:
    deviation = Deviation(HOUR_S)
    assert deviation.carried([1.0, 1.0], HOUR_S, GOES_ON, 0.0, 0.0, 9.0) == (1.0, 1.0), "nothing was seen"
    deviation.observe(0.0, 2.0)
    first, second = deviation.carried([1.0, 1.0], HOUR_S, GOES_ON, 0.0, 0.0, 9.0)
    assert first == pytest.approx(1.0 + 2.0 * 0.8 * math.exp(-1 / 2.0))
    assert second - 1.0 == pytest.approx((first - 1.0) * math.exp(-1 / 2.0))
    assert deviation.carried([1.0, 8.0], HOUR_S, GOES_ON, 0.0, 0.0, 2.0) == pytest.approx([first, 2.0])
    assert deviation.carried([1.0], HOUR_S, GOES_ON, 7 * HOUR_S, 0.0, 9.0) == (1.0,)
    for _ in range(3):
        deviation.observe(HOUR_S, math.nan)
    assert deviation.carried([1.0], HOUR_S, GOES_ON, 0.0, 0.0, 9.0) == (pytest.approx(first),)


def correcting(*published: str, **load: object) -> tuple[Correcting, Manifest]:
    document = json.loads(battery_manifest().model_dump_json())
    document["forecasts"][1] |= {"schedule": {"default": 1.0}, "carries": GOES_ON.model_dump()} | load
    found = Manifest.model_validate_json(Manifest.model_validate(document).model_dump_json())
    return Correcting(found, published), found


def image(grid_kw: float | None, time_s: float = 0.0) -> ProcessImage:
    read = {} if grid_kw is None else {"grid_power": Sample("grid_power", grid_kw, 0.0, Validity.OK)}
    return ProcessImage(time_s, time_s, read, {"wish": (0.0,) * 5, "load": (1.0,) * 5})


def test_the_daemon_corrects_what_its_bundle_foretells_and_nothing_else() -> None:
    own, manifest = correcting()
    # The battery gave 2 kW and the meter still showed 1: the load was 3, and 1 was foreseen.
    found = own.corrected(image(1.0), (0.0, 2.0)).columns
    quarter = manifest.dt_s / HOUR_S
    assert found["load"] == pytest.approx([1.0 + 2.0 * 0.8 * math.exp(-(k + 1) * quarter / 2.0) for k in range(5)])
    assert found["wish"] == (0.0,) * 5
    later = own.corrected(image(None, 900.0), None).columns["load"]
    assert later[:4] == pytest.approx(found["load"][1:])
    assert correcting("load")[0].corrected(image(1.0), (0.0, 2.0)).columns["load"] == (1.0,) * 5
    assert correcting(carries=None)[0].corrected(image(1.0), (0.0, 2.0)).columns["load"] == (1.0,) * 5
    assert "carries" not in battery_manifest().model_dump_json(), "daemons from before it read what says nothing of it"


def errors_of(share: float, memory_h: float, seed: int = 0) -> np.ndarray:
    """An autoregression seen through noise, unit variance, 300 days of hours."""
    rng, n, keep = np.random.default_rng(seed), 300 * 24, math.exp(-1 / memory_h)
    slow = np.zeros(n)
    for k in range(1, n):
        slow[k] = keep * slow[k - 1] + math.sqrt(1 - keep**2) * rng.standard_normal()
    return np.asarray(math.sqrt(share) * slow + math.sqrt(1 - share) * rng.standard_normal(n))


def test_a_log_teaches_how_long() -> None:
    found = carried_on(errors_of(0.6, 5.0), HOUR_S)
    assert found is not None
    assert (found.share, found.memory_h) == (pytest.approx(0.6, abs=0.08), pytest.approx(5.0, rel=0.3))
    assert carried_on(errors_of(0.0, 5.0), HOUR_S) is None
    profile = WeekProfile((1.0,) * 168, (0.1,) * 168, found)
    assert WeekProfile.from_json(profile.to_json()).carries == found


def test_the_tuners_loop_foretells_the_next_hour_better_by_it() -> None:
    house = (SHIPPED / "battery.toml").read_text().replace('"15 min"', '"1 h"')
    errors, carries = 0.5 * errors_of(0.8, 6.0), Carries(share=0.8, memory_h=6.0)
    missed = {}
    for kind in (None, carries):
        design = HouseDesign(house, {"load": WeekProfile((2.0,) * 168, (0.5,) * 168, kind).to_json()})
        world = generated_world(design.house, datetime(2022, 4, 3, tzinfo=UTC), 12, seed=1)
        load = np.maximum(2.0 + errors[: len(world)], 0.0)
        dark = np.zeros(len(world))
        columns = {"load": WorldColumn(load, Usual(np.full(len(world), 2.0))), "pv": WorldColumn(dark)}
        world = type(world)(world.start, world.dt_s, world.zone, {**world.columns, **columns})
        plant = HousePlant(design.house, world)
        plant.reset(seed=0, options={"first": 0, "steps": 240})
        view, place = View(design, plant), [f.name for f in design.problem.forecasts].index("load")
        view.begin()
        off = []
        for k in range(200):
            ahead = view.moment().forecast[:, place]
            off.append(ahead[0] - load[k])
            action = np.array([1.0, 0.0]) * (k % 3)
            view.after(action, plant.step(action)[-1])
        missed[kind] = float(np.std(off[5:]))
        assert view.moment(error=0.0).forecast[:5, place] == pytest.approx(load[200:205])
    assert missed[carries] < 0.85 * missed[None]
