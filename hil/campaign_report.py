"""What a campaign tried and what failed: one self-contained HTML page, JUnit XML, and JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from hil.campaign import CampaignRun, as_toml
from hil.scenario import Scenario
from pages.page import Block, Cell, Column, Heading, Items, Listing, Page, Table, text, write_page


def tried(trials: Sequence[CampaignRun]) -> list[tuple[str, int, int]]:
    """(kind of fault, runs that had it, runs that failed with it), most frequent first."""
    drawn: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for trial in trials:
        labels = {fault.label for fault in trial.faults}
        drawn.update(labels)
        failed.update(labels if not trial.passed else ())
    return [(label, count, failed[label]) for label, count in sorted(drawn.items(), key=lambda x: (-x[1], x[0]))]


def campaign_page(scenario: Scenario, trials: Sequence[CampaignRun], wall_s: float | None) -> Page:
    """wall_s: how long all of it took; None where that is not known, since the campaign was stopped in between."""
    head = scenario.head
    failed = [trial for trial in trials if not trial.passed]
    days = len(trials) * head.duration / 86400.0
    blocks: list[Block] = []
    for trial in failed:
        blocks += [
            Heading(f"Run {trial.number:03d} fails"),
            Items(trial.failures),
            text("The smallest schedule that still does:"),
            Listing(f"Smallest failing schedule of run {trial.number:03d}", as_toml(trial.smallest)),
        ]
    rows = [(label, str(count), Cell(str(bad), mood="bad" if bad else "plain")) for label, count, bad in tried(trials)]
    columns = [Column("fault"), Column("schedules", number=True), Column("failed", number=True)]
    blocks += [
        Heading("What must hold in every run"),
        Items([expect.that for expect in scenario.expectations]),
        Heading("Tried"),
        Table("Faults tried", columns, rows),
        Heading("Schedules"),
        Table(
            "All schedules",
            [Column("run"), Column("verdict"), Column("faults (from h, for h)", wraps=True)],
            [(f"{trial.number:03d}", _verdict(trial), _schedule(trial)) for trial in trials],
        ),
    ]
    took = "" if wall_s is None else f" in {wall_s / 60:.1f} min"
    return Page(
        title=f"{head.name}: {len(trials)} fault schedules",
        lead=f"{len(trials) - len(failed)} of {len(trials)} schedules survived.",
        mood="bad" if failed else "good",
        about=f"{head.description}{'; ' if head.description else ''}{days:g} simulated days of {Path(head.house).stem} "
        f"through the real daemon, broker and serial line{took}, seed {head.seed}",
        blocks=blocks,
    )


def _verdict(trial: CampaignRun) -> Cell:
    return Cell("holds", mood="good") if trial.passed else Cell("fails", mood="bad")


def _schedule(trial: CampaignRun) -> str:
    return "; ".join(f"{f.label} ({f.at / 3600:.1f}, {f.duration / 3600:.1f})" for f in trial.faults)


def write_campaign_page(path: Path, scenario: Scenario, trials: Sequence[CampaignRun], wall_s: float | None) -> None:
    """Write the page, whole or not at all."""
    write_page(path, campaign_page(scenario, trials, wall_s))


def write_junit(path: Path, scenario: Scenario, trials: Sequence[CampaignRun]) -> None:
    """One test case per schedule."""
    failures = sum(not t.passed for t in trials)
    suite = ElementTree.Element(
        "testsuite", {"name": f"nisse hil {scenario.head.name}", "tests": str(len(trials)), "failures": str(failures)}
    )
    for trial in trials:
        name = f"run {trial.number:03d}: {', '.join(f.label for f in trial.faults)}"
        case = ElementTree.SubElement(suite, "testcase", classname=scenario.head.name, name=name)
        if not trial.passed:
            failure = ElementTree.SubElement(case, "failure", message="; ".join(trial.failures), type="predicate")
            failure.text = as_toml(trial.smallest)
    ElementTree.indent(suite)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def as_json(scenario: Scenario, trials: Sequence[CampaignRun]) -> dict[str, object]:
    return {
        "scenario": scenario.head.name,
        "seed": scenario.head.seed,
        "runs": len(trials),
        "failed": sum(not t.passed for t in trials),
        "tried": [{"fault": label, "runs": count, "failed": failed} for label, count, failed in tried(trials)],
        "failures": [
            {"run": t.number, "predicates": list(t.failures), "smallest": as_toml(t.smallest)}
            for t in trials
            if not t.passed
        ],
    }
