"""The model file: what a log taught of a house, as `nisse identify` writes and `nisse build` reads it.

    {"format": "nisse-model-1", "house": "villa", "theta": {...}, "fits": {"zone": {...}, ...}, "log": {...}}

theta holds data-fitted defaults by name; fits what else an asset's block takes, by table. The file of an ARX model
alone (nisse-arx-1) is read as the fit of the zones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.formats.documents import parse_json
from runtime.formats.plain_files import read_text
from systems.arx import FORMAT as ARX_FORMAT

FORMAT = "nisse-model-1"
THETA = "theta"
"""Beside the tables, in the fits of a design."""


class ModelFileError(ValueError):
    """A model file that cannot be used."""

    exit_code = 65


def read_fits(path: Path, house: str) -> dict[str, str]:
    """The fits of `HouseDesign`: texts by table, and the fitted theta. Raises ModelFileError."""
    remedy = "name a file that `nisse identify --output` wrote"
    try:
        text = read_text(path)
        document = parse_json(text)
    except OSError as error:
        raise ModelFileError(f"{path}: {error.strerror}; {remedy}") from error
    except ValueError as error:
        raise ModelFileError(f"{path}: not a JSON file ({error}); {remedy}") from error
    if isinstance(document, dict) and document.get("format") == ARX_FORMAT:
        return {"zone": text}
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ModelFileError(f"{path}: not a {FORMAT} file; {remedy}")
    fits, theta = document.get("fits"), document.get(THETA)
    if not isinstance(fits, dict) or not isinstance(theta, dict):
        raise ModelFileError(f"{path}: 'fits' or 'theta' is missing; {remedy}")
    if document.get("house") != house:
        raise ModelFileError(
            f"{path}: the model of house {document.get('house')!r}, not of {house!r}; identify {house!r} from its log"
        )
    return {table: json.dumps(fit) for table, fit in fits.items()} | {THETA: json.dumps(theta)}


def model_document(
    house: str, theta: Mapping[str, float], fits: Mapping[str, Any], told: Mapping[str, Any]
) -> dict[str, Any]:
    """`told`: what a person wants to know of it."""
    return {"format": FORMAT, "house": house, THETA: dict(theta), "fits": dict(fits), **told}
