"""What a bundle calls its signals, in the plant's own words.

A bundle that was built from a house file uses the names of that house. Those of the two systems that are built without
one have names of their own, by what a signal is: the one battery, the first zone, the price.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from systems.house_file import House

Combination = Mapping[str, float]
"""Name -> factor: a signal as a sum of the plant's."""
_NUMBERED = re.compile(r"^(room|power|outdoor)_(\d+)$")


@dataclass(frozen=True)
class Roles:
    """Of the signals of a system's bundle on a house: each as a combination of the plant's."""

    house: House

    def of(self, name: str, known: Mapping[str, object]) -> Combination | None:
        """The plant's signals behind a bundle's, of those that are `known`; None where there are none."""
        if name in known:
            return {name: 1.0}
        found = self._by_role(name)
        return found if found and all(own in known for own in found) else None

    def _by_role(self, name: str) -> Combination | None:
        numbered = _NUMBERED.match(name)
        if numbered is not None:
            return self._numbered(numbered[1], int(numbered[2]))
        prices = {"buy_price": "buy", "price": "buy", "sell_price": "sell"}
        if name in prices:
            return {prices[name]: 1.0}
        if name == "net_load":
            arrays = self.house.of("pv")
            columns = ["pv"] if len(arrays) == 1 else [f"pv_{pv.name}" for pv in arrays]
            return {"load": 1.0, **dict.fromkeys(columns, -1.0)}
        batteries = self.house.of("battery")
        if name in ("soc", "charge", "discharge") and len(batteries) == 1:
            return {f"{batteries[0].name}_{name}": 1.0}
        return None

    def _numbered(self, what: str, number: int) -> Combination | None:
        if what == "outdoor":
            return {"outdoor": 1.0}
        assets = self.house.of("zone" if what == "room" else "heat_pump")
        if not 1 <= number <= len(assets):
            return None
        return {f"{assets[number - 1].name}_{'temperature' if what == 'room' else 'power'}": 1.0}
