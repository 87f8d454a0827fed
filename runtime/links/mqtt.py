"""The MQTT link: inputs into a mailbox, state out, and the site's availability, whatever the broker does.

The network thread is paho's. It keeps the last message per topic and a bounded queue of commands, so a flood costs
nothing but messages. What the site last said is remembered here and said again after every reconnect; commands are
never replayed (clean session, retained commands are dropped).
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from runtime.clock import Clock
from runtime.formats.literals import NoValueError, PayloadError
from runtime.formats.payload import MAX_PAYLOAD_BYTES, parse_payload, parse_time
from runtime.formats.profile import Profile
from runtime.formats.text import document_text
from runtime.inputs.signals import Arrival
from runtime.links.losses import Losses
from runtime.publish.operator_commands import MAX_BYTES
from runtime.site.config import MqttSection
from runtime.site.credentials import tls_context

MAX_COMMANDS = 32
WAKE_PAUSE_S = 0.1
# How soon a lost connection is noticed while an acknowledgement is waited for.
GONE_AFTER_S = 0.1
INTRODUCTION_PAUSE_S = 2.0
# A publisher's clock may be ahead of ours by this; its message is then taken to be of now.
CLOCK_SKEW_S = 60.0
BARRIER_TOPIC = "bench/barrier"
QOS = 1

log = logging.getLogger("nisse.mqtt")


@dataclass(frozen=True)
class Subscription:
    """One input: its topic, where in the message the value is, and whether a retained message counts."""

    topic: str
    pointer: str = ""
    accept_retained: bool | None = None
    """None: a forecast counts, a number does not."""
    unit: str = ""
    unit_pointer: str = ""
    """Where the message names its unit, to be converted to `unit`."""
    value_key: str = ""
    timestamp_pointer: str = ""
    """Where the message says from when it is."""
    zone: tzinfo = UTC
    """Of times without an offset."""


@dataclass(frozen=True)
class BrokerCommand:
    """A message to `nisse/<site>/set/...` or `/request/...`."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class _Message:
    payload: bytes
    monotonic_s: float | None
    retained: bool


class MqttLink:
    """One connection. Everything public is called by the daemon's thread; callbacks only fill the mailbox."""

    def __init__(
        self,
        site: str,
        section: MqttSection,
        password: str | None,
        subscriptions: Mapping[str, Subscription],
        clock: Clock,
        *,
        lockstep: bool = False,
        spectator: bool = False,
        birth_topic: str | None = None,
    ) -> None:
        """subscriptions: input name -> where it comes from.

        spectator: read the inputs and say nothing, beside a daemon that may be running.
        birth_topic: where Home Assistant says `online`; what was said below its prefix is then said again.

        lockstep: listen for the bench's barrier, and date messages when the cycle sees them, since the clock stands
        still between cycles and the moment of arrival has no meaning.
        """
        self.prefix = f"nisse/{site}"
        self._clock, self._lockstep, self._spectator, self._birth_topic = clock, lockstep, spectator, birth_topic
        self._subscriptions = dict(subscriptions)
        self._lock = threading.Condition()
        self._mailbox: dict[str, _Message] = {}
        self._commands: deque[BrokerCommand] = deque()
        self._commands_lost = 0
        self.wake: Callable[[], None] = lambda: None
        """Called from the network's thread when a command has come, at most every WAKE_PAUSE_S."""
        self._woken_s = -WAKE_PAUSE_S
        self._arrivals: dict[str, Arrival] = {}
        self._said: dict[str, tuple[bytes, bool]] = {}
        self._unacknowledged: list[paho.MQTTMessageInfo] = []
        self._started = self._subscribed = False
        self._trouble_told = ""
        self._losses = Losses()
        self._introduced_s = -INTRODUCTION_PAUSE_S
        self._barrier = -1
        self._section = section
        self._client = self._build_client(site, password)

    # -- for the daemon's thread

    def start(self) -> None:
        """Connect in the background and keep trying; the broker may be absent."""
        if self._started:
            return
        self._started = True
        if not self._spectator:
            self._said[f"{self.prefix}/availability"] = (b"online", True)
        self._client.connect_async(self._section.host, self._section.port, keepalive=self._section.keepalive_s)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Connected, and the broker has confirmed the subscriptions."""
        return self._client.is_connected() and self._subscribed

    def wait_tried(self, timeout_s: float) -> bool:
        """Wait until connected, or until the broker could not be reached or refused."""
        with self._lock:
            self._lock.wait_for(lambda: self.connected or bool(self._trouble_told), timeout_s)
        return self.connected

    def wait_barrier(self, sequence: int, timeout_s: float) -> bool:
        """Wait for the bench's message `sequence`: all that was published before it has then arrived."""
        with self._lock:
            return self._lock.wait_for(lambda: self._barrier >= sequence, timeout_s)

    def read(self) -> dict[str, Arrival]:
        """What has arrived for each input by now."""
        with self._lock:
            taken, self._mailbox = self._mailbox, {}
        now_s = self._clock.monotonic()
        for name, subscription in self._subscriptions.items():
            message = taken.get(subscription.topic)
            if message is None or (message.retained and subscription.accept_retained is False):
                continue
            stamp = now_s if message.monotonic_s is None else message.monotonic_s
            self._arrivals[name] = self._arrived(name, subscription, message, stamp)
        return dict(self._arrivals)

    def has_all(self) -> bool:
        """Whether every input has a message, read or not."""
        with self._lock:
            waiting = set(self._mailbox)
        return all(name in self._arrivals or s.topic in waiting for name, s in self._subscriptions.items())

    def take_commands(self) -> tuple[list[BrokerCommand], int]:
        """The commands since the last call, oldest first, and how many more there was no room for."""
        with self._lock:
            taken, lost = list(self._commands), self._commands_lost
            self._commands.clear()
            self._commands_lost = 0
        return taken, lost

    def say(self, topic: str, document: Mapping[str, Any] | str, *, retain: bool = True) -> None:
        """Publish, and say it again after a reconnect. Nothing is queued while there is no connection."""
        if self._spectator:
            return
        text = document if isinstance(document, str) else document_text(document)
        self._said[topic] = (text.encode(), retain)
        if self._subscribed:
            self._publish(topic, text.encode(), retain)

    def answer(self, topic: str, text: str) -> None:
        """Publish once, not retained: the answer to a command has no meaning later."""
        if self._subscribed and not self._spectator:
            self._publish(topic, text.encode(), False)

    def wait_acknowledged(self, timeout_s: float) -> bool:
        """Wait until the broker has all that was said; False if it has not in time."""
        deadline = time.monotonic() + timeout_s
        pending, self._unacknowledged = self._unacknowledged, []
        try:
            for info in pending:
                while not info.is_published():
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 or not self._client.is_connected():
                        return False
                    info.wait_for_publish(min(left_s, GONE_AFTER_S))
        except (RuntimeError, ValueError):  # the connection went away; it is said again after the reconnect
            return False
        return True

    def stop(self) -> None:
        """Say offline and leave."""
        self.say(f"{self.prefix}/availability", "offline")
        self.wait_acknowledged(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    # -- set-up

    def _build_client(self, site: str, password: str | None) -> paho.Client:
        section = self._section
        # The broker gives a spectator a name: with the daemon's own it would take the connection from it.
        name = "" if self._spectator else f"nisse-{site}"
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=True, protocol=paho.MQTTv311)
        if not self._spectator:
            client.will_set(f"{self.prefix}/availability", b"offline", qos=QOS, retain=True)
        if section.username is not None:
            client.username_pw_set(section.username, password)
        if section.tls:
            secure(client, section)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        client.max_queued_messages_set(64)
        client.on_socket_open = _without_delay
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _topics(self) -> list[str]:
        """The barrier comes last: retained messages are delivered in the order of subscription."""
        inputs = sorted({s.topic for s in self._subscriptions.values()})
        barrier = [BARRIER_TOPIC] if self._lockstep else []
        if self._spectator:
            return [*inputs, *barrier]
        birth = [] if self._birth_topic is None else [self._birth_topic]
        return [*inputs, f"{self.prefix}/set/#", f"{self.prefix}/request/#", *birth, *barrier]

    def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        info = self._client.publish(topic, payload, qos=QOS, retain=retain)
        self._unacknowledged = [i for i in self._unacknowledged[-63:] if not i.is_published()]
        if info.rc == paho.MQTT_ERR_SUCCESS:  # otherwise the connection has just gone
            self._unacknowledged.append(info)

    def _arrived(self, name: str, subscription: Subscription, message: _Message, stamp: float) -> Arrival:
        """What the message says; where it says nothing that counts, what was there before, and why."""
        last = self._arrivals.get(name)
        try:
            arrival = self._parsed(subscription, message, stamp)
        except PayloadError as error:
            problem, missing = f"{subscription.topic}: {error}", isinstance(error, NoValueError)
            if last is None or last.value is None:
                return Arrival(None, stamp, problem, missing)
            return Arrival(last.value, last.monotonic_s, problem)
        if last is not None and last.value is not None and arrival.monotonic_s < last.monotonic_s:
            return last  # an older one, said again
        return arrival

    def _parsed(self, s: Subscription, message: _Message, stamp: float) -> Arrival:
        """Raises PayloadError."""
        value = parse_payload(
            message.payload, s.pointer, unit=s.unit, unit_pointer=s.unit_pointer, value_key=s.value_key, zone=s.zone
        )
        if s.timestamp_pointer:
            then_s = self._clock.wall() - (self._clock.monotonic() - stamp)
            age_s = then_s - parse_time(message.payload, s.timestamp_pointer, s.zone, then_s + CLOCK_SKEW_S)
            if age_s < -CLOCK_SKEW_S:
                raise PayloadError(f"its time is {-age_s:.0f} s ahead of this clock; one of the two is wrong")
            return Arrival(value, stamp - max(0.0, age_s))
        if message.retained and s.accept_retained is None and not isinstance(value, Profile):
            raise NoValueError("retained by the broker, nobody knows since when; it counts when it is sent anew")
        return Arrival(value, stamp)

    # -- paho's thread

    def _on_connect(
        self, client: paho.Client, data: object, flags: paho.ConnectFlags, reason: ReasonCode, props: Properties | None
    ) -> None:
        if reason.is_failure:
            self._tell_trouble(f"refuses: {reason}; check username, password_file and tls")
            return
        self._trouble_told = ""
        log.info("connected to broker %s:%d", self._section.host, self._section.port)
        client.subscribe([(topic, QOS) for topic in self._topics()])

    def _on_connect_fail(self, client: paho.Client, data: object) -> None:
        self._tell_trouble("not reachable, or its certificate is not trusted; trying on")

    def _on_disconnect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        props: Properties | None,
    ) -> None:
        self._subscribed = False
        if reason.is_failure:
            log.warning("connection to the broker lost: %s", reason)
            if self._losses.lost(time.monotonic()):
                log.warning(
                    "it is lost again and again: does another daemon run for %s, here or elsewhere?", self.prefix
                )

    def _tell_trouble(self, trouble: str) -> None:
        """Once, not at every attempt."""
        if trouble != self._trouble_told:
            log.warning("broker %s:%d %s", self._section.host, self._section.port, trouble)
        with self._lock:
            self._trouble_told = trouble
            self._lock.notify_all()

    def _on_subscribe(
        self, client: paho.Client, data: object, mid: int, reasons: list[ReasonCode], props: Properties | None
    ) -> None:
        for topic, reason in zip(self._topics(), reasons, strict=False):
            if reason.is_failure:
                log.error("broker does not allow reading %s; check its access list", topic)
        with self._lock:
            self._subscribed = True
            self._lock.notify_all()
        # Said again only now: what paho still had in flight from the last connection has gone out before, and whoever
        # sees us online can rely on our listening.
        for topic, (payload, retain) in list(self._said.items()):
            client.publish(topic, payload, qos=QOS, retain=retain)

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        payload, topic = bytes(message.payload[: MAX_PAYLOAD_BYTES + 1]), message.topic
        stamp = None if self._lockstep else self._clock.monotonic()
        born = ordered = False
        with self._lock:
            if topic == BARRIER_TOPIC:
                self._barrier = max(self._barrier, _sequence(payload))
                self._lock.notify_all()
            elif topic.startswith(f"{self.prefix}/"):
                # A retained command is a leftover from before; acting on it now would be a surprise.
                if message.retain:
                    pass
                elif len(self._commands) < MAX_COMMANDS:
                    self._commands.append(
                        BrokerCommand(topic.removeprefix(f"{self.prefix}/"), payload[: MAX_BYTES + 1])
                    )
                    ordered = True
                else:
                    self._commands_lost += 1
            elif topic == self._birth_topic:
                born = payload == b"online"
            else:
                self._mailbox[topic] = _Message(payload, stamp, message.retain)
        if ordered and time.monotonic() - self._woken_s >= WAKE_PAUSE_S:
            self._woken_s = time.monotonic()
            self.wake()
        if born:
            self._introduce(client)

    def _introduce(self, client: paho.Client) -> None:
        """Home Assistant has started: tell it again who we are, then what we know; bounded, whoever says so."""
        if time.monotonic() - self._introduced_s < INTRODUCTION_PAUSE_S:
            return
        self._introduced_s = time.monotonic()
        prefix = (self._birth_topic or "").removesuffix("/status") + "/"
        for topic, (payload, retain) in sorted(self._said.items(), key=lambda item: not item[0].startswith(prefix)):
            if retain:
                client.publish(topic, payload, qos=QOS, retain=True)


def _without_delay(client: paho.Client, data: object, connection: paho.SocketLike) -> None:
    """Small messages go out at once: state and plan would otherwise wait for each other's acknowledgement (Nagle)."""
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def secure(client: paho.Client, section: MqttSection) -> None:
    """TLS as the site file says. Raises ConfigError."""
    client.tls_set_context(tls_context(section))


def _sequence(payload: bytes) -> int:
    """The number in a barrier message, `7` or `{"sequence": 7}`; -1 where there is none."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError):
        return -1
    number = document.get("sequence") if isinstance(document, dict) else document
    return number if isinstance(number, int) and not isinstance(number, bool) else -1
