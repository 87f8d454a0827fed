"""Which failing cycles a fault explains."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hil.explanation import unexplained


def masks(failing: str, faulty: str) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array([c == "x" for c in row]) for row in (failing, faulty))  # type: ignore[return-value]


def test_what_began_under_a_fault_may_outlast_it() -> None:
    failing, faulty = masks("..xxxx.xx.xx", "..xx.......x")
    assert "".join(".x"[int(k)] for k in unexplained(failing, faulty)) == ".......xx.xx"


def test_a_run_may_begin_with_it() -> None:
    failing, faulty = masks("xx.", "x..")
    assert not unexplained(failing, faulty).any()


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_only_failing_is_found_and_all_of_it_without_faults(cycles: list[tuple[bool, bool]]) -> None:
    failing, faulty = np.array(cycles).T
    found = unexplained(failing, faulty)
    assert not (found & ~failing).any()
    assert (unexplained(failing, np.zeros_like(faulty)) == failing).all()
    assert not unexplained(failing, np.ones_like(faulty)).any()
