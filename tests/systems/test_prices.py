"""Prices mean what their file says: held, never interpolated; the unit of the header; the local clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systems.clock import ClockError, local_clock, zone_named
from systems.csv_rows import SeriesError
from systems.house_file import SHIPPED, parse_house
from systems.prices import PRICE, PriceOptions, PriceUnitError, load_prices, price_unit
from systems.series import TimeSeries, held_at, load_csv, resample
from systems.tariff import Tariff, TariffError, load_tariff
from systems.world import Exogenous, WorldColumn
from systems.world.foresight import Published
from systems.world.generate import generated_world

OSLO = ZoneInfo("Europe/Oslo")


def written(folder: Path, rows: list[tuple[str, float]], header: str = PRICE) -> Path:
    path = folder / "prices.csv"
    path.write_text("\n".join([f"time,{header}", *(f"{time},{value!r}" for time, value in rows)]) + "\n")
    return path


def quarters(path: Path, options: PriceOptions | None = None) -> TimeSeries:
    return resample(load_prices(path, options), 900.0)


def utc(start: str, steps: list[int]) -> list[str]:
    """Times in UTC from `start` on; steps in minutes."""
    first = datetime.fromisoformat(start).astimezone(UTC)
    return [(first + timedelta(minutes=m)).isoformat() for m in np.cumsum([0, *steps]).tolist()]


# -- steps -------------------------------------------------------------------------------------------------------------


def test_an_hour_holds_for_its_quarters_where_the_market_changes_its_unit(tmp_path: Path) -> None:
    times = utc("2025-09-30T18:00:00+00:00", [60] * 4 + [15] * 12)
    values = [0.01 * k for k in range(len(times))]
    series = load_prices(written(tmp_path, list(zip(times, values, strict=True))))
    assert (series.dt_s, series.gaps) == (900.0, ())
    np.testing.assert_array_equal(series[PRICE], np.concatenate([np.repeat(values[:4], 4), values[4:]]))
    # The other way round, the last row lasts an hour as well.
    back = utc("2025-09-30T18:00:00+00:00", [15] * 8 + [60] * 3)
    series = load_prices(written(tmp_path, list(zip(back, values, strict=False))))
    np.testing.assert_array_equal(series[PRICE], np.concatenate([values[:8], np.repeat(values[8:12], 4)]))
    # On hours, quarter-hours are their mean, from full hours on.
    assert resample(series, 3600.0)[PRICE][0] == pytest.approx(np.mean(values[:4]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([5, 15, 30, 60]), st.integers(3, 6)), min_size=1, max_size=4), st.data())
def test_every_price_holds_until_the_next_one_whatever_the_units(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, int]], data: st.DataObject
) -> None:
    steps = [unit for unit, hours in pieces for _ in range(hours * 60 // unit)]
    times = utc("2025-01-01T00:00:00+00:00", steps[:-1])
    values = data.draw(st.lists(st.floats(-0.6, 4.9), min_size=len(times), max_size=len(times)))
    eur = [round(v, 5) * 0.1 for v in values]
    series = load_prices(written(tmp_path_factory.mktemp("held"), list(zip(times, eur, strict=True))))
    assert series.gaps == ()
    starts = np.array([datetime.fromisoformat(time).timestamp() for time in times])
    fine = np.arange(starts[0], starts[-1] + 60.0 * steps[-1], 60.0)
    expected = np.array(eur)[np.searchsorted(starts, fine, side="right") - 1]
    np.testing.assert_array_equal(held_at(series, PRICE, fine), expected)


def test_a_missing_hour_holds_the_price_before_it_and_a_long_gap_is_refused(tmp_path: Path) -> None:
    times = utc("2025-09-30T18:00:00+00:00", [60, 60, 180, 60, 60])
    series = load_prices(written(tmp_path, [(time, 0.1 * (k + 1)) for k, time in enumerate(times)]))
    np.testing.assert_allclose(series[PRICE], [0.1, 0.2, 0.3, 0.3, 0.3, 0.4, 0.5, 0.6])
    assert [(gap.after_row, gap.duration_s) for gap in series.gaps] == [(4, 7200.0)]
    assert "with the value before" in series.describe_gaps()
    times = utc("2025-09-30T18:00:00+00:00", [60, 60, 360, 360, 60, 60, 60])
    with pytest.raises(SeriesError, match="a gap of 5 h"):
        load_prices(written(tmp_path, [(time, 0.1) for time in times]))
    times = utc("2025-09-30T18:00:00+00:00", [60, 60, 20, 60])
    with pytest.raises(SeriesError, match=r"row 5.*off the regular step of 3600 s"):
        load_prices(written(tmp_path, [(time, 0.1) for time in times]))


def test_coarser_steps_begin_with_the_clock_and_odd_ones_are_refused(tmp_path: Path) -> None:
    times = utc("2025-01-01T00:45:00+00:00", [15] * 11)
    series = load_csv(written(tmp_path, [(time, float(k)) for k, time in enumerate(times)]), [PRICE])
    hourly = resample(series, 3600.0)
    assert hourly.start == datetime(2025, 1, 1, 1, tzinfo=UTC)
    np.testing.assert_array_equal(hourly[PRICE], [2.5, 6.5])
    times = utc("2025-01-01T00:00:00+00:00", [20] * 11)
    with pytest.raises(SeriesError, match="bring it to steps of"):
        quarters(written(tmp_path, [(time, 0.1) for time in times]))


# -- units -------------------------------------------------------------------------------------------------------------

HOURS = utc("2025-06-01T22:00:00+00:00", [60] * 47)
DAY = 0.09 + 0.05 * np.sin(np.arange(48) / 4)


@pytest.mark.parametrize(
    ("header", "factor", "options"),
    [
        ("price_eur_per_mwh", 1000.0, PriceOptions()),
        ("price_ct_per_kwh", 100.0, PriceOptions()),
        ("price_eur_mwh", 1000.0, PriceOptions()),
        ("Day-ahead Price [EUR/MWh]", 1000.0, PriceOptions()),
        ("Spot EUR per MWh", 1000.0, PriceOptions()),
        ("Preis (€/MWh)", 1000.0, PriceOptions()),
        ("snt/kWh", 100.0, PriceOptions()),
        ("Rp./kWh", 100.0 * 0.95, PriceOptions(rate=0.95)),
        (PRICE, 1000.0, PriceOptions("EUR/MWh")),
        ("price", 1.0, PriceOptions("EUR/kWh")),
        ("price", 1000.0 * 11.3, PriceOptions("SEK/MWh", 11.3)),
        ("price_öre_per_kwh", 100.0 * 11.3, PriceOptions(rate=11.3)),
        ("price_p_per_kwh", 100.0 * 0.85, PriceOptions(rate=0.85)),
        ("price_czk_per_kwh", 25.0, PriceOptions(rate=25.0)),
    ],
)
def test_header_or_option_decide_what_a_number_is_worth(
    tmp_path: Path, header: str, factor: float, options: PriceOptions
) -> None:
    series = load_prices(written(tmp_path, list(zip(HOURS, (DAY * factor).tolist(), strict=True)), header), options)
    np.testing.assert_allclose(series[PRICE], DAY, rtol=1e-12)


@pytest.mark.parametrize(
    ("header", "factor", "words"),
    [
        (PRICE, 1000.0, "EUR/MWh? then name the column price_eur_per_mwh"),
        (PRICE, 100.0, "ct/kWh"),
        (PRICE, 25.0, "no market"),  # 2.3 at the median: CZK, or ct of a cheap region
        (PRICE, 11.5, "--exchange-rate"),
        ("price_ct_per_kwh", 1e5, "no price of a market"),
        ("price_ct_per_kwh", 1.0, "price_eur_per_kwh"),
        ("price_eur_per_mwh", 1.0, "are they in EUR/kWh"),
        ("price_sek_per_kwh", 11.0, "--exchange-rate"),
        ("price_ore_per_kwh", 110.0, "--exchange-rate"),
    ],
)
def test_numbers_that_contradict_their_unit_are_refused(tmp_path: Path, header: str, factor: float, words: str) -> None:
    path = written(tmp_path, list(zip(HOURS, (DAY * factor).tolist(), strict=True)), header)
    with pytest.raises(SeriesError) as caught:
        load_prices(path)
    message = str(caught.value)
    assert words in message and str(path) in message and "\n" not in message


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.65, 5.0), min_size=1, max_size=10), st.integers(0, 40))
def test_whatever_a_market_says_in_some_hours_is_a_price(
    tmp_path_factory: pytest.TempPathFactory, rare: list[float], place: int
) -> None:
    values = np.insert(DAY, place, rare)[: len(HOURS)]
    path = written(tmp_path_factory.mktemp("rare"), list(zip(HOURS, values.tolist(), strict=True)))
    np.testing.assert_array_equal(load_prices(path)[PRICE], values)
    assert np.isfinite(quarters(path)[PRICE]).all()


def test_two_price_columns_or_no_unit_are_told(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("time,price_sek_per_kwh,price_eur_per_mwh\n2025-01-01T00:00Z,1,90\n2025-01-01T01:00Z,1,90\n")
    with pytest.raises(SeriesError, match="more than one column of prices"):
        load_prices(path)
    for text in ("EUR", "EUR/Wh", "kilo/kWh", ""):
        with pytest.raises(PriceUnitError, match="write"):
            price_unit(text)


@pytest.mark.parametrize(
    ("line", "words"),
    [("vat = 25", "write 0.25"), ("grid_fee_day = 4.5", "write grid_fee_day = 0.045"), ("tax = 16.69", "ct/kWh")],
)
def test_fees_in_another_unit_than_the_prices_are_refused(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "tariff.toml"
    path.write_text(f"supplier_fee = 0.01\n{line}\n")
    with pytest.raises(TariffError) as caught:
        load_tariff(path)
    assert words in str(caught.value)


# -- clocks ------------------------------------------------------------------------------------------------------------


def local_hours(first: datetime, count: int) -> list[datetime]:
    """Hours of a wall clock in Oslo, with the offset each has."""
    return [(first.astimezone(UTC) + timedelta(hours=k)).astimezone(OSLO) for k in range(count)]


@pytest.mark.parametrize("first", [datetime(2025, 10, 24, tzinfo=OSLO), datetime(2025, 3, 28, tzinfo=OSLO)])
@pytest.mark.parametrize("form", ["offsets", "naive", "utc"])
def test_fees_follow_the_clock_on_the_wall_however_the_file_writes_its_times(
    tmp_path: Path, first: datetime, form: str
) -> None:
    hours = local_hours(first, 121 if first.month == 10 else 119)
    texts = {
        "offsets": [time.isoformat() for time in hours],
        "naive": [time.replace(tzinfo=None).isoformat() for time in hours],
        "utc": [time.astimezone(UTC).isoformat() for time in hours],
    }[form]
    options = PriceOptions(zone=None if form == "offsets" else OSLO)
    path = written(tmp_path, [(text, 0.1) for text in texts])
    spot = quarters(path, options)
    world = Exogenous(
        spot.start, 900.0, spot.zone or spot.start.tzinfo or UTC, {"buy": WorldColumn(spot[PRICE], Published())}
    )
    tariff, clock = Tariff(), world.clock
    fees = tariff.buy_price(spot[PRICE], clock.hour, clock.weekday) - 0.1 * 1.25
    day = np.repeat([6 <= time.hour < 22 and time.weekday() < 5 for time in hours], 4)
    rest = tariff.tax + tariff.supplier_fee
    np.testing.assert_allclose(fees, np.where(day, tariff.grid_fee_day, tariff.grid_fee_night) + rest, atol=1e-12)
    # Days have 23, 24 or 25 hours, and the prices of tomorrow are known from 13:00 on the wall.
    lengths = np.bincount(clock.day - clock.day[0])
    assert sorted(set(lengths.tolist())) == ([96, 100] if first.month == 10 else [92, 96])
    changing = int(np.argmax(lengths != 96))
    begin = int(lengths[:changing].sum())
    assert world.time(begin).hour == 0
    numbered = world.with_columns({"buy": np.arange(len(world), dtype=float)})
    known = numbered.forecast("buy", begin, 192) == np.arange(begin, begin + 192)
    assert known.sum() == lengths[changing]


def test_without_a_zone_local_times_and_impossible_ones_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, [("2025-03-30T01:00:00", 0.1), ("2025-03-30T02:00:00", 0.1), ("2025-03-30T03:00:00", 0.1)])
    with pytest.raises(SeriesError, match="--timezone Europe/Oslo"):
        load_prices(path)
    with pytest.raises(SeriesError, match=r"row 3.*skipped by the clock of Europe/Oslo"):
        load_prices(path, PriceOptions(zone=OSLO))
    odd = written(tmp_path, [("2025-01-01T00:00:00+01:00", 0.1), ("2025-01-01T03:00:00+03:00", 0.1)])
    with pytest.raises(SeriesError, match=r"as in no time zone.*UTC\+01:00 in row 2, UTC\+03:00"):
        load_prices(odd)
    assert load_prices(odd, PriceOptions(zone=OSLO)).zone is OSLO
    with pytest.raises(ClockError, match="Europe/Oslo"):
        zone_named("Europe/Olso")


def test_a_fixed_offset_has_days_of_24_hours() -> None:
    start = datetime.fromisoformat("2025-10-20T05:00:00+02:00")
    clock = local_clock(start, 900.0, 1000)
    assert set(np.bincount(clock.day - clock.day[0])[1:-1].tolist()) == {96}
    assert (clock.hour[0], clock.weekday[0], clock.day_of_year[0]) == (5.0, 0, 293)


def test_a_house_counts_in_its_own_money_and_a_file_in_other_money_needs_a_rate(tmp_path: Path) -> None:
    """Where the currency is the house's nothing is converted; cents and kroner are the house's where it has them."""
    rows = list(zip(HOURS, DAY.tolist(), strict=True))
    usd, sek = PriceOptions(currency="USD"), PriceOptions(currency="SEK")
    for header, factor, options in [
        ("price_usd_per_kwh", 1.0, usd), ("price_ct_per_kwh", 0.01, usd), ("price_usd_per_mwh", 0.001, usd),
        ("price_öre_per_kwh", 0.01, sek), ("price_kr_per_kwh", 1.0, PriceOptions(currency="NOK")),
        (PRICE, 1.0 / 0.8, PriceOptions(currency="USD", rate=0.8)),
    ]:  # fmt: skip
        scaled = written(tmp_path, [(time, value / factor) for time, value in rows], header)
        np.testing.assert_allclose(load_prices(scaled, options)[PRICE], DAY, rtol=1e-9)
    with pytest.raises(SeriesError, match=r"the house counts in USD.*how many EUR one USD costs"):
        load_prices(written(tmp_path, rows), usd)
    with pytest.raises(SeriesError, match=r"is no price of a market .* USD/kWh"):
        load_prices(written(tmp_path, [(time, 50.0) for time, _ in rows], "price_usd_per_kwh"), usd)


def test_a_house_in_dollars_pays_what_its_file_says_and_generated_prices_are_of_its_money(tmp_path: Path) -> None:
    text = (SHIPPED / "battery.toml").read_text(encoding="utf-8")
    euro = parse_house(text)
    dollar = parse_house(text.replace("[house]\n", '[house]\ncurrency = "USD"\n', 1))
    assert dollar.currency == "USD"
    start = datetime(2025, 6, 2, tzinfo=UTC)
    rows = [(time, 0.25) for time in utc("2025-06-01T00:00:00+00:00", [60] * 120)]
    spot = load_prices(written(tmp_path, rows, "price_usd_per_kwh"), PriceOptions(currency="USD"))
    world = generated_world(dollar, start, 2, spot=spot, tariff=Tariff(vat=0.1, sell_fee=0.02))
    night = 0.25 * 1.1 + 0.030 + 0.016 + 0.005
    assert world["buy"][0] == pytest.approx(night) and world["sell"][0] == pytest.approx(0.23)
    made, again = (generated_world(house, start, 2)["buy"] for house in (euro, dollar))
    np.testing.assert_allclose(again, 1.2 * made)
