"""One machine to deploy to for each test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sshd_host import Sshd, start_sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    one = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield one
    one.stop()
