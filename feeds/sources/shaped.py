"""Programs in the house that have a forecast already: an entity of Home Assistant, a tariff of evcc.

Source: Home Assistant, "REST API" (GET /api/states/<entity_id> with a long-lived token); evcc, "REST API" (GET
/api/tariff/<type> with `rates` of start, end and value, money per kWh or watts). Their lists are read as the daemon
reads them from MQTT.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from feeds.errors import GarbledError, NothingYetError
from feeds.fetch import HttpResponse, Request
from feeds.rhythm import Rhythm, Steady
from feeds.series import Channels
from feeds.source import document_of
from runtime.formats.literals import NoValueError, PayloadError
from runtime.formats.payload import parse_payload
from runtime.formats.profile import Profile
from runtime.formats.units import conversion

RHYTHM = Steady(900.0)


@dataclass(frozen=True)
class Shaped:
    """`unit`: of the channel; what the message names is converted to it. `arrives`: of one that names none."""

    label: str
    url: str
    channel: str
    unit: str
    zone: tzinfo
    arrives: str = ""
    token: str = ""
    pointer: str = ""
    rhythm: Rhythm = RHYTHM
    good_for_s: float = 12 * 3600.0

    def requests(self, now_s: float) -> Mapping[str, Request]:
        headers = (("Authorization", f"Bearer {self.token}"),) if self.token else ()
        return {"state": Request(self.url, headers=headers, secrets=(self.token,) if self.token else ())}

    def read(self, key: str, response: HttpResponse, now_s: float) -> Channels:
        document_of(response)  # a web page, or nothing, is said in plain words
        unit = self.arrives or self.unit
        try:
            value = parse_payload(response.body, self.pointer, unit=unit, zone=self.zone)
        except NoValueError as error:
            raise NothingYetError(str(error)) from None
        except PayloadError as error:
            raise GarbledError(str(error)) from None
        if not isinstance(value, Profile):
            raise GarbledError("a number where a forecast is due; name an entity whose attributes hold the forecast")
        return {self.channel: value.converted(conversion(unit, self.unit))}
