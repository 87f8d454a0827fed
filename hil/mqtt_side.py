"""The bench's MQTT client: publishes forecasts and the barrier behind them, and watches what the daemon publishes."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from hil.errors import BenchError
from hil.faults import Display, Garbage, Shown
from hil.patience import HANG_S
from hil.plant import PublishedForecast
from runtime.links.mqtt import BARRIER_TOPIC
from runtime.site.feeds import topic_of


class MqttSide:
    """One connection, so that the broker keeps the order: all forecasts of a cycle, then its barrier."""

    def __init__(self, port: int, site: str) -> None:
        self._port, self._site = port, site
        self._sequence = 0
        self._changed = threading.Condition()
        self._messages: dict[str, bytes] = {}
        self._subscribed = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="plant-side")
        self._client.reconnect_delay_set(min_delay=1, max_delay=1)
        self._client.max_queued_messages_set(0)
        self._client.on_connect = lambda client, *_: client.subscribe(
            [(f"nisse/{site}/#", 1), (topic_of(site, "availability"), 1)]
        )
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        # Several small messages in a row: with Nagle's algorithm they would wait 40 ms for the broker's delayed ACK.
        self._client.on_socket_open = _no_delay
        self._client.connect("127.0.0.1", port, keepalive=30)
        self._client.loop_start()
        self.wait_connected()

    def wait_connected(self) -> None:
        """Wait until subscribed (again). Raises BenchError when the broker stays away."""
        self._wait(lambda: self._subscribed, "the bench could not subscribe at the broker")

    def wait_daemon_online(self) -> None:
        """Wait until the daemon has connected and announced itself. Raises BenchError otherwise."""
        topic = f"nisse/{self._site}/availability"
        self._wait(
            lambda: self._messages.get(topic) == b"online",
            f"the daemon did not announce itself on {topic}: see its log",
        )

    def wait_feeds_online(self) -> None:
        """Wait until the feeds have connected, and so listen. Raises BenchError otherwise."""
        topic = topic_of(self._site, "availability")
        self._wait(lambda: self._messages.get(topic) == b"online", f"the feeds did not announce themselves on {topic}")

    def forget_feeds(self) -> None:
        """Before a (re)start of the feeds."""
        with self._changed:
            self._messages.pop(topic_of(self._site, "availability"), None)

    def say_state(self, document: Mapping[str, Any]) -> None:
        """In the daemon's place, of the time before the scenario, in which it does not run."""
        self._client.publish(f"nisse/{self._site}/state", json.dumps(document), qos=1)

    def forget_availability(self) -> None:
        """Before a (re)start of the daemon: an old "online" says nothing about the new process."""
        with self._changed:
            self._messages.pop(f"nisse/{self._site}/availability", None)

    def forget(self) -> None:
        """Drop what was received: what a restarted broker does not know any more must not count."""
        with self._changed:
            self._messages.clear()
            self._subscribed = False

    def publish(self, forecasts: Mapping[str, PublishedForecast], displays: Mapping[str, Display]) -> None:
        """Publish every forecast as its faults let it be seen."""
        for name, forecast in forecasts.items():
            match displays[name]:
                case Shown(value=values):
                    document = {"start": forecast.start_s, "step_s": forecast.step_s, "values": values.tolist()}
                    self._client.publish(forecast.topic, json.dumps(document), qos=1)  # NaN stays: the fault
                case Garbage(payload=payload):
                    self._client.publish(forecast.topic, payload, qos=1)

    def barrier(self) -> int:
        """Publish the next barrier and return its number; the daemon waits for it before its cycle."""
        self._sequence += 1
        self._client.publish(BARRIER_TOPIC, str(self._sequence), qos=1)
        return self._sequence

    def plan(self, time_s: float) -> dict[str, list[float]]:
        """The plan that the daemon published in its cycle at `time_s`: signal -> values over the horizon.

        Raises BenchError when it does not come.
        """
        topic, start = f"nisse/{self._site}/plan", datetime.fromtimestamp(time_s, UTC)
        found: dict[str, list[float]] = {}

        def arrived() -> bool:
            document = json.loads(self._messages.get(topic, b"{}"))
            if not document or datetime.fromisoformat(document["start"]) != start:
                return False
            found.update({name: signal["values"] for name, signal in document["signals"].items()})
            return True

        self._wait(arrived, f"no plan for {start.isoformat()} arrived on {topic}")
        return found

    def document(self, name: str) -> dict[str, Any]:
        """The last that the daemon published under this name. Raises BenchError where nothing comes."""
        topic = f"nisse/{self._site}/{name}"
        self._wait(lambda: topic in self._messages, f"nothing arrived on {topic}")
        found: dict[str, Any] = json.loads(self._messages[topic])
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _wait(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + HANG_S
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise BenchError(f"{problem} within {HANG_S:g} s")
                self._changed.wait(left)

    def _on_subscribe(self, *_: Any) -> None:
        with self._changed:
            self._subscribed = True
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self._subscribed = False
            self._changed.notify_all()

    def _on_message(self, _client: mqtt.Client, _user: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self._messages[message.topic] = bytes(message.payload)
            self._changed.notify_all()


def _no_delay(_client: mqtt.Client, _user: Any, link: Any) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
