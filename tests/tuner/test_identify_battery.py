"""The fit finds what the log was made with, says how sure it is, and refuses logs that cannot tell."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from nisse.cli import main
from systems.battery.exogenous import generated
from systems.battery.plant import BatteryPlant, PlantSpec, inverter_loss
from systems.battery.problem import home_battery
from systems.battery.spec import BatterySpec
from systems.series import TimeSeries
from systems.theta import read_theta
from tuner.identify.battery import IdentificationError, fit_battery, simulate_log, write_log
from tuner.identify.battery_log import load_battery_log

START = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))
ETA_C, ETA_D, BIAS = 0.91, 0.88, 0.30


def linear_log(days: int, *, noise_soc: float, seed: int) -> TimeSeries:
    """A log of a battery that is exactly the model, with soc noise and an AR(1) net load."""
    rng = np.random.default_rng(seed)
    n = 96 * days
    charge, discharge, soc = np.zeros(n), np.zeros(n), np.zeros(n)
    now = 0.5
    for k in range(n):
        if k % 4 == 0:
            up, size = rng.random() < 1.7 - 2.4 * now, rng.uniform(0.3, 1.5)
        soc[k], charge[k], discharge[k] = now, size * up, size * (not up)
        now += 0.25 / 10 * (ETA_C * charge[k] - discharge[k] / ETA_D)
    deviation = np.zeros(n)
    for k in range(1, n):
        deviation[k] = 0.9 * deviation[k - 1] + 0.15 * rng.standard_normal()
    return TimeSeries(
        START, 900.0,
        {
            "soc": soc + noise_soc * rng.standard_normal(n),
            "charge_kw": charge, "discharge_kw": discharge,
            "net_load_kw": 1.0 + BIAS + deviation, "net_load_forecast_kw": np.ones(n),
        },
        source="linear",
    )  # fmt: skip


def test_without_noise_the_fit_is_exact() -> None:
    fit = fit_battery(linear_log(7, noise_soc=0.0, seed=0))
    assert fit.theta["charge_efficiency"] == pytest.approx(ETA_C, abs=1e-12)
    assert fit.theta["discharge_efficiency"] == pytest.approx(ETA_D, abs=1e-12)


def test_standard_errors_are_what_the_estimates_really_scatter_by() -> None:
    fits = [fit_battery(linear_log(14, noise_soc=0.003, seed=seed)) for seed in range(120)]
    truth = {"charge_efficiency": ETA_C, "discharge_efficiency": ETA_D, "net_load_bias": BIAS}
    for k, (name, true_value) in enumerate(truth.items()):
        values = np.array([fit.estimates[k].value for fit in fits])
        errors = np.array([fit.estimates[k].standard_error for fit in fits])
        assert fits[0].estimates[k].name == name
        assert abs(values.mean() - true_value) < 4 * values.std() / np.sqrt(len(values))
        # The noise of a reading at a seam enters two windows with opposite signs, so the stated error is cautious.
        assert 0.75 < errors.mean() / values.std() < 2.0


def test_the_log_of_the_plant_gives_its_mean_efficiency_and_bias() -> None:
    plant = BatteryPlant(exogenous=generated(5), episode_steps=4 * 672)
    log = simulate_log(plant, steps=4 * 672, seed=0)
    fit = fit_battery(log)
    spec: PlantSpec = plant.physics
    charging = log["charge_kw"][log["charge_kw"] > 0]
    mean_loss = np.mean([inverter_loss(spec, float(p)) for p in charging]) / charging.mean()
    assert fit.theta["charge_efficiency"] == pytest.approx(1 - mean_loss, abs=0.02)
    assert 0.9 < fit.theta["discharge_efficiency"] < 0.97
    assert fit.theta["net_load_bias"] == pytest.approx(
        float(np.mean(log["net_load_kw"] - log["net_load_forecast_kw"])), abs=1e-9
    )
    assert fit.clipped == ()


def test_a_log_round_trips_through_its_file(tmp_path: Path) -> None:
    log = linear_log(4, noise_soc=0.001, seed=1)
    write_log(log, tmp_path / "log.csv")
    loaded = load_battery_log(tmp_path / "log.csv")
    read = loaded.series
    assert (read.start, loaded.faults, loaded.share_excluded["rows"]) == (log.start, (), 0.0)
    for name, values in log.values.items():
        np.testing.assert_allclose(read[name], values, rtol=1e-5, atol=1e-6)


def broken(**changes: np.ndarray) -> TimeSeries:
    log = linear_log(7, noise_soc=0.0, seed=0)
    return TimeSeries(log.start, log.dt_s, {**log.values, **changes}, source="broken.csv")


def test_logs_that_cannot_tell_are_refused_with_what_is_missing() -> None:
    n = 96 * 7
    with pytest.raises(IdentificationError, match=r"2\.0 days of log.*at least 3 days"):
        fit_battery(linear_log(2, noise_soc=0.0, seed=0))
    with pytest.raises(IdentificationError, match=r"discharges only 0\.0 kWh"):
        fit_battery(broken(discharge_kw=np.zeros(n)))
    swapped = linear_log(7, noise_soc=0.0, seed=0)
    with pytest.raises(IdentificationError, match="exchange the columns"):
        fit_battery(broken(charge_kw=swapped["discharge_kw"], discharge_kw=swapped["charge_kw"]))
    with pytest.raises(IdentificationError, match=r"outside 0.7..1; check --capacity-kwh \(40\)"):
        fit_battery(broken(), BatterySpec(capacity_kwh=40.0))
    with pytest.raises(IdentificationError, match="proportional"):
        fit_battery(broken(charge_kw=np.ones(n), discharge_kw=np.ones(n)))


def test_the_command_writes_theta_that_the_problem_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(linear_log(7, noise_soc=0.0, seed=0), tmp_path / "log.csv")
    theta, result = tmp_path / "theta.json", tmp_path / "result.json"
    command = ["identify", "--system", "battery", "--log", str(tmp_path / "log.csv")]
    assert main([*command, "--output", str(theta), "--json", str(result)]) == 0
    assert read_theta(theta, home_battery())["charge_efficiency"] == pytest.approx(ETA_C, abs=1e-4)
    estimates = json.loads(result.read_text())["estimates"]
    assert {e["name"] for e in estimates} == {"charge_efficiency", "discharge_efficiency", "net_load_bias"}
    assert "charge_efficiency" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_is_wrong_with_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    write_log(linear_log(4, noise_soc=0.0, seed=0), path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:100] + lines[260:]) + "\n")
    assert main(["identify", "--log", str(path), "--output", str(tmp_path / "theta.json")]) == 65
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "2.3 days of log" in error and "without a gap" in error
    assert not (tmp_path / "theta.json").exists()
