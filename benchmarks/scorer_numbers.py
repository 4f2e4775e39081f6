"""Retrieval by a scorer of pairs: images by their captions, and captions by their images.

The held-out pairs are those of ``demask train scorer`` with the recipe's fraction.

    python benchmarks/scorer_numbers.py --data train.parquet [--scorer FILE] [--fraction 0.04]

Shape legend: D width of the features, K candidates, N queries.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from result_file import Row, Value, add_result_option, write_if_asked
from torch import Tensor

from demask.evaluation.extractors import WEIGHTS
from demask.evaluation.networks import load_pair_scorer
from demask.evaluation.retrieval import found
from demask.training.data import DataConfig
from demask.training.tasks.scorer import Pairs, features, read, twins

SHIPPED = WEIGHTS / "emoji_pairs" / "scorer.safetensors"


def line(what: str, query_ND: Tensor, candidate_KD: Tensor, right_NK: Tensor) -> Row:
    """Print one number, and return it."""
    among = candidate_KD.shape[0]
    share = found(query_ND, candidate_KD, right_NK)
    print(f"  {what:34} {share:6.1%} of {len(query_ND):5,} among {among:5,}")
    return Row(what, {"found": Value(float(share))}, {"queries": len(query_ND), "among": among})


def main() -> None:
    """Extract the features of all images and words once, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--scorer", type=Path, default=SHIPPED)
    parser.add_argument("--fraction", type=float, default=0.04)
    add_result_option(parser)
    chosen = parser.parse_args()
    network = load_pair_scorer(chosen.scorer)
    images, kept_back = DataConfig(chosen.data, held_out_fraction=chosen.fraction).open(False)
    held, rest = (Pairs.read(p, network.config.size) for p in (kept_back, images))
    both = Pairs(torch.cat([held.pixels_NCHW, rest.pixels_NCHW]), [*held.captions, *rest.captions])
    image_KD, text_KD = features(network, both.pixels_NCHW), read(network, both.firsts)
    twin_K = twins(both.pixels_NCHW)
    right_KK = twin_K[:, None] == twin_K
    plain_K = torch.tensor(["skin tone" not in text for text in both.firsts])
    is_held_K = torch.arange(len(plain_K)) < len(held.firsts)
    groups = {
        "held out": is_held_K,
        "held out, without a skin tone": is_held_K & plain_K,
        "held out, with a skin tone": is_held_K & ~plain_K,
        "trained on": ~is_held_K,
    }
    ways = {"words -> image": (text_KD, image_KD), "image -> words": (image_KD, text_KD)}
    rows = []
    for way, (query_KD, candidate_KD) in ways.items():
        print(way)
        few = right_KK[is_held_K][:, is_held_K]
        held_KD = candidate_KD[is_held_K]
        found_here = [line("held out, among themselves", query_KD[is_held_K], held_KD, few)]
        for what, chosen_K in groups.items():
            found_here.append(line(what, query_KD[chosen_K], candidate_KD, right_KK[chosen_K]))
        rows += [replace(row, name=f"{way}: {row.name}") for row in found_here]
    title = "How well does the scorer of pairs find an image by its words, and words by an image?"
    write_if_asked(chosen.result, title, rows)


if __name__ == "__main__":
    main()
