"""Whatever services do wrong, in any order: what is published is true or said to be makeshift, and never a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from feed_site import site_text, write_site
from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.fetch import HttpxClient
from feeds.history import History
from feeds.house_feeds import feeds_of
from feeds.runner import Runner
from feeds.setup import house_of
from hil.services import TOKEN, ServedWorld, outdoor_c, price_eur_mwh, sun_w_m2
from hil.serving import FAULTS, serving
from runtime.site.config import load_site

OSLO = ZoneInfo("Europe/Oslo")
START_S = datetime(2026, 1, 14, 10, 0, tzinfo=OSLO).timestamp()
TABLES = """
[feeds]
latitude = 63.43
longitude = 10.39
horizon_h = 24
[feeds.price]
source = "entsoe"
zone = "NO3"
token_file = "entsoe.token"
url = "{url}/api"
[feeds.price.second]
source = "nordpool"
zone = "NO3"
url = "{url}"
[feeds.weather]
source = "open-meteo"
url = "{url}"
[feeds.weather.second]
source = "met-norway"
contact = "me@example.org"
url = "{url}"
"""


class Memory:
    """Files in memory; `full`: nothing can be written."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.full = False

    def read(self, name: str) -> bytes | None:
        return self.content.get(name)

    def write(self, name: str, content: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.content[name] = content


class Shelf:
    """An outlet that keeps what was put."""

    def __init__(self) -> None:
        self.put_last: dict[str, Mapping[str, Any]] = {}

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        self.put_last[name] = json.loads(json.dumps(document, allow_nan=False))

    def close(self) -> None:
        pass


class Bench:
    """A house with two sources each, on a clock of its own; a byte that is sent slowly takes a second."""

    def __init__(self, folder: Path, url: str, world: ServedWorld, now_s: float) -> None:
        self.site = load_site(write_site(folder, site_text(TABLES.format(url=url))))
        self.house, self.world, self.now_s = house_of(self.site), world, now_s
        self.http, self.files, self.shelf, self.history = (
            HttpxClient(monotonic=lambda: float(world.sent_slowly)),
            Memory(),
            Shelf(),
            History(None),
        )
        world.now = lambda: self.now_s
        self.start()

    def start(self) -> None:
        """As after a restart: what is on the disk is all that is known."""
        feeds = feeds_of(self.site, self.house, None)
        self.runner = Runner(self.house, feeds, self.http, self.files, self.history, self.shelf)
        self.runner.open(self.now_s)

    def until(self, time_s: float) -> None:
        while self.now_s < time_s:
            due_s = self.runner.step(self.now_s)
            self.now_s = min(time_s, max(due_s, self.now_s + 1.0))
        self.runner.step(self.now_s)

    def now(self, name: str) -> tuple[float | None, str]:
        """(value, origin) of the present quarter hour, as published."""
        document = self.shelf.put_last.get(name)
        if document is None:
            return None, ""
        start_s = datetime.fromisoformat(document["start"]).timestamp()
        k = int((self.now_s - start_s) // document["step_s"])
        return document["values"][k], self.origin(document, self.now_s)

    @staticmethod
    def origin(document: Mapping[str, Any], time_s: float) -> str:
        for part in document["parts"]:
            first, last = (datetime.fromisoformat(part[key]).timestamp() for key in ("from", "to"))
            if first <= time_s < last:
                return str(part["origin"])
        return ""


def check_truth(bench: Bench) -> None:
    """Every hour that a source vouches for is what the market and the weather were asked to be."""
    for name, true, tolerance in (
        ("buy", lambda t: price_eur_mwh(t // 3600 * 3600) / 1000, 1e-5),
        ("outdoor", outdoor_c, 0.8),  # of the hour, and the curve between its ends
    ):
        document = bench.shelf.put_last.get(name)
        if document is None:
            continue
        start_s = datetime.fromisoformat(document["start"]).timestamp()
        for k, value in enumerate(document["values"]):
            time_s = start_s + k * document["step_s"]
            origin = bench.origin(document, time_s)
            assert (value is None) == (origin == "")
            if value is not None and origin != "learned":
                middle_s = time_s if name == "buy" else time_s + 450
                assert value == pytest.approx(true(middle_s), abs=tolerance), (name, origin)


@settings(max_examples=8)
@given(data=st.data())
def test_any_schedule_of_faults(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A day, a fault or none of each service in each of six stretches, a restart, a full disk."""
    services = ("entsoe", "nordpool", "open_meteo", "met_norway")
    kinds = st.sampled_from(("", "", *FAULTS))
    schedule = data.draw(st.lists(st.tuples(*(kinds for _ in services)), min_size=6, max_size=6))
    restart, full = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    now_faults: dict[str, str] = {}
    world = ServedWorld(fault=lambda service: now_faults.get(service, ""), step_min=60, slow_s=0.002)
    with serving(world) as url:
        bench = Bench(tmp_path_factory.mktemp("faults"), url, world, START_S)
        for k in range(96):  # the day before, as a house has it that runs for longer
            time_s = START_S - 86400 + 900 * k
            was = {"buy": price_eur_mwh(time_s) / 1000, "outdoor": outdoor_c(time_s), "sun": sun_w_m2(time_s)}
            bench.history.learn(time_s, {name: (value, False) for name, value in was.items()})
        bench.until(START_S + 60)
        asked = 0
        for k, faults in enumerate(schedule):
            now_faults.update(zip(services, faults, strict=True))
            bench.files.full = k == full
            if k == restart:
                bench.start()
            bench.until(START_S + (k + 1) * 4 * 3600)
            check_truth(bench)
            for name in ("buy", "outdoor", "sun"):
                value, origin = bench.now(name)
                assert value is not None, name
                plain = origin in {"entsoe NO3", "open-meteo"}
                assert plain or bench.runner.status(bench.now_s)["notices"], "a makeshift is said"
            asked = len(world.asked)
        assert asked <= 4 * 96 * 3, "bounded, whatever goes wrong"
        now_faults.clear()
        bench.files.full = False
        bench.until(bench.now_s + 2 * 3600)
        assert {bench.now(name)[1] for name in ("buy", "outdoor")} == {"entsoe NO3", "open-meteo"}
        assert not bench.runner.status(bench.now_s)["notices"], "all is well again, and nothing else is said"
        bench.http.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_and_the_last_good_answer_then_the_second_source_stand_in(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    faults: dict[str, str] = {}
    world = ServedWorld(fault=lambda service: faults.get(service, ""), step_min=60, slow_s=0.002)
    caplog.set_level(logging.DEBUG)
    with serving(world) as url:
        bench = Bench(tmp_path, url, world, START_S)
        bench.until(START_S + 60)
        assert bench.now("outdoor")[1] == "open-meteo"
        faults["entsoe"] = faults["open_meteo"] = fault
        bench.until(START_S + 12 * 3600)
        sources = bench.runner.status(bench.now_s)["feeds"]["weather"]
        if fault in {"wrong_unit", "repeat", "yesterday"} and not sources[0]["problem"]:
            pytest.fail("not noticed")
        assert sources[0]["failures"] > 1 and sources[0]["problem"]
        assert bench.now("outdoor")[1] == "met-norway"
        assert bench.now("buy")[0] == pytest.approx(price_eur_mwh(bench.now_s // 3600 * 3600) / 1000, abs=1e-5)
        check_truth(bench)
        tomorrow_s = START_S + 20 * 3600
        document = bench.shelf.put_last["buy"]
        assert bench.origin(document, tomorrow_s) == "nordpool NO3"  # published after the first source fell silent
        bench.http.close()
    said = caplog.text + json.dumps(bench.shelf.put_last) + repr(bench.files.content)
    assert TOKEN not in said and "me@example.org" not in said
    assert caplog.text.count("open-meteo") < 6, "told once, not at every attempt"


def test_without_any_source_what_is_usual_stands_in_and_is_said(tmp_path: Path) -> None:
    faults: dict[str, str] = {}
    world = ServedWorld(fault=lambda service: faults.get(service, ""), step_min=60, slow_s=0.002)
    with serving(world) as url:
        bench = Bench(tmp_path, url, world, START_S)
        bench.until(START_S + 3 * 86400)
        faults.update(dict.fromkeys(("entsoe", "nordpool", "open_meteo", "met_norway"), "gone"))
        bench.until(START_S + 6 * 86400)
        for name in ("buy", "outdoor", "sun"):
            value, origin = bench.now(name)
            assert value is not None and origin == "learned"
            assert "usual" in bench.runner.status(bench.now_s)["notices"][name]
        bench.http.close()


def test_a_clock_that_was_ahead_does_not_silence_the_feeds(tmp_path: Path) -> None:
    world = ServedWorld(step_min=60, slow_s=0.002)
    with serving(world) as url:
        bench = Bench(tmp_path, url, world, START_S)
        bench.until(START_S + 60)
        bench.until(START_S + 20 * 3600)
        before = len(world.asked)
        bench.now_s = START_S + 2 * 3600  # set right again
        bench.until(START_S + 2.5 * 3600)
        assert "open_meteo" in {service for service, *_ in world.asked[before:]}
        check_truth(bench)
        assert {bench.now(name)[1] for name in ("buy", "outdoor")} == {"entsoe NO3", "open-meteo"}
        assert not bench.runner.status(bench.now_s)["notices"]
        assert all(one["age_s"] >= 0 for one in bench.runner.status(bench.now_s)["forecasts"].values())
        bench.http.close()


def test_what_asked_too_often_means_is_heeded(tmp_path: Path) -> None:
    world = ServedWorld(fault=lambda service: "429", step_min=60, slow_s=0.002)
    with serving(world) as url:
        bench = Bench(tmp_path, url, world, START_S)
        bench.until(START_S + 3 * 3600)
        bench.http.close()
    times = [name for name, _, _ in world.asked]
    assert all(times.count(name) <= 6 for name in set(times)), "not before Retry-After, 30 minutes"
