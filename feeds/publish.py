"""Forecasts and status as documents, and where they go: retained topics of the broker, or files beside the caches."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from feeds.disk import Files
from feeds.feed import FeedForecast
from runtime.links.mqtt import BARRIER_TOPIC, secure
from runtime.site.config import MqttSection
from runtime.site.feeds import STATUS, file_of, topic_of
from runtime.site.signals import FEEDS

QOS = 1
MOST_STATE_BYTES = 1 << 20
log = logging.getLogger("nisse.feed")


def forecast_document(forecast: FeedForecast, zone: tzinfo) -> dict[str, Any]:
    """As the daemon reads it: a start, a step and values in a unit, null where nobody knows; and whence each part."""

    def iso(time_s: float) -> str:
        return datetime.fromtimestamp(time_s, zone).isoformat()

    return {
        "unit": forecast.unit,
        "start": iso(forecast.start_s),
        "step_s": forecast.step_s,
        "values": [None if v is None else round(v, 6) for v in forecast.values],
        "fetched": None if forecast.fetched_s is None else iso(forecast.fetched_s),
        "parts": [{"from": iso(p.start_s), "to": iso(p.end_s), "origin": p.origin} for p in forecast.parts],
    }


class Outlet(Protocol):
    """Where documents are put, by name; each takes the place of the one before."""

    def put(self, name: str, document: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class FileOutlet:
    """For a daemon on the same machine, without a broker."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        try:
            self._files.write(file_of(name), _packed(document))
        except OSError as error:
            log.warning("%s: not written: %s", name, error.strerror or error)

    def close(self) -> None:
        pass


class Beside:
    """Another outlet, and the status as a file in some folders, for whoever looks on the machine (nisse doctor)."""

    def __init__(self, outlet: Outlet, places: Sequence[Files], site: str) -> None:
        self._outlet, self._places, self._site = outlet, places, site

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        self._outlet.put(name, document)
        if name == STATUS:
            for place in self._places:
                with contextlib.suppress(OSError):  # the status says itself that the disk is full
                    place.write(f"{self._site}.{FEEDS}.json", _packed(document))

    def close(self) -> None:
        self._outlet.close()


class BrokerOutlet:
    """One connection. What was said is said again after a reconnect; the broker may be absent at any time."""

    def __init__(
        self,
        site: str,
        section: MqttSection,
        password: str | None,
        on_state: Callable[[bytes], None] | None = None,
        name: str = "",
        *,
        lockstep: bool = False,
    ) -> None:
        """on_state: told what the daemon publishes of itself, from the network's thread. name: of the connection.

        lockstep: a bench's barriers are listened to, and a broker that is back is found within a second.
        """
        self._site, self._section, self._on_state, self._lockstep = site, section, on_state, lockstep
        self._barrier, self._barrier_came = 0, threading.Condition()
        self._pending: list[paho.MQTTMessageInfo] = []
        self._said: dict[str, bytes] = {}
        self._trouble_told = ""
        self._ready = threading.Event()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, protocol=paho.MQTTv311
        )
        if name:
            client.will_set(topic_of(site, "availability"), b"offline", qos=QOS, retain=True)
            self._said[topic_of(site, "availability")] = b"online"
        if section.username is not None:
            client.username_pw_set(section.username, password)
        if section.tls:
            secure(client, section)
        client.reconnect_delay_set(min_delay=1, max_delay=1 if lockstep else 60)
        client.max_queued_messages_set(64)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message

    def start(self) -> None:
        self._client.connect_async(self._section.host, self._section.port, keepalive=self._section.keepalive_s)
        self._client.loop_start()

    def wait_connected(self, timeout_s: float) -> bool:
        return self._ready.wait(timeout_s)

    def put(self, name: str, document: Mapping[str, Any]) -> None:
        self._say(topic_of(self._site, name), _packed(document))

    def say(self, topic: str, document: Mapping[str, Any]) -> None:
        """On a topic of somebody else's, such as Home Assistant's."""
        self._say(topic, _packed(document))

    def _say(self, topic: str, payload: bytes) -> None:
        self._said[topic] = payload
        if self._ready.is_set():
            info = self._client.publish(topic, payload, qos=QOS, retain=True)
            if self._lockstep:
                self._pending.append(info)

    def wait_barrier(self, sequence: int, timeout_s: float) -> bool:
        """Until what was published before the bench's barrier of this number has been heard; False if it is not."""
        with self._barrier_came:
            return self._barrier_came.wait_for(lambda: self._barrier >= sequence, timeout_s)

    def settle(self, timeout_s: float) -> bool:
        """Wait until the broker has what was said since the last call; False where it is away or late."""
        deadline = time.monotonic() + timeout_s
        pending, self._pending = self._pending, []
        try:
            while pending:
                if pending[-1].is_published():
                    pending.pop()
                elif not self._ready.is_set() or time.monotonic() > deadline:
                    return False
                else:
                    pending[-1].wait_for_publish(0.2)
        except (RuntimeError, ValueError):  # the connection is gone; it is said again after the reconnect
            return False
        return True

    def flush(self, timeout_s: float) -> bool:
        """Wait until the broker has what was said last; False if it has not in time."""
        deadline = time.monotonic() + timeout_s
        pending = [self._client.publish(topic, payload, qos=QOS, retain=True) for topic, payload in self._said.items()]
        for info in pending:
            try:
                info.wait_for_publish(max(0.0, deadline - time.monotonic()))
            except (RuntimeError, ValueError):
                return False
        return all(info.is_published() for info in pending)

    def close(self) -> None:
        availability = topic_of(self._site, "availability")
        if availability in self._said and self._ready.is_set():
            info = self._client.publish(availability, b"offline", qos=QOS, retain=True)
            try:
                info.wait_for_publish(1.0)
            except (RuntimeError, ValueError):
                log.info("the broker has not heard that the feeds end")
        self._client.disconnect()
        self._client.loop_stop()

    # -- paho's thread

    def _on_connect(self, client: paho.Client, data: object, flags: Any, reason: Any, props: Any) -> None:
        if reason.is_failure:
            self._tell(f"refuses: {reason}")
            return
        self._trouble_told = ""
        if self._on_state is not None:
            client.subscribe(f"nisse/{self._site}/state", 0)
        if self._lockstep:
            client.subscribe(BARRIER_TOPIC, QOS)
        for topic, payload in list(self._said.items()):
            client.publish(topic, payload, qos=QOS, retain=True)
        self._ready.set()

    def _on_connect_fail(self, client: paho.Client, data: object) -> None:
        self._tell("cannot be reached")

    def _on_disconnect(self, client: paho.Client, data: object, flags: Any, reason: Any, props: Any) -> None:
        self._ready.clear()
        if reason.is_failure:
            self._tell(f"connection lost: {reason}")

    def _tell(self, trouble: str) -> None:
        """Once, not at every attempt."""
        if trouble != self._trouble_told:
            log.warning("broker %s:%d %s", self._section.host, self._section.port, trouble)
        self._trouble_told = trouble

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        if message.topic == BARRIER_TOPIC:
            with self._barrier_came:
                self._barrier = int(message.payload)
                self._barrier_came.notify_all()
        elif self._on_state is not None and not message.retain and len(message.payload) <= MOST_STATE_BYTES:
            self._on_state(bytes(message.payload))


def _packed(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
