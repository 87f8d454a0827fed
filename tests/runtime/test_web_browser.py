"""The page of the running house in Chromium: on a phone nothing sticks out, whatever names and numbers a house has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from test_web import NOW_S, plan, state

from runtime.publish.status_file import Status
from runtime.web.page import door_page, house_page, settings_of, trouble_page, wishes_page

STYLE = Path(__file__).parents[2] / "runtime/web/nisse.css"
LOOK = """<script>addEventListener("load", () => {
const said = {};
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument, wide = page.documentElement.clientWidth, found = [];
  const scrolls = e => e && (["auto", "scroll"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  for (const e of page.body.querySelectorAll("*:not(.skip):not(script)")) {
    const box = e.getBoundingClientRect();
    if (box.width && (box.right > wide + 0.5 || box.left < -0.5) && !scrolls(e.parentElement))
      found.push(e.tagName + " " + e.textContent.slice(0, 60));
    for (const text of e.childNodes) {
      const line = page.createRange();
      line.selectNodeContents(text);
      if (text.nodeType === 3 && line.getBoundingClientRect().right > wide + 0.5 && !scrolls(e))
        found.push("runs out: " + text.data.slice(0, 60));
    }
    if (e.className === "wide" && wide < 500 && e.scrollWidth > e.clientWidth + 1)
      found.push("scrolls: " + e.textContent.slice(0, 60));
    if (e.tagName === "text" && box.right > e.closest("svg").getBoundingClientRect().right + 0.5)
      found.push("cut off: " + e.textContent);
  }
  said[frame.title] = [frame.contentWindow.innerWidth, found];
}
document.body.innerHTML = "";
const pre = document.createElement("pre");
pre.id = "said";
pre.textContent = JSON.stringify(said);
document.body.append(pre);
});</script>"""
"""A window of Chromium is never narrower than 500 pixels; a frame in it is."""
ROOM = "the_children_s_bedroom_under_the_roof"


def crowded() -> Status:
    """Zones with long names, a tank, notices, faults, negative prices, and inputs of every kind."""
    planned, said = plan(), state()
    for name in (ROOM, "bathroom", "kitchen"):
        planned["signals"][f"{name}_temperature"] = {"unit": "degC", "values": [20.5] * 25}
        planned["signals"][f"hp_{name}_power"] = {"unit": "kW", "values": [0.7] * 24}
        comfort = {"set_point": 21.5, "lower": 20.5, "upper": 23.5, "by": "operator", "until": "2026-01-15T18:00+01:00"}
        said["control"]["comfort"][name] = comfort
    said["control"]["comfort"]["tank"] = {"lower": 45.0, "upper": 65.0, "by": "hot_water_now", "unit": "degC"}
    planned["signals"]["tank_temperature"] = {"unit": "degC", "values": [52.0] * 25}
    planned["forecasts"]["buy"]["values"] = [-123.456 + 20.0 * k for k in range(25)]
    problem = "the register answers with an exception (2, illegal data address) since 2026-01-15 03:12"
    said["inputs"] |= {
        f"{ROOM}_temperature": {
            "value": -123.456,
            "unit": "degC",
            "age_s": 1e6,
            "validity": "stale",
            "problem": problem,
        }
    }
    said["outputs"] |= {f"hp_{ROOM}_power": {"value": None, "problem": problem}}
    said["notices"] = {"bundle": problem, "theta": "A" * 200}
    return Status("cabin_in_the_woods_of_nordmarka", NOW_S, said, planned)


def pages() -> dict[str, str]:
    status = crowded()
    settings = settings_of(status.state)
    return {
        "house": house_page(status, NOW_S, "It saved 3.21 EUR against the simple rules (1.00 to 5.00)."),
        "wishes": wishes_page(status, settings, "t", "refused: " + "x" * 90, bad=True),
        "door": door_page(status.site, "t", "That is not the password."),
        "trouble": trouble_page(status.site, "/run/nisse/cabin_in_the_woods_of_nordmarka.json: no such file"),
    }


def seen(folder: Path, texts: Mapping[str, str], width: int) -> dict[str, Any]:
    """What Chromium lays out, by page: the width that it has, and what sticks out of it."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    style, frames = STYLE.read_text(), []
    for name, text in texts.items():
        styled = text.replace('<link rel="stylesheet" href="/nisse.css">', f"<style>{style}</style>")
        assert styled != text
        frames.append(f'<iframe title="{name}" width="{width}" height="844" srcdoc="{escape(styled)}"></iframe>')
    file = folder / "frames.html"
    file.write_text(f"<!doctype html><style>iframe{{border:0}}</style><body>{''.join(frames)}{LOOK}")
    words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [*words, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout)
    assert said is not None, done.stderr
    found: dict[str, Any] = json.loads(unescape(said[1]))
    return found


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_any_page(width: int, tmp_path: Path) -> None:
    texts = pages()
    assert seen(tmp_path, texts, width) == {name: [width, []] for name in texts}


def test_what_sticks_out_is_seen(tmp_path: Path) -> None:
    wide = pages()["door"].replace("</main>", '<p style="width:500px">wide</p></main>')
    assert "P wide" in seen(tmp_path, {"wide": wide}, 390)["wide"][1]
    long = pages()["door"].replace("</main>", f"<div>{'w' * 200}</div></main>")
    assert f"runs out: {'w' * 60}" in seen(tmp_path, {"long": long}, 390)["long"][1]
