"""A short run of `benchmarks/server_fuzz.py`."""

from __future__ import annotations

import pytest

from serving import Running

pytest.importorskip("schemathesis")


def test_no_made_up_request_breaks_the_server(server: Running) -> None:
    from fuzzing import fuzz

    statuses = fuzz(server.url, 60)
    assert statuses[200]
    assert statuses[400]
    assert max(statuses) < 500
