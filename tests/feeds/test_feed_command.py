"""`nisse feed` as a user runs it: processes, a real broker, services on a loopback port."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from feed_site import call, nisse, site_text, write_site
from paho.mqtt.enums import CallbackAPIVersion
from patience import PATIENCE_S

from hil.broker import Broker
from hil.services import TOKEN, ServedWorld, outdoor_c, price_eur_mwh
from hil.serving import serving

FEEDS = """
[feeds]
latitude = 63.43
longitude = 10.39
currency = "NOK"

[feeds.price]
source = "entsoe"
zone = "NO3"
token_file = "entsoe.token"
url = "{url}/api"
exchange_rate = 11.5
vat = 0.25
grid_fee = {{ default = 0.2, schedule = [{{ days = "mon-fri", from = "06:00", to = "22:00", value = 0.3 }}] }}
feed_in = {{ factor = 1.0, add = -0.05 }}

[feeds.weather]
source = "open-meteo"
url = "{url}"
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.kill()


class Ear:
    """Keeps the last message of every topic."""

    def __init__(self, port: int) -> None:
        self.heard: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._on_message
        self._client.on_connect = lambda client, *_: client.subscribe("nisse-feeds/#")
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, client: Any, data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.heard[message.topic] = bytes(message.payload)
            self._changed.notify_all()

    def wait(self, topic: str, wanted: Any = lambda payload: True, timeout_s: float = PATIENCE_S) -> Any:
        with self._changed:
            done = lambda: topic in self.heard and wanted(self.heard[topic])  # noqa: E731
            assert self._changed.wait_for(done, timeout_s), f"{topic} of {list(self.heard)}"
            return self.heard[topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def value_at(document: dict[str, Any], time_s: float) -> float:
    start_s = datetime.fromisoformat(document["start"]).timestamp()
    return float(document["values"][int((time_s - start_s) // document["step_s"])])


def expected_buy(time_s: float) -> float:
    local = datetime.fromtimestamp(time_s, tz=__import__("zoneinfo").ZoneInfo("Europe/Oslo"))
    fee = 0.3 if local.weekday() < 5 and 6 <= local.hour < 22 else 0.2
    return 1.25 * (price_eur_mwh(time_s) / 1000 * 11.5 + fee)


def test_once_shows_what_each_source_says_and_publishes_nothing_by_itself(tmp_path: Path, broker: Broker) -> None:
    world = ServedWorld()
    with serving(world) as url:
        site = write_site(tmp_path / "site", site_text(FEEDS.format(url=url), port=broker.port))
        ear = Ear(broker.port)
        shown = call("feed", "once", str(site), "--json", "-")
        assert shown.returncode == 0, shown.stderr
        document = json.loads(shown.stdout)
        assert set(document["forecasts"]) == {"buy", "sell", "outdoor", "sun"}
        quarter_s = time.time() // 900 * 900
        buy = document["forecasts"]["buy"]
        assert buy["unit"] == "NOK/kWh"
        assert value_at(buy, quarter_s + 1) == pytest.approx(expected_buy(quarter_s), abs=1e-5)
        sell = value_at(document["forecasts"]["sell"], quarter_s + 1)
        assert sell == pytest.approx(price_eur_mwh(quarter_s) / 1000 * 11.5 - 0.05, abs=1e-5)
        assert not ear.heard
        published = call("feed", "once", str(site), "--publish")
        assert published.returncode == 0, published.stderr
        assert "entsoe NO3" in published.stdout and "open-meteo" in published.stdout
        ear.wait("nisse-feeds/home/outdoor")
        ear.close()
    assert TOKEN not in shown.stdout + shown.stderr + published.stdout + published.stderr


def test_run_publishes_retained_keeps_its_answers_and_ends_cleanly(tmp_path: Path, broker: Broker) -> None:
    world = ServedWorld()
    with serving(world) as url:
        site = write_site(tmp_path / "site", site_text(FEEDS.format(url=url), port=broker.port))
        running = subprocess.Popen(nisse("feed", "run", str(site)), stderr=subprocess.PIPE, text=True)
        ear = Ear(broker.port)
        ear.wait("nisse-feeds/home/availability", lambda p: p == b"online")
        outdoor = json.loads(ear.wait("nisse-feeds/home/outdoor"))
        hour_s = time.time() // 3600 * 3600 + 3600
        # The service gives the temperature of full hours: a quarter around one of them is close to it.
        assert value_at(outdoor, hour_s + 1) == pytest.approx(outdoor_c(hour_s), abs=0.5)
        status = json.loads(ear.wait("nisse-feeds/home/status"))
        assert status["forecasts"]["buy"]["origin"] == "entsoe NO3" and not status["notices"]
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, errors
        ear.wait("nisse-feeds/home/availability", lambda p: p == b"offline")
        ear.close()
        late = Ear(broker.port)  # retained: who comes later finds it
        late.wait("nisse-feeds/home/buy")
        late.close()
        looked = call("check", str(site), "--no-bundle")
        assert "price: entsoe NO3" in looked.stdout, looked.stderr
        assert "buy: entsoe NO3, heard 0 min ago, known until 20" in looked.stdout
        judged = call("feed", "report", str(site))
        assert judged.returncode == 0 and "buy (NOK/kWh), against what its source said" in judged.stdout, judged.stderr
        asked = len(world.asked)
        again = subprocess.Popen(nisse("feed", "run", str(site)), stderr=subprocess.PIPE, text=True)
        ear = Ear(broker.port)
        ear.wait("nisse-feeds/home/availability", lambda p: p == b"online")
        ear.wait("nisse-feeds/home/status", lambda p: json.loads(p)["forecasts"]["buy"]["age_s"] is not None)
        again.send_signal(signal.SIGTERM)
        _, more = again.communicate(timeout=PATIENCE_S)
        ear.close()
        assert len(world.asked) == asked, "what is kept on the disk is not asked again after a restart"
    folder = site.parent / "feeds"
    kept = b"".join(file.read_bytes() for file in folder.iterdir())
    assert (folder / "price.1.json").exists() and TOKEN.encode() not in kept
    assert TOKEN not in errors + more
