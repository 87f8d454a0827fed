"""Signal faults, each as a table of what is shown; and that they depend on nothing but scenario and seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hil.faults import Garbage, Missing, Shown, SignalFaults, active, seen
from hil.scenario import Fault

STEP_S = 900.0


def fault(kind: str, **options: float | str) -> Fault:
    return Fault.model_validate({"signal": "soc", "kind": kind, "at": 2 * STEP_S, "for": 3 * STEP_S, **options})


def shown(one: Fault, cycles: int = 7, seed: int = 0) -> list[float | str]:
    """What is shown of a signal that is 0, 1, 2, ... in the cycles 0, 1, 2, ...; the fault acts in 2, 3, 4."""
    faults = SignalFaults([one], seed)
    result: list[float | str] = []
    for k in range(cycles):
        match faults.show("soc", float(k), k * STEP_S):
            case Shown(value=value):
                result.append(float(value[0]))
            case Garbage():
                result.append("garbage")
            case Missing():
                result.append("missing")
        assert isinstance(faults.show("power", 5.0, k * STEP_S), Shown), "other signals are left alone"
    return result


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (fault("off"), [0, 1, "missing", "missing", "missing", 5, 6]),
        (fault("stuck"), [0, 1, 1, 1, 1, 5, 6]),
        (fault("garbage"), [0, 1, "garbage", "garbage", "garbage", 5, 6]),
        (fault("wrong", factor=10.0, offset=-1.0), [0, 1, 19, 29, 39, 5, 6]),
        (fault("slow", every=2 * STEP_S), [0, 1, 1, 3, 3, 5, 6]),
        (fault("delayed", delay=2 * STEP_S), [0, 1, 0, 1, 2, 5, 6]),
        (fault("delayed", delay=3 * STEP_S), [0, 1, "missing", 0, 1, 5, 6]),
        (fault("intermittent", probability=1.0), [0, 1, "missing", "missing", "missing", 5, 6]),
        (fault("intermittent", probability=0.0), [0, 1, 2, 3, 4, 5, 6]),
        (fault("stuck", at=0.0), [0, 0, 0, 3, 4, 5, 6]),
    ],
)
def test_kinds(one: Fault, wanted: list[float | str]) -> None:
    assert shown(one) == wanted


def test_nan_is_shown_as_nan_and_recorded_as_such() -> None:
    display = SignalFaults([fault("nan")], 0).show("soc", [1.0, 2.0], 2 * STEP_S)
    assert isinstance(display, Shown) and np.isnan(display.value).all()
    assert math.isnan(seen({"soc": display})["soc"])


def test_the_seed_alone_decides_what_is_random() -> None:
    flaky = fault("intermittent", probability=0.5, **{"for": 60 * STEP_S})
    first, again, other = (shown(flaky, 60, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert 15 < first.count("missing") < 45


def test_faults_of_one_signal_add_up() -> None:
    both = SignalFaults([fault("wrong", offset=1.0), fault("stuck")], 0)
    values = [both.show("soc", float(k), k * STEP_S).value[0] for k in range(6)]
    assert values == [0, 1, 1, 1, 1, 5]  # stuck at what was seen before both began


def test_a_moment_counts_for_the_next_cycle() -> None:
    kill = Fault.model_validate({"link": "daemon", "kind": "kill_9", "at": 2.5 * STEP_S})
    assert [active([kill], k * STEP_S, STEP_S) for k in range(5)] == [(), (), (), ("daemon kill_9",), ()]
    cut = Fault.model_validate({"link": "serial", "kind": "cable_pull", "at": 1 * STEP_S, "for": 2 * STEP_S})
    assert [bool(active([cut], k * STEP_S, STEP_S)) for k in range(5)] == [False, True, True, False, False]
