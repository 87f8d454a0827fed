"""Put a deployment in force, watch it, and take all of it back if it does not hold: in a process of its own.

The link to the build machine may break at any time: who began this is not needed to end it. What was here before is
kept, by content, until the new one is accepted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deploy.onsite.places import Places, digest, put
from deploy.onsite.services import Processes, Services, Systemd
from deploy.onsite.watch import Watch, read
from deploy.onsite.wire import OnsiteError, say

TICK_S = 0.5
CORE = "nisse"
"""The service that is judged."""


def services_of(places: Places, manifest: dict[str, Any]) -> Services:
    return Systemd() if manifest["systemd"] else Processes(places.base / "run")


def begin(places: Places, manifest: dict[str, Any], kind: str) -> None:
    """Let a detached process put it in force and watch it. Returns when that process has begun."""
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        with os.fdopen(ready, "rb") as stream:
            said = stream.read()
        if said != b"begun":
            raise OnsiteError(f"the trial did not begin; {places.base / 'trial.log'} says why")
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    log = os.open(places.base / "trial.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream_number, target in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(target, stream_number)

    def begun() -> None:
        os.write(told, b"begun")
        os.close(told)

    try:
        with places.lock():
            run(places, manifest, kind, begun)
    except BaseException:  # nobody is left to raise to: the trace goes to trial.log
        traceback.print_exc()
    finally:
        os._exit(0)


def run(places: Places, manifest: dict[str, Any], kind: str, begun: Callable[[], None]) -> None:
    """From the first file to the verdict; whatever goes wrong, what was here before is in force again."""
    state = places.state()
    interrupted = state["trial"]
    before = interrupted["before"] if interrupted else snapshot(places, manifest, state["current"])
    state["trial"] = {"manifest": manifest, "before": before, "kind": kind, "at": "beginning"}
    places.remember(state)
    begun()
    try:
        held, why = _tried(places, manifest, before, kind)
    except (OnsiteError, OSError, subprocess.SubprocessError) as error:
        held, why = False, str(error)
    except Exception as error:  # a defect of ours: the house is given back all the same, and the trace is in trial.log
        traceback.print_exc()
        held, why = False, f"an error that nobody foresaw, {error!r}; {places.base / 'trial.log'} has its trace"
    state = places.state()
    if held:
        if manifest != state["current"]:
            state["previous"] = state["current"]
        state["current"] = manifest
    else:
        try:
            put_in_force(places, before, manifest)
        except (OnsiteError, OSError, subprocess.SubprocessError) as error:
            why = f"{why}; and what was before could not be put back: {error}"
    state["trial"], state["last"] = None, {"held": held, "why": why, "kind": kind}
    places.remember(state)
    if held:
        prune(places, state)


def _tried(places: Places, manifest: dict[str, Any], before: dict[str, Any], kind: str) -> tuple[bool, str]:
    status = read(Path(manifest["status"]))
    if kind == "rollback":
        _allow_older(places, manifest)
    since_s = time.time()
    restarted = put_in_force(places, manifest, before)
    services = services_of(places, manifest)
    rhythm = manifest["rhythm"]
    watch = Watch(
        manifest,
        since_s,
        status,
        needed=max(1, min(int(rhythm["trial_cycles"]), 3)) if restarted else 1,
        silence_s=180.0 + 2.0 * float(rhythm["cycle_s"]),
        deadline_s=float(rhythm["deadline_s"]),
    )
    began_s = time.monotonic()
    while True:
        verdict = watch.judge(time.monotonic() - began_s, services.running(CORE))
        if verdict is not None:
            held, why = verdict
            return held, why if held or why != "the daemon ended" else f"{why}: {services.told(CORE)}"
        _tell(places, watch.last)
        time.sleep(TICK_S)


def snapshot(places: Places, manifest: dict[str, Any], current: dict[str, Any] | None) -> dict[str, Any]:
    """What stands now at every place that changes, whoever put it there; its contents are kept."""
    paths = dict.fromkeys(f["path"] for one in (manifest, current) if one is not None for f in one["files"])
    files = []
    for name in paths:
        path = Path(name)
        sha256 = digest(path)
        if sha256 is None:
            continue
        if not places.file(sha256).exists():
            put(places.file(sha256), path.read_bytes(), 0o600)
        files.append({"path": name, "sha256": sha256, "mode": path.stat().st_mode & 0o777})
    services = services_of(places, manifest)
    known = {**(current or manifest)["services"]}
    release = places.current.readlink().name if places.current.is_symlink() else None
    running = {name: words for name, words in known.items() if services.running(name)}
    return {**(current or manifest), "files": files, "release": release, "services": running}


def put_in_force(places: Places, wanted: dict[str, Any], before: dict[str, Any]) -> bool:
    """Every file, the release, the services; whether the daemon was started anew. What is right already stays."""
    changed = [f for f in wanted["files"] if digest(Path(f["path"])) != f["sha256"]]
    gone = {f["path"] for f in before["files"]} - {f["path"] for f in wanted["files"]}
    services = services_of(places, wanted)
    for name in before["services"].keys() - wanted["services"].keys():
        services.stop(name)
    for file in changed:
        put(Path(file["path"]), places.file(file["sha256"]).read_bytes(), file["mode"])
    for name in gone:
        Path(name).unlink(missing_ok=True)
    moved = _point(places, wanted["release"])
    command = Path(wanted["command"])
    if wanted["release"] is not None and not os.path.lexists(command):
        command.parent.mkdir(parents=True, exist_ok=True)
        command.symlink_to(places.current / "bin" / "nisse")
    services.looked()
    by_reload = {wanted["hot"][key] for key in ("bundle", "theta")}
    cold = moved or bool(({f["path"] for f in changed} | gone) - by_reload)
    fresh = False
    for name in wanted["services"]:
        if cold or not services.running(name):
            services.start(name, wanted)
            fresh = fresh or name == CORE
        elif name == CORE and (changed or gone):
            services.reload(name)
    return fresh


def _point(places: Places, release: str | None) -> bool:
    """Let `current` lead to the release; whether it led elsewhere."""
    if release is None:
        was = places.current.is_symlink()
        places.current.unlink(missing_ok=True)
        return was
    if places.current.is_symlink() and places.current.readlink().name == release:
        return False
    partial = places.base / ".current.partial"
    partial.unlink(missing_ok=True)
    partial.symlink_to(Path("releases") / release)
    partial.replace(places.current)
    return True


def _allow_older(places: Places, manifest: dict[str, Any]) -> None:
    """The operator goes back on purpose: the daemon may take what is older than what it accepted last."""
    wanted = manifest["bundle"]
    program = (
        "import sys; from pathlib import Path; from runtime.bundle.serials import permit; "
        "permit(Path(sys.argv[1]), sys.argv[2:])"
    )
    python = places.release(manifest["release"]) / "bin" / "python"
    words = [str(python), "-I", "-c", program, manifest["record"], *filter(None, (wanted["digest"], wanted["theta"]))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OnsiteError(f"{manifest['record']}: {done.stderr.strip().splitlines()[-1]}")


def _tell(places: Places, text: str) -> None:
    state = places.state()
    if state["trial"] and state["trial"]["at"] != text:
        state["trial"]["at"] = text
        places.remember(state)


def follow(places: Places) -> dict[str, Any]:
    """Say how the trial goes until it ends; its end."""
    at = ""
    for state in _states(places):
        trial = state["trial"]
        if trial is None:
            return dict(state["last"] or {})
        if trial["at"] != at:
            at = trial["at"]
            say(f"on trial: {at}")
    return {}


def _states(places: Places) -> Iterator[dict[str, Any]]:
    while True:
        state = places.state()
        if state["trial"] is not None and not places.locked() and places.state()["trial"] is not None:
            raise OnsiteError("the trial here was interrupted, by a restart of the machine for one; deploy again")
        yield state
        time.sleep(TICK_S)


def prune(places: Places, state: dict[str, Any]) -> None:
    """Remove contents and releases that neither what is in force nor what was before needs."""
    kept = [one for one in (state["current"], state["previous"]) if one is not None]
    contents = {f["sha256"] for one in kept for f in one["files"]}
    releases = {one["release"] for one in kept}
    for file in (places.base / "files").iterdir():
        if file.name not in contents:
            file.unlink(missing_ok=True)
    for folder in (places.base / "releases").iterdir():
        if folder.name not in releases:
            shutil.rmtree(folder, ignore_errors=True)
