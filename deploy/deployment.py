"""A site and its bundle brought to a house: looked at, sent, installed, examined, put on trial, taken back if it fails.

    probe -> wheels -> contents -> send what is not there -> install beside -> doctor -> put in force -> trial

Nothing that is in force is touched before the doctor has nothing to say against it. From then on the machine of the
house goes on by itself, whether the link lasts or not.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.contents import Contents, contents
from deploy.errors import DeployError, TakenBackError
from deploy.layout import Layout
from deploy.machine import Machine, check_room, clock_text, machine
from deploy.ssh import Host, ask
from deploy.wheels import Target, cache_directory, own_wheel, unpacked_bytes, wheels_for

CHUNK = 1 << 18


@dataclass(frozen=True)
class DeploymentWishes:
    """What the person who deploys says beside site and host."""

    root: Path = Path("/")
    credentials: Path | None = None
    wheel: Path | None = None
    wheels: Path | None = None
    wait_s: float | None = None
    cache: Path = field(default_factory=cache_directory)


@dataclass(frozen=True)
class Sent:
    """A file that has to be sent: where it lies here (or its content), and how the other side knows it."""

    name: str
    sha256: str
    content: Path | bytes

    @property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


@dataclass(frozen=True)
class Step:
    """A line of what is done, or would be."""

    what: str
    about: str


@dataclass(frozen=True)
class DeploymentPlan:
    """What one run does. `follows`: the very same is on trial there already."""

    there: Machine
    manifest: dict[str, Any]
    sent: tuple[Sent, ...]
    steps: tuple[Step, ...]
    nothing: bool = False
    follows: bool = False


def deploy(site: Path, host: Host, wishes: DeploymentWishes, say: Callable[[str], None] = lambda text: None) -> str:
    """All of it; why it was accepted, or that it is in force already. Raises the parts' errors."""
    plan = planned(site, host, wishes)
    return "in force already" if plan.nothing else carried_out(plan, host, wishes, say)


def planned(site: Path, host: Host, wishes: DeploymentWishes) -> DeploymentPlan:
    """Look at both ends; change nothing there. Raises the parts' errors, each with a remedy."""
    layout = Layout(wishes.root)
    there = probed(host, layout)
    with tempfile.TemporaryDirectory(prefix="nisse-wheel-") as folder:
        wheel = own_wheel(wishes.wheel, Path(folder))
        found = contents(site, there, layout, wishes.credentials, wishes.wait_s)
        target = Target(there.python, there.arch, there.libc)
        wheels = wheels_for(wheel, found.extras, target, wishes.cache, wishes.wheels)
        hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels}
        release = hashlib.sha256(json.dumps([there.python, sorted(hashes.items())]).encode()).hexdigest()[:16]
        files = [{"path": str(i.path), "sha256": i.sha256, "mode": i.mode} for i in found.items]
        manifest = {**found.about, "release": release, "wheels": hashes, "files": files}
        # Own wheels are made in a folder that goes away.
        sent = [Sent(i.path.name, i.sha256, i.content) for i in found.items]
        if release not in there.releases:
            sent += [Sent(p.name, hashes[p.name], p.read_bytes() if p == wheel else p) for p in wheels]
        room = 0 if release in there.releases else unpacked_bytes(wheels)
    missing = {one.sha256: one for one in sent if one.sha256 not in there.files}
    sent = list(missing.values())
    check_room(there, room + sum(2 * one.size for one in sent), host.target)
    trial = there.state["trial"]
    follows = there.busy and trial is not None and trial["manifest"] == manifest
    if there.busy and trial is not None and not follows:
        raise DeployError(f"{host.target}: another deployment is on trial there ({trial['at']}); wait for its end")
    nothing = manifest == there.state["current"] and not there.altered and trial is None
    steps = tuple(_steps(there, manifest, sent, found, host, nothing=nothing))
    return DeploymentPlan(there, manifest, tuple(sent), steps, nothing, follows)


def probed(host: Host, layout: Layout) -> Machine:
    """The machine there. Raises HostError."""
    asked_s = time.time()
    facts = ask(host, {"do": "probe", "base": str(layout.base)})
    return machine(facts, host.target, asked_s, time.time())


def carried_out(plan: DeploymentPlan, host: Host, wishes: DeploymentWishes, say: Callable[[str], None]) -> str:
    """Do it; why it was accepted. Raises TakenBackError where it was taken back, with the reason."""
    base = str(Layout(wishes.root).base)
    if plan.follows:
        return followed(host, base, say)

    def hear(line: dict[str, Any]) -> None:
        if "say" in line:
            say(str(line["say"]))

    if plan.sent:
        listed = [{"name": s.name, "sha256": s.sha256, "size": s.size} for s in plan.sent]
        ask(host, {"do": "receive", "base": base, "files": listed}, _bytes(plan.sent), hear)
    findings = ask(host, {"do": "prepare", "base": base, "manifest": plan.manifest}, hear=hear)["findings"]
    for one in findings:
        if one["verdict"] != "ok":
            say(
                f"doctor: {one['verdict']} {one['subject']}: {one['text']}"
                + (f"; {one['remedy']}" if one["remedy"] else "")
            )
    failed = [one["subject"] for one in findings if one["verdict"] == "fail"]
    if failed:
        raise DeployError(
            f"{host.target}: the doctor there objects to {', '.join(failed)}; nothing was changed, see to it and run "
            "the same again"
        )
    ask(host, {"do": "activate", "base": base, "manifest": plan.manifest, "kind": "deploy"}, hear=hear)
    return followed(host, base, say)


def rolled_back(host: Host, wishes: DeploymentWishes, say: Callable[[str], None]) -> str:
    """Put what was in force before in force again, on trial like anything else; why it was accepted."""
    layout = Layout(wishes.root)
    there = probed(host, layout)
    state = there.state
    if there.busy:
        raise DeployError(f"{host.target}: another deployment is at work or on trial there; wait for its end")
    if state["previous"] is None:
        raise DeployError(f"{host.target}: nothing was deployed there before what is in force")
    request = {"do": "activate", "base": str(layout.base), "manifest": state["previous"], "kind": "rollback"}
    ask(host, request)
    return followed(host, str(layout.base), say)


def followed(host: Host, base: str, say: Callable[[str], None]) -> str:
    """Wait for the end of the trial. Raises TakenBackError where it was taken back."""

    def hear(line: dict[str, Any]) -> None:
        if "say" in line:
            say(str(line["say"]))

    last = ask(host, {"do": "follow", "base": base}, hear=hear)
    if not last.get("held"):
        raise TakenBackError(
            f"{host.target}: taken back, what was there before is in force: {last.get('why', 'no word')}"
        )
    return str(last["why"])


def _bytes(sent: Sequence[Sent]) -> Iterator[bytes]:
    for one in sent:
        if isinstance(one.content, bytes):
            yield one.content
            continue
        with one.content.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk


def _steps(
    there: Machine, manifest: dict[str, Any], sent: Sequence[Sent], found: Contents, host: Host, *, nothing: bool
) -> Iterator[Step]:
    kind = "systemd" if manifest["systemd"] else "no systemd: processes that nobody starts again after a boot"
    yield Step(
        "reach",
        f"{host.target}: {there.arch}, Python {there.python}, clock {clock_text(there.ahead_s)}, "
        f"{there.free_bytes >> 20} MB free, {kind}",
    )
    for path in there.altered:
        yield Step("note", f"{path} was changed there by hand and is replaced")
    if nothing:
        yield Step("done", "all of this is in force there already")
        return
    for one in sent:
        yield Step("send", f"{one.name}, {_size(one.size)}")
    old = there.state["current"] or {"files": [], "release": None, "services": {}}
    if manifest["release"] not in there.releases:
        yield Step("install", f"release {manifest['release']}, {len(manifest['wheels'])} packages")
    yield Step("examine", "nisse doctor, with the new release and files")
    before = {f["path"]: f["sha256"] for f in old["files"]}
    now = {f["path"]: f["sha256"] for f in manifest["files"]}
    for path, sha256 in now.items():
        if before.get(path) != sha256 or path in there.altered:
            yield Step("replace" if path in before else "put", path)
    for path in before.keys() - now.keys():
        yield Step("remove", path)
    hot = set(manifest["hot"].values())
    changed = {p for p in before.keys() | now.keys() if before.get(p) != now.get(p)}
    cold = old["release"] != manifest["release"] or bool(changed - hot)
    for name in manifest["services"]:
        if cold or name not in old["services"]:
            yield Step("restart" if name in old["services"] else "start", name)
        elif name == "nisse" and changed:
            yield Step("reload", name)
    minutes = float(manifest["rhythm"]["deadline_s"]) / 60
    yield Step("trial", f"bundle {found.bundle_name}: accepted within {minutes:.0f} min, or all of it is taken back")


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
