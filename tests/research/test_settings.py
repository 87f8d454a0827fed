"""How settings were chosen and over which seeds numbers range, as pages and JSON say it; houses on a coarser grid."""

from __future__ import annotations

from pathlib import Path

import pytest

from pages.page import Page
from research.experiments.output import write_outputs
from research.experiments.settings import Settings
from research.house_grid import on_coarse_grid
from systems.house_file import HouseFileError, parse_house, read_house


def test_seeds_that_are_shown_and_were_chosen_on_are_named() -> None:
    apart = Settings("By hand.", shown=range(5), chosen_on=range(100, 105))
    assert apart.told() == (
        "Numbers are of seeds 0 to 4. By hand. Looked at for that: seeds 100 to 104, none of which is shown."
    )
    met = Settings("By hand.", shown=(3, 4, 7), chosen_on=range(5))
    assert met.told() == (
        "Numbers are of seeds 3, 4 and 7. Fewer than 5 say little of the range. By hand. Looked at for that: seeds 0 "
        "to 4; seeds 3 to 4 of them shown here as well."
    )
    assert met.as_json()["on_both"] == [3, 4]
    assert Settings("A grid.").told() == "Nothing here is random. A grid."


def test_page_and_json_of_every_experiment_say_it(tmp_path: Path) -> None:
    settings = Settings("By hand.", shown=range(5))
    path = write_outputs("some", Page("Title", "lead", []), {"found": 1}, settings, tmp_path, None)
    assert settings.told() in path.read_text()
    assert '"shown_seeds"' in (tmp_path / "result.json").read_text()


@pytest.mark.parametrize("name", ["cabin", "villa", "flat"])
def test_a_house_with_zones_is_the_same_house_on_a_coarser_grid(name: str) -> None:
    text, source = read_house(name)
    own, coarse = parse_house(text, source), parse_house(on_coarse_grid(text, source))
    assert (coarse.grid.step_s, coarse.grid.hold_s) == (900.0, 3600.0)
    assert coarse.grid.horizon_s == own.grid.horizon_s and coarse.tables == own.tables
    again = on_coarse_grid(on_coarse_grid(text, source))
    assert again == on_coarse_grid(text, source)


def test_what_has_no_zone_keeps_its_grid_and_what_has_no_grid_gets_one() -> None:
    for name in ("battery", "tank"):
        text, source = read_house(name)
        assert on_coarse_grid(text, source) == text
    text = read_house("flat")[0]
    lines = text.splitlines()
    begin = next((k for k, line in enumerate(lines) if line.strip() == "[grid]"), None)
    bare = text
    if begin is not None:
        end = next(k for k in range(begin + 1, len(lines)) if lines[k].startswith("["))
        bare = "\n".join(lines[:begin] + lines[end:])
    assert parse_house(on_coarse_grid(bare)).grid.hold_s == 3600.0
    own = 'step = "10 min"\nhold = "30 min"  # mine\nhorizon = "90 min"\n'
    with pytest.raises(HouseFileError, match="horizon"):
        on_coarse_grid(bare + "\n[grid]\n" + own)
