"""The verdict as JUnit XML: one test case per expectation, for whatever shows test results."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from hil.verdict import Verdict


def write_junit(path: Path, scenario: str, verdict: Verdict, wall_s: float) -> None:
    """Write one `testsuite`; a predicate that does not hold is a `failure` with the values seen."""
    failures = sum(not check.outcome.holds for check in verdict.checks)
    counts = {"tests": str(len(verdict.checks)), "failures": str(failures), "errors": "0", "time": f"{wall_s:.3f}"}
    suite = ElementTree.Element("testsuite", {"name": f"nisse hil {scenario}", **counts})
    for check in verdict.checks:
        name = " ".join(filter(None, (check.outcome.text, check.window)))
        case = ElementTree.SubElement(suite, "testcase", classname=scenario, name=name)
        if not check.outcome.holds:
            where = "" if check.first_failure_s is None else f", first at {check.first_failure_s / 3600:g} h"
            message = f"{check.outcome.detail} ({check.outcome.failures} times{where})"
            ElementTree.SubElement(case, "failure", message=message, type="predicate").text = message
    ElementTree.indent(suite)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
