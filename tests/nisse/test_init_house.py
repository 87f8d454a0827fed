"""`nisse init` for a house: few questions, each answer judged at once, and files that are in order or not there."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import PATIENCE_S

from nisse.cli import main
from runtime.bundle.keys import load_key
from runtime.site.config import load_site
from systems.assets.heat_pump.plant import HeatPumpPlant
from systems.commands.init_house import battery_size, fed, heat_sources, zone_names
from systems.house_file import load_house, parse_house
from systems.house_template import HeatSource, HouseAnswers, house_text
from systems.names import asset_name
from systems.plant import house_plants
from systems.portrait import draw_house

ROOT = Path(__file__).parents[2]


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        (
            ["--zones", "living,bedroom", "--heat-pump", "air-air:1.5:each", "--battery", "10:4", "--pv", "6"],
            ["hp_living   air-air, 1.5 kW", "10 kWh, charges 4 kW", "6 kW of panels", "imports up to 11 kW"],
        ),
        (
            ["--zones", "3", "--heat-pump", "air-water:3", "--tank", "200", "--peak-charge", "5", "--currency", "NOK"],
            ["feeds zone_1, zone_2, zone_3, water", "200 litres", "5 NOK/kW for the"],
        ),
        (["--tank", "150"], ["heater      electric, 2 kW, feeds water", "150 litres"]),
        (["--battery", "5"], ["charges 2.5 kW"]),
        (["--zones", "hall", "--heat-pump", "air-air:1:hall", "--heat-pump", "electric:2:hall"], ["feeds hall"]),
        (["--house", "cabin"], ["hp_bedroom  air-air, 1.2 kW"]),
    ],
)
def test_options_alone_write_what_check_accepts(
    options: list[str],
    drawn: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *options, "--timezone", "Europe/Oslo", "--yes"]) == 0
    said = capsys.readouterr().out
    assert written(tmp_path) == {"house.toml", "site.toml", "signing.pem"}
    house, site = load_house(tmp_path / "house.toml"), load_site(tmp_path / "site.toml")
    assert main(["check", "house.toml"]) == 0
    drawing = capsys.readouterr().out
    assert all(words in drawing for words in drawn), drawing
    assert main(["check", "--no-bundle", "site.toml"]) == 0
    # What is said next can be done next: the site waits for a bundle of that name, signed by that key.
    assert f"nisse build house.toml --key signing.pem --output {site.controller.bundle}" in said
    assert f"nisse hil house.toml --bundle {site.controller.bundle} --days 2" in said
    assert site.controller.trusted_keys == (load_key(tmp_path / "signing.pem").public,)
    assert site.site.name == house.name and site.zone == house.timezone
    # A house whose thermometers are not heard is not left cold, whatever its rooms are called.
    warming = {rule for rule in ("hp_power", "hp_living_power", "hp_bedroom_power") if rule in site.outputs}
    assert all(site.outputs[name].safe > 0 for name in warming)
    if "--house" not in options:
        text = (tmp_path / "house.toml").read_text()
        assert len(text.splitlines()) < 60 and text.count("#") > 5 and max(map(len, text.splitlines())) <= 100


def test_a_heater_that_is_on_or_off_is_left_on_and_not_at_what_it_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    zone = '[[zone]]\nname = "hall"\n[[heat_pump]]\nname = "rod"\nfeeds = ["hall"]\nkind = "electric"\n'
    text = f'[house]\nname = "rods"\n{zone}max_power_kw = 3\nmin_power_kw = 3\n'
    (tmp_path / "rods.toml").write_text(text)
    assert main(["init", "--house", "rods.toml", "--yes"]) == 0
    assert load_site(tmp_path / "site.toml").outputs["rod_power"].safe == 3.0
    (pump,) = [plant for plant in house_plants(load_house("rods.toml"), {}) if isinstance(plant, HeatPumpPlant)]
    assert [point.safe for point in pump.set_points()] == [3.0]


def test_what_is_there_is_not_replaced_and_a_key_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["init", "--zones", "living", "--yes"]
    assert main(options) == 0
    key = load_key(tmp_path / "signing.pem").public
    before = (tmp_path / "house.toml").read_text()
    assert (
        main([*options, "--tank", "200"]) == 2 and "house.toml: exists and is not replaced" in capsys.readouterr().err
    )
    assert (tmp_path / "house.toml").read_text() == before
    assert main([*options, "--tank", "200", "--force"]) == 0
    assert "[[tank]]" in (tmp_path / "house.toml").read_text()
    assert load_site(tmp_path / "site.toml").controller.trusted_keys == (key,)
    # A house file that is there and was changed by hand: the site file is written for it, and it stays as it is.
    (tmp_path / "house.toml").write_text(before.replace('"living"', '"hall"'))
    assert main(["init", "--house", "house.toml", "--yes", "--force"]) == 0
    assert '"hall"' in (tmp_path / "house.toml").read_text()
    assert "hall_temperature" in load_site(tmp_path / "site.toml").inputs


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing is said of what there is"),
        (["--pv", "3"], "nothing is said of what there is"),
        (["--zones", "Living Room"], "write 'living'"),
        (["--zones", "a,a"], "two zones are called 'a'"),
        (["--zones", "99"], "at most 12"),
        (["--zones", "outdoor"], "call the zone 'zone_outdoor'"),
        (["--zones", "a", "--heat-pump", "air-watr:3"], "known here: air-air, air-water, electric"),
        (["--zones", "a", "--heat-pump", "air-air:big"], "no number of kW"),
        (["--zones", "a", "--heat-pump", "air-air:1:b"], "there is no 'b' to feed"),
        (["--zones", "a", "--heat-pump", "air-air"], "write it as air-water:3.5"),
        (["--tank", "nan"], "no number of litres"),
        (["--battery", "10 kWh"], "no number of kWh"),
        (["--battery", "2:5"], "empty within an hour"),
        (["--battery", "10", "--grid-kw", "0.1"], "no number of kW from 1 to 500"),
        (["--zones", "a", "--timezone", "Mars/Olympus"], "unknown time zone"),
        (["--zones", "a", "--currency", "euro"], "three letters"),
        (["--zones", "a", "--name", "My House"], "write 'my_house'"),
        (["--zones", "a", "--heat-safe", "warm"], "no power between"),
        (["--house", "vila"], "villa"),
        (["--house", "villa", "--zones", "a"], "villa says what there is"),
        (["--bundle", "x.nisse", "--zones", "a"], "--zones: what is controlled is said by --bundle"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *options, "--yes"]) in {2, 78}
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert written(tmp_path) == set()


class Terminal:
    """`nisse init` in a folder, with somebody at its terminal."""

    def __init__(self, folder: Path) -> None:
        self.screen, terminal = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nisse.cli", "init"],
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
        )  # fmt: skip
        os.close(terminal)
        self.said = ""

    def type(self, *answers: str) -> None:
        os.write(self.screen, "".join(f"{answer}\n" for answer in answers).encode())

    def until_asked(self, questions: int) -> None:
        assert self.process.stdout is not None
        while self.said.count("]") < questions:  # each shows its default
            more = os.read(self.process.stdout.fileno(), 4096).decode()
            assert more, self.said
            self.said += more

    def interrupt(self) -> None:
        """Again where it came just before a read, which then goes on, and again while the program ends."""
        for _ in range(240):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)
                return

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        os.close(self.screen)
        return self.process.returncode, self.said + said.decode()


def test_the_questions_lead_to_a_house_and_a_wrong_answer_is_asked_for_again(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.type("My House", "villa_nord", "Europe/Olso", "Europe/Oslo", "ground, upper")
    terminal.type("plenty", "200", "air-water", "4", "ground+water", "air-air", "1.2", "each")
    terminal.type("8", "10:5", "5", "17", "NOK", *[""] * 9)
    code, said = terminal.end()
    assert code == 0, said
    for remedy in ("write 'my_house'", "did you mean 'Europe/Oslo'?", "'plenty' is no number of litres"):
        assert remedy in said
    house = load_house(tmp_path / "house.toml")
    drawing = draw_house(house)
    for words in ("house villa_nord, Europe/Oslo, money in NOK", "hp          air-water, 4 kW, feeds ground, water",
                  "hp_upper    air-air, 1.2 kW, feeds upper", "imports up to 17 kW", "5 NOK/kW"):  # fmt: skip
        assert words in drawing
    assert said.count("?") <= 27


@pytest.mark.parametrize("answers", [[], ["home"], ["home", "Europe/Oslo", "living", "0", "air-air", "1.5"]])
@pytest.mark.parametrize("how", ["end of input", "ctrl-c"])
def test_who_changes_their_mind_leaves_nothing_behind(answers: list[str], how: str, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path)
    terminal.until_asked(1)
    terminal.type(*answers)
    terminal.until_asked(1 + len(answers))
    if how == "ctrl-c":
        terminal.interrupt()
    else:
        os.write(terminal.screen, b"\x04")
    code, said = terminal.end()
    assert (code, "Traceback" in said) == (130 if how == "ctrl-c" else 2, False)
    assert ("interrupted" if how == "ctrl-c" else "nothing is written") in said
    assert written(tmp_path) == set()


@given(st.text(max_size=30))
def test_any_answer_is_understood_or_refused_with_a_remedy(text: str) -> None:
    for read in (
        zone_names, battery_size, lambda t: fed(t, ["living", "water"]),
        lambda t: heat_sources(t, ["living"], ["living", "water"], ["living"]),
    ):  # fmt: skip
        try:
            found = read(text)
        except ValueError as error:
            assert 10 < len(str(error)) < 300
        else:
            assert found is not None
            if read is zone_names:
                assert all(asset_name(name) == name for name in found)  # type: ignore[union-attr]


ZONES = st.sampled_from(["living", "hp", "hp_living", "hp_2", "home", "h" * 24])


@given(
    st.lists(ZONES, unique=True, max_size=4),
    st.sampled_from(["air-water:3.5", "air-air:1.5:each", "electric:1:each"]),
    st.booleans(),
    st.booleans(),
)
def test_whatever_zones_are_called_the_file_is_in_order(zones: list[str], pump: str, tank: bool, battery: bool) -> None:
    """Also where they are called as the assets would be that are written beside them."""
    needed = [*zones, *(["water"] if tank else [])]
    heat: list[HeatSource] = heat_sources(pump, zones, needed, needed) if needed else []
    if tank and not any("water" in source.feeds for source in heat):
        heat += heat_sources("electric:2:water", zones, needed, [*needed, *(source.name for source in heat)])
    answers = HouseAnswers(
        "home", "Europe/Oslo", zones=tuple(zones), heat=tuple(heat), tank_litres=200.0 * tank,
        battery_kwh=10.0 * battery, battery_kw=5.0,
    )  # fmt: skip
    text = house_text(answers)
    assert tomllib.loads(text)["house"]["name"] == "home"
    assert {asset.name for asset in parse_house(text).of("zone")} == set(zones)
