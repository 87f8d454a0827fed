"""The page of a run: verdict, what was seen, levels and faults, indicators in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from hil.figures import levels_chart, panel_chart
from hil.plant import Plant, ReportPanel
from hil.verdict import Check
from hil.words import INDICATORS, LEVEL_TERMS, number, timing_rows
from pages.chart import zone_name
from pages.page import Block, Cell, Code, Column, Heading, Link, Page, Table, quiet, write_page

if TYPE_CHECKING:
    from hil.bench import BenchResult


def write_report(path: Path, result: BenchResult, plant: Plant) -> None:
    """Write the page, whole or not at all."""
    write_page(path, bench_page(result, plant.panels, plant.plan_state, plant.house.timezone))


def bench_page(result: BenchResult, panels: Sequence[ReportPanel], plan_state: str | None, zone: tzinfo) -> Page:
    """What a run came to; `panels` and `plan_state` are the plant's wishes for the timeline, `zone` is its clock."""
    record, head, checks = result.record, result.scenario.head, result.verdict.checks
    start = head.start.astimezone(zone)
    holding = sum(check.outcome.holds for check in checks)
    days = len(record.cycles) * record.step_s / 86400.0
    charts: list[Block] = []
    for panel in panels:
        charts += [Heading(panel.title), panel_chart(record, panel, plan_state, zone)]
    faults: list[Block] = [Heading("Faults"), _faults(result, zone)] if record.header["faults"] else []
    timing: list[Block] = [Heading("Real time of a cycle"), _timing(result)] if result.timing else []
    blocks: list[Block] = [
        _predicates(checks),
        *charts,
        Heading("Level and faults"),
        levels_chart(record, zone),
        _levels(result),
        *faults,
        Heading("Indicators"),
        _indicators(result),
        *timing,
        Heading("Record"),
        quiet(
            "The run cycle by cycle: ", Link(result.record_path.name, result.record_path.name), ", sha256 ",
            Code(record.sha256()), f"; bundle {record.header['bundle']} ", Code(record.header["bundle_sha256"][:16]),
            ". The same scenario, seed and bundle give the same bytes.",
        ),
    ]  # fmt: skip
    return Page(
        title=head.name,
        lead=f"{'Passed' if result.verdict.passed else 'Failed'}: {holding} of {len(checks)} predicates hold.",
        mood="good" if result.verdict.passed else "bad",
        about=f"{head.description}{'; ' if head.description else ''}{number(days)} day{'' if days == 1 else 's'} of "
        f"{Path(head.house).stem} from {start:%A} {start.day} {start:%B %Y, %H:%M} "
        f"(local time, {zone_name(zone, head.start.timestamp())}), {len(record.cycles)} cycles in lockstep in "
        f"{number(result.wall_s)} s of real time, seed {head.seed}",
        blocks=blocks,
    )


def _predicates(checks: Sequence[Check]) -> Table:
    rows = []
    for check in checks:
        late = ""
        if not check.outcome.holds and check.first_failure_s is not None:
            late = f"{check.outcome.failures} times, first after {number(check.first_failure_s / 3600)} h"
        holds = check.outcome.holds
        verdict = Cell("holds" if holds else "fails", mood="good" if holds else "bad")
        rows.append(
            (Cell(Code(check.outcome.text), small=check.window), verdict, Cell(check.outcome.detail, small=late))
        )
    return Table("What must hold", [Column("predicate"), Column("verdict"), Column("seen", wraps=True)], rows)


def _levels(result: BenchResult) -> Table:
    whole = len(result.record.cycles) * result.record.step_s
    rows = [
        (Cell(term.title, small=term.meaning), f"{number(seconds / 3600)} h", f"{100 * seconds / whole:.1f} %")
        for name, term in LEVEL_TERMS.items()
        if (seconds := result.kpis[f"level_seconds.{name}"]) > 0
    ]
    return Table("Time at each level", [Column("level"), Column("time", True), Column("share", True)], rows)


def _faults(result: BenchResult, zone: tzinfo | None) -> Table:
    start = result.record.cycles[0].time_s
    rows = []
    for fault in result.record.header["faults"]:
        back = result.recoveries_s.get(f"{fault['label']} at {fault['at_s']:g} s")
        seconds = "" if back is None else number(back) if math.isinf(back) else f"{number(back)} s"
        times = (_clock(start + fault[end], zone) for end in ("at_s", "end_s"))
        rows.append((fault["label"], *times, seconds))
    columns = [Column("fault"), Column("from", True), Column("to", True), Column("back on mpc after", True)]
    return Table("Faults", columns, rows, note=f"Local time, {zone_name(zone, start)}.")


def _indicators(result: BenchResult) -> Table:
    rows = [
        (Cell(term.title, small=term.meaning, code=name), f"{number(value)} {term.unit}".strip())
        for name, term in INDICATORS.items()
        if math.isfinite(value := result.kpis[name])
    ]
    return Table("Indicators of the whole run", [Column("indicator"), Column("value", True)], rows)


def _timing(result: BenchResult) -> Table:
    rows = [(title, *(number(value) for value in values)) for title, *values in timing_rows(result.timing)]
    columns = [Column("milliseconds"), Column("median", True), Column("99 %", True), Column("most", True)]
    return Table("Real time of a cycle, milliseconds", columns, rows)


def _clock(unix_s: float, zone: tzinfo | None) -> str:
    """ "Tue 14 Jan, 06:00"."""
    moment = datetime.fromtimestamp(unix_s, zone)
    return f"{moment:%a} {moment.day} {moment:%b}, {moment:%H:%M}"
