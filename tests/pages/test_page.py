"""A page of every kind of block: loads nothing, fits its screen, speaks to who cannot see."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from page_rules import check_page

from pages.chart import Bar, Bars, Chart, ChartError, Limit, Line, NumberAxis, Panel, Row, Rows, TimeAxis, thinned
from pages.chart import zone_name as name_of
from pages.drawing import WIDE, both_sizes, draw, png
from pages.page import Cell, Code, Column, Heading, Items, Link, Listing, Page, Table, quiet, render, text, write_page
from pages.palette import COLOURS, MARKS
from pages.svg import inline_svg
from pages.ticks import time_ticks

OSLO = ZoneInfo("Europe/Oslo")
X = np.linspace(0.0, 10.0, 50)
PANEL = Panel(
    "State & charge, %",
    [
        Line("tuned <b>", X, np.sin(X), low=np.sin(X) - 0.1, high=np.sin(X) + 0.1),
        Line("rule", X, X, "second", "stairs"),
    ],
    limits=[Limit(0.5, "limit")],
    band=(0.0, 1.0),
    spans=[(2.0, 3.0)],
)
CHARTS = (
    Chart("lines", 'Two lines, "one" rising.', [PANEL, PANEL], NumberAxis("hours"), caption="Of two weeks."),
    Chart("bars", "Two bars.", [Bars("EUR saved", [Bar("rule", -1.0), Bar("tuned", 2.0, 1.5, 2.5, "first")])]),
    Chart("rows", "When.", [Rows("Level", [Row("mpc", [(0.0, 5.0)]), Row("rule", [(5.0, 9.0)], "bad")])]),
)
PAGE = Page(
    "A page",
    "All is well.",
    [
        Heading("What & why"),
        text("Run ", Code("nisse run"), " and see ", Link("the bench", "bench/report.html"), "."),
        quiet("Small <print>."),
        Items(["one", "two"]),
        Listing("A schedule", "[[fault]]\nkind = 'x'"),
        Table(
            "Bills", [Column("policy"), Column("EUR", number=True)], [("rule", Cell("1.5", small="1 to 2", mood="bad"))]
        ),
        *CHARTS,
    ],
    mood="good",
)


def test_a_page_of_everything_is_sound_and_escaped() -> None:
    page = render(PAGE)
    check_page(page)
    assert page.index("All is well.") < page.index("What &amp; why")
    assert "Small &lt;print&gt;." in page and "tuned &lt;b&gt;" in page and "&quot;one&quot;" in page
    assert '<a href="bench/report.html">the bench</a>.' in page and "<code>nisse run</code>" in page
    assert page.count('class="wide"') == page.count('class="narrow"') == len(CHARTS)
    assert "prefers-color-scheme:dark" in page and "DejaVu" not in page
    assert page == render(PAGE)


def test_a_page_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "page.html", PAGE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


def test_the_narrow_figure_is_drawn_for_a_phone() -> None:
    wide, narrow = both_sizes(CHARTS[0])
    box = re.search(r'viewBox="0 0 (\d+)', narrow)
    assert box is not None and int(box[1]) <= 390 - 32
    assert "font-size: 12.5px" in narrow and "font-size: 13px" in wide
    assert png(CHARTS[0]).startswith(b"\x89PNG")


def test_a_panel_of_four_lines_and_a_foreign_colour_are_refused() -> None:
    with pytest.raises(ChartError, match="4 lines in one panel; at most 3"):
        Panel("Rooms", [Line(str(k), X, X) for k in range(4)])
    figure = Figure()
    figure.subplots().plot(X, X, color="#123456")
    with pytest.raises(ChartError, match="none of the palette"):
        inline_svg(figure, "foreign", "A line.")
    assert MARKS["first"] == COLOURS["first"].light


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.integers(1, 20))
def test_thinning_keeps_ends_and_extremes_in_order(values: list[float], columns: int) -> None:
    y = np.array(values)
    x = np.arange(len(y), dtype=float)
    few_x, few_y = thinned(x, y, columns)
    assert (few_x[0], few_x[-1]) == (x[0], x[-1]) and (few_y.min(), few_y.max()) == (y.min(), y.max())
    assert (np.diff(few_x) > 0).all() and np.array_equal(y[few_x.astype(int)], few_y)
    assert len(few_x) <= max(4 * columns, 2 * columns + 2)


@pytest.mark.parametrize(
    ("first", "days", "labels"),
    [
        (datetime(2026, 3, 28, tzinfo=OSLO), 2.0, ["Sat 28", "06:00", "12:00", "18:00", "Sun 29", "06:00"]),
        (datetime(2026, 3, 27, 5, tzinfo=OSLO), 5.0, ["Sat 28", "Sun 29", "Mon 30", "Tue 31", "Wed 1"]),
        (datetime(2026, 1, 1, tzinfo=OSLO), 30.0, ["1 Jan", "5 Jan", "9 Jan", "13 Jan"]),
        (datetime(2025, 12, 15, tzinfo=OSLO), 200.0, ["Jan 2026", "Feb", "Mar"]),
    ],
)
def test_ticks_stand_on_the_local_clock_through_a_change_of_it(first: datetime, days: float, labels: list[str]) -> None:
    begin = first.timestamp()
    ticks, words = time_ticks(TimeAxis(OSLO, begin, begin + days * 86400.0), most=8)
    assert words[: len(labels)] == labels and len(words) <= 9
    assert all(datetime.fromtimestamp(t, OSLO).minute == 0 for t in ticks)


def test_a_clock_is_named() -> None:
    assert name_of(OSLO, 0.0) == "Europe/Oslo"
    assert name_of(timezone(timedelta(hours=1)), 0.0) == "UTC+01:00"
    assert name_of(UTC, 0.0) == name_of(None, 0.0) == "UTC"


def test_titles_of_neighbours_do_not_run_into_each_other() -> None:
    panels = [Bars("a kind of bill with a long name: saved against the rule, %", [Bar("MPC", k)]) for k in (1.0, 2.0)]
    figure = draw(Chart("bars", "Two kinds of bill.", panels, columns=2), WIDE)
    figure.canvas.draw()
    left, right = (axes._left_title.get_window_extent() for axes in figure.axes)  # type: ignore[attr-defined]
    assert left.x1 < right.x0 and right.x1 <= figure.bbox.x1


def test_times_below_neighbours_do_not_run_into_each_other() -> None:
    day = np.arange(0.0, 86401.0, 900.0)
    panels = [Panel(name, [Line("", day, np.sin(day))]) for name in ("battery, kW", "roof, kW")]
    figure = draw(Chart("power", "Power.", panels, axis=TimeAxis(UTC, 0.0, 86400.0), columns=2), WIDE)
    figure.canvas.draw()
    for axes in figure.axes:
        labels = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert len(labels) >= 3 and all(a.x1 < b.x0 for a, b in itertools.pairwise(labels))


def test_a_table_of_sentences_says_on_a_phone_what_each_of_them_is() -> None:
    rows = [("the model", "holds", "its error stayed")]
    told = Table("Claims", [Column("what"), Column("verdict"), Column("evidence", wraps=True)], rows)
    numbers = Table("Bills", [Column("policy"), Column("EUR", number=True)], [("rule", "1.5")])
    page = render(Page("A page", "All is well.", [told, numbers]))
    check_page(page)
    assert 'data-of="verdict: ">holds' in page and 'data-of="evidence: ">its error stayed' in page
    assert page.count('class="told"') == 1 and 'data-of="EUR' not in page
