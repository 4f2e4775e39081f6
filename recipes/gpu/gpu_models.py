"""Train the models on a GPU within some minutes, measure its speed and write the results.

    python recipes/gpu/gpu_models.py --minutes 11 --data DATA --wheels WHEELS --out OUT

It needs no network. First it checks Python, torch, the device, the packages, the data and the disk,
one line each, and ends with exit code 2 before any work if something is missing; packages are
installed from the folder of wheels. Then it does the stages of the plan in their order, each for
its share of the minutes, and writes every result when it is ready. The same command continues after
an interruption: stages that are done are not repeated. The minutes are those of one call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "src")]

from gpu_environment import check  # noqa: E402
from gpu_plan import read_plan  # noqa: E402

STARTS = 6
"""How often the stages are begun again after they died."""
GRACE = 5.0
"""Seconds after the deadline, before the stages are ended."""
LEAST = 20.0
"""Seconds that have to be left, so that they begin again."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=11, help="the time of this call")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of what is not installed")
    parser.add_argument("--out", type=Path, default=Path("out/gpu"), help="folder of the results")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="where it is made")
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml", help="what is done")
    parser.add_argument("--room", type=float, default=8, help="GiB that the disk should have")
    parser.add_argument("--check", action="store_true", help="only check the environment")
    given = parser.parse_args()
    if not given.minutes > 0:
        parser.error(f"--minutes must be above 0, not {given.minutes}")
    return given


def main() -> int:
    """Check, then do the stages; the exit code is 2 if something is missing."""
    start, given = time.time(), arguments()
    data, work, out = (path.absolute() for path in (given.data, given.work, given.out))
    try:
        plan = read_plan(given.plan, {"data": data, "work": work})
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    found = check(data, given.wheels, work, plan.files, int(given.room * 2**30))
    print("\n".join(found.lines), flush=True)
    if found.missing:
        print(f"{len(found.missing)} things are missing; nothing was done.", file=sys.stderr)
        return 2
    if given.check:
        return 0
    deadline = start + given.minutes * 60
    out.mkdir(parents=True, exist_ok=True)
    words = [HERE / "gpu_stages.py", given.plan.absolute(), data, work, out, deadline]
    return supervise([sys.executable, *map(str, words)], work, deadline)


def supervise(words: list[str], work: Path, deadline: float) -> int:
    """Run the stages until they are done or the time is over; restart their process if it dies."""
    paths = [str(HERE), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    killers: list[str] = []
    for _ in range(STARTS):
        left_out = {name for name in killers if killers.count(name) > 1}
        with subprocess.Popen([*words, *left_out], cwd=ROOT, env=environment) as stages:
            try:
                code = stages.wait(max(0.0, deadline + GRACE - time.time()))
            except subprocess.TimeoutExpired:
                stages.terminate()
                print("The time is over; the same command goes on.", flush=True)
                return 0
        if code == 0 or time.time() > deadline - LEAST:
            return code
        killers.append(running(work))
        print(f"The stages ended with exit code {code}; they begin again.", flush=True)
    return code


def running(work: Path) -> str:
    """The stage that was running at the end; "" if none was."""
    place = work / "state.json"
    name: str = json.loads(place.read_text())["running"] if place.is_file() else ""
    return name


if __name__ == "__main__":
    sys.exit(main())
