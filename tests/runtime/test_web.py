"""The page of the running house: what it says, who may change something by it, and that no request breaks it."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S, comes_true
from tiny_site import Ears, Running, Tank, command, forecast, level_is

from runtime.commands.web import make_app
from runtime.errors import ConfigError
from runtime.publish.status_file import Status
from runtime.site.config import load_site
from runtime.site.web import LOOPBACK_NAMES
from runtime.web.app import HEADERS, App
from runtime.web.commands import NoBroker
from runtime.web.page import house_page
from runtime.web.password import PasswordError, hashed, matches, read_password, write_password
from runtime.web.picture import picture_of
from runtime.web.saved import saved
from runtime.web.sentence import told
from runtime.web.visitors import TRIES_BURST

START = "2026-01-15T13:00:00+01:00"
NOW_S = datetime.fromisoformat(START).timestamp() + 60.0
HOURS = 24
PASSWORD = "correct horse battery"
KEPT = hashed(PASSWORD)


def plan() -> dict[str, Any]:
    """Cheap for three hours, dear at 18:00: charged now, needed then."""
    buy = [0.11] * 3 + [0.25] * 2 + [0.42] + [0.25] * (HOURS - 5)
    charge, discharge = [2.3] * 3 + [0.0] * (HOURS - 3), [0.0] * 5 + [3.0] + [0.0] * (HOURS - 6)
    soc = [0.3 + 0.05 * min(k, 3) for k in range(HOURS + 1)]
    heat, air = [0.8] * HOURS, [20.5] * (HOURS + 1)
    signals = {
        "home_soc": {"unit": "1", "values": soc},
        "living_temperature": {"unit": "degC", "values": air},
        "home_charge": {"unit": "kW", "values": charge},
        "home_discharge": {"unit": "kW", "values": discharge},
        "hp_power": {"unit": "kW", "values": heat},
    }
    band = {
        f"living_{part}": {"unit": "degC", "values": [v] * (HOURS + 1)} for part, v in (("lower", 20), ("upper", 23))
    }
    load = {"unit": "kW", "step_s": 900.0, "values": [0.4] * (4 * HOURS + 4)}
    forecasts = {"buy": {"unit": "EUR/kWh", "values": [*buy, 0.25]}, "load": load, **band}
    return {"start": START, "step_s": 3600.0, "signals": signals, "forecasts": forecasts}


def state(**changes: Any) -> dict[str, Any]:
    comfort = {"living": {"set_point": 21.0, "lower": 20.0, "upper": 23.0, "by": "schedule", "unit": "degC"}}
    return {
        "level": "mpc",
        "reason": "",
        "action": {"home_charge": 2.3, "home_discharge": 0.0, "hp_power": 0.8},
        "inputs": {"home_soc": {"value": 0.3, "unit": "1", "age_s": 4.0, "validity": "ok", "problem": ""}},
        "outputs": {"inverter": {"value": 2.3, "problem": ""}},
        "control": {"mode": "auto", "comfort": comfort},
        "notices": {},
        **changes,
    }


def said(document: dict[str, Any], of: dict[str, Any] | None = None) -> str:
    of = plan() if of is None else of
    return told(document, picture_of(of), of).doing


def test_the_sentence_names_price_power_and_the_hour_it_is_for() -> None:
    assert said(state()) == "Home is charging with 2.3 kW at 0.11; needed at 18:00 for 0.42."
    away = state(action={"home_charge": 0.0, "home_discharge": 0.0, "hp_power": 0.8})
    assert said(away) == "Hp heats with 0.8 kW at 0.11, before it costs 0.42 at 18:00."
    assert said(state(action={"home_charge": 0.0, "hp_power": 0.0})).startswith("All is at rest")
    assert said(state(level="rule", reason="no price")) == "Following the simple rules: no price."


class Checker(HTMLParser):
    """Every element is closed, every field has a label, every image a name, and nothing is from elsewhere."""

    VOID = frozenset({"meta", "link", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.labels: set[str] = set()
        self.fields: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        assert tag != "script" and not any(name.startswith("on") or name == "style" for name in given)
        for name in ("href", "src", "action"):
            assert re.match(r"/|#|data:,$", given.get(name) or "/"), given
        if tag == "label":
            self.labels.add(given["for"] or "")
        if tag in ("input", "select") and given.get("type") != "hidden":
            self.fields.add(given["id"] or "")
        if tag == "svg":
            assert given["role"] == "img" and given["aria-label"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert not checker.open and checker.fields <= checker.labels
    return checker


def test_the_page_is_whole_small_and_speaks_to_a_screen_reader() -> None:
    text = house_page(Status("cabin", NOW_S, state(), plan()), NOW_S)
    checked(text)
    assert len(text.encode()) < 100_000
    charts = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text)]
    described = {chart.attrib["aria-label"]: chart.findtext("desc") for chart in charts}
    assert described["Price, EUR/kWh"] == "Buy: lowest 0.11 EUR/kWh at 13:00, highest 0.42 EUR/kWh at 18:00"
    assert set(described) == {"Price, EUR/kWh", "Charge of home, %", "Power, kW", "Living, °C"}
    assert all(len(chart.findall("polyline")) <= 3 for chart in charts)


KEYS = st.sampled_from(["values", "unit", "step_s", "start", "buy", "home_soc", "level", "comfort"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON, st.sampled_from([*plan(), *state()]))
def test_whatever_is_published_as_state_and_plan_a_page_comes_of_it(one: Any, other: Any, key: str) -> None:
    documents = (
        {**state(), **({key: one} if key in state() else {})},
        {**plan(), **({key: other} if key in plan() else {})},
    )
    checked(house_page(Status("<b>site", NOW_S, *documents), NOW_S))
    hostile = {**state(), "notices": {"<script>": "<img src=//x>"}}
    assert "<script>" not in house_page(Status("s", None, hostile, None), NOW_S)


class Said:
    """Takes commands, as the broker's side does."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str, str]] = []

    def say(self, name: str, value: str, until: str) -> str:
        self.orders.append((name, value, until))
        return "" if name != "away" else "refused"


class Visitor:
    """A browser, as far as it matters here."""

    def __init__(self, *, kept: str = "") -> None:
        self.commands, self.now = Said(), 0.0
        status = Status("cabin", NOW_S, state(), plan())
        hosts = frozenset(LOOPBACK_NAMES)
        self.app = App(
            "cabin", hosts, lambda: status, self.commands, kept=kept, https=False, clock=lambda: NOW_S,
            now=lambda: self.now,
        )  # fmt: skip
        self.cookie = ""

    def ask(self, method: str, path: str, form: dict[str, str] | bytes = b"", **more: Any) -> tuple[int, str]:
        body = form if isinstance(form, bytes) else urllib.parse.urlencode(form).encode()
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "HTTP_HOST": "localhost:8377", "HTTP_COOKIE": self.cookie,
            "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body), **more,
        }  # fmt: skip
        head: list[Any] = []
        text = b"".join(self.app(environ, lambda status, headers: head.extend((status, headers)))).decode()
        assert set(HEADERS) <= set(head[1])
        for name, value in head[1]:
            if name == "Set-Cookie":
                assert "HttpOnly" in value and "SameSite=Strict" in value
                self.cookie = value.partition(";")[0]
        return int(head[0].split()[0]), text

    def token(self, path: str = "/wishes") -> str:
        found = re.search(r'name="token" value="([0-9a-f]+)"', self.ask("GET", path)[1])
        assert found is not None
        return found[1]


def test_a_wish_needs_the_token_of_its_own_session_and_no_get_changes_anything() -> None:
    visitor, stranger = Visitor(), Visitor()
    wish = {"name": "living_set_point", "value": "21.5", "until": "22:00"}
    assert visitor.ask("POST", "/wishes", wish)[0] == 403
    assert visitor.ask("POST", "/wishes", {**wish, "token": stranger.token()})[0] == 403
    token = visitor.token()
    visitor.ask("GET", "/wishes", {**wish, "token": token})
    assert visitor.ask("POST", "/wishes", {**wish, "token": token}, HTTP_ORIGIN="http://evil.example")[0] == 403
    assert not visitor.commands.orders
    code, text = visitor.ask("POST", "/wishes", {**wish, "token": token}, HTTP_ORIGIN="http://localhost:8377")
    assert code == 200 and "Done" in text and visitor.commands.orders == [("living_set_point", "21.5", "22:00")]
    assert "refused" in visitor.ask("POST", "/wishes", {"name": "away", "value": "on", "token": token})[1]
    checked(text)
    for _ in range(20):
        visitor.ask("POST", "/wishes", {**wish, "token": token})
    assert len(visitor.commands.orders) <= 10, "wishes are rate-limited"


def test_a_password_opens_the_page_and_is_not_tried_often() -> None:
    visitor = Visitor(kept=KEPT)
    code, text = visitor.ask("GET", "/")
    assert "Password" in text and "charging" not in text
    assert visitor.ask("POST", "/wishes", {"name": "mode", "value": "safe", "token": visitor.token("/door")})[0] == 403
    token = visitor.token("/door")
    codes = [
        visitor.ask("POST", "/door", {"password": f"guess {k}", "token": token})[0] for k in range(TRIES_BURST + 3)
    ]
    assert codes == [403] * TRIES_BURST + [429] * 3
    assert visitor.ask("POST", "/door", {"password": PASSWORD, "token": token})[0] == 429
    visitor.now += 31.0
    planted = visitor.cookie
    code, _ = visitor.ask("POST", "/door", {"password": PASSWORD, "token": token})
    assert code == 303 and visitor.cookie != planted, "who is let in gets a session that nobody knew before"
    assert "charging" in visitor.ask("GET", "/")[1]
    visitor.cookie = planted
    assert "charging" not in visitor.ask("GET", "/")[1]


def test_by_a_foreign_name_nothing_is_to_be_had() -> None:
    visitor = Visitor()
    for host in ("evil.example", "localhost.evil.example", "", "localhost:80:80", "[::2]"):
        assert visitor.ask("GET", "/", HTTP_HOST=host)[0] == 421
    assert [visitor.ask("GET", "/", HTTP_HOST=host)[0] for host in ("LOCALHOST", "127.0.0.1:1", "[::1]:9")] == [200] * 3


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "\x00", ""]),
    st.sampled_from(["/", "/wishes", "/door", "/nisse.css"]) | st.text(max_size=20),
    st.binary(max_size=300),
    st.text(max_size=80),
    st.text(max_size=20),
)
def test_any_request_is_answered_and_none_reaches_the_daemon(
    method: str, path: str, body: bytes, cookie: str, length: str
) -> None:
    visitor = Visitor(kept=KEPT)
    visitor.cookie = cookie
    code, _ = visitor.ask(method, path, body, CONTENT_LENGTH=length)
    assert 200 <= code < 500 and not visitor.commands.orders


def test_passwords_are_kept_as_hashes(tmp_path: Path) -> None:
    write_password(tmp_path / "p", PASSWORD)
    kept = read_password(tmp_path / "p")
    assert PASSWORD not in kept and (tmp_path / "p").stat().st_mode & 0o077 == 0
    assert matches(PASSWORD, kept) and not matches(PASSWORD + "x", kept) and not matches("x" * 10_000, kept)
    with pytest.raises(PasswordError, match="10 to 200"):
        write_password(tmp_path / "p", "short")
    (tmp_path / "p").write_text("plain text\n")
    with pytest.raises(PasswordError, match="nisse web password"):
        read_password(tmp_path / "p")


def test_beyond_this_machine_a_password_is_needed(tank: Tank) -> None:
    plain = tank.site.read_text()
    tank.site.write_text(plain + '\n[web]\nlisten = "0.0.0.0"\n')
    with pytest.raises(ConfigError, match="nisse web password"):
        load_site(tank.site)
    tank.site.write_text(plain + '\n[web]\nlisten = "0.0.0.0"\npassword_file = "p"\nnames = ["nisse.local"]\n')
    web = load_site(tank.site).web
    assert web is not None and "nisse.local" in web.hosts
    site = plain + '\n[web]\nlisten = "0.0.0.0"\npassword_credential = "nisse_web_password"\n'
    tank.site.write_text(site + 'password_file = "p"\n')
    with pytest.raises(ConfigError, match="not both"):
        load_site(tank.site)


def test_the_password_may_be_handed_over_by_the_service_manager(tank: Tank, tmp_path: Path) -> None:
    tank.site.write_text(f'{tank.site.read_text()}\n[web]\npassword_credential = "nisse_web_password"\n')
    write_password(tmp_path / "nisse_web_password", PASSWORD)
    look = lambda: Status("tank", 0.0, {})  # noqa: E731
    with pytest.raises(ConfigError, match="nisse service show --web"):
        make_app(load_site(tank.site), look, NoBroker())
    app = make_app(load_site(tank.site), look, NoBroker(), tmp_path)
    shown = b"".join(app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "localhost"}, lambda *_: None))
    assert b'type="password"' in shown


@pytest.fixture
def page(tank: Tank, tmp_path: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    tank.site.write_text(f'{tank.site.read_text()}\n[status]\nfile = "status.json"\n\n[web]\nport = {port}\n')
    process = subprocess.Popen(command("web", tank.site, "--json"), stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    yield json.loads(process.stdout.readline())["url"]
    process.terminate()
    process.communicate(timeout=PATIENCE_S)


def test_a_wish_on_the_page_reaches_the_daemon(page: str, start: Callable[..., Running], ears: Ears) -> None:
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert "Nothing is heard" in browser.open(page).read().decode()
    forecast(ears)
    daemon = start()
    # The page hears the daemon by a connection of its own.
    assert comes_true(lambda: "The controller is planning ahead" in browser.open(page).read().decode())
    text = browser.open(page + "wishes").read().decode()
    token = re.search(r'name="token" value="([0-9a-f]+)"', text)
    assert token is not None

    def wish(value: str, expected: str) -> bool:
        """Said again where the answer of a busy machine came too late: the same wish twice is one."""
        form = urllib.parse.urlencode({"token": token[1], "name": "mode", "value": value}).encode()
        return comes_true(lambda: expected in browser.open(page + "wishes", form).read().decode())

    assert wish("rule", "Done")
    ears.wait_for("nisse/tank/state", level_is("rule"))
    assert wish("nonsense", "mode is one of")
    with pytest.raises(urllib.error.HTTPError):
        browser.open(urllib.request.Request(page, headers={"Host": "evil.example"}))
    daemon.end()


def test_what_was_saved_lately_is_said_and_nothing_else_of_the_file(tmp_path: Path) -> None:
    file, until = tmp_path / "savings.json", datetime.fromtimestamp(NOW_S, UTC).isoformat()
    week = {"total": 3.21, "energy": 2.5, "capacity": 0.7, "days": 7.0, "low": 1.0, "high": 5.0}
    document = {"format": "nisse-savings-1", "until": until, "currency": "<b>EUR", "week": week}
    file.write_text(json.dumps(document))
    said = saved(file, NOW_S)
    assert "saved 3.21 <b>EUR against the simple rules (1.00 to 5.00): energy +2.50, peaks +0.70" in said
    text = house_page(Status("cabin", NOW_S, state(), plan()), NOW_S, said)
    assert "saved 3.21 &lt;b&gt;EUR" in text
    checked(text)
    assert saved(file, NOW_S + 30 * 86_400.0) == "" and saved(tmp_path / "none.json", NOW_S) == ""
    for hostile in ("[]", "{}", "nan", json.dumps(document | {"week": {**week, "total": 1e999}}), "[" * 100_000):
        file.write_text(hostile)
        assert saved(file, NOW_S) == ""
