"""From a house log to an ARX model: what is recovered, what is said about it, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from page_rules import check_page

from nisse.cli import main
from systems.assets.zone.arx_fit import ArxOptions, build_regression, choose_strength, fit_arx, ridge_path
from systems.assets.zone.arx_fit import moments as sums
from systems.house.arx import ArxModel, reference_model
from systems.house.physical import PhysicalSpec, discretise
from systems.house.plant import PhysicalHouse
from systems.house.rules import Exciting, HeatingCurve, Rule, Thermostat
from systems.house.weather import generate_conditions
from systems.logs.log import LogError
from tuner.identify.house import Excitation, find_problems, identify_house
from tuner.identify.house_log import HouseLog, simulate_house_log, write_house_log

AUTUMN = generate_conditions(5, start=datetime(2017, 10, 15, tzinfo=UTC), days=40)


def physical_log(rule: Rule, days: int, first_day: int = 0) -> HouseLog:
    return simulate_house_log(PhysicalHouse(AUTUMN, steps=288 * days), rule, seed=1, first=288 * first_day)


@pytest.fixture(scope="module")
def exciting_log() -> HouseLog:
    return physical_log(Exciting(1), 14)


def arx_data(model: ArxModel, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs (T, 4) and inputs (T, 5) of the ARX under independent inputs."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(0, 1.2, (steps // 6 + 1, 4)).repeat(6, axis=0)[:steps]
    u = np.column_stack([rng.normal(0, 5, steps // 48 + 1).repeat(48)[:steps], held])
    y, _ = model.simulate(model.steady_state(u.mean(0)), u, model.sample_innovations(rng, (steps,)))
    return np.vstack([model.steady_state(u.mean(0))[:4], y[:-1]]), u


def level(model: ArxModel) -> np.ndarray:
    """(4,) °C at rest, innovation mean included, at 5 °C outside and 0.5 kW per room."""
    settle = np.linalg.inv(np.eye(4) - model.output_coefficients.sum(0))
    return model.steady_state_gain() @ [5.0, 0.5, 0.5, 0.5, 0.5] + settle @ model.innovation_mean


def test_a_known_arx_is_recovered_with_its_innovations_as_the_log_grows() -> None:
    model, stds = reference_model(), []
    for days in (20, 160):
        y, u = arx_data(model, 288 * days, 0)
        fit = fit_arx(y, u, options=ArxOptions(strengths=(1e-9,)))
        spread = np.abs(model.innovation_covariance).max() * np.sqrt(2.0 / len(y))
        assert np.abs(fit.model.innovation_covariance - model.innovation_covariance).max() < 4.0 * spread
        std = fit.jackknife_std([m.response_gain(12.0) for m in fit.leave_one_out])
        score = (fit.model.response_gain(12.0) - model.response_gain(12.0)) / std
        assert np.sqrt(np.mean(score**2)) < 2.0  # the standard errors tell the truth about the truth
        stds.append(std.mean())
    assert stds[1] < 0.6 * stds[0]
    assert level(fit.model) == pytest.approx(level(model), abs=0.2)


def test_ridge_is_the_normal_equations_of_the_penalised_problem() -> None:
    """Against an augmented least-squares problem solved by QR, with and without the constant."""
    y, u = arx_data(reference_model(), 900, 2)
    r = build_regression(y, u)
    for constant in (True, False):
        options = ArxOptions(constant=constant, invariant=False)
        theta, mean = ridge_path(sums(r.phi, r.change), [0.01], ny=4, nu=5, options=options)[0]
        shift = r.phi.mean(0) if constant else np.zeros(108)
        target = r.change - (r.change.mean(0) if constant else 0.0)
        penalty = np.diag(np.sqrt(0.01 * len(r.phi)) * r.phi.std(0))
        stacked = np.linalg.lstsq(
            np.vstack([r.phi - shift, penalty]), np.vstack([target, np.zeros((108, 4))]), rcond=None
        )
        assert theta == pytest.approx(stacked[0], abs=1e-8)
        assert mean == pytest.approx((r.change - r.phi @ theta).mean(0), abs=1e-10)


def test_invariance_makes_a_house_that_is_as_warm_as_outdoors_stay_so() -> None:
    y, u = arx_data(reference_model(), 3000, 3)
    model = fit_arx(y, u, options=ArxOptions(blocks=4)).model
    assert model.steady_state_gain()[:, 0] == pytest.approx(np.ones(4), abs=1e-7)


def test_no_row_of_the_regression_touches_a_missing_value() -> None:
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=(200, 4)), rng.normal(size=(200, 5))
    y[60, 1] = u[120, 3] = np.nan
    rows = set(build_regression(y, u).rows.tolist())
    expected = {t for t in range(11, 199) if not (t - 11 <= 60 <= t + 1) and not (t - 11 <= 120 <= t)}
    assert rows == expected
    regression = build_regression(y, u)
    first = regression.phi[0]
    assert np.array_equal(first[:48].reshape(12, 4), y[11::-1])
    assert np.array_equal(first[48:].reshape(12, 5), u[11::-1])
    assert np.array_equal(regression.change[0], y[12] - y[11])


def test_the_weakest_strength_within_a_standard_error_is_chosen() -> None:
    noise = np.array([0.0, 0.3, -0.3, 0.1])
    errors = np.array([1.5 + noise, 1.02 + noise, 1.0 + noise, 1.3 + noise])
    errors[1] += [0.05, -0.05, 0.05, -0.05]
    assert choose_strength(errors) == 1
    assert choose_strength(errors[[0, 2, 3]]) == 1
    errors[0] = np.inf
    assert choose_strength(errors) == 1


def test_an_exciting_log_gives_a_model_that_predicts_and_knows_the_heat_pumps(exciting_log: HouseLog) -> None:
    result = identify_house(exciting_log)
    assert result.problems == ()
    assert (result.ahead.model_rmse_k < 0.85 * result.ahead.persistence_rmse_k).all()
    assert (result.one_step.model_rmse_k < 0.7 * result.one_step.persistence_rmse_k).all()
    assert result.model.spectral_radius < 1.0
    # The truth at this mild operating point: the heat network's own response times a COP between 3.5 and 5.3.
    step, nodes = discretise(PhysicalSpec(), 300.0), np.zeros((8, 4))
    for _ in range(144):
        nodes = step.phi @ nodes + step.gamma_heat[:, :4]
    own = np.diag(result.gain[:, 1:])
    assert (own > 3.5 * np.diag(nodes[:4])).all()
    assert (own < 5.3 * np.diag(nodes[:4])).all()
    assert (np.diag(result.gain_std[:, 1:]) < 0.25 * own).all()
    assert result.usable_share > 0.99
    assert json.loads(json.dumps(result.document()))["stable"] is True


@pytest.mark.parametrize("rule", [Thermostat(power_kw=1.0), HeatingCurve()])
def test_a_log_that_never_excites_is_detected_and_said(rule: Rule) -> None:
    result = identify_house(physical_log(rule, 10))
    assert not any(e.sufficient for e in result.excitation)
    assert len(result.problems) >= 1
    assert "set-point" in result.problems[0]
    assert all(f"power{i}_kw" in result.problems[0] for i in range(1, 5))


def test_a_heat_pump_that_never_ran_is_named(exciting_log: HouseLog) -> None:
    inputs = exciting_log.inputs.copy()
    inputs[:, 3] = 0.0
    result = identify_house(HouseLog(0.0, exciting_log.outputs, inputs, exciting_log.row))
    assert any(p.startswith("power3_kw: the power hardly ever changes") for p in result.problems)
    assert not any(p.startswith("power1_kw: the") for p in result.problems)


def test_a_heating_gain_of_the_wrong_sign_is_told(exciting_log: HouseLog) -> None:
    inputs = exciting_log.inputs.copy()
    inputs[:, 2] = 1.5 - inputs[:, 2]  # logged as what is left of the nameplate power
    result = identify_house(HouseLog(0.0, exciting_log.outputs, inputs, exciting_log.row))
    wrong = [p for p in result.problems if "wrong sign" in p]
    assert len(wrong) == 1
    assert wrong[0].startswith("power2_kw: heating gain of room 2 is -")
    assert "K/kW" in wrong[0]


def test_swapped_power_columns_are_told(exciting_log: HouseLog) -> None:
    inputs = exciting_log.inputs[:, [0, 1, 4, 3, 2]]
    result = identify_house(HouseLog(0.0, exciting_log.outputs, inputs, exciting_log.row))
    assert any("power2_kw, power4_kw" in p and "swap" in p for p in result.problems)


def test_of_a_power_that_was_not_excited_only_that_is_told() -> None:
    gain = np.array([[0.5, -0.1, 9.0], [0.5, 9.0, 0.1]])  # outdoors, power 1, power 2: as if swapped
    still, moved = Excitation(0.0, 0.5, False), Excitation(0.2, 9.0, False)
    silent = find_problems(reference_model(), gain, np.ones_like(gain), (still, still))
    assert len(silent) == 1 and "power1_kw, power2_kw: the power hardly ever changes" in silent[0]
    spoken = find_problems(reference_model(), gain, np.ones_like(gain), (moved, moved))
    assert any("swap" in problem for problem in spoken) and any("wrong sign" in problem for problem in spoken)


def test_too_little_is_refused_with_how_much_more_is_needed(exciting_log: HouseLog) -> None:
    def cut(days: float) -> HouseLog:
        n = round(288 * days)
        return HouseLog(0.0, exciting_log.outputs[:n].copy(), exciting_log.inputs[:n].copy(), exciting_log.row[:n])

    with pytest.raises(LogError, match=r"4\.0 days are usable, 7 are needed; log about 3\.1 more days"):
        identify_house(cut(4.0))
    holey = cut(10.0)
    holey.outputs[::20, 0] = np.nan  # every twentieth reading lost costs 13 of 20 rows
    with pytest.raises(LogError, match=r"3\.\d of 10\.0 days are usable.*log about 1\d\.\d more days \(35%"):
        identify_house(holey)
    holey.outputs[::10, 0] = np.nan
    with pytest.raises(LogError, match="mend the log first"):
        identify_house(holey)


def test_the_command_reads_a_log_and_writes_model_report_and_picture(
    exciting_log: HouseLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_house_log(exciting_log, tmp_path / "house.csv")
    names = {name: str(tmp_path / name) for name in ("house.csv", "arx.json", "report.json", "page.html")}
    command = ["identify", "--system", "house", "--log", names["house.csv"], "--output", names["arx.json"]]
    assert main([*command, "--json", names["report.json"], "--plot", names["page.html"]]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["problems"] == []
    assert report["ahead"]["hours"] == 12.0
    assert np.array(report["innovation_covariance_k2"]).shape == (4, 4)
    assert ArxModel.load(tmp_path / "arx.json").innovation_mean.tolist() == report["innovation_mean_k"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<figure") == 4 and "The model may be used" in page
    check_page(page)
    assert "12 h" in capsys.readouterr().out


def test_a_model_with_problems_is_not_written_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_house_log(physical_log(Thermostat(power_kw=1.0), 9), tmp_path / "house.csv")
    command = ["identify", "--system", "house", "--log", str(tmp_path / "house.csv")]
    command += ["--output", str(tmp_path / "arx.json")]
    assert main(command) == 1
    assert not (tmp_path / "arx.json").exists()
    assert "cannot tell what the heat pump does" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert (tmp_path / "arx.json").exists()


@pytest.mark.slow
def test_the_shipped_reference_is_what_the_command_writes(tmp_path: Path) -> None:
    path = tmp_path / "arx.json"
    assert main(["identify", "--system", "house", "--days", "242", "--seed", "0", "--output", str(path)]) == 0
    again, shipped = ArxModel.load(path), reference_model()
    # Rounding differs between computers; the coefficients feel it, being ill-conditioned, and the gains do not.
    assert again.response_gain(12.0) == pytest.approx(shipped.response_gain(12.0), rel=1e-4)
    assert again.innovation_covariance == pytest.approx(shipped.innovation_covariance, rel=1e-4)
