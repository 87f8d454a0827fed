"""The systemd unit as systemd itself judges it, and the folders around it."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE_S
from shipped_house import shipped_house
from tiny_site import command

from runtime.site.service_unit import CREDENTIALS, FEEDS_UNIT, UNIT, WEB_UNIT, ServiceUnit
from runtime.site.template import Answers, signals_of, site_text
from runtime.systemd import UnitContext

HEAT_PUMPS = signals_of(shipped_house("four-heat-pumps")[0])
MOST_EXPOSURE = 2.0
EXECUTABLE = "/bin/sh"
"""Some command whose path a unit can name, wherever the clone lies."""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: apt install systemd)"
)


def service(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("service", *arguments), capture_output=True, text=True, timeout=PATIENCE_S)


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=PATIENCE_S)


@needs_systemd
@pytest.mark.parametrize("extra", [[], ["--no-serial"]])
def test_systemd_accepts_the_installed_unit_and_finds_little_exposed(tmp_path: Path, extra: list[str]) -> None:
    done = service("install", "--root", tmp_path, "--exec", EXECUTABLE, *extra)
    assert done.returncode == 0, done.stderr
    unit = tmp_path / UNIT
    verified = analyze("verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = analyze("security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSURE * 10)}", unit)
    exposure = re.search(r"Overall exposure level for nisse.service: ([0-9.]+)", judged.stdout)
    assert exposure is not None and float(exposure.group(1)) < MOST_EXPOSURE, judged.stdout
    assert judged.returncode == 0


FEEDS = '\n[feeds]\n[feeds.price]\nsource = "entsoe"\nzone = "NO3"\ntoken_file = "entsoe.token"\n'


@needs_systemd
def test_the_feeds_have_a_unit_of_their_own_without_devices_or_the_daemons_files(tmp_path: Path) -> None:
    (tmp_path / "etc/nisse").mkdir(parents=True)
    text = site_text(Answers("cabin", "UTC", "b.nisse", (), "mqtt", ""), HEAT_PUMPS)
    (tmp_path / "etc/nisse/site.toml").write_text(text + FEEDS)
    done = service("install", "--root", tmp_path, "--exec", EXECUTABLE)
    assert done.returncode == 0, done.stderr
    assert "enable --now nisse nisse-feeds" in done.stdout and 'token_credential = "nisse_entsoe"' in done.stdout
    unit = tmp_path / FEEDS_UNIT
    verified = analyze("verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = analyze("security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSURE * 10)}", unit)
    assert judged.returncode == 0, judged.stdout
    shown = unit.read_text()
    assert "PrivateDevices=yes" in shown and "StateDirectory=nisse-feeds" in shown and "feed run /etc/nisse/" in shown
    assert service("show", "--feeds", "--exec", EXECUTABLE).stdout == shown.replace(str(tmp_path), "")


@needs_systemd
def test_the_page_has_a_unit_of_its_own_that_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc/nisse").mkdir(parents=True)
    text = site_text(Answers("cabin", "UTC", "b.nisse", (), "mqtt", ""), HEAT_PUMPS)
    (tmp_path / "etc/nisse/site.toml").write_text(text + '\n[web]\nlisten = "0.0.0.0"\npassword_file = "w"\n')
    done = service("install", "--root", tmp_path, "--exec", EXECUTABLE)
    assert done.returncode == 0, done.stderr
    assert "enable --now nisse nisse-web" in done.stdout and 'password_credential = "nisse_web_password"' in done.stdout
    unit = tmp_path / WEB_UNIT
    verified = analyze("verify", unit)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = analyze("security", "--offline=true", "--no-pager", f"--threshold={round(MOST_EXPOSURE * 10)}", unit)
    assert judged.returncode == 0, judged.stdout
    shown = unit.read_text()
    assert "web /etc/nisse/site.toml" in shown and "Directory=" not in shown
    assert service("show", "--web", "--exec", EXECUTABLE).stdout == shown


def test_install_lays_out_folders_keeps_secrets_closed_and_can_be_repeated(tmp_path: Path) -> None:
    first = service("install", "--root", tmp_path, "--exec", EXECUTABLE)
    assert first.returncode == 0 and "nisse init /etc/nisse/site.toml" in first.stdout
    assert stat.S_IMODE((tmp_path / CREDENTIALS).stat().st_mode) == 0o700
    answers = Answers("cabin", "UTC", "b.nisse", (), "mqtt", "")
    (tmp_path / "etc/nisse/site.toml").write_text(site_text(answers, HEAT_PUMPS))
    with (tmp_path / "etc/nisse/site.toml").open("a") as site:
        site.write("[status]\nhttp_port = 9410\n")
    text = (tmp_path / "etc/nisse/site.toml").read_text().replace('"b.nisse"', '"/home/me/b.nisse"')
    text = text.replace('# username = "nisse"', 'username = "nisse"').replace("# password_file", "password_file")
    (tmp_path / "etc/nisse/site.toml").write_text(text)
    (tmp_path / CREDENTIALS / "mqtt_password").write_text("secret")
    again = service("install", "--root", tmp_path, "--exec", EXECUTABLE)
    assert again.returncode == 0 and '[store] path = "/var/lib/nisse/nisse.db"' in again.stdout
    assert "/home/me/b.nisse is hidden" in again.stdout and "nisse_mqtt_password" in again.stdout
    assert (tmp_path / CREDENTIALS / "mqtt_password").read_text() == "secret"
    shown = service("show", "--exec", EXECUTABLE)
    assert shown.stdout == (tmp_path / UNIT).read_text()


def test_what_cannot_be_installed_says_why(tmp_path: Path) -> None:
    gone = service("show", "--exec", tmp_path / "gone")
    assert gone.returncode == 1 and "--exec" in gone.stderr
    spaced = service("show", "--exec", EXECUTABLE, "--site", "/etc/my site.toml")
    assert spaced.returncode == 1 and "no spaces" in spaced.stderr
    (tmp_path / "etc").write_text("a file where a folder should be")
    blocked = service("install", "--root", tmp_path, "--exec", EXECUTABLE)
    assert blocked.returncode == 1 and "--root" in blocked.stderr and "Traceback" not in blocked.stderr


def test_the_unit_holds_what_the_daemon_relies_on() -> None:
    text = ServiceUnit(Path("/opt/nisse/bin/nisse"), Path("/etc/nisse/site.toml")).text()
    for line in (
        "Type=notify",
        "WatchdogSec=30",
        "ExecStart=/opt/nisse/bin/nisse run /etc/nisse/site.toml",
        "ExecReload=kill -HUP $MAINPID",
        "RestartPreventExitStatus=2 65 78",
        "DynamicUser=yes",
        "StateDirectory=nisse",
        "RuntimeDirectory=nisse",
        "LoadCredential=nisse:/etc/nisse/credentials",
    ):
        assert f"\n{line}\n" in text


def test_what_the_service_manager_hands_over() -> None:
    environment = {"NOTIFY_SOCKET": "@n", "RUNTIME_DIRECTORY": "/run/nisse:/run/b", "CREDENTIALS_DIRECTORY": "/run/c"}
    assert UnitContext.of(environment) == UnitContext("@n", Path("/run/c"), Path("/run/nisse"))
    assert UnitContext.of({}) == UnitContext()
