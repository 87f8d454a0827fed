"""Writes what the sensors of the physical house show while the data-fitted MPC explores: a log for `nisse tune --log`.

python -m benchmarks.exploring_log field --days 56 --exploration-kw 0.15
nisse tune --system house --log field.csv --prices field-prices.csv --output theta.json
nisse evaluate --system house --theta theta.json --weeks 16
"""

from __future__ import annotations

import argparse
import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from codegen.condensed.solver import CondensedMpc
from systems.house.arx import reference_model
from systems.house.plant import PhysicalHouse
from systems.house.theta import HouseMpc, theta_values
from tuner.evaluate.house import MpcPolicy
from tuner.house.data import STEPS_PER_DAY, generated_seasons
from tuner.identify.house_log import log_columns


def write_log(name: str, first_day: int, days: int, exploration_kw: float, seed: int) -> None:
    """NAME.csv and NAME-prices.csv; a random step on each heat pump, held half an hour."""
    season, _ = generated_seasons(0)
    model, mpc, rng = reference_model(), HouseMpc(), np.random.default_rng(seed)
    policy = MpcPolicy(CondensedMpc(mpc, theta_values(model, bias=model.innovation_mean)))
    first, steps = first_day * STEPS_PER_DAY, days * STEPS_PER_DAY
    plant = PhysicalHouse(season, cost=mpc.cost, steps=steps)
    y, _ = plant.reset(seed=seed, options={"first": first})
    times = [datetime.fromtimestamp(season.start_s + (first + k) * season.dt_s, UTC).isoformat() for k in range(steps)]
    noise = exploration_kw * rng.standard_normal((steps // mpc.apply, 4))
    with Path(f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *log_columns()])
        for k, time in enumerate(times):
            seen, outdoor = y, season.outdoor_c[plant.k]
            y, _, _, _, info = plant.step(policy.act(plant, y) + noise[k // mpc.apply])
            rooms, powers = (f"{v:.2f}" for v in seen), (f"{v:.3f}" for v in info["power_kw"])
            writer.writerow([time, f"{outdoor:.2f}", *rooms, *powers])
    with Path(f"{name}-prices.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time", "price_eur_per_kwh"])
        writer.writerows([times[k], f"{season.price_eur_kwh[first + k]:.5f}"] for k in range(0, steps, 12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="of the files, without their ending")
    parser.add_argument("--first-day", type=int, default=60, help="since the first of September; default: %(default)s")
    parser.add_argument("--days", type=int, default=56, help="default: %(default)s")
    parser.add_argument("--exploration-kw", type=float, default=0.15, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=5, help="default: %(default)s")
    args = parser.parse_args()
    write_log(args.name, args.first_day, args.days, args.exploration_kw, args.seed)


if __name__ == "__main__":
    main()
