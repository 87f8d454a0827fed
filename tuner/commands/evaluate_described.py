"""`nisse evaluate HOUSE`: the rules, the data fit and the tuned theta of a described house, on held-out weeks."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from systems.commands.output import write_json
from systems.theta import read_theta
from tuner.commands.described_world import design_from, worlds_from
from tuner.evaluate.described import PLAIN, RULE, TUNED, UNBIASED, Evaluation, contenders, evaluate_house
from tuner.loop.periods import spread


def run(args: argparse.Namespace) -> int:
    design = design_from(args)
    worlds = worlds_from(args, design.house)
    tuned = None if args.theta is None else read_theta(args.theta, design.problem)
    weeks = spread(worlds.held_out_weeks, args.weeks, "held-out")
    with Progress(transient=True) as progress:
        bar = progress.add_task("weeks", total=None)
        found = evaluate_house(
            design, worlds.held_out, weeks, contenders(design.problem.theta, tuned),
            seed=args.seed, jobs=args.workers,
            report=lambda done, total: progress.update(bar, completed=done, total=total),
        )  # fmt: skip
    console = Console()
    console.print(table_of(found))
    console.print(verdict(found), soft_wrap=True, highlight=False)
    console.print(worlds.told, soft_wrap=True, highlight=False)
    if args.json is not None:
        write_json(args.json, document(found, worlds.told))
    if args.html is not None:
        from tuner.report.described import write_page  # matplotlib takes a second to import

        write_page(args.html, design, worlds.held_out, found, verdict(found), worlds.told)
        console.print(f"drawn: {args.html}", soft_wrap=True, highlight=False)
    return 0


def table_of(found: Evaluation) -> Table:
    money = found.currency
    table = Table(title=f"{found.house}: {len(found.weeks)} held-out weeks, {money} a week")
    capacity = any(r.capacity for results in found.results.values() for r in results)
    zones = list(next(iter(found.results.values()))[0].discomfort_kh)
    tank = any(r.cold_litres for results in found.results.values() for r in results)
    columns = ["total", "energy", *(["peaks"] if capacity else []), "in store", "not billed"]
    columns += [f"{zone} K h" for zone in zones] + (["cold litres"] if tank else [])
    for heading in ("policy", *columns, "failed"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    for name, results in found.results.items():
        cells = [f"{found.totals(name).mean():.3f}", f"{np.mean([r.energy for r in results]):.2f}"]
        cells += [f"{np.mean([r.capacity for r in results]):.2f}"] if capacity else []
        cells += [f"{np.mean([-r.stored for r in results]):+.2f}"]
        cells += [f"{np.mean([sum(r.unbilled.values()) for r in results]):.2f}"]
        cells += [f"{np.mean([r.discomfort_kh[zone] for r in results]):.1f}" for zone in zones]
        cells += [f"{np.mean([r.cold_litres for r in results]):.0f}"] if tank else []
        table.add_row(name, *cells, str(sum(r.failures for r in results)))
    return table


def verdict(found: Evaluation) -> str:
    """What comes of it, in a sentence: tuned against the best that a person would try first, paired."""
    names = list(found.results)
    rival = UNBIASED if UNBIASED in names else PLAIN
    if TUNED not in names:
        saving = found.saving(rival, RULE)
        text = "" if saving is None else f" (95 % interval {saving.low:.2f} to {saving.high:.2f})"
        mean = (found.totals(RULE) - found.totals(rival)).mean()
        return f"the MPC with the {rival} saves {mean:.2f} {found.currency} a week against the rules{text}"
    saving = found.saving(TUNED, rival)
    mean = (found.totals(rival) - found.totals(TUNED)).mean()
    share = 100.0 * mean / max(abs(found.totals(rival).mean()), 1e-9)
    if saving is None:
        return f"tuned saves {mean:.3f} {found.currency} in the one week against {rival}"
    span = f"{share:.1f} %, 95 % interval {saving.low:.3f} to {saving.high:.3f} {found.currency} a week"
    if saving.low > 0.0:
        return f"tuning saves {saving.mean:.3f} {found.currency} a week against {rival} ({span})"
    if saving.high < 0.0:
        return f"tuning costs {-saving.mean:.3f} {found.currency} a week against {rival} ({span}); keep the old theta"
    return f"these weeks do not show that tuning helps against {rival} ({span}); keep the old theta"


def document(found: Evaluation, told: str) -> dict[str, Any]:
    """For machines."""

    def interval(name: str, against: str) -> dict[str, float] | None:
        saving = found.saving(name, against) if against in found.results and name != against else None
        return None if saving is None else {"mean": saving.mean, "low": saving.low, "high": saving.high}

    return {
        "house": found.house,
        "currency": found.currency,
        "weeks": list(found.weeks),
        "data": told,
        "verdict": verdict(found),
        "policies": {
            name: {
                "total_per_week": found.totals(name).tolist(),
                "energy_per_week": [r.energy for r in results],
                "capacity_per_week": [r.capacity for r in results],
                "stored_per_week": [r.stored for r in results],
                "not_billed_per_week": [dict(r.unbilled) for r in results],
                "discomfort_kh": [dict(r.discomfort_kh) for r in results],
                "cold_litres": [r.cold_litres for r in results],
                "import_kwh": [r.import_kwh for r in results],
                "export_kwh": [r.export_kwh for r in results],
                "peak_kw": [r.peak_kw for r in results],
                "failed_solves": sum(r.failures for r in results),
                "ms_per_solve": 1e3 * sum(r.solve_time_s for r in results) / max(sum(r.solves for r in results), 1),
                "saving_against_rule": interval(name, RULE),
                "saving_against_data_fit": interval(name, UNBIASED),
            }
            for name, results in found.results.items()
        },
    }
