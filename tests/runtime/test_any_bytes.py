"""The daemon process while every one of its doors is fed with any bytes at once: it lives, and controls again after."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import numpy as np
import pytest
from tiny_site import Ears, Running, Tank, forecast, level_is

STATE = "nisse/tank/state"
MESSAGES = 4000
# Like what is meant, so that the fuzzing gets past the first test of the parser.
SEEDS = (
    b"21.5",
    b'{"start": "2026-01-15T00:00:00+01:00", "step_s": 3600, "values": [0.1, 0.2]}',
    b'{"value": "rule", "transaction": "a"}',
    b'{"name": "max_inflow", "value": 0.5}',
    b"online",
)
TOPICS = (
    "plant/demand",
    "nisse/tank/set/mode",
    "nisse/tank/set/max_inflow",
    "nisse/tank/set/",
    "nisse/tank/request/cycle",
    "nisse/tank/request/reload",
    "nisse/tank/request/\u00e6\u2603",
    "homeassistant/status",
)


def mutated(rng: np.random.Generator) -> bytes:
    """Noise, or a seed with bytes changed, cut out, doubled."""
    if rng.random() < 0.3:
        return rng.bytes(int(rng.integers(0, 2000)))
    data = bytearray(SEEDS[int(rng.integers(len(SEEDS)))])
    for _ in range(int(rng.integers(0, 6))):
        at = int(rng.integers(len(data) + 1))
        match int(rng.integers(3)):
            case 0:
                data[at : at + 1] = rng.bytes(1)
            case 1:
                del data[at : at + int(rng.integers(1, 8))]
            case _:
                data[at:at] = data[: int(rng.integers(1, 40))]
    return bytes(data)


@pytest.mark.slow
def test_any_bytes_at_every_door(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    """MQTT inputs, commands and Home Assistant's topic, and unasked noise on the serial line between answers."""
    rng = np.random.default_rng(0)
    forecast(ears)
    daemon = start(0.5)
    ears.wait_for(STATE, level_is("mpc"))
    noise_bytes = 0
    for k in range(MESSAGES):
        topic = TOPICS[int(rng.integers(len(TOPICS)))]
        ears.client.publish(topic, mutated(rng), qos=int(rng.integers(2)), retain=False)
        if k % 20 == 0:
            noise, fd = rng.bytes(int(rng.integers(1, 300))), tank.line.plant_fd
            assert fd is not None
            noise_bytes += os.write(fd, noise)
        if k % 100 == 0:
            time.sleep(0.1)
            assert daemon.process.poll() is None, daemon.process.communicate()[1]
    print(f"{MESSAGES} messages and {noise_bytes} bytes of serial noise tried")
    time.sleep(2.0)  # commands are taken at their own rate
    ears.say("nisse/tank/set/mode", json.dumps({"value": "auto", "transaction": "the end"}))
    ears.wait_for("nisse/tank/response/mode", lambda m: b'"the end"' in m and b'"ok"' in m)
    ears.say("nisse/tank/set/max_inflow", "1")
    forecast(ears)
    ears.wait_for(STATE, level_is("mpc"))
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors
    assert tank.inflow == 0.0
