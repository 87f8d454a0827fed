"""The pictures of the page of the running house: a cabin on the bench for some hours, `nisse web` beside it, Chromium.

nisse key new signing.pem && nisse build cabin --key signing.pem --output cabin.nisse
python docs/screenshots.py cabin.nisse
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from html import escape
from pathlib import Path

from hil.house_run import HouseRun, house_scenario
from hil.lockstep import LockstepDaemon
from hil.plant import make_plant
from hil.rig import set_up
from runtime.bundle.archive import open_bundle
from runtime.publish.status_file import Status, write_status

HERE = Path(__file__).parent
START, CYCLES = "2024-02-06T09:00", 37
PICTURES = {
    # name: (width, height, frames of (width, colour scheme))
    "page.png": (800, 1000, ((390, "light"), (390, "dark"))),
    "page-desk.png": (1280, 900, ((1280, "light"),)),
    "page-desk-dark.png": (1280, 900, ((1280, "dark"),)),
}
README = ("page.png", "page-desk.png")


def served(bundle_path: Path, folder: Path) -> str:
    """The page, with its stylesheet in it, as `nisse web` serves it after some hours."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with ExitStack() as stack:
        bundle = open_bundle(bundle_path, None)
        scenario = house_scenario("cabin", HouseRun(days=2, start=START))
        bench = set_up(stack, scenario, make_plant(scenario), bundle_path, bundle, folder)
        daemon = LockstepDaemon(bench.site, folder / "daemon.log", ("--quiet",))
        stack.callback(daemon.close)
        daemon.start()
        for _ in range(CYCLES):
            bench.step(daemon)
        daemon.stop()
        # In lockstep the daemon writes no status file; what it publishes is the same.
        said = Status("cabin", time.time(), bench.mqtt.document("state"), bench.mqtt.document("plan"))
        write_status(folder / "status.json", said)
        site = folder / "cabin.toml"
        text = bench.site.read_text().replace('name = "bench"', 'name = "cabin"')
        site.write_text(f'{text}\n[status]\nfile = "{folder / "status.json"}"\n\n[web]\nport = {port}\n')
        web = subprocess.Popen([sys.executable, "-m", "nisse.cli", "web", str(site)], stdout=subprocess.DEVNULL)
        stack.callback(web.terminate)
        page = _got(f"http://127.0.0.1:{port}/")
        style = _got(f"http://127.0.0.1:{port}/nisse.css")
    return page.replace('<link rel="stylesheet" href="/nisse.css">', f"<style>{style}</style>")


def _got(url: str) -> str:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url) as answer:
                return str(answer.read().decode())
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} does not answer")


def drawn(page: str, size: tuple[int, int], frames: tuple[tuple[int, str], ...], target: Path, folder: Path) -> None:
    """A window of Chromium is never narrower than 500 pixels; frames in it are."""
    inside = "".join(
        f'<iframe style="color-scheme:{scheme};width:{width}px;height:{size[1]}px" srcdoc="{escape(page)}"></iframe>'
        for width, scheme in frames
    )
    file = folder / "frames.html"
    style = "body{margin:0;display:flex;justify-content:space-between}iframe{border:0}"
    file.write_text(f"<!doctype html><style>{style}</style><body>{inside}")
    words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    words += [f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    subprocess.run([*words, f"--screenshot={target}", file.as_uri()], check=True, stderr=subprocess.DEVNULL)


def main(bundle: Path, target: Path) -> None:
    """All of them into `target`; those of the README alone where that is docs."""
    with tempfile.TemporaryDirectory(prefix="nisse-pictures-") as name:
        page = served(bundle, Path(name))
        for file, (wide, high, frames) in PICTURES.items():
            if target != HERE or file in README:
                drawn(page, (wide, high), frames, target / file, Path(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else HERE)
