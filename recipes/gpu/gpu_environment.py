"""Check Python, torch, the device, packages, data and disk space before any work.

Missing packages are installed from a folder of wheels, into a folder of the work, so that nothing
is downloaded and the machine's own packages are not changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PYTHON = (3, 11)
TORCH = (2, 11)
PACKAGES = {
    "accelerate": "accelerate",
    "click": "click",
    "huggingface_hub": "huggingface_hub",
    "numpy": "numpy",
    "PIL": "pillow",
    "pyarrow": "pyarrow",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic-core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "rich": "rich",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "torch": "torch",
    "typing_extensions": "typing-extensions",
}
"""What is imported, and the name of its package."""
DISK = 8 * 2**30
MEMORY = 8 * 2**30


@dataclass
class Environment:
    """The findings of the checks.

    Attributes:
        lines: one for each thing, as ``ok``, ``note`` or ``MISSING`` and what it is about.
        missing: what prevents the work.
        absent: missing files of the data; stages that need them are left out.
    """

    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def ok(self, what: str) -> None:
        """Record that a check passed."""
        self.lines.append(f"ok       {what}")

    def note(self, what: str) -> None:
        """Record that something is missing which the work can do without."""
        self.lines.append(f"note     {what}")

    def lack(self, what: str) -> None:
        """Record that something is missing which the work needs."""
        self.lines.append(f"MISSING  {what}")
        self.missing.append(what)


def check(
    data: Path, wheels: Path | None, work: Path, files: Sequence[str], room: int = DISK
) -> Environment:
    """Check everything, and install missing packages.

    Args:
        data: the folder of the data.
        wheels: the folder of wheels, if there is one.
        work: the folder of the work.
        files: the files that the data should contain.
        room: the free bytes that the disk should have.
    """
    found = Environment()
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= PYTHON:
        found.ok(f"Python {version}")
    else:
        found.lack(f"Python {version}; at least {PYTHON[0]}.{PYTHON[1]} is needed")
    check_packages(found, wheels, work / "site-packages")
    if not any(line.startswith("torch") for line in found.missing):
        check_torch(found)
    check_files(found, data, files)
    check_room(found, work, room)
    return found


def check_packages(found: Environment, wheels: Path | None, site: Path) -> None:
    """Install missing packages, and name those that are still missing."""
    use(site)
    lacking = [name for name in PACKAGES if not is_there(name)]
    if lacking and wheels and wheels.is_dir():
        install(found, sorted(wheels.glob("*.whl")), lacking, site)
    still = [name for name in lacking if not is_there(name)]
    for name in still:
        place = f"no wheel of it in {wheels}" if wheels else "and no folder of wheels was given"
        found.lack(f"{PACKAGES[name]}: not installed, {place}")
    for name in set(lacking) - set(still):
        found.ok(f"{PACKAGES[name]}: installed from {wheels}")
    if not lacking:
        found.ok(f"all {len(PACKAGES)} packages")


def use(site: Path) -> None:
    """Make this process and its child processes import from a folder, after the machine's own."""
    if str(site) not in sys.path:
        sys.path.append(str(site))
    importlib.invalidate_caches()


def end_with_parent() -> None:
    """Make this process exit when its parent process ends, even if that is killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        os._exit(4)

    threading.Thread(target=watch, daemon=True).start()


def is_there(name: str) -> bool:
    """Whether a module can be found; it is not imported."""
    return importlib.util.find_spec(name) is not None


def install(found: Environment, files: Sequence[Path], names: Sequence[str], site: Path) -> None:
    """Install the wheels of some packages by pip, without an index."""
    wanted = {PACKAGES[name].replace("-", "_").lower() for name in names}
    chosen = [file for file in files if file.name.split("-")[0].lower() in wanted]
    if not chosen:
        return
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    words += ["--no-compile", "--no-cache-dir", "--disable-pip-version-check", "--upgrade"]
    done = subprocess.run(
        [*words, "--target", str(site), *map(str, chosen)], capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        found.note(f"pip could not install the wheels: {' '.join(reason)}")
    importlib.invalidate_caches()


def check_torch(found: Environment) -> None:
    """Check the version of torch, and the device."""
    import torch

    parts = torch.__version__.split("+")[0].split(".")[:2]
    if tuple(map(int, parts)) < TORCH:
        found.lack(f"torch {torch.__version__}; at least {TORCH[0]}.{TORCH[1]} is needed")
        return
    found.ok(f"torch {torch.__version__}")
    if not torch.cuda.is_available():
        found.note(f"no CUDA device: everything runs on {os.cpu_count()} processor cores")
        return
    free, total = torch.cuda.mem_get_info()
    sizes = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    found.ok(f"{torch.cuda.get_device_name()}, {sizes}, CUDA {torch.version.cuda}")
    if free < MEMORY:
        found.lack(f"memory of the device: {free / 2**30:.1f} GiB free; 8 are needed")


def check_files(found: Environment, data: Path, files: Sequence[str]) -> None:
    """Check the files of the data."""
    for file in files:
        place = data / file
        if place.is_file():
            found.ok(f"{place}, {place.stat().st_size / 1e6:.1f} MB")
        else:
            found.absent.append(file)
            found.note(f"{place} is not there: the stages that need it are left out")


def check_room(found: Environment, work: Path, room: int) -> None:
    """Check the disk space and the memory."""
    place = next(parent for parent in (work, *work.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if free < room:
        found.lack(f"room in {place}: {free / 2**30:.1f} GiB; {room / 2**30:.1f} are needed")
    else:
        found.ok(f"{free / 2**30:.0f} GiB of room in {place}")
    memory = next(available(), None)
    if memory is not None:
        cores = os.cpu_count()
        line = f"{memory / 2**30:.0f} GiB of memory available, {cores} cores"
        (found.ok if memory >= MEMORY else found.note)(line)


def available() -> Iterator[int]:
    """The bytes of available memory, if the system reports them."""
    place = Path("/proc/meminfo")
    for line in place.read_text().splitlines() if place.is_file() else []:
        if line.startswith("MemAvailable"):
            yield int(line.split()[1]) * 1024
