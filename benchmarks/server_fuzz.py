"""Thousands of requests generated from the OpenAPI document: none may be answered with a 5xx.

`python benchmarks/server_fuzz.py [--cases 5000]` serves a tiny random model in this process and
sends it valid and invalid requests by schemathesis. It prints the number of answers of each status.
"""

from __future__ import annotations

import argparse
import sys
import urllib.request
from pathlib import Path

from result_file import Row, Value, add_result_option, write_if_asked

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=5000)
    add_result_option(parser)
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from fuzzing import fuzz
    from serving import serving
    from tiny import tiny_generator, tiny_text_generator

    models = {"tiny": tiny_generator(), "tiny_text": tiny_text_generator()}
    with serving(models) as server:
        statuses = fuzz(server.url, chosen.cases)
        with urllib.request.urlopen(f"{server.url}/readyz") as reply:
            assert reply.status == 200
    print(f"{statuses.total()} cases: {dict(sorted(statuses.items()))}")
    values = {f"status {status}": Value(count) for status, count in sorted(statuses.items())}
    values["cases"] = Value(statuses.total())
    values["server errors"] = Value(sum(statuses[s] for s in statuses if s >= 500))
    title = "Does a request made from the OpenAPI document fail the server?"
    write_if_asked(chosen.result, title, [Row("answers", values)], "none")


if __name__ == "__main__":
    main()
