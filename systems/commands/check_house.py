"""`nisse check HOUSE.toml`: is the house described so that it can be controlled, and what does it need?"""

from __future__ import annotations

import argparse
import importlib.util
import json

from systems.house_file import House, parse_house, read_house
from systems.portrait import asset_columns, asset_portraits, draw_house, what_is_kept


def run(args: argparse.Namespace) -> int:
    text, source = read_house(args.site)
    house = parse_house(text, source)
    # Where houses are built; a machine that only runs one has no CasADi, and refuses a bundle that does not fit.
    if importlib.util.find_spec("casadi") is not None:
        from systems.design import HouseDesign

        HouseDesign(text, source=source).blocks  # noqa: B018 - made to be checked
    print(draw_house(house))
    print("ok")
    if args.json is not None:
        args.json.write_text(json.dumps(document(house), indent=1) + "\n", encoding="utf-8")
    return 0


def document(house: House) -> dict[str, object]:
    """What the drawing says, for machines."""
    columns = asset_columns(house)
    return {
        "house": house.name,
        "assets": {
            name: {
                "table": table,
                "is": portrait.line,
                "measured": list(portrait.measured),
                "moved": list(portrait.moved),
                "forecast": list(portrait.forecast),
                "kept": what_is_kept(portrait),
                "notes": list(portrait.notes),
                "logged": [column.name for column in columns[name] if column.needed],
            }
            for table, name, portrait in asset_portraits(house)
        },
    }
