"""House files: what is shipped is in order, and each mistake is one line with its place and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from systems.commands.check_house import document
from systems.house_file import SHIPPED, HouseFileError, load_house, parse_house
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
        assert max(map(len, drawing.splitlines())) <= 110
        assert set(document(house)["assets"]) <= {asset.name for asset in house.assets}  # type: ignore[call-overload]


# What is exchanged in the good house and for what, the line that is wrong then, and words of the message.
NIGHT = """set_point = { default = 20, schedule = [{ from = "22:00", to = "06:00", value = 16 }] }"""
MISTAKES = {
    "a misspelt key": ("capacity_kwh = 10", "capacity_kw = 10", 13, "'capacity_kw'; did you mean 'capacity_kwh'?"),
    "a misspelt table": ("[[heat_pump]]", "[[heat_pumps]]", 23, "'heat_pumps'; did you mean 'heat_pump'?"),
    "a missing key": ("max_power_kw = 2\n", "", 23, "max_power_kw is missing: add it"),
    "a zone that nothing heats": ('"living", "bed"', '"living"', 20, "nothing heats zone 'bed'; name it in `feeds`"),
    "a pump that feeds a stranger": ('"bed"]', '"bad"]', 25, "no zone or tank 'bad' to feed; did you mean 'bed'?"),
    "a pump that feeds nothing": ('["living", "bed"]', "[]", 25, "feeds"),
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
    "a name that no topic can carry": ('name = "home"', 'name = "Home Battery"', 12, "battery.name"),
    "steps that do not fit": ("[meter]", '[grid]\nstep = "7 min"\n\n[meter]', 5, "hold must be a multiple of step"),
    "a duration that is none": ("[meter]", '[grid]\nhold = "half an hour"\n\n[meter]', 6, "write '15 min'"),
    "a COP out of order": ("power_kw = 2", "power_kw = 2\ncop = [[7, 3.4], [-7, 2.5]]", 27, "must ascend"),
    "no TOML": ("max_power_kw = 2", "max_power_kw = ", 26, "not TOML"),
    "a number that is not finite": ("capacity_kwh = 10", "capacity_kwh = inf", 13, "capacity_kwh"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_place_and_a_remedy(name: str) -> None:
    old, new, line, words = MISTAKES[name]
    assert GOOD.count(old) >= 1
    with pytest.raises(HouseFileError) as caught:
        parse_house(GOOD.replace(old, new, 1), Path("here.toml"))
    message = str(caught.value)
    assert message.startswith(f"here.toml:{line}: ") and words in message and "\n" not in message


def test_a_file_that_cannot_be_read_names_the_shipped_houses(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", Path("vila"), tmp_path):
        with pytest.raises(HouseFileError, match="villa"):
            load_house(path)
    (tmp_path / "latin.toml").write_bytes('[house]\nname = "hütte"'.encode("latin-1"))
    with pytest.raises(HouseFileError, match="UTF-8"):
        load_house(tmp_path / "latin.toml")
