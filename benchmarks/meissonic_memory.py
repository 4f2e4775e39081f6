"""Peak memory of loading a full-size Meissonic, over the bytes of its weights.

Random weights of the published sizes (a transformer of 1.007 B parameters, its VQ model, a ViT-H
text encoder) are written in the public layout; then a fresh process for each type loads them. What
counts is the peak of the resident memory above that of the imports, as Linux tells it.

    python benchmarks/meissonic_memory.py [--folder FOLDER] [--dtypes float32 float16]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from result_file import Row, Value, add_result_option, write_if_asked
from safetensors.torch import save_file
from torch import nn

from demask.checkpoint.public_meissonic import clip_text_from_public, meissonic_from_public
from demask.tokenizer.vq_model import VQModel, VQModelConfig
from demask.transformer.clip_text import ClipText
from demask.transformer.condition import train_text_tokenizer
from demask.transformer.meissonic import Meissonic

TRANSFORMER = {
    "_class_name": "Transformer2DModel",
    "codebook_size": 8192,
    "vocab_size": 8256,
    "num_attention_heads": 8,
    "attention_head_dim": 128,
    "num_layers": 14,
    "num_single_layers": 28,
    "joint_attention_dim": 1024,
    "pooled_projection_dim": 1024,
    "axes_dims_rope": [16, 56, 56],
    "downsample": True,
    "upsample": True,
}
TEXT = {
    "architectures": ["CLIPTextModelWithProjection"],
    "vocab_size": 49408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}
VQ_MODEL = {
    "_class_name": "VQModel",
    "block_out_channels": [128, 256, 256, 512, 768],
    "layers_per_block": 2,
    "latent_channels": 64,
    "vq_embed_dim": 64,
    "num_vq_embeddings": 8192,
    "norm_num_groups": 32,
    "mid_block_add_attention": False,
    "force_upcast": True,
    "lookup_from_codebook": True,
}
LOAD = """
import sys, torch
import demask, demask.checkpoint.text_encoder, demask.acceleration.packing
from pathlib import Path

def memory(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
generator = demask.load(sys.argv[1], dtype=getattr(torch, sys.argv[2]), low_memory=True)
parts = generator.transformer, generator.tokenizer, generator.conditioner.text.model
weights = sum(t.numel() * t.element_size() for part in parts for t in part.state_dict().values())
print(before, memory("VmHWM"), weights)
"""


def write_part(
    folder: Path, module: type[nn.Module], config: Any, public: Mapping[str, Any]
) -> None:
    """Random weights under their public keys, and the public configuration."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in module(config).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.empty(shape).uniform_(-0.03, 0.03, generator=generator)
        for name, shape in shapes.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    stem = "model" if module is ClipText else "diffusion_pytorch_model"
    save_file(tensors, folder / f"{stem}.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(public))


def write_model(folder: Path) -> None:
    """The whole public layout."""
    write_part(folder / "transformer", Meissonic, meissonic_from_public(TRANSFORMER), TRANSFORMER)
    write_part(folder / "vqvae", VQModel, VQModelConfig(), VQ_MODEL)
    write_part(folder / "text_encoder", ClipText, clip_text_from_public(TEXT), TEXT)
    train_text_tokenizer(["red apple"], 520, 77).save(folder / "tokenizer")
    (folder / "scheduler").mkdir(exist_ok=True)
    scheduler = {"mask_token_id": 8255, "masking_schedule": "cosine"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "Pipeline"}))


def main() -> None:
    """Measure and print a line a type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to keep the 6 GB for the next time")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    add_result_option(parser)
    chosen, rows = parser.parse_args(), []
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        if not (folder / "model_index.json").is_file():
            write_model(folder)
        for dtype in chosen.dtypes:
            run = subprocess.run(
                [sys.executable, "-c", LOAD, str(folder), dtype],
                check=True,
                capture_output=True,
                text=True,
            )
            before, after, weights = map(int, run.stdout.split())
            print(
                f"Meissonic in {dtype}: weights {weights / 2**30:.2f} GiB, peak "
                f"{(after - before) / 2**30:.2f} GiB above the imports, "
                f"{(after - before) / weights:.2f} of the weights"
            )
            values = {
                "weights": Value(round(weights / 2**30, 2), unit="GiB"),
                "peak over weights": Value(round((after - before) / weights, 3)),
            }
            rows.append(Row(dtype, values))
    title = "How much memory does loading Meissonic take?"
    write_if_asked(chosen.result, title, rows)


if __name__ == "__main__":
    main()
