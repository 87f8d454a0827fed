"""Names of assets and of what belongs to them: one rule for signals, parameters, topics and columns."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator

LONGEST = 24
RESERVED = frozenset(
    {"building", "buy", "export", "grid", "house", "import", "load", "meter", "month", "new", "outdoor", "peak",
     "price", "pv", "sell", "sun", "zones"}
)  # fmt: skip
"""What signals and columns that every house has begin with. A single table may bear its own name."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def asset_name(name: str) -> str:
    """The name itself. Raises ValueError for one that topics, columns and C comments cannot carry."""
    if _NAME.fullmatch(name) is None or len(name) > LONGEST:
        raise ValueError(
            f"{name[:40]!r} cannot be part of topics and columns: write {suggested(name)!r}, in lower-case letters "
            f"a-z, digits and single underscores, at most {LONGEST}"
        )
    return name


def suggested(name: str) -> str:
    """The nearest name that is one."""
    plain = unicodedata.normalize(
        "NFKD", name.replace("ø", "o").replace("Ø", "o").replace("æ", "ae").replace("ß", "ss")
    )
    words = re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    found = "_".join(words)[:LONGEST].strip("_")
    return found if _NAME.fullmatch(found) else f"asset_{found}"[:LONGEST].strip("_") if found else "living"


AssetName = Annotated[str, AfterValidator(asset_name)]
