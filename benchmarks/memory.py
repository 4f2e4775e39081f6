"""Peak memory of ``demask generate`` to NPZ, by the number of images: it must not grow.

The model is small and random, so that images are cheap and their storage would be noticeable:
50,000 images of 64x64 pixels are 586 MiB.

    python benchmarks/memory.py [--counts 1000 50000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from result_file import Row, Value, add_result_option, write_if_asked

from demask.checkpoint.save import save_model
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.transformer.modern_maskgit import ModernMaskGIT, ModernMaskGITConfig

PROGRAM = """
import resource, sys
from demask.cli import demask
demask.main(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def save_random_model(folder: Path) -> None:
    """A tokenizer that makes 64x64 pixels of 2x2 tokens, and a transformer for them."""
    torch.manual_seed(0)
    sizes = ConvTokenizerConfig((3, 3), (16,) * 5, (0,) * 5, (0,) * 5, pixel_width=16)
    save_model(folder / "tokenizer.safetensors", ConvTokenizer(sizes), "conv_tokenizer")
    config = ModernMaskGITConfig(
        codebook_size=9, num_classes=2, grid=(2, 2), width=16, depth=1, heads=1, mlp_width=16
    )
    save_model(
        folder / "transformer.safetensors",
        ModernMaskGIT(config),
        "modern_maskgit",
        class_names=["left", "right"],
    )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 50_000])
    add_result_option(parser)
    chosen, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_random_model(folder)
        print("Peak memory of 'demask generate --format npz'")
        for count in chosen.counts:
            out = str(folder / f"{count}.npz")
            arguments = ["generate", "--model", name, "-n", str(count), "--steps", "1"]
            run = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments, "--out", out],
                check=True,
                capture_output=True,
                text=True,
            )
            peak = int(run.stdout.split()[-1]) / 1024
            print(f"  {count:8d} images of 64x64 {peak:8.0f} MiB")
            values = {"peak": Value(round(peak), unit="MiB")}
            rows.append(Row(f"{count} images", values, {"images": count}))
    title = "Does memory grow with the number of images?"
    write_if_asked(chosen.result, title, rows)


if __name__ == "__main__":
    main()
