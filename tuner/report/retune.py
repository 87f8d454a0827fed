"""The page of a retune: whether the model holds, what was learned, what log and simulation say of it, what was done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pages.page as kit
from pages.chart import Bar, Bars, Chart

JUDGED = (
    "By its log: what the later part of it paid, which taught nothing, weighted by how much likelier the new theta "
    "would have done the same; the interval is over blocks of time. In simulation: held-out weeks, paired. Both have "
    "to lie above 0."
)
MOODS: Mapping[str, kit.Mood] = {"in force": "good", "kept": "good", "taken back": "bad", "gone back": "bad"}


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all. document: `Study.document()` with house, currency, the log's days, savings and outcome."""
    outcome = document["outcome"]
    mood = MOODS.get(outcome["state"], "plain")
    kit.write_page(
        path,
        kit.Page(
            title=f"{document['house']}: tuned again",
            lead=" ".join(_sentence(said) for said in (document["decided"], outcome["said"]) if said),
            mood=mood if document["changes"] or mood != "plain" else "bad" if _ill(document) else "plain",
            about=f"the log from {document['from'][:10]} to {document['until'][:10]}",
            blocks=[
                kit.Heading("Does the model hold?"),
                _health(document["findings"]),
                *_judged(document),
                *_changes(document["changes"]),
                kit.Heading("What the house saved so far"),
                kit.Items([_sentence(line) for line in document["savings"]]),
            ],
        ),
    )


def _sentence(said: str) -> str:
    return said[0].upper() + said[1:] + ("" if said.endswith(".") else ".")


def _ill(document: Mapping[str, Any]) -> bool:
    return any(not finding["holds"] for finding in document["findings"])


def _health(findings: list[dict[str, Any]]) -> kit.Block:
    if not findings:
        return kit.text("The log is too short to tell.")
    rows: list[list[kit.Cell | str]] = [
        [one["about"], kit.Cell("holds" if one["holds"] else "changed", mood="plain" if one["holds"] else "bad"),
         _sentence(one["said"])]
        for one in findings
    ]  # fmt: skip
    columns = [kit.Column("what"), kit.Column("verdict"), kit.Column("evidence", wraps=True)]
    return kit.Table("What the log says of the model", columns, rows)


def _judged(document: Mapping[str, Any]) -> list[kit.Block]:
    blocks: list[kit.Block] = [kit.Heading("Is it better?")]
    lines, decisions = list(document["log"]), document["off_policy_decisions"]
    if decisions is not None:
        lines.append(
            f"{decisions['judging']} decisions judge the new theta, worth {decisions['effective']:.0f} of its own"
        )
    if lines:
        blocks.append(kit.Items([_sentence(line) for line in lines]))
    pairs = (("by its log", "off_policy_saving_per_week"), ("in simulation", "simulated_saving_per_week"))
    known = [(name, document[key]) for name, key in pairs if document[key] is not None]
    if not known:
        return blocks if lines else []
    title = f"Saved against the theta in the field, {document['currency']} a week"
    said = "; ".join(f"{name} {i['mean']:.2f} ({i['low']:.2f} to {i['high']:.2f})" for name, i in known)
    bars = [Bar(name, i["mean"], i["low"], i["high"], "first") for name, i in known]
    blocks += [Chart("judged", f"{title}: {said}.", [Bars(title, bars)]), kit.quiet(JUDGED)]
    if document["simulated_totals"]:
        totals = [[name, f"{total:.2f}"] for name, total in document["simulated_totals"].items()]
        columns = [kit.Column("policy"), kit.Column("total", number=True)]
        blocks.append(kit.Table(f"Simulated, {document['currency']} a week", columns, totals))
    promise = document["promise"]
    if promise is not None:
        blocks.append(
            kit.text(
                f"Promised against the rules: {promise['mean']:.2f} {document['currency']} a week, and no single week "
                f"below {promise['low']:.2f}."
            )
        )
    return blocks


def _changes(changes: list[dict[str, Any]]) -> list[kit.Block]:
    if not changes:
        return []
    rows: list[list[kit.Cell | str]] = [
        [kit.Cell(one["name"], small=one["description"]), one["unit"], f"{one['before']:.4f}", f"{one['after']:.4f}"]
        for one in changes
    ]
    columns = [kit.Column("parameter"), kit.Column("unit")]
    columns += [kit.Column("in the field", number=True), kit.Column("learned", number=True)]
    return [kit.Heading("What changed"), kit.Table("Parameters that moved", columns, rows)]
