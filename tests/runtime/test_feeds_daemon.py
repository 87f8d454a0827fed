"""The daemon and `nisse feed run` on one broker: forecasts come from services, and outlive both."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_site import Ears, Running, Tank, command, level_is, tiny_manifest

from hil.services import TOKEN, ServedWorld, price_eur_mwh
from hil.serving import serving
from runtime.bundle.archive import LIBRARY, write_bundle
from runtime.bundle.keys import SigningKey
from runtime.bundle.manifest import SignalSpec

INPUTS = """[inputs.buy]
source = "feeds"

[inputs.pv_power]
source = "mqtt"
topic = "pv"
unit = "W"
max_age_s = 60

"""
FEEDS = """
[feeds]
[feeds.price]
source = "entsoe"
zone = "NO3"
token_file = "entsoe.token"
url = "{url}/api"
[feeds.load]
measured = {{ pv_power = 1.0, inflow = -1.0 }}
"""


@pytest.fixture
def site(tank: Tank, tmp_path: Path, library: Path, key: SigningKey) -> Path:
    """The tank's site, whose demand is a price that the feeds bring."""
    bundle = tmp_path / "priced"
    manifest = tiny_manifest(forecasts=(SignalSpec(name="buy", unit="EUR/kWh", lower=-1, upper=1),))
    write_bundle(
        bundle, manifest, {f"lib/{platform.machine()}/{LIBRARY}": library}, {"gain": 1.0}, {"passed": True}, key
    )
    before, _, after = tank.site.read_text().partition("[inputs.demand]")
    after = after[after.index("[outputs.inflow]") :]
    text = before + INPUTS + after
    old = next(line for line in text.splitlines() if line.startswith("bundle = "))
    tank.site.write_text(text.replace(old, f'bundle = "{bundle}"'))
    (tmp_path / "entsoe.token").write_text(TOKEN)
    return tank.site


def test_what_nothing_measures_cannot_be_learned_from(site: Path) -> None:
    site.write_text(site.read_text() + FEEDS.format(url="http://127.0.0.1:9").replace("pv_power =", "pv_powr ="))
    checked = subprocess.run(command("check", site), capture_output=True, text=True)
    assert checked.returncode == 78 and "measured names 'pv_powr'" in checked.stderr + checked.stdout
    assert "did you mean 'pv_power'?" in checked.stderr + checked.stdout


def test_the_daemon_decides_by_what_the_feeds_bring_and_goes_on_without_them(
    site: Path, tank: Tank, ears: Ears, start: Callable[..., Running]
) -> None:
    faults: dict[str, str] = {}
    with serving(ServedWorld(fault=lambda service: faults.get(service, ""))) as url:
        site.write_text(site.read_text() + FEEDS.format(url=url))
        feeds = subprocess.Popen(command("feed", "run", site), stderr=subprocess.PIPE, text=True)
        tank.set_level(0.3)
        daemon = start(0.5)
        state = json.loads(ears.wait_for("nisse/tank/state", level_is("mpc")))
        price = price_eur_mwh(time.time() // 900 * 900) / 1000
        assert state["inputs"]["buy"]["validity"] == "ok" and state["inputs"]["buy"]["unit"] == "EUR/kWh"
        assert state["inputs"]["buy"]["value"] == pytest.approx(price, abs=0.02)
        # What only the feeds go by is told like all inputs, and nobody waits for it.
        assert state["inputs"]["pv_power"] | {"problem": ""} == {
            "value": None, "unit": "kW", "age_s": None, "validity": "missing", "problem": "",
        }  # fmt: skip
        doctor = subprocess.run(command("doctor", site), capture_output=True, text=True)
        assert "forecast buy" in doctor.stdout and "entsoe NO3, heard" in doctor.stdout, doctor.stdout
        faults["entsoe"] = "500"
        feeds.send_signal(signal.SIGKILL)
        feeds.communicate()
        # What is retained covers today and more: neither the service nor the feeds are needed for the next cycle.
        heard = len(ears.heard["nisse/tank/state"])
        tank.set_level(0.4)
        ears.wait_for(
            "nisse/tank/state", lambda m: len(ears.heard["nisse/tank/state"]) > heard + 3 and level_is("mpc")(m)
        )
        code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors and TOKEN not in errors, errors
