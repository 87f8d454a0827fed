"""The daemon process on a serial line: in bad shape cycles go on in time; else it writes no more than it must."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from tiny_site import Ears, Running, Tank, forecast, level_is

from hil.modbus_plant import Answer

STATE = "nisse/tank/state"
CYCLE_S = 0.5
TROUBLE_S = 4.0
CYCLES = 3
# A cycle that waits for a device in trouble never ends; one on a busy computer does.
HANG_S = 300.0


@pytest.mark.slow
def test_no_cycle_is_blocked_and_control_comes_back(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    tank.site.write_text(tank.site.read_text().replace("max_age_s = 30", "max_age_s = 1.5"))
    forecast(ears)
    daemon = start(CYCLE_S)
    ears.wait_for(STATE, level_is("mpc"))
    kinds: tuple[Answer, ...] = ("silent", "garbage", "bad_crc", "exception", "slow")
    for kind in kinds:
        tank.device.delay_s, tank.device.answer = 1.0, kind
        begun = time.monotonic()
        ears.heard.clear()
        while (passed_s := time.monotonic() - begun) < TROUBLE_S or len(ears.heard.get(STATE, [])) < CYCLES:
            assert passed_s < HANG_S, kind
            time.sleep(0.02)
        # A device that is only slow is believed now and then: what came late counts when it comes.
        said = json.loads(ears.wait_for(STATE, lambda message: json.loads(message)["level"] != "mpc"))
        assert said["inputs"]["level"]["problem"], kind
        tank.device.answer = "normal"
        ears.wait_for(STATE, level_is("mpc"))
    code, errors = daemon.end()
    assert code == 0 and "Traceback" not in errors
    assert tank.inflow == 0.0


def test_an_unchanged_set_point_is_written_once(start: Callable[..., Running], tank: Tank, ears: Ears) -> None:
    forecast(ears)
    daemon = start(0.25)
    ears.wait_for(STATE, level_is("mpc"))
    ears.heard.clear()
    while len(ears.heard.get(STATE, [])) < 12:
        ears.wait_for(STATE)
        time.sleep(0.1)
    code, errors = daemon.end()
    assert code == 0, errors
    words = [word for _, _, word in tank.registers.writes]
    assert words[-2:] == [300, 0]  # the plan, and the safe value at the end
    # Of twelve cycles. A second time only where the answer to the first came late, on a busy computer.
    assert words.count(300) <= 2


def test_a_device_with_a_time_out_is_told_it_and_kept_alive(
    start: Callable[..., Running], tank: Tank, ears: Ears
) -> None:
    own = "safe = 0.0\ndevice_timeout_s = 3\ntimeout_register = { kind = 'holding', address = 20 }"
    tank.site.write_text(tank.site.read_text().replace("safe = 0.0", own))
    tank.registers.holding[20] = 600
    forecast(ears)
    daemon = start(60.0)  # cycles are far apart: what keeps it alive happens between them
    ears.wait_for(STATE, level_is("mpc"))
    time.sleep(5.0)
    code, errors = daemon.end()
    assert code == 0, errors
    writes = tank.registers.writes
    assert [word for _, address, word in writes if address == 20] == [3]
    assert writes[0][1] == 20  # before any set-point
    assert 2 <= sum(word == 300 for _, _, word in writes) <= 8
