"""Names of assets and of what belongs to them: one rule for signals, parameters, topics and columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

AssetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=24)]
"""Lower case: it is part of topics, columns and C comments."""
