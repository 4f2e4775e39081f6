"""A short run of the load of `benchmarks/server_soak.py`."""

from __future__ import annotations

import time

from mixed_load import Client, mixed_load
from serving import Running


def test_mixed_load_is_answered_and_leaves_nothing_behind(server: Running) -> None:
    found = mixed_load(server.port, 4, 3, ("cat", "dog"), 16)
    assert {status for _, status in found} == {0, 200}
    assert {kind for kind, _ in found} == set(Client(0, (), 16, 0).kinds)
    (answer,) = server.client.images.generate(model="tiny", prompt="cat").data
    assert answer.b64_json
    end = time.monotonic() + 10
    while server.engine.waiting or server.engine._turns.running:  # of clients that have left
        assert time.monotonic() < end
        time.sleep(0.01)
