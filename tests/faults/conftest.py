"""Fixtures of the fault campaigns, and their figures at the end of a test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faults import harness
from faults.harness import Install


@pytest.fixture(scope='session')
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Return a copy of the runner that no edit of the checkout reaches."""
    return harness.make_install(Path(str(tmp_path_factory.mktemp('install'))))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell how many faults happened and how many were survived."""
    if harness.REPORT:
        terminalreporter.section('fault campaigns')
        for line in harness.REPORT:
            terminalreporter.write_line(line)
