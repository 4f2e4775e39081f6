"""Requests made up from a server's OpenAPI document, right ones and wrong ones."""

from __future__ import annotations

from collections import Counter

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok


def fuzz(url: str, cases: int) -> Counter[int]:
    """Ask every operation its share of the cases; the answers by status.

    Raises:
        AssertionError: an answer of 500 or more.
    """
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = []
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), f"an operation of the document is wrong: {result}"
        operations.append(result.ok())
    # what generates has more to get wrong than what lists
    weights = [8 if operation.method == "post" else 1 for operation in operations]
    statuses: Counter[int] = Counter()
    for operation, weight in zip(operations, weights, strict=True):
        share = max(cases * weight // sum(weights), 1)

        @given(case=operation.as_strategy())
        @settings(
            max_examples=share,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            reply = case.call(base_url=url, timeout=60)
            statuses[reply.status_code] += 1
            assert reply.status_code < 500, f"{reply.status_code}: {case.as_curl_command()}"

        ask()
    return statuses
