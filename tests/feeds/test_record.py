"""A record of what a service really answered can be shown to others: no token, no place, no person in it."""

from __future__ import annotations

import json
from pathlib import Path

from feed_site import call, site_text, write_site

from feeds.fetch import Request
from feeds.record import without_secrets
from hil.services import TOKEN, ServedWorld
from hil.serving import serving

TABLES = """
[feeds]
latitude = 63.4305
longitude = 10.3951
currency = "NOK"
[feeds.price]
source = "tibber"
token_file = "entsoe.token"
url = "{url}/v1-beta/gql"
[feeds.weather]
source = "open-meteo"
url = "{url}"
second = {{ source = "met-norway", contact = "me@example.org", url = "{url}" }}
"""


def test_a_record_holds_the_answers_and_no_secret(tmp_path: Path) -> None:
    with serving(ServedWorld()) as url:
        site = write_site(tmp_path, site_text(TABLES.format(url=url)))
        done = call("feed", "once", str(site), "--record", str(tmp_path / "record"))
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "record").iterdir())
    assert len(files) == 3
    text = "".join(file.read_text() for file in files)
    for secret in (TOKEN, "me@example.org", "63.43", "10.39", "96a14971-525a-4420-aae9-e5aedaa129ff"):
        assert secret not in text, secret
    bodies = [json.loads(file.read_text())["answer"]["body"] for file in files]
    assert any("startsAt" in body for body in bodies) and any("temperature_2m" in body for body in bodies)
    assert all(isinstance(json.loads(body), dict) for body in bodies), "still what a parser can be tried on"


def test_secrets_are_found_however_they_are_written() -> None:
    request = Request("http://x", secrets=('a"b', "t0k"))
    text = json.dumps({"body": json.dumps({"token": "t0k", "quoted": 'a"b', "latitude": 63.1, "coordinates": [1, 2]})})
    left = without_secrets(text, request)
    assert "t0k" not in left and "63.1" not in left and "1, 2" not in left and '"b' not in json.loads(left)["body"][20:]
