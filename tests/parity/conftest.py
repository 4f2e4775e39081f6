"""`pytest tests/parity` ends with the table of the differences from the authors' programs."""

from __future__ import annotations

import pytest

from differences import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := table():
        terminalreporter.section("differences from the authors' programs")
        terminalreporter.write("\n".join(lines) + "\n")
