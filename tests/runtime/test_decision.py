"""How long a decision is in force: for any cycles and clocks, and what site file and bundle may say of it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tiny_site import site_text, tiny_manifest

from runtime.bundle.keys import new_key
from runtime.bundle.manifest import Manifest
from runtime.clock import CLOCK_JUMP_S
from runtime.decide.decision import InForce, Rhythm, next_decision_s, outdated
from runtime.decide.solver_process import Solved
from runtime.errors import ConfigError
from runtime.site.check import check_against, warnings
from runtime.site.config import load_site

SOLVED = Solved(0, 1, 0.0, 0.0, 0.0, (0.0,), ((0.0,),) * 5, ((0.0,),) * 4)
RHYTHMS = st.builds(
    lambda cycle_s, cycles: Rhythm(cycles * cycle_s, cycle_s), st.sampled_from([1.0, 60.0, 300.0]), st.integers(1, 12)
)
# Seconds since the last cycle, and by how much the wall clock was set or slewed meanwhile.
STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 2.5),
        st.one_of(
            st.just(0.0), st.floats(-0.2, 0.2), st.floats(-1e6, -2 * CLOCK_JUMP_S), st.floats(2 * CLOCK_JUMP_S, 1e6)
        ),
    ),
    max_size=60,
)


@given(RHYTHMS, STEPS, st.floats(1.6e9, 1.8e9))
@example(Rhythm(1800.0, 300.0), [(1.0, 0.0)] * 30, 1_705_273_200.0)
def test_a_decision_is_held_within_its_cell_of_the_grid_and_no_longer(
    rhythm: Rhythm, steps: list[tuple[float, float]], wall_s: float
) -> None:
    monotonic_s, made = 0.0, None
    for cycles, slip_s in steps:
        monotonic_s, wall_s = monotonic_s + cycles * rhythm.cycle_s, wall_s + cycles * rhythm.cycle_s + slip_s
        anew = outdated(made, wall_s, monotonic_s, rhythm)
        if made is None or rhythm.every_cycle or abs(slip_s) > CLOCK_JUMP_S:
            assert anew
        else:
            age_s, slewed_s = monotonic_s - made.monotonic_s, (wall_s - made.time_s) - (monotonic_s - made.monotonic_s)
            points = math.floor(wall_s / rhythm.every_s) - math.floor(made.time_s / rhythm.every_s)
            if not anew:
                assert age_s <= rhythm.every_s + rhythm.slack_s + CLOCK_JUMP_S
                # At most the one point that the decision itself came a moment too early for lies between.
                assert points <= (made.time_s % rhythm.every_s >= rhythm.every_s - rhythm.slack_s)
            elif abs(slewed_s) <= CLOCK_JUMP_S:
                due_s = next_decision_s(made.time_s, rhythm)
                assert due_s is not None
                assert wall_s >= due_s - rhythm.slack_s
        if anew:
            made = InForce(SOLVED, ((0.0,),), wall_s, monotonic_s, 0.0)


@given(RHYTHMS, st.integers(0, 40), st.floats(-0.2, 0.2))
def test_cycles_on_a_clock_that_is_slewed_decide_once_per_point_of_the_grid(
    rhythm: Rhythm, first: int, jitter: float
) -> None:
    """Every cycle a moment before or after its point: as many decisions as points, each in the cycle nearest to it."""
    start = 1_705_273_200.0 + first * rhythm.cycle_s
    made, decided = None, []
    for k in range(40):
        late_s = jitter * rhythm.slack_s * (1 if k % 2 else -1)
        wall_s, monotonic_s = start + k * rhythm.cycle_s + late_s, k * rhythm.cycle_s
        if outdated(made, wall_s, monotonic_s, rhythm):
            made = InForce(SOLVED, ((0.0,),), wall_s, monotonic_s, 0.0)
            decided.append(k)
    points = [k for k in range(40) if (start + k * rhythm.cycle_s) % rhythm.every_s == 0.0]
    assert decided == sorted({0, *points})


def test_the_next_decision_is_on_the_grid() -> None:
    half_hour = Rhythm(1800.0, 300.0)
    assert next_decision_s(1_705_273_200.0, half_hour) == 1_705_275_000.0
    assert next_decision_s(1_705_274_999.0, half_hour) == 1_705_276_800.0  # a second early is the point itself
    assert next_decision_s(1_705_274_700.0, half_hour) == 1_705_275_000.0
    assert next_decision_s(1_705_273_200.0, Rhythm(300.0, 300.0)) is None


def test_a_bundle_may_say_how_often_and_one_that_does_not_reads_as_before() -> None:
    silent = json.loads(tiny_manifest().model_dump_json())
    assert "decide_every_s" not in silent  # daemons from before the field refuse what they do not know
    assert Manifest.model_validate(silent) == tiny_manifest()
    slow = tiny_manifest(dt_s=300.0, decide_every_s=300.0)
    assert Manifest.model_validate_json(slow.model_dump_json()).decide_every_s == 300.0
    with pytest.raises(ValueError, match="longer than the first move of a plan, 60 s"):
        tiny_manifest(decide_every_s=300.0)


@pytest.mark.parametrize(("said", "found"), [
    ("decide_every_s = 300", None),
    ("decide_every_s = 60.0", None),
    ("decide_every_s = 90", "90 s is no multiple of cycle_s = 60, and decisions are made in cycles; write 60 or 120"),
    ("decide_every_s = 30", "30 s is no multiple of cycle_s = 60, and decisions are made in cycles; write 60 or 120"),
    ("decide_every_s = 0", "greater than 0"),
    ("decide_every_s = inf", "decide_every_s"),
    ("decide_evry_s = 60", "did you mean 'decide_every_s'"),
    ("decide_every_s = 600", "longer than the bundle plans to hold a move, 300 s; use at most that"),
])  # fmt: skip
def test_the_site_file_may_say_otherwise(tmp_path: Path, said: str, found: str | None) -> None:
    key = new_key(tmp_path / "key.pem").public
    file = tmp_path / "site.toml"
    file.write_text(site_text(tmp_path / "x.nisse", key, tmp_path / "tty", 1883, said))
    manifest = tiny_manifest(dt_s=300.0, decide_every_s=300.0)
    if found is None:
        site = load_site(file)
        check_against(site, manifest)
        assert site.rhythm(300.0).every_s == float(said.split()[-1])
        return
    with pytest.raises(ConfigError) as caught:
        check_against(load_site(file), manifest)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("decide_ev"))
    assert found in str(caught.value) and f"{file}:{line}:" in str(caught.value)


def test_a_bundle_that_decides_between_the_cycles_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(site_text(tmp_path / "x.nisse", new_key(tmp_path / "k.pem").public, tmp_path / "tty", 1883))
    said = warnings(load_site(file), tiny_manifest(dt_s=300.0, decide_every_s=150.0))
    assert any("decides every 150 s, which is no multiple of cycle_s = 60" in text for text in said)
    assert not any("decides" in text for text in warnings(load_site(file), tiny_manifest(dt_s=300, decide_every_s=300)))
    assert not any("decides" in text for text in warnings(load_site(file), tiny_manifest(dt_s=300, decide_every_s=30)))
