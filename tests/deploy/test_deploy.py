"""A house is deployed to over a real sshd: first, again, with what is bad, back, and over a link that breaks."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from installed_wheel import make_wheel
from sshd_host import Sshd
from tiny_house import House, make_bundle, nisse

from deploy.deployment import DeploymentWishes, deploy, planned, rolled_back
from deploy.errors import DeployError, DeployFilesError, LinkLostError, MachineUnfitError
from hil.broker import Broker
from runtime.bundle.keys import new_key

REQUESTS = {"probe": 1, "receive": 2, "prepare": 3, "activate": 4, "follow": 5}
HANDSHAKE, ANSWERING = 2000, 3500
"""Bytes from the server: when no session has begun, and when a first line of an answer comes."""


@pytest.fixture(scope="module")
def wishes(tmp_path_factory: pytest.TempPathFactory) -> DeploymentWishes:
    folder = tmp_path_factory.mktemp("house")
    return DeploymentWishes(root=folder / "root", wheel=make_wheel(folder))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, wishes: DeploymentWishes, sshd: Sshd) -> Iterator[House]:
    """Deployed with bundle 1, after a first try whose link broke while it was being installed."""
    folder = tmp_path_factory.mktemp("build")
    broker = Broker(folder)
    broker.start()
    wishes.root.mkdir()
    one = House(folder / "here", wishes.root, broker.port, new_key(folder / "key.pem"))
    site = one.write_site()
    one.level(0.3)
    one.give(make_bundle(folder / "bundles", one.key, serial=1))
    plan = planned(site, sshd.host(), wishes)
    assert "install" in {step.what for step in plan.steps} and not list(wishes.root.iterdir())  # a look changes nothing
    with pytest.raises(LinkLostError):
        deploy(site, sshd.cut_after(ANSWERING, step=REQUESTS["prepare"]), wishes)
    assert one.pid is None and not one.files()
    assert deploy(site, sshd.host(), wishes).startswith("level mpc")
    yield one
    if one.pid is not None:
        os.kill(one.pid, signal.SIGTERM)
    broker.kill()


def bundle(house: House, serial: int, mood: str = "") -> Path:
    return make_bundle(house.here.parent / "bundles", house.key, serial=serial, mood=mood)


_serial = iter(range(10, 10_000))


def fresh(house: House, mood: str = "") -> Path:
    """A newer bundle than any before, given to the site."""
    made = bundle(house, next(_serial), mood)
    house.give(made)
    return made


def settled(house: House) -> None:
    """Whatever goes on over there has ended."""
    deadline = time.monotonic() + 120.0
    while house.remembered().get("trial") and time.monotonic() < deadline:
        time.sleep(0.2)


def test_the_second_time_nothing_is_done(house: House, wishes: DeploymentWishes, sshd: Sshd) -> None:
    before, pid = house.files(), house.pid
    assert deploy(house.write_site(), sshd.host(), wishes) == "in force already"
    assert (house.files(), house.pid) == (before, pid) and pid is not None


def test_the_command_shows_each_step_and_only_what_changed(house: House, sshd: Sshd, wishes: DeploymentWishes) -> None:
    given = fresh(house)
    words = ["deploy", house.write_site(), sshd.target, "--root", house.root, "--wheel", wishes.wheel, *sshd.words()]
    said = house.here / "said.json"
    dry = nisse(*words, "--dry-run", "--json", said)
    assert dry.returncode == 0, dry.stderr
    steps = json.loads(said.read_text())["steps"]
    assert [step[0] for step in steps] == ["reach", "send", "examine", "replace", "reload", "trial"]
    assert house.files()["tank.nisse"] != given.read_bytes()
    pid = house.pid
    done = nisse(*words)
    assert done.returncode == 0 and "accepted: level mpc" in done.stdout, done.stderr
    assert house.files()["tank.nisse"] == given.read_bytes()
    assert house.pid == pid  # a bundle alone is taken by a reload


def test_a_bundle_that_fails_in_shadow_is_taken_back_while_the_old_one_runs_on(
    house: House, wishes: DeploymentWishes, sshd: Sshd
) -> None:
    good = fresh(house)
    deploy(house.write_site(), sshd.host(), wishes)
    house.level(0.95)
    fresh(house, mood="n")
    pid = house.pid
    with pytest.raises(DeployError, match=r"taken back, what was there before is in force: .*refused in shadow"):
        deploy(house.write_site(), sshd.host(), wishes)
    house.level(0.3)
    assert house.files()["tank.nisse"] == good.read_bytes() and house.pid == pid
    assert house.remembered()["trial"] is None


def test_a_site_file_whose_log_cannot_be_written_changes_nothing(
    house: House, wishes: DeploymentWishes, sshd: Sshd
) -> None:
    good, pid = house.files()["site.toml"], house.pid
    site = house.write_site()
    site.write_text(site.read_text().replace('path = "../../var/lib/nisse/nisse.db"', 'path = "/proc/none/nisse.db"'))
    with pytest.raises(DeployError, match="the doctor there objects to disk; nothing was changed"):
        deploy(site, sshd.host(), wishes)
    assert house.files()["site.toml"] == good and house.pid == pid is not None


def test_a_changed_site_file_starts_the_daemon_anew_and_rollback_goes_back(
    house: House, wishes: DeploymentWishes, sshd: Sshd
) -> None:
    old = fresh(house)
    deploy(house.write_site(), sshd.host(), wishes)
    pid, before = house.pid, house.files()
    fresh(house)
    deploy(house.write_site(more="plan_max_age_s = 1200"), sshd.host(), wishes)
    assert house.pid != pid and b"plan_max_age_s = 1200" in house.files()["site.toml"]
    assert rolled_back(sshd.host(), wishes, print).startswith("level mpc")
    assert house.files() == before and house.files()["tank.nisse"] == old.read_bytes()


@pytest.mark.parametrize(
    ("step", "received", "sent"),
    [
        ("probe", HANDSHAKE, 1 << 40),
        ("receive", 1 << 40, 40_000),
        ("prepare", HANDSHAKE, 1 << 40),
        ("prepare", ANSWERING, 1 << 40),
        ("activate", HANDSHAKE, 1 << 40),
        ("activate", 1 << 40, 30_000),
        ("follow", ANSWERING + 100, 1 << 40),
    ],
)
def test_a_link_that_breaks_at_any_step_leaves_a_house_that_runs(
    step: str, received: int, sent: int, house: House, wishes: DeploymentWishes, sshd: Sshd
) -> None:
    given, before = fresh(house), house.files()
    site = house.write_site()
    with pytest.raises(LinkLostError):
        deploy(site, sshd.cut_after(received, sent, REQUESTS[step]), wishes)
    assert house.pid is not None
    settled(house)
    assert house.files() in (before, {**before, "site.toml": site.read_bytes(), "tank.nisse": given.read_bytes()})
    assert deploy(site, sshd.host(), wishes).startswith(("level mpc", "in force already"))
    assert house.files()["tank.nisse"] == given.read_bytes() and house.status()["level"] == "mpc"


def test_other_machines_are_refused_with_what_to_do(house: House, wishes: DeploymentWishes, sshd: Sshd) -> None:
    site = house.write_site()
    for prelude, said in (
        ("import struct; struct.calcsize = lambda f: 4", "64-bit Raspberry Pi OS"),
        ("import platform; platform.machine = lambda: 'armv7l'", "64-bit Raspberry Pi OS"),
        ("import time; real = time.time; time.time = lambda: real() - 7200", r"7\d\d\d s behind ours"),
        ("import os; r = os.statvfs; os.statvfs = lambda p: os.statvfs_result((4096, 4096, 9, 9, 9, 9, 9, 9, 0, 255))",
         "0 MB are free"),
        ("import platform; platform.libc_ver = lambda: ('', '')", "glibc 2.28"),
    ):  # fmt: skip
        with pytest.raises(MachineUnfitError, match=said):
            planned(site, sshd.with_python(prelude), wishes)


def test_a_key_that_signs_bundles_never_leaves(house: House, wishes: DeploymentWishes, sshd: Sshd) -> None:
    folder = house.here / "secrets"
    folder.mkdir()
    (folder / "mqtt_password").write_bytes((house.here.parent / "key.pem").read_bytes())
    site = house.write_site()
    site.write_text(
        site.read_text().replace("[mqtt]", '[mqtt]\nusername = "x"\npassword_credential = "nisse_mqtt_password"')
    )
    with pytest.raises(DeployFilesError, match="never leave this machine"):
        planned(site, sshd.host(), DeploymentWishes(root=wishes.root, wheel=wishes.wheel, credentials=folder))


def test_a_house_file_is_not_a_site_file(house: House, sshd: Sshd) -> None:
    file = house.here / "house.toml"
    file.write_text('[house]\nname = "x"\n')
    done = nisse("deploy", file, sshd.target)
    assert done.returncode == 78 and "is a house file; name the site file" in done.stderr
