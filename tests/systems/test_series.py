"""A CSV file is either read exactly, or refused with its place and a remedy."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systems.csv_rows import SeriesError
from systems.series import TimeSeries, load_csv, resample

HEADER = "time,price_eur_per_kwh"


def hours(n: int, start: str = "2024-01-01T00:00:00+01:00") -> list[str]:
    first = datetime.fromisoformat(start)
    return [f"{(first + timedelta(hours=k)).isoformat()},{0.1 + 0.01 * k:.3f}" for k in range(n)]


def write(folder: Path, lines: list[str], name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def load(path: Path, **options: float) -> TimeSeries:
    return load_csv(path, ["price_eur_per_kwh"], **options)


def test_a_good_file_is_read_exactly(tmp_path: Path) -> None:
    series = load(write(tmp_path, [HEADER, *hours(5)]))
    assert series.start == datetime.fromisoformat("2024-01-01T00:00:00+01:00")
    assert series.dt_s == 3600.0
    assert series.gaps == ()
    np.testing.assert_array_equal(series["price_eur_per_kwh"], [0.1, 0.11, 0.12, 0.13, 0.14])


def test_utc_times_other_columns_blank_lines_and_a_byte_order_mark_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(
        "\ufefftime,comment,price_eur_per_kwh\r\n2024-01-01T00:00:00Z,x,0.1\r\n\r\n2024-01-01T01:00:00Z,y,-0.2\r\n",
        encoding="utf-8",
    )
    np.testing.assert_array_equal(load(path)["price_eur_per_kwh"], [0.1, -0.2])


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_separators_and_decimal_commas_are_read(mark: str, tmp_path: Path) -> None:
    lines = [mark.join(line.split(",", 1)).replace(".", ",") for line in [HEADER, *hours(5)]]
    same = load(write(tmp_path, lines))["price_eur_per_kwh"]
    np.testing.assert_array_equal(same, [0.1, 0.11, 0.12, 0.13, 0.14])
    quoted = [HEADER, *hours(2), '2024-01-01T02:00:00+01:00,"0,12"']
    np.testing.assert_array_equal(load(write(tmp_path, quoted))["price_eur_per_kwh"], [0.1, 0.11, 0.12])


# Row 1 is the header; row 4 holds 02:00.
BAD_FILES = {
    "missing column": (["time,price", *hours(5)], 1, "price_eur_per_kwh", "did you mean 'price'"),
    "no time column": (["when,price_eur_per_kwh", *hours(5)], 1, "time", "add or rename"),
    "decimal comma": ([HEADER, *hours(2), "2024-01-01T02:00:00+01:00,0,12"], 4, None, "by semicolons"),
    "NaN": ([HEADER, *hours(2), "2024-01-01T02:00:00+01:00,NaN"], 4, "price_eur_per_kwh", "leave the cell empty"),
    "infinity": ([HEADER, *hours(2), "2024-01-01T02:00:00+01:00,inf"], 4, "price_eur_per_kwh", "correct it"),
    "text": ([HEADER, *hours(2), "2024-01-01T02:00:00+01:00,cheap"], 4, "price_eur_per_kwh", "correct it"),
    "short row": ([HEADER, *hours(2), "2024-01-01T02:00:00+01:00"], 4, None, "complete the row"),
    "not a time": ([HEADER, *hours(2), "yesterday,0.1"], 4, "time", "2024-01-01T00:00:00+01:00"),
    "duplicate time": ([HEADER, *hours(3)[:2], hours(2)[1], *hours(4)[2:]], 4, "time", "delete one"),
    "unsorted": ([HEADER, hours(3)[0], hours(3)[2], hours(3)[1]], 4, "time", "sort the rows"),
    "no zone": ([HEADER, "2024-01-01T00:00:00,0.1", "2024-01-01T01:00:00,0.1"], 2, "time", "UTC offset"),
    "mixed zone and none": ([HEADER, *hours(2), "2024-01-01T02:00:00,0.1"], 4, "time", "are mixed"),
    "mixed offsets": ([HEADER, *hours(2), "2024-01-01T03:00:00+02:00,0.1"], 4, "time", "UTC+02:00"),
    "off the grid": ([HEADER, *hours(3), "2024-01-01T03:20:00+01:00,0.1"], 5, "time", "regular step"),
    "long gap": ([HEADER, *hours(4), *hours(9)[8:]], 6, "price_eur_per_kwh", "a gap of 4 h"),
    "empty last cell": ([HEADER, *hours(3), "2024-01-01T03:00:00+01:00,"], 5, "price_eur_per_kwh", "at an end"),
    "one row": ([HEADER, *hours(1)], None, None, "at least two"),
    "no rows": ([HEADER], None, None, "at least two"),
    "empty": ([], None, None, "header"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_file_row_column_and_remedy(case: str, tmp_path: Path) -> None:
    lines, row, column, remedy = BAD_FILES[case]
    path = write(tmp_path, lines)
    with pytest.raises(SeriesError) as caught:
        load(path)
    message = str(caught.value)
    assert caught.value.exit_code == 65
    assert str(path) in message
    assert (caught.value.row, caught.value.column) == (row, column)
    assert row is None or f"row {row}" in message
    assert remedy in message
    assert "\n" not in message


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeriesError, match="No such file"):
        load(tmp_path / "absent.csv")
    path = tmp_path / "picture.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(SeriesError, match="UTF-8"):
        load(path)


def test_short_gaps_of_rows_and_cells_are_filled_and_reported(tmp_path: Path) -> None:
    lines = hours(10)
    lines[6] = lines[6].split(",")[0] + ","
    series = load(write(tmp_path, [HEADER, *lines[:2], *lines[4:]]))
    np.testing.assert_allclose(series["price_eur_per_kwh"], 0.1 + 0.01 * np.arange(10), atol=1e-12)
    assert [(gap.after_row, gap.duration_s) for gap in series.gaps] == [(3, 7200.0), (5, 3600.0)]
    report = series.describe_gaps()
    assert "2 gaps" in report and "3 h" in report and "row 3" in report


def test_the_longest_gap_that_is_filled_is_the_stated_one(tmp_path: Path) -> None:
    path = write(tmp_path, [HEADER, *hours(4), *hours(9)[8:]])
    assert len(load(path, max_gap_s=4 * 3600.0)) == 9
    with pytest.raises(SeriesError, match=r"longer than the 3\.9 h"):
        load(path, max_gap_s=3.9 * 3600.0)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_series_or_a_series_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(content)
    with pytest.raises(SeriesError):
        load(path)


@given(
    st.lists(st.floats(-10, 10, allow_nan=False), min_size=4, max_size=40),
    st.sets(st.integers(1, 38), max_size=8),
)
def test_what_is_there_is_kept_and_the_grid_is_whole(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], dropped: set[int]
) -> None:
    """Dropping inner rows never moves the others, and every fill lies between its neighbours."""
    n = len(values)
    start = datetime.fromisoformat("2024-03-01T00:00:00+00:00")
    kept = [k for k in range(n) if k not in dropped or k in (0, 1, n - 1)]
    lines = [f"{(start + timedelta(minutes=15 * k)).isoformat()},{values[k]!r}" for k in kept]
    path = write(tmp_path_factory.mktemp("grid"), [HEADER, *lines])
    steps = np.diff(kept)
    if np.bincount(steps)[1] <= (np.bincount(steps)[2:].max() if len(np.bincount(steps)) > 2 else 0):
        return  # the most frequent step is no longer 15 min
    series = load(path, max_gap_s=1e6)
    assert len(series) == n
    np.testing.assert_array_equal(series["price_eur_per_kwh"][kept], np.array(values)[kept])
    assert series["price_eur_per_kwh"].min() >= min(values) and series["price_eur_per_kwh"].max() <= max(values)


def test_resampling_holds_prices_and_averages_powers(tmp_path: Path) -> None:
    series = load(write(tmp_path, [HEADER, *hours(3)]))
    quarter = resample(series, 900.0)
    np.testing.assert_array_equal(quarter["price_eur_per_kwh"], np.repeat([0.1, 0.11, 0.12], 4))
    np.testing.assert_allclose(resample(quarter, 3600.0)["price_eur_per_kwh"], series["price_eur_per_kwh"], atol=1e-15)
    with pytest.raises(ValueError, match="does not go into"):
        resample(series, 1000.0)
