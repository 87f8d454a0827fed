"""House files: what is shipped is in order, and each mistake is one line with its place and a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.formats.text import plain
from systems.commands.check_house import document
from systems.design import HouseDesign
from systems.house_file import SHIPPED, HouseFileError, load_house, parse_house
from systems.names import asset_name, suggested
from systems.portrait import draw_house

HOUSES = sorted(file.stem for file in SHIPPED.glob("*.toml"))
GOOD = """\
[house]
name = "try_out"
timezone = "Europe/Oslo"

[meter]
import_limit_kw = 10

[load]
base_kw = 0.2

[[battery]]
name = "home"
capacity_kwh = 10
max_charge_kw = 5
max_discharge_kw = 5

[[zone]]
name = "living"

[[zone]]
name = "bed"

[[heat_pump]]
name = "hp"
feeds = ["living", "bed"]
max_power_kw = 2
"""


def test_the_shipped_houses_are_in_order() -> None:
    assert HOUSES == ["battery", "cabin", "flat", "four-heat-pumps", "tank", "villa"]
    for name in HOUSES:
        house = load_house(name)
        drawing = draw_house(house)
        assert all(asset.name in drawing for asset in house.assets if asset.name != "building")
        assert max(map(len, drawing.splitlines())) <= 80
        assert set(document(house)["assets"]) <= {asset.name for asset in house.assets}  # type: ignore[call-overload]


# What is exchanged in the good house and for what, the line that is wrong then, and words of the message.
NIGHT = """set_point = { default = 20, schedule = [{ from = "22:00", to = "06:00", value = 16 }] }"""
MISTAKES = {
    "a misspelt key": ("capacity_kwh = 10", "capacity_kw = 10", 13, "'capacity_kw'; did you mean 'capacity_kwh'?"),
    "a misspelt table": ("[[heat_pump]]", "[[heat_pumps]]", 23, "'heat_pumps'; did you mean 'heat_pump'?"),
    "a missing key": ("max_power_kw = 2\n", "", 23, "max_power_kw is missing: add it"),
    "a zone that nothing heats": ('"living", "bed"', '"living"', 20, "nothing heats zone 'bed'; name it in `feeds`"),
    "a pump that feeds a stranger": ('"bed"]', '"bad"]', 25, "no zone or tank 'bad' to feed; did you mean 'bed'?"),
    "a pump that feeds nothing": ('["living", "bed"]', "[]", 25, "heat_pump.feeds: name at least one"),
    "a pump that feeds one twice": ('"bed"]', '"bed", "bed"]', 25, "name each once"),
    "two assets of one name": ('name = "bed"', 'name = "home"', 21, "'home' is the name of a battery already"),
    "a set-point outside its band": (
        '"bed"',
        '"bed"\nset_point = 17',
        22,
        "on mon 00:00 it is 17 degC and the band is 18",
    ),
    "a night outside the band": ('"bed"', f'"bed"\n{NIGHT}', 22, "it is 16 degC"),
    "a battery smaller than a decision": ("_kwh = 10", "_kwh = 2", 13, "30 min at max_charge_kw moves 2.5 kWh"),
    "an empty band of charge": ("_kwh = 10", "_kwh = 10\nsoc_min = 0.9\nsoc_max = 0.5", 15, "is not above soc_min"),
    "a meter limit below the base load": ("_kw = 10\n\n[load]", "_kw = 0.1\n\n[load]", 6, "load alone draws 0.2 kW"),
    "a battery without a meter": ("[meter]\nimport_limit_kw = 10\n", "", 9, "a [meter] is needed"),
    "no such time zone": ("Europe/Oslo", "Europe/Olso", 3, "did you mean 'Europe/Oslo'?"),
    "a currency that is none": ('"try_out"', '"try_out"\ncurrency = "euro"', 3, "currency"),
    "a name that no topic can carry": ('name = "home"', 'name = "Home Battery"', 12, "write 'home_battery'"),
    "a name in other letters": ('name = "home"', 'name = "Säng Ø"', 12, "write 'sang_o'"),
    "a name in no letters": ('name = "home"', 'name = "🏠"', 12, "write 'living'"),
    "a name with a line's end": ('name = "home"', 'name = "home\\n"', 12, "write 'home'"),
    "a name that is too long": ('name = "home"', f'name = "{"h" * 25}"', 12, "at most 24"),
    "the name of a signal": ('name = "home"', 'name = "buy"', 12, "call it 'battery_buy'"),
    "the name of what zones share": ('name = "bed"', 'name = "zones"', 21, "call it 'zone_zones'"),
    "a number with its unit": ("capacity_kwh = 10", 'capacity_kwh = "10 kWh"', 13, "write 10, its unit is in the key"),
    "a number as a text": ("capacity_kwh = 10", 'capacity_kwh = "10"', 13, "write 10"),
    "a decimal comma": ("capacity_kwh = 10", 'capacity_kwh = "10,5"', 13, "write 10.5"),
    "a truth for a number": ("capacity_kwh = 10", "capacity_kwh = true", 13, "write a number; found True"),
    "a list for a number": ("capacity_kwh = 10", "capacity_kwh = [10]", 13, "write a number; found [10]"),
    "watts": ("max_power_kw = 2", "max_power_kw = 2000", 26, "did you mean 2?"),
    "watts per kelvin": ('name = "bed"', 'name = "bed"\nheat_loss_kw_per_k = 80', 22, "did you mean 0.08?"),
    "a number of 400 digits": ("capacity_kwh = 10", f"capacity_kwh = {'9' * 400}", 13, "more than a house has"),
    "a share in per cent": ("capacity_kwh = 10", "capacity_kwh = 10\nsoc_min = 5", 14, "write 0.05"),
    "a set-point that is a text": ('name = "bed"', 'name = "bed"\nset_point = "21 C"', 22, "default = 21"),
    "a schedule that is no list": (
        'name = "bed"',
        'name = "bed"\nset_point = { default = 21, schedule = { value = 3 } }',
        22,
        "a list of spans",
    ),
    "a day that is none": (
        'name = "bed"',
        'name = "bed"\nset_point = { default = 21, schedule = [{ days = [9], from = "1:00", to = "2:00", value = 1}]}',
        22,
        "'mon-fri'",
    ),
    "a single table in two brackets": ("[meter]", "[[meter]]", 5, "write [meter] and its keys"),
    "one of many in one bracket": ("[[battery]]", "[battery]", 11, "write [[battery]] for each"),
    "the same table twice": ("[load]", "[meter]\n[load]", 8, "twice"),
    "a list that is none": ('["living", "bed"]', '"living"', 25, "write a list, in brackets"),
    "a kind that is none": ("max_power_kw = 2", 'max_power_kw = 2\nkind = "air-watr"', 27, "did you mean 'air-water'?"),
    "a COP that is a number": ("max_power_kw = 2", "max_power_kw = 2\ncop = 3.5", 27, "heat_pump.cop: write a list"),
    "a horizon of a month": ("[meter]", '[grid]\nhorizon = "30 d"\n\n[meter]', 5, "shorten horizon"),
    "a step of a second": ("[meter]", '[grid]\nstep = "1 s"\n\n[meter]', 5, "lengthen step"),
    "a memory between two steps": ("[meter]", '[building]\nmemory = "7 min"\n\n[meter]', 6, "a whole number of them"),
    "a memory of days": ("[meter]", '[building]\nmemory = "10 d"\n\n[meter]', 6, "from 1 to 60"),
    "steps that do not fit": (
        "[meter]",
        '[grid]\nstep = "10 min"\nhold = "15 min"\n\n[meter]',
        5,
        "hold must be a multiple of step",
    ),
    "a step that hours do not hold": (
        "[meter]",
        '[grid]\nstep = "8 min"\nhold = "24 min"\n\n[meter]',
        5,
        "divide an hour",
    ),
    "more steps than the usual memory holds": (
        "[meter]",
        '[grid]\nstep = "30 s"\n\n[meter]',
        6,
        "write [building] memory",
    ),
    "a duration that is none": ("[meter]", '[grid]\nhold = "half an hour"\n\n[meter]', 6, "write '15 min'"),
    "a COP out of order": ("power_kw = 2", "power_kw = 2\ncop = [[7, 3.4], [-7, 2.5]]", 27, "must ascend"),
    "no TOML": ("max_power_kw = 2", "max_power_kw = ", 26, "not TOML"),
    "a number that is not finite": ("capacity_kwh = 10", "capacity_kwh = inf", 13, "capacity_kwh"),
}


def test_zones_that_lose_more_than_their_heaters_give_are_noted() -> None:
    """At -7 degC, set-point 21: 2 x 0.08 x 28 = 4.48 kW, and 2 kW at the air-air COP of 2.5 give 5."""
    assert "note" not in draw_house(parse_house(GOOD))
    weaker = parse_house(GOOD.replace("max_power_kw = 2", "max_power_kw = 1.7"))
    drawing = draw_house(weaker)
    assert drawing.count("note") == 1 and "living, bed will be colder" in drawing
    assert document(weaker)["assets"]["living"]["notes"]  # type: ignore[index]
    second = '[[heat_pump]]\nname = "rod"\nfeeds = ["bed"]\nkind = "electric"\nmax_power_kw = 0.3\n'
    assert "note" not in draw_house(parse_house(GOOD.replace("max_power_kw = 2", "max_power_kw = 1.7") + second))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_and_a_remedy(name: str) -> None:
    old, new, line, words = MISTAKES[name]
    assert GOOD.count(old) >= 1
    with pytest.raises(HouseFileError) as caught:
        parse_house(GOOD.replace(old, new, 1), Path("here.toml"))
    message = str(caught.value)
    assert message.startswith(f"here.toml:{line}: ") and words in message and "\n" not in message


@given(st.text() | st.floats() | st.booleans() | st.integers() | st.lists(st.integers(), max_size=3))
def test_whatever_stands_for_a_number_or_a_name_is_taken_or_refused_in_one_line(value: object) -> None:
    written = json.dumps(value) if not isinstance(value, float) else repr(value)
    for old, new in (("capacity_kwh = 10", f"capacity_kwh = {written}"), ('name = "home"', f"name = {written}")):
        try:
            house = parse_house(GOOD.replace(old, new, 1))
        except HouseFileError as error:
            assert len(plain(str(error)).splitlines()) == 1 and len(str(error)) < 400
        else:
            battery = house.of("battery")[0]
            assert asset_name(battery.name) == battery.name and 0 < battery.capacity_kwh < 1e6


@given(st.text(min_size=1))
def test_the_name_that_is_suggested_is_one(name: str) -> None:
    assert asset_name(suggested(name)) == suggested(name)


def test_a_file_without_anything_in_it_or_with_too_much(tmp_path: Path) -> None:
    for text, words in (
        ("", "house is missing"),
        ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("house = 3", r"write \[house\]"),
        ("zone = [1, 2]", r"write \[\[zone\]\] for each"),
    ):
        with pytest.raises(HouseFileError, match=words):
            parse_house(text)
    (tmp_path / "big.toml").write_text(GOOD + "#" * 2_000_000)
    with pytest.raises(HouseFileError, match="larger than"):
        load_house(tmp_path / "big.toml")
    # As an editor of another system saves it.
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_house(tmp_path / "marked.toml").name == "try_out"


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ("[meter]\n[load]\n", "nothing to decide: add a"),
        ('[meter]\n[[pv]]\nname = "roof"\npeak_kw = 3\n', "nothing to decide"),
        ("", "nothing to decide"),
        (
            '[[tank]]\nname = "c"\nlitres = 100\n[[tank]]\nname = "b_c"\nlitres = 100\n'
            '[[heat_pump]]\nname = "a_b"\nfeeds = ["c"]\nmax_power_kw = 2\n'
            '[[heat_pump]]\nname = "a"\nfeeds = ["b_c"]\nmax_power_kw = 2\n',
            "'a_b_c_power' would be the name of two things of 'a_b' and 'a'; rename",
        ),
        (
            '[[zone]]\nname = "a"\n[[tank]]\nname = "a_past_2"\nlitres = 100\n[building]\nmemory = "10 min"\n'
            '[[zone]]\nname = "b"\n[[heat_pump]]\nname = "hp"\nfeeds = ["a", "b", "a_past_2"]\nmax_power_kw = 2\n',
            "",
        ),
    ],
)
def test_what_shows_only_when_the_assets_come_together(tables: str, words: str) -> None:
    """Names that are made of names, and a house in which there is nothing to decide."""
    design = HouseDesign('[house]\nname = "try_out"\n' + tables)
    if not words:
        assert design.blocks
        return
    with pytest.raises(HouseFileError, match=words):
        design.blocks  # noqa: B018


def test_a_file_that_cannot_be_read_names_the_shipped_houses(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", Path("vila"), tmp_path):
        with pytest.raises(HouseFileError, match="villa"):
            load_house(path)
    (tmp_path / "latin.toml").write_bytes('[house]\nname = "hütte"'.encode("latin-1"))
    with pytest.raises(HouseFileError, match="UTF-8"):
        load_house(tmp_path / "latin.toml")
