"""What people want, said to the daemon as anybody says it: `set/<name>` on the broker, and its answer waited for."""

from __future__ import annotations

import json
import secrets
import threading
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from runtime.links.mqtt import secure
from runtime.site.config import MqttSection

ANSWER_WAIT_S = 5.0
MAX_ANSWER_BYTES = 4096


class NoBroker:
    """For a site without [mqtt]."""

    def say(self, name: str, value: str, until: str) -> str:
        return "this site has no [mqtt], over which the daemon could be told"


class BrokerCommands:
    """One client of the broker, which connects by itself again and again."""

    def __init__(self, site: str, section: MqttSection, password: str | None, wait_s: float = ANSWER_WAIT_S) -> None:
        """Raises ConfigError for certificates that cannot be used."""
        self._prefix, self._section, self._wait_s = f"nisse/{site}/", section, wait_s
        self._answers: dict[str, str] = {}
        self._changed = threading.Condition()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        if section.username is not None:
            client.username_pw_set(section.username, password)
        if section.tls:
            secure(client, section)
        client.on_connect = self._on_connect
        client.on_message = self._on_message

    def open(self) -> None:
        self._client.connect_async(self._section.host, self._section.port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, name: str, value: str, until: str) -> str:
        if not self._client.is_connected():
            return f"the broker {self._section.host}:{self._section.port} is not reached; nothing was said"
        transaction = secrets.token_hex(8)
        order = {"value": value, "until": until, "transaction": transaction}
        self._client.publish(f"{self._prefix}set/{name}", json.dumps(order), qos=1)
        with self._changed:
            self._changed.wait_for(lambda: transaction in self._answers, self._wait_s)
            return self._answers.pop(transaction, "the daemon did not answer; it may take it yet, look again")

    # -- paho's thread

    def _on_connect(self, client: paho.Client, data: object, flags: Any, reason: Any, props: Any) -> None:
        if not reason.is_failure:
            client.subscribe(f"{self._prefix}response/+", 1)

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        try:
            document = json.loads(message.payload[:MAX_ANSWER_BYTES])
            transaction, error = str(document["transaction"]), str(document["error"])
            taken = document["status"] == "ok"
        except (ValueError, KeyError, TypeError, RecursionError):
            return  # an answer to somebody else
        with self._changed:
            if len(self._answers) > 64:
                self._answers.clear()
            self._answers[transaction] = "" if taken else error or "refused"
            self._changed.notify_all()
