"""Settings of every test run, made before numpy is imported."""

import os
from collections.abc import Generator
from typing import Any

import hypothesis
import pytest

# Small matrices: more BLAS threads only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A run says the same as the last one, however busy the machine; to look for more: --hypothesis-profile=searching
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.register_profile("searching", deadline=None)
hypothesis.settings.load_profile("steady")

CI = os.environ.get("CI") == "true"
"""Where everything that tests need is installed: what is skipped there would be skipped everywhere."""


def not_skipped(report: Any) -> None:
    """What was skipped has failed; an expected failure stays one."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr if isinstance(report.longrepr, tuple) else (str(report.longrepr),)
        report.outcome, report.longrepr = "failed", f"no test may be skipped where CI=true: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    not_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    report = yield
    not_skipped(report)
    return report
