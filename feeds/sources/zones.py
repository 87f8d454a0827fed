"""Bidding zones by their usual names, and the codes by which ENTSO-E knows them (Energy Identification Codes).

Source: ENTSO-E, "Transparency Platform RESTful API - user guide", appendix A.15 Areas; the sixteenth character checks
the others ("EIC Reference Manual", release 5, section 3).
"""

from __future__ import annotations

EIC = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "BG": "10YCA-BULGARIA-R",
    "CH": "10YCH-SWISSGRIDZ",
    "CZ": "10YCZ-CEPS-----N",
    "DE-LU": "10Y1001A1001A82H",
    "DK1": "10YDK-1--------W",
    "DK2": "10YDK-2--------M",
    "EE": "10Y1001A1001A39I",
    "ES": "10YES-REE------0",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "GR": "10YGR-HTSO-----Y",
    "HR": "10YHR-HEP------M",
    "HU": "10YHU-MAVIR----U",
    "IE-SEM": "10Y1001A1001A59C",
    "IT-North": "10Y1001A1001A73I",
    "LT": "10YLT-1001A0008Q",
    "LV": "10YLV-1001A00074",
    "NL": "10YNL----------L",
    "NO1": "10YNO-1--------2",
    "NO2": "10YNO-2--------T",
    "NO3": "10YNO-3--------J",
    "NO4": "10YNO-4--------9",
    "NO5": "10Y1001A1001A48H",
    "PL": "10YPL-AREA-----S",
    "PT": "10YPT-REN------W",
    "RO": "10YRO-TEL------P",
    "SE1": "10Y1001A1001A44P",
    "SE2": "10Y1001A1001A45N",
    "SE3": "10Y1001A1001A46L",
    "SE4": "10Y1001A1001A47J",
    "SI": "10YSI-ELES-----O",
    "SK": "10YSK-SEPS-----K",
}
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"


def is_eic(code: str) -> bool:
    """Whether the last of sixteen characters is the check of the others: 36 less their weighted sum, modulo 37."""
    if len(code) != 16 or any(c not in _LETTERS for c in code):
        return False
    total = sum(_LETTERS.index(c) * (16 - k) for k, c in enumerate(code[:15]))
    return _LETTERS[36 - (total - 1) % 37] == code[15]
