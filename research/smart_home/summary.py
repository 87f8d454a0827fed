"""What the smart-home experiment found: curves per iteration and the paired improvement with its interval.

Costs are normalised period by period with what the data-fitted MPC costs there, so that a warm week, in which rooms
overheat whatever the controller does, counts as much as a cold one and no more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.four_rooms.theta import house_theta
from research.smart_home.experiment import ProtocolOutcome
from tuner.evaluate.statistics import crossed_interval

Array = NDArray[np.float64]


def normalised(costs: Array) -> Array:
    """Costs (iterations, models, periods, 3) over the data-fitted total of each period, mean over the models."""
    unit = costs[0].sum(-1).mean(0)
    return np.asarray(costs / unit[:, None])


def paired_improvement(before_eur: Array, after_eur: Array) -> dict[str, float]:
    """Per cent by which normalised total costs (models, periods) fell, with a 95 % interval.

    Models and periods are samples both: a result must neither hang on a lucky seed nor on a lucky week.
    """
    gain = crossed_interval(100.0 * (before_eur - after_eur) / before_eur.mean(0))
    return {
        "mean": gain.mean,
        "low": gain.low,
        "high": gain.high,
        "of_summed_costs": float(100.0 * (1.0 - after_eur.sum() / before_eur.sum())),
    }


def curves(costs: Array) -> list[dict[str, float]]:
    """Per iteration price, comfort (violations included) and total, means over models and periods.

    Normalised, and in EUR per period.
    """
    rows = []
    for relative, eur in zip(normalised(costs).mean((1, 2)), costs.mean((1, 2)), strict=True):
        row = {"price": relative[0], "comfort": relative[1:].sum(), "total": relative.sum()}
        row |= {"price_eur": eur[0], "comfort_eur": eur[1:].sum(), "total_eur": eur.sum()}
        rows.append({name: float(value) for name, value in row.items()})
    return rows


def summarise(outcome: ProtocolOutcome) -> dict[str, Any]:
    """Everything for `--json`."""
    record, spec = outcome.record, outcome.spec
    total = record.costs.sum(3)
    fitted = total[0]
    learned = (record.thetas[-1] - record.thetas[0])[:, outcome.setting.entries]
    document: dict[str, Any] = {
        "experiment": "smart-home",
        "protocol": dataclasses.asdict(spec),
        "data": outcome.setting.data.source,
        "beta_eur_per_k2_h": record.beta,
        "comfort_share_data_fitted": float(normalised(record.costs)[0][..., 1:].sum(-1).mean()),
        "innovation_mean_k": outcome.setting.world.innovation_mean.tolist(),
        "learning_first_day": [agent.first // 288 for agent in outcome.agents],
        "evaluation_first_day": [int(first) // 288 for first in outcome.periods],
        "iterations": curves(record.costs),
        "improvement_percent": paired_improvement(fitted, total[-1]),
        # One row a model, one column a period: what the interval is made of.
        "total_eur_per_period": {"data_fitted": fitted.tolist(), "tuned": total[-1].tolist()},
        "improvement_percent_per_model": (100 * (1 - total[-1].sum(1) / fitted.sum(1))).tolist(),
        "improvement_percent_per_period": (100 * (1 - total[-1].sum(0) / fitted.sum(0))).tolist(),
        "references_improvement_percent": {},
        "theta_change_mean": dict(zip(_names(outcome), learned.mean(0).tolist(), strict=True)),
        "theta_change_std": dict(zip(_names(outcome), learned.std(0).tolist(), strict=True)),
        "td_error_eur": record.td_error.mean(1).tolist(),
        "failed_solves": record.failures,
        "seconds": record.seconds,
    }
    for name, costs in outcome.references.items():
        reference = np.broadcast_to(costs.sum(2), fitted.shape)
        document["references_improvement_percent"][name] = paired_improvement(fitted, reference)
    if outcome.confirmation:
        before, after = (outcome.confirmation[name].sum(2) for name in ("data_fitted", "tuned"))
        document["confirmation"] = {
            "periods": before.shape[1],
            "improvement_percent": paired_improvement(before, after),
            "total_eur_per_period": {"data_fitted": before.tolist(), "tuned": after.tolist()},
        }
    return document


def _names(outcome: ProtocolOutcome) -> list[str]:
    table = house_theta(outcome.setting.world)
    return [table[i].name for i in outcome.setting.entries]
