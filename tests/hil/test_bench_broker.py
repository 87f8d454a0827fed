"""Both brokers: messages pass, retained ones stay, a kill is felt and the same port comes back."""

from __future__ import annotations

import queue
import socket
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from patience import PATIENCE_S

from hil.broker import Broker, find_mosquitto
from hil.errors import BenchError


@pytest.fixture(params=["mosquitto", "amqtt"])
def broker(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("needs mosquitto (Debian: apt install mosquitto)")
    started = Broker(tmp_path, request.param)
    started.start()
    yield started
    started.stop()


def client(broker: Broker) -> tuple[mqtt.Client, queue.Queue]:
    inbox: queue.Queue = queue.Queue()
    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    made.on_message = lambda _c, _u, message: inbox.put((message.topic, message.payload, message.retain))
    made.on_subscribe = lambda *_: inbox.put("subscribed")
    made.on_disconnect = lambda *_: inbox.put("gone")
    made.connect("127.0.0.1", broker.port)
    made.loop_start()
    return made, inbox


def test_messages_of_one_sender_keep_their_order_and_retained_ones_wait(broker: Broker) -> None:
    sender, _ = client(broker)
    sender.publish("prices/buy", "first", qos=1, retain=True).wait_for_publish(PATIENCE_S)
    receiver, inbox = client(broker)
    receiver.subscribe("#", qos=1)
    assert {inbox.get(timeout=PATIENCE_S), inbox.get(timeout=PATIENCE_S)} == {
        "subscribed",
        ("prices/buy", b"first", True),
    }
    for number in range(200):
        sender.publish(f"a/{number % 3}", str(number), qos=1)
    assert [int(inbox.get(timeout=PATIENCE_S)[1]) for _ in range(200)] == list(range(200))
    for one in (sender, receiver):
        one.disconnect()
        one.loop_stop()


def test_kill_is_felt_and_the_same_port_comes_back(broker: Broker) -> None:
    watcher, inbox = client(broker)
    watcher.subscribe("x")
    assert inbox.get(timeout=PATIENCE_S) == "subscribed"
    port = broker.port
    broker.kill()
    assert not broker.running
    assert inbox.get(timeout=PATIENCE_S) == "gone"
    watcher.loop_stop()
    broker.start()
    assert broker.port == port
    again, inbox = client(broker)
    again.subscribe("x")
    assert inbox.get(timeout=PATIENCE_S) == "subscribed"
    again.loop_stop()


def test_a_broker_that_cannot_start_says_where_to_look(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # taken, but nobody listens
        port = holder.getsockname()[1]
        with pytest.raises(BenchError, match=rf"did not come up on port {port}: see .*broker\.log"):
            Broker(tmp_path, "amqtt", port=port).start()
