"""A house to deploy: a tank whose level and demand come over MQTT, and bundles for it, good and bad."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.publish

from runtime.bundle.archive import LIBRARY, ActionLimit, Manifest, ParameterSpec, SignalSpec, pack, write_bundle
from runtime.bundle.keys import SigningKey

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests/runtime/tiny_controller.c"
TRIAL = 2


def make_bundle(folder: Path, key: SigningKey, *, serial: int, mood: str = "", gain: float = 1.0) -> Path:
    """A packed bundle; one with the mood "n" answers nonsense at a level above 0.9, "c" dies there."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"library{mood}.so"
    if not library.exists():
        words = ["cc", "-O1", "-shared", "-fPIC", "-I", str(ROOT / "runtime/abi"), str(SOURCE), "-lm"]
        words += [f"-DTINY_MOOD='{mood}'"] if mood else []
        subprocess.run([*words, "-o", str(library)], check=True)
    manifest = Manifest(
        name="tiny tank", system="tiny", dt_s=60.0, horizon=4, discount=1.0, serial=serial,
        states=(SignalSpec(name="level", unit="1", lower=0, upper=1),),
        actions=(SignalSpec(name="inflow", unit="kW", lower=-1, upper=1),),
        forecasts=(SignalSpec(name="demand", unit="kW", lower=-1, upper=1),),
        theta=(ParameterSpec(name="gain", unit="1", lower=0.1, upper=2),),
        limits=(ActionLimit(name="inflow"),),
    )  # fmt: skip
    directory = folder / f"bundle{serial}"
    shutil.rmtree(directory, ignore_errors=True)
    files = {f"lib/{platform.machine()}/{LIBRARY}": library}
    write_bundle(directory, manifest, files, {"gain": gain}, {"passed": True}, key)
    return pack(directory, folder / f"{serial}.nisse")


@dataclass
class House:
    """`here` is the folder of the site file on the build machine, `root` what stands for / in the house."""

    here: Path
    root: Path
    port: int
    key: SigningKey

    def write_site(self, extra: str = "", more: str = "") -> Path:
        self.here.mkdir(parents=True, exist_ok=True)
        file = self.here / "villa.toml"
        file.write_text(f"""
[site]
name = "tank"

[controller]
bundle = "tank.nisse"
trusted_keys = ["{self.key.public}"]
cycle_s = 1.0
dwell_s = 0.0
solve_timeout_s = 0.8
trial_cycles = {TRIAL}
{more}

[store]
path = "../../var/lib/nisse/nisse.db"

[mqtt]
port = {self.port}

[inputs.level]
source = "mqtt"
topic = "plant/level"
unit = "1"
max_age_s = 100000
accept_retained = true

[inputs.demand]
source = "mqtt"
topic = "plant/demand"
unit = "kW"
max_age_s = 100000
flat = true

[outputs.inflow]
sink = "mqtt"
topic = "plant/inflow"
unit = "kW"
combine = {{ inflow = 1.0 }}
safe = 0.0

[rule]
kind = "hold"
values = {{ inflow = 0.125 }}
{extra}
""")
        return file

    def give(self, bundle: Path) -> None:
        """The bundle that the site file names."""
        shutil.copyfile(bundle, self.here / "tank.nisse")

    def level(self, value: float) -> None:
        for topic, payload in (("plant/level", value), ("plant/demand", 0.1)):
            paho.mqtt.publish.single(topic, str(payload), qos=1, retain=True, port=self.port)

    @property
    def site(self) -> Path:
        return self.root / "etc/nisse/site.toml"

    @property
    def pid(self) -> int | None:
        """Of the daemon, where it runs."""
        file = self.root / "opt/nisse/run/nisse.pid"
        try:
            pid = int(file.read_text())
            return pid if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" else None
        except (OSError, ValueError):
            return None

    def remembered(self) -> dict[str, Any]:
        file = self.root / "opt/nisse/deployed.json"
        return dict(json.loads(file.read_text())) if file.exists() else {}

    def status(self) -> dict[str, Any]:
        return dict(json.loads((self.root / "run/nisse/tank.json").read_text())["state"])

    def files(self) -> dict[str, bytes]:
        """What the daemon goes by."""
        folder = self.root / "etc/nisse"
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def nisse(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command on the build machine."""
    words = [sys.executable, "-m", "nisse.cli", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=600, env={**os.environ})
