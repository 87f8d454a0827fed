"""Where `nisse status` looks: the daemon's status file, or what the broker has retained of it."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from runtime.formats.payload import MAX_PAYLOAD_BYTES
from runtime.links.mqtt import secure
from runtime.publish.status_file import Status, StatusError
from runtime.site.config import MqttSection


class BrokerListener:
    """Keeps the last state, plan and availability of a site; a reader beside all others, and says nothing."""

    def __init__(self, site: str, section: MqttSection, password: str | None) -> None:
        """Raises ConfigError for certificates that cannot be used."""
        self._site, self._section = site, section
        self._prefix = f"nisse/{site}/"
        self._heard: dict[str, bytes] = {}
        self._changed = threading.Condition()
        self._trouble = ""
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        if section.username is not None:
            client.username_pw_set(section.username, password)
        if section.tls:
            secure(client, section)
        client.on_connect = self._on_connect
        client.on_message = self._on_message

    def open(self, timeout_s: float) -> None:
        """Connect and wait for the retained documents. Raises StatusError when there is no broker or no daemon."""
        broker = f"broker {self._section.host}:{self._section.port}"
        try:
            self._client.connect(self._section.host, self._section.port)
        except OSError as error:
            raise StatusError(f"{broker}: {error.strerror or error}; is it running? (nisse doctor)") from error
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: {"state", "availability"} <= set(self._heard) or self._trouble, timeout_s)
            if self._trouble:
                raise StatusError(f"{broker}: {self._trouble}; check username and password")
            if "state" not in self._heard:
                raise StatusError(f"{broker}: has nothing from {self._prefix}state; is the daemon running there?")
            self._changed.wait_for(lambda: "plan" in self._heard, min(0.3, timeout_s))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait(self, timeout_s: float) -> None:
        """Until something new came, or the time is over."""
        with self._changed:
            self._changed.wait(timeout_s)

    def status(self) -> Status:
        """What was heard last. Raises StatusError for a state that is none."""
        with self._changed:
            heard = dict(self._heard)
        state, plan = _document(heard["state"]), _document(heard.get("plan", b"null"))
        if state is None or "time" not in state:
            raise StatusError(f"{self._prefix}state holds no state of a daemon; is another program publishing there?")
        return Status(
            site=self._site,
            written_s=datetime.fromisoformat(str(state["time"])).timestamp(),
            state=state,
            plan=plan,
            online=heard.get("availability", b"online") == b"online",
        )

    # -- paho's thread

    def _on_connect(self, client: paho.Client, data: object, flags: Any, reason: Any, props: Any) -> None:
        if reason.is_failure:
            with self._changed:
                self._trouble = f"refuses: {reason}"
                self._changed.notify_all()
            return
        client.subscribe([(self._prefix + name, 1) for name in ("availability", "plan", "state")])

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self._heard[message.topic.removeprefix(self._prefix)] = bytes(message.payload[: MAX_PAYLOAD_BYTES * 4])
            self._changed.notify_all()


def _document(payload: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
