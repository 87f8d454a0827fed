"""TLS, passwords and where they may show up: nowhere. A broker that is not ours, or does not want us, stops nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from patience import PATIENCE_S
from secure_broker import PASSWORD, USER, secure_broker
from tiny_site import Running, Tank, command, tiny_manifest

from hil.broker import find_mosquitto, free_port
from runtime.errors import ConfigError
from runtime.site.check import warnings
from runtime.site.config import load_site
from runtime.site.credentials import mqtt_password

pytestmark = pytest.mark.skipif(
    find_mosquitto() is None or shutil.which("mosquitto_passwd") is None,
    reason="needs mosquitto (Debian: apt install mosquitto)",
)


@dataclass
class Secured:
    tank: Tank
    folder: Path
    port: int

    def mqtt(self, *lines: str) -> None:
        """Write the table [mqtt] of the site file."""
        head, rest = self.tank.site.read_text().split("[mqtt]")
        table = "\n".join((f"port = {self.port}", *lines))
        self.tank.site.write_text(f"{head}[mqtt]\n{table}\n\n[serial" + rest.split("[serial", 1)[1])


@pytest.fixture
def secured(tank: Tank, tmp_path: Path) -> Iterator[Secured]:
    with secure_broker(tmp_path) as port:
        (tmp_path / "wrong").write_text("wrong\n")
        (tmp_path / "right").write_text(f"{PASSWORD}\n")
        for name in ("wrong", "right"):
            (tmp_path / name).chmod(0o600)
        yield Secured(tank, tmp_path, port)


def doctor(site: Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    report = site.with_name("doctor.json")
    done = subprocess.run(
        command("doctor", site, "--json", report),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env=environment or None,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert PASSWORD not in done.stdout + done.stderr + report.read_text()
    return done.returncode, {f["subject"]: f for f in json.loads(report.read_text())}


def test_the_doctor_tells_certificate_from_password_from_absence(secured: Secured) -> None:
    user = f'username = "{USER}"'
    secured.mqtt("tls = true", 'ca_file = "other-ca.pem"', user, 'password_file = "right"')
    code, found = doctor(secured.tank.site)
    assert code == 1 and found["broker"]["verdict"] == "fail" and "TLS" in found["broker"]["text"]
    assert "ca_file" in found["broker"]["remedy"]

    secured.mqtt("tls = true", 'ca_file = "ca.pem"', user, 'password_file = "wrong"')
    code, found = doctor(secured.tank.site)
    assert code == 1 and "password" in found["broker"]["remedy"]

    secured.mqtt("tls = true", 'ca_file = "ca.pem"', user, 'password_file = "right"')
    code, found = doctor(secured.tank.site)
    assert code == 0, found
    assert found["broker"] == {
        "verdict": "ok", "subject": "broker", "text": f"127.0.0.1:{secured.port} lets us in, encrypted", "remedy": "",
    }  # fmt: skip
    assert {f["verdict"] for f in found.values()} <= {"ok", "warn"} and "serial pump" in found

    (secured.folder / "right").chmod(0o644)
    text = secured.tank.site.read_text()
    secured.tank.site.write_text(text.replace(f"port = {secured.port}", f"port = {free_port()}"))
    code, found = doctor(secured.tank.site)
    assert code == 1 and "Connection refused" in found["broker"]["text"]
    assert found["secrets"]["verdict"] == "warn" and "chmod 600" in found["secrets"]["remedy"]

    secured.tank.site.write_text(text.replace('"ca.pem"', '"cb.pem"'))
    code, found = doctor(secured.tank.site)
    assert code == 1 and "cb.pem: no usable certificates" in found["broker"]["text"]


def test_a_credential_opens_the_broker_and_its_text_is_nowhere(
    start: Callable[..., Running], secured: Secured, tmp_path: Path
) -> None:
    credentials, run = tmp_path / "credentials", tmp_path / "run"
    credentials.mkdir(), run.mkdir()
    (credentials / "nisse_mqtt_password").write_text(PASSWORD)
    secured.mqtt(
        "tls = true", 'ca_file = "ca.pem"', f'username = "{USER}"', 'password_credential = "nisse_mqtt_password"'
    )
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "RUNTIME_DIRECTORY": str(run)}
    daemon = start(60.0, **environment)
    heard = subprocess.run(
        [
            "mosquitto_sub", "-h", "127.0.0.1", "-p", str(secured.port), "--cafile", str(tmp_path / "ca.pem"),
            "-u", USER, "-P", PASSWORD, "-t", "nisse/#", "-t", "homeassistant/#", "-C", "3", "-W", "60", "-v",
        ],
        capture_output=True, text=True, timeout=PATIENCE_S,
    ).stdout  # fmt: skip
    assert "nisse/tank/availability online" in heard and "nisse/tank/state" in heard
    code, errors = daemon.end()
    assert code == 0 and "connected to broker" in errors
    log = (tmp_path / "nisse.db").read_bytes()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("nisse.db*"))
    for place in (heard, errors, log.decode("latin-1"), written.decode("latin-1")):
        assert PASSWORD not in place


@pytest.mark.parametrize(
    ("ca", "password", "trouble"), [("other-ca.pem", "right", "not trusted"), ("ca.pem", "wrong", "refuses")]
)
def test_a_broker_that_is_wrong_is_told_once_and_control_goes_on_by_serial(
    start: Callable[..., Running], secured: Secured, ca: str, password: str, trouble: str
) -> None:
    secured.mqtt("tls = true", f'ca_file = "{ca}"', f'username = "{USER}"', f'password_file = "{password}"')
    daemon = start(0.5)
    deadline = time.monotonic() + PATIENCE_S
    while secured.tank.inflow != 0.125 and time.monotonic() < deadline:  # the rule needs no broker
        time.sleep(0.02)
    assert secured.tank.inflow == 0.125
    time.sleep(4.0)
    code, errors = daemon.end()
    assert code == 0 and errors.count(trouble) == 1 and "Traceback" not in errors


def test_plain_text_off_localhost_is_warned_of_and_secrets_need_a_place(secured: Secured) -> None:
    secured.mqtt('host = "192.0.2.7"')
    site = load_site(secured.tank.site)
    assert warnings(site, tiny_manifest()) == ["mqtt: plain text to 192.0.2.7; set tls = true where the broker can"]
    secured.mqtt("tls = true")
    assert warnings(load_site(secured.tank.site), tiny_manifest()) == []

    secured.mqtt(f'username = "{USER}"', 'password_credential = "mqtt"')
    with pytest.raises(ConfigError, match="LoadCredential"):
        mqtt_password(load_site(secured.tank.site), None)
    with pytest.raises(ConfigError, match="no password on its first line"):
        mqtt_password(load_site(secured.tank.site), secured.folder)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['password_file = "right"'], "a password needs a username"),
        (['username = "a"', 'password_file = "right"', 'password_credential = "b"'], "not both"),
        (['ca_file = "ca.pem"'], "tls is off"),
        (["tls = true", 'cert_file = "c.pem"'], "come together"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(secured: Secured, lines: list[str], message: str) -> None:
    secured.mqtt(*lines)
    with pytest.raises(ConfigError, match=message):
        load_site(secured.tank.site)
