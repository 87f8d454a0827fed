"""What a campaign tried and what failed: one self-contained HTML page, JUnit XML, and JSON for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import jinja2

from hil.campaign import Trial, as_toml
from hil.scenario import Scenario


def tried(trials: Sequence[Trial]) -> list[tuple[str, int, int]]:
    """(kind of fault, runs that had it, runs that failed with it), most frequent first."""
    drawn: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for trial in trials:
        labels = {fault.label for fault in trial.faults}
        drawn.update(labels)
        failed.update(labels if not trial.passed else ())
    return [(label, count, failed[label]) for label, count in sorted(drawn.items(), key=lambda x: (-x[1], x[0]))]


def write_page(path: Path, scenario: Scenario, trials: Sequence[Trial], wall_s: float | None) -> None:
    """wall_s: how long all of it took; None where that is not known, since the campaign was stopped in between."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True
    )
    page = environment.get_template("campaign.html").render(
        scenario=scenario,
        head=scenario.head,
        trials=trials,
        failed=[(trial, as_toml(trial.smallest)) for trial in trials if not trial.passed],
        tried=tried(trials),
        days=len(trials) * scenario.head.duration / 86400.0,
        wall_min=None if wall_s is None else wall_s / 60.0,
    )
    path.write_text(page, encoding="utf-8")


def write_junit(path: Path, scenario: Scenario, trials: Sequence[Trial]) -> None:
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


def as_json(scenario: Scenario, trials: Sequence[Trial]) -> dict[str, object]:
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
