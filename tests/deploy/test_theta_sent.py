"""A theta to a house that runs, over a real sshd: its log comes, the theta goes, is watched, and comes back."""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from installed_wheel import make_wheel
from rich.console import Console
from sshd_host import Sshd
from tiny_house import House, make_bundle

from deploy.deployment import DeploymentWishes, deploy, planned
from deploy.errors import LinkLostError
from deploy.ssh import Host
from hil.broker import Broker
from nisse.retune import Field, _decided, _delivered, _log, _take_back
from nisse.retune_house import Reached
from runtime.bundle.archive import Bundle, open_bundle
from runtime.bundle.keys import new_key
from runtime.bundle.theta_update import with_update
from systems.problem import Parameter
from tuner.evaluate.off_policy import OffPolicy
from tuner.evaluate.statistics import Interval
from tuner.learn.tuning import Course, Tuning, TuningSpec
from tuner.loop.field_log import bundle_of
from tuner.retune.study import Promise, Study
from tuner.retune.watch import read_watch

PROBE, RECEIVE, FOLLOW = 1, 2, 5
GAIN, BETTER = 1.0, 0.5
GAIN_OF_TINY = Parameter("gain", "1", GAIN, 0.1, 2.0)


@dataclass(frozen=True)
class Bench:
    """A house that was deployed to, and the folder of the build machine."""

    house: House
    wishes: DeploymentWishes
    folder: Path

    @property
    def place(self) -> Path:
        return self.house.here / "tank.nisse.theta"

    @property
    def args(self) -> argparse.Namespace:
        return argparse.Namespace(key=self.folder / "key.pem", yes=True, serial=None, log=None)

    def field(self, host: Host) -> Field:
        """As the files of the build machine have it."""
        bundle = open_bundle(self.house.here / "tank.nisse", None, arch="any", unpack_dir=self.folder / "unpacked")
        if self.place.exists():
            bundle = with_update(bundle, self.place, None)
        serial = 0 if bundle.theta_stamp is None else bundle.theta_stamp.serial
        return Field(bundle, bundle.theta, serial, self.place, Reached(host, self.house.root))

    def in_force(self, bundle: Bundle) -> tuple[float, bool]:
        """Gain by the file there, and whether the daemon has accepted it."""
        file = self.house.root / "etc/nisse/tank.nisse.theta"
        if not file.exists():
            return GAIN, True
        updated = with_update(bundle, file, [self.house.key.public])
        return updated.theta["gain"], self.house.status()["bundle"]["theta"] == updated.theta_digest[:16]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, sshd: Sshd) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("theta")
    wishes = DeploymentWishes(root=folder / "root", wheel=make_wheel(folder))
    wishes.root.mkdir()
    broker = Broker(folder)
    broker.start()
    house = House(folder / "here", wishes.root, broker.port, new_key(folder / "key.pem"))
    site = house.write_site()
    house.level(0.3)
    house.give(make_bundle(folder / "bundles", house.key, serial=1, gain=GAIN))
    deploy(site, sshd.host(), wishes)
    yield Bench(house, wishes, folder)
    if house.pid is not None:
        os.kill(house.pid, signal.SIGTERM)
    broker.kill()


def test_a_theta_goes_to_the_house_over_links_that_break_and_comes_back(
    bench: Bench, sshd: Sshd, tmp_path: Path
) -> None:
    house, console, pid = bench.house, Console(highlight=False), bench.house.pid
    field = bench.field(sshd.host())
    log = _log(bench.args, console, field, tmp_path)
    assert bundle_of(log) == field.bundle.digest and log == tmp_path / "nisse.db"
    assert field.reached is not None
    (tmp_path / "savings.json").write_text('{"format": "nisse-savings-1"}')
    field.reached.shown(tmp_path / "savings.json")
    assert (house.root / "var/lib/nisse/savings.json").read_text() == '{"format": "nisse-savings-1"}'

    # Packed on somebody's word; the link breaks before it is there, then while it is on trial.
    before = house.files()
    assert "packed as serial" in _decided(bench.args, console, field, study(GAIN, BETTER), tmp_path, time.time())[0]
    sent = read_watch(tmp_path / "watch.json")
    assert sent is not None
    with pytest.raises(LinkLostError):
        _delivered(console, bench.field(sshd.cut_after(1 << 40, 40_000, RECEIVE)), tmp_path)
    assert house.files() == before and house.pid == pid is not None and not bench.place.exists()
    with pytest.raises(LinkLostError):
        _delivered(console, bench.field(sshd.cut_after(3600, step=FOLLOW)), tmp_path)
    assert house.pid == pid and not bench.place.exists()
    assert _delivered(console, bench.field(sshd.host()), tmp_path)
    assert bench.in_force(field.bundle) == (BETTER, True) and house.pid == pid  # by a reload
    watch = read_watch(tmp_path / "watch.json")
    assert watch is not None and watch.serial == sent.serial and watch.sent_s > sent.sent_s
    assert not _delivered(console, bench.field(sshd.host()), tmp_path)
    # Whoever deploys the folder of the build machine next finds the same in force.
    assert planned(house.write_site(), sshd.host(), bench.wishes).nothing

    # It breaks its promise, and so does the link when it goes back.
    with pytest.raises(LinkLostError):
        field = bench.field(sshd.cut_after(2000, step=PROBE))
        _take_back(bench.args, console, field, watch, tmp_path, time.time(), "far less was saved")
    assert bench.in_force(field.bundle) == (BETTER, True) and (tmp_path / "watch.json").exists()
    assert _delivered(console, bench.field(sshd.host()), tmp_path)
    assert bench.in_force(field.bundle) == (GAIN, True) and house.pid == pid
    assert not (tmp_path / "watch.json").exists() and (tmp_path / f"watch-{watch.serial}.back.json").exists()


def study(before: float, after: float) -> Study:
    """One in which log and simulation agreed."""
    tuning = Tuning((GAIN_OF_TINY,), Course(np.array([[before], [after]]), (None, None), ()), TuningSpec())
    return Study((), (), tuning, OffPolicy(Interval(2.0, 1.0, 3.0, 8), 400.0, 600), None, Promise(9.0, 5.0, 8), "")
