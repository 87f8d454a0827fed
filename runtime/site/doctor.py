"""What a machine needs to run a site, looked at one by one: each finding says what is wrong and what to do."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import ssl
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runtime.errors import BundleError, ConfigError
from runtime.formats.text import plain
from runtime.inputs.signals import Validity
from runtime.publish.status_file import StatusError, read_status, status_path
from runtime.site import descriptors
from runtime.site.check import open_site_bundle, warnings
from runtime.site.config import MqttSection, SiteFile
from runtime.site.credentials import mqtt_password, mqtt_section, tls_context
from runtime.site.feeds_status import SILENT_S, read_feeds, shown

Verdict = Literal["ok", "warn", "fail"]
BROKER_TIMEOUT_S = 5.0
DISK_LEAST_BYTES, DISK_GOOD_BYTES = 50 << 20, 500 << 20
# The instructions that the shipped libraries are compiled for (Haswell, Cortex-A57).
NEEDED_FLAGS = {"x86_64": ("avx2", "fma"), "aarch64": ("asimd",)}
TIME_ERROR = 5
SERIAL_BY_ID = Path("/dev/serial/by-id")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, what was found, and what to do about it."""

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""


def examine(site: SiteFile, credentials: Path | None = None) -> Iterator[Finding]:
    """All findings, in the order in which a person would mend them; each may take a few seconds."""
    yield processor(platform.machine(), Path("/proc/cpuinfo"))
    yield clock()
    yield from bundle(site)
    yield disk(site)
    yield open_files(site)
    yield from secrets(site)
    if site.mqtt is not None:
        yield broker(site, credentials)
    for name, section in site.serial.items():
        yield serial_port(f"serial {name}", Path(section.port))
    for name, device in site.device.items():
        yield Finding("ok", f"device {name}", f"{device.profile}; nisse device try {name} --site {site.path}")
    for name, line in site.modbus.items():
        yield modbus_host(f"modbus {name}", line.host, line.port)
    yield from feeds(site, time.time())
    yield from daemon(status_path(site))


def processor(machine: str, cpuinfo: Path) -> Finding:
    """Whether the compiled libraries can run here: without these instructions the solver dies at once."""
    needed = NEEDED_FLAGS.get(machine)
    if needed is None:
        return Finding("warn", "processor", machine, "nisse build has targets for x86_64 and aarch64 only")
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return Finding("warn", "processor", f"{machine}, features unknown: {cpuinfo}: {error.strerror}")
    lines = (line.partition(":") for line in text.splitlines())
    flags = {flag for key, _, value in lines if key.strip() in {"flags", "Features"} for flag in value.split()}
    missing = [flag for flag in needed if flag not in flags]
    if missing:
        return Finding(
            "fail", "processor", f"{machine} without {', '.join(missing)}", "the solver needs them: use another machine"
        )
    return Finding("ok", "processor", f"{machine} with {', '.join(needed)}")


def clock() -> Finding:
    """Whether the kernel knows its clock to be synchronised (adjtimex, which needs no right to read)."""
    libc = ctypes.CDLL(None, use_errno=True)
    request = ctypes.create_string_buffer(512)  # struct timex, all zero: change nothing
    try:
        state = libc.adjtimex(request)
    except AttributeError:
        return Finding("warn", "clock", "not known on this system", "see that the time comes from the network")
    if state < 0:
        return Finding("warn", "clock", f"not known: {os.strerror(ctypes.get_errno())}")
    if state == TIME_ERROR:
        return Finding(
            "warn",
            "clock",
            "not synchronised",
            "prices are bought by the hour: apt install systemd-timesyncd, then timedatectl set-ntp true",
        )
    return Finding("ok", "clock", "synchronised")


def bundle(site: SiteFile) -> Iterator[Finding]:
    """Signature, architecture, and whether it fits the site file."""
    try:
        with tempfile.TemporaryDirectory(prefix="nisse-doctor-") as folder:
            found = open_site_bundle(site, Path(folder))
    except (BundleError, ConfigError) as error:
        text, _, remedy = str(error).partition("; ")
        yield Finding("fail", "bundle", text, remedy)
        return
    manifest = found.manifest
    yield Finding("ok", "bundle", f"{manifest.name} ({manifest.system}), signed by {found.signer}")
    for warning in warnings(site, manifest):
        text, _, remedy = warning.partition("; ")
        yield Finding("warn", "site", text, remedy)


def disk(site: SiteFile) -> Finding:
    """Room and the right to write where the log goes."""
    wanted = site.relative(site.store.path).absolute().parent
    folder = next(path for path in (wanted, *wanted.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        return Finding("fail", "disk", f"{folder}: not writable", "name another place under [store] path, or chown it")
    text = f"{free >> 20} MB free in {folder}"
    if free < DISK_LEAST_BYTES:
        return Finding("fail", "disk", text, "free some: the log of a year takes about 100 MB")
    if free < DISK_GOOD_BYTES:
        return Finding("warn", "disk", text, "the log of a year takes about 100 MB")
    return Finding("ok", "disk", text)


def open_files(site: SiteFile) -> Finding:
    wanted = descriptors.needed(site)
    found = descriptors.allowed(wanted)
    text = f"{found} may be open, this site needs {wanted}"
    if found < wanted:
        return Finding("fail", "open files", text, "raise LimitNOFILE= (systemctl edit nisse) or ulimit -n")
    return Finding("ok", "open files", text)


def secrets(site: SiteFile) -> Iterator[Finding]:
    """Files that hold secrets are for their owner's eyes only."""
    if site.mqtt is None:
        return
    for file in (site.mqtt.password_file, site.mqtt.key_file):
        path = None if file is None else site.relative(file)
        if path is None or not path.exists():
            continue
        if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield Finding("warn", "secrets", f"{path} is readable by everybody", f"chmod 600 {path}")
        else:
            yield Finding("ok", "secrets", f"{path} is not open to everybody")


def broker(site: SiteFile, credentials: Path | None) -> Finding:
    """Reachable, trusted, and willing: host, certificate and password each have a message of their own."""
    section = mqtt_section(site)
    assert section is not None
    where = f"{section.host}:{section.port}"
    try:
        context = tls_context(section) if section.tls else None
        with socket.create_connection((section.host, section.port), BROKER_TIMEOUT_S) as plain:
            if context is not None:  # by itself, since an MQTT client says no more than that it did not connect
                context.wrap_socket(plain, server_hostname=section.host).close()
        refusal = _refusal(section, mqtt_password(site, credentials), context)
    except ssl.SSLError as error:
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        return Finding(
            "fail", "broker", f"{where}: TLS: {reason}", "name the authority that signed it under [mqtt] ca_file"
        )
    except TimeoutError:
        remedy = "is this the broker's TLS port, usually 8883?" if section.tls else "look at host, port and firewall"
        return Finding("fail", "broker", f"{where}: no answer in {BROKER_TIMEOUT_S:g} s", remedy)
    except OSError as error:
        reason = error.strerror or str(error)
        return Finding(
            "fail", "broker", f"{where}: {reason}", "start it (systemctl status mosquitto), or correct [mqtt]"
        )
    except ConfigError as error:
        text, _, remedy = str(error).partition("; ")
        return Finding("fail", "broker", text, remedy)
    if refusal:
        return Finding("fail", "broker", f"{where}: {refusal}", "correct username and password under [mqtt]")
    return Finding("ok", "broker", f"{where} lets us in{', encrypted' if section.tls else ''}")


def daemon(file: Path) -> Iterator[Finding]:
    """What the daemon says of itself and of its inputs, where one has said something here."""
    try:
        status = read_status(file)
    except StatusError:
        return
    state = status.state
    notices = {str(name): str(text) for name, text in dict(state.get("notices") or {}).items()}
    for name, text in notices.items():
        yield Finding("warn", f"notice {name}", plain(text), "see `nisse status`")
    for name, entry in dict(state.get("inputs") or {}).items():
        validity, problem = str(entry.get("validity")), plain(str(entry.get("problem") or ""))
        if validity != Validity.OK or problem:
            yield Finding("warn", f"input {plain(str(name))}", f"{validity}: {problem}".rstrip(": "))
    if not notices:
        yield Finding("ok", "daemon", f"last seen at level {plain(str(state.get('level')))}, without a notice")


def feeds(site: SiteFile, now_s: float) -> Iterator[Finding]:
    """Whence each forecast comes and how old it is, where the site has feeds."""
    if site.feeds is None:
        return
    status = read_feeds(site)
    remedy = "start them: systemctl start nisse-feeds, or nisse feed run"
    if status is None:
        yield Finding("warn", "feeds", "nothing heard of them on this machine", remedy)
        return
    silent_s = now_s - status.written_s
    if silent_s > SILENT_S:
        yield Finding("warn", "feeds", f"silent for {silent_s / 3600:.0f} h", remedy)
    for name, text in shown(status, now_s).items():
        yield Finding("ok", f"forecast {name}", text)
    for subject, text in status.notices.items():
        yield Finding("warn", f"feed {subject}", text, "see `nisse feed once`")


def serial_port(subject: str, port: Path, by_id: Path = SERIAL_BY_ID) -> Finding:
    """There, ours to open, and under a name that stays."""
    others = sorted(str(path) for path in by_id.iterdir()) if by_id.is_dir() else []
    known = f"; there are {', '.join(others)}" if others else ""
    if not port.exists():
        return Finding("fail", subject, f"{port} is not there", f"plug it in, or correct the port{known}")
    if not os.access(port, os.R_OK | os.W_OK):
        return Finding("fail", subject, f"{port} may not be opened", "usermod -aG dialout <user>, then log in again")
    if port.parent == by_id or not others:
        return Finding("ok", subject, f"{port} is there")
    return Finding("warn", subject, f"{port} may be another device after a restart", f"use its stable name{known}")


def modbus_host(subject: str, host: str, port: int) -> Finding:
    """Whether somebody listens there; a device that takes one connection only may be in the daemon's hands."""
    where = f"{host}:{port}"
    try:
        socket.create_connection((host, port), BROKER_TIMEOUT_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        return Finding("fail", subject, f"{where}: {reason}", "switch Modbus TCP on in the device, or correct its host")
    return Finding("ok", subject, f"{where} listens")


def _refusal(section: MqttSection, password: str | None, context: ssl.SSLContext | None) -> str:
    """What the broker says to our name and password; empty if it lets us in."""
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    said: list[str] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    if section.username is not None:
        client.username_pw_set(section.username, password)
    if context is not None:
        client.tls_set_context(context)
    client.on_connect = lambda c, data, flags, reason, props: said.append(str(reason) if reason.is_failure else "")
    try:
        client.connect(section.host, section.port)
        for _ in range(50):
            if said:
                break
            client.loop(BROKER_TIMEOUT_S / 50)
    except OSError as error:
        return error.strerror or str(error)
    finally:
        client.disconnect()
    return said[0] if said else "no answer; is this an MQTT broker?"
