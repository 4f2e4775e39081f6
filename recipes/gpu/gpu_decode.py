"""Decode the images of a plan during the trainings: `python gpu_decode.py PLAN DATA WORK WORKERS`.

It runs as a process of its own, which forks workers that only decode. A
source that cannot be read leaves a file NAME.failed with the reason.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from gpu_environment import end_with_parent, use
from gpu_plan import Images, read_plan


def decode(images: Images, folder: Path, workers: int) -> None:
    """Decode one source, or write the reason why it cannot be decoded."""
    from demask.data import open_images
    from demask.data.decoded import decode_images

    failed = folder.with_name(folder.name + ".failed")
    failed.unlink(missing_ok=True)
    start = time.monotonic()
    try:
        if not folder.exists():
            source = open_images(images.source, class_names=images.class_names or None)
            decode_images(source, images.size, folder, workers)
            seconds = time.monotonic() - start
            print(f"decoded {images.name}: {len(source)} images in {seconds:.1f} s", flush=True)
    except Exception as error:  # the next sources may well be fine
        failed.write_text(str(error), encoding="utf-8")
        print(f"cannot decode {images.name}: {error}", flush=True)


def main() -> None:
    """Decode one source after the other."""
    plan, data, work, workers = sys.argv[1:]
    os.nice(5)
    end_with_parent()
    use(Path(work) / "site-packages")
    folders = {"data": Path(data), "work": Path(work)}
    for images in read_plan(Path(plan), folders).images:
        decode(images, Path(work) / "images" / images.name, int(workers))


if __name__ == "__main__":
    main()
