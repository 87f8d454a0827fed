"""The whole circle of a cabin: deployed over a real sshd, run, its log pulled, retuned, a theta sent or not, savings.

The days are lived in lockstep by the program that was deployed, with the bundle and the log of the house; only the
clock is the bench's. Two of them give enough decisions to be judged; more, and what came of it, by

    CIRCLE_DAYS=14 CIRCLE_PAGES=DIR pytest tests/deploy/test_circle.py
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from installed_wheel import make_wheel
from patience import PATIENCE_S
from sshd_host import Sshd
from tiny_house import House, nisse

from codegen.build import BuildRequest, build_bundle
from codegen.targets import host_arch
from deploy.onsite.services import Processes
from hil.house_run import HouseRun, house_scenario
from hil.lockstep import LockstepDaemon
from hil.plant import make_plant
from hil.rig import Rig, set_up
from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.keys import load_key, new_key
from runtime.bundle.theta_update import with_update, write_update
from systems.design import HouseDesign
from systems.house_file import read_house

DAYS = float(os.environ.get("CIRCLE_DAYS", "2"))
PAGES = os.environ.get("CIRCLE_PAGES")
EXPLORED = 0.15
"""Of the range of an action."""
FIELD_S, BENCH_S = "cycle_s = 1\ndecide_every_s = 1\ntrial_cycles = 2\ndwell_s = 0", "cycle_s = 300"
"""A trial ends within a test, and the bench has the cycle of the house."""


@dataclass(frozen=True)
class Field:
    """A cabin that was deployed to, and has lived."""

    house: House
    rig: Rig
    bundle: Bundle
    folder: Path
    sshd: Sshd
    levels: list[str]

    @property
    def reaching(self) -> list[str | Path]:
        return ["--root", self.house.root, *self.sshd.words()]

    def retune(self, output: Path) -> dict[str, Any]:
        """The verdict that the command writes; empty where it did something else. What it said is in `said`."""
        verdict = output / "verdict.json"
        verdict.unlink(missing_ok=True)
        done = nisse(
            "retune", "cabin", "--from", self.sshd.target, *self.reaching, "--bundle", self.house.here / "cabin.nisse",
            "--key", self.folder / "key.pem", "--yes", "--output", output, "--iterations", "1", "--weeks", "2",
            "--jobs", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(verdict.read_text()) if verdict.exists() else {}
        return {**found, "said": done.stdout}

    def theta_in_force(self) -> int:
        """Serial of the update that the daemon has accepted; 0 for the bundle's own theta."""
        file = self.house.root / "etc/nisse/cabin.nisse.theta"
        if not file.exists():
            return 0
        updated = with_update(self.bundle, file, [self.house.key.public])
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            status = json.loads((self.house.root / "run/nisse/bench.json").read_text())["state"]
            if status["bundle"]["theta"] == updated.theta_digest[:16] and updated.theta_stamp is not None:
                return updated.theta_stamp.serial
            time.sleep(0.2)
        raise AssertionError("the daemon goes by another theta than its file")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory, sshd: Sshd) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("circle")
    key = new_key(folder / "key.pem")
    design = HouseDesign(read_house("cabin")[0])
    theta = {p.name: p.default for p in design.problem.theta}
    request = BuildRequest(
        design=design, targets=(host_arch(),), theta=theta, created="2024-01-01T00:00:00+00:00",
        provenance={"theta": {"from": "defaults"}}, problems=1,
    )  # fmt: skip
    built = build_bundle(request, key, folder / "cabin.nisse").path
    bundle = open_bundle(built, None, arch="any", unpack_dir=folder / "unpacked")
    root, here = folder / "root", folder / "here"
    for made in (root, here):
        made.mkdir()
    with ExitStack() as stack:
        scenario = house_scenario("cabin", HouseRun(days=DAYS))
        (folder / "bench").mkdir()
        bench = set_up(stack, scenario, make_plant(scenario), built, bundle, folder / "bench")
        house = House(here, root, bench.broker.port, key)
        shutil.copyfile(built, here / "cabin.nisse")
        (here / "cabin.toml").write_text(site_of(bench, bundle))
        # The house answers on the wall clock, too, with forecasts as of now.
        bench.show()
        bench.retain(time.time() - bench.plant.time_s())
        words = [here / "cabin.toml", sshd.target, "--root", root, "--wheel", make_wheel(folder), *sshd.words()]
        deployed = nisse("deploy", *words)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert "accepted: level mpc" in deployed.stdout
        services, manifest = Processes(root / "opt/nisse/run"), house.remembered()["current"]
        services.stop("nisse")
        stack.callback(services.stop, "nisse")
        levels = lived(bench, house)
        bench.show()
        services.start("nisse", manifest)
        yield Field(house, bench, bundle, folder, sshd, levels)


def site_of(bench: Rig, bundle: Bundle) -> str:
    """The bench's own site file, as a house has it."""
    text = bench.site.read_text()
    own = {
        BENCH_S: FIELD_S,
        next(line for line in text.splitlines() if line.startswith("bundle = ")): 'bundle = "cabin.nisse"',
        next(line for line in text.splitlines() if line.startswith("path = ")): 'path = "../../var/lib/nisse/nisse.db"',
    }
    for line, other in own.items():
        assert text.count(line) == 1
        text = text.replace(line, other)
    wide = {a.name: round(EXPLORED * (a.upper - a.lower), 3) for a in bundle.manifest.actions if a.upper > a.lower}
    std = ", ".join(f"{name} = {value:g}" for name, value in wide.items())
    return f"{text}\n[exploration]\nseed = 1\nstd = {{ {std} }}\n"


def lived(bench: Rig, house: House) -> list[str]:
    """The levels of so many days; the log of the house holds them and nothing else."""
    log = house.root / "var/lib/nisse"
    for file in log.glob("nisse.db*"):
        if file.is_file():
            file.unlink()
    site = house.site.with_name("bench.toml")
    site.write_text(house.site.read_text().replace(FIELD_S, BENCH_S))
    program = (str(house.root / "opt/nisse/current/bin/nisse"),)
    daemon = LockstepDaemon(site, bench.site.with_name("daemon.log"), ("--quiet",), program)
    try:
        bench.mqtt.forget_availability()
        daemon.start()
        bench.mqtt.wait_daemon_online()
        levels = [str(bench.step(daemon)["level"]) for _ in range(round(DAYS * 86_400 / bench.plant.step_s))]
        daemon.stop()
    finally:
        daemon.close()
        site.unlink()
    return levels


def test_the_circle(field: Field) -> None:
    assert field.levels.count("mpc") >= 0.99 * len(field.levels)
    out, pulled = field.folder / "retune", field.folder / "pulled.db"

    # The log comes home.
    done = nisse("logs", "pull", field.sshd.target, *field.reaching, "--output", pulled)
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+) new cycles of bench", done.stdout)
    assert found is not None and int(found[1]) >= len(field.levels)

    # What it saved, on a page.
    page, document = field.folder / "savings.html", field.folder / "savings.json"
    done = nisse("savings", "cabin", "--log", pulled, "--html", page, "--json", document)
    assert done.returncode == 0, done.stderr
    saved = json.loads(document.read_text())["whole"]
    assert saved["days"] == pytest.approx(DAYS, abs=0.05) and "<svg" in page.read_text()

    # What it teaches: better by log and simulation and in force there, or the house is as it was.
    before, pid, serial = field.house.files(), field.house.pid, field.theta_in_force()
    assert pid is not None
    verdict = field.retune(out)
    sent = json.loads((out / "watch.json").read_text())["serial"] if verdict["better"] else serial
    assert field.theta_in_force() == sent and field.house.pid == pid
    if verdict["better"]:
        assert all(verdict[f"{judge}_saving_per_week"]["low"] > 0.0 for judge in ("off_policy", "simulated"))
    else:
        assert field.house.files() == before and not (out / "watch.json").exists()
        assert verdict["refused"] in verdict["said"]
    shown = json.loads((field.house.root / "var/lib/nisse/savings.json").read_text())
    assert shown["whole"]["total"] == pytest.approx(saved["total"], abs=0.02)
    if PAGES is not None:
        kept = Path(PAGES)
        kept.mkdir(parents=True, exist_ok=True)
        for file in (page, document, out / "verdict.html", out / "verdict.json"):
            shutil.copy(file, kept)


def test_a_theta_that_was_packed_goes_there_on_trial_by_the_same_command(field: Field) -> None:
    """As after a link that broke before it was sent."""
    out = field.folder / "packed"
    out.mkdir()
    serial = max(field.theta_in_force(), int(1000 * time.time())) + 1
    entry = "home_price_spread"
    theta = dict(field.bundle.theta) | {entry: 0.9 * field.bundle.theta[entry]}
    write_update(
        out / "cabin.theta", field.bundle, theta, load_key(field.folder / "key.pem"), serial=serial,
        created="2024-02-01T00:00:00+00:00",
    )  # fmt: skip
    pid = field.house.pid
    verdict = field.retune(out)
    assert f"theta {serial} is in force" in verdict["said"] and "decided" not in verdict
    assert field.theta_in_force() == serial and field.house.pid == pid is not None
    again = with_update(field.bundle, field.house.here / "cabin.nisse.theta", None)
    assert again.theta[entry] == theta[entry]
