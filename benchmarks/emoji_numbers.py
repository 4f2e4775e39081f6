"""Does a model of emoji generate what it is asked for, in how many ways, and in which colours?

An image is right if, of all drawings of all concepts in all styles, the nearest is one of the
wanted concept; drawings with equal pixels count as one. The distance is the
root mean square difference of the pixels, in RGB at the model's size. For (thing, colour) pairs
that no training image shows, the drawings are also recoloured with the colour of the image, and
the dominant colour of the image has to be the wanted one. All fractions have Wilson's 95 %
interval.

    python benchmarks/emoji_numbers.py --data FOLDER [--model emoji] [--preset NAME] [--seed 0]
        [--every 1] [--parts names styles aliases pairs seeds tokenizer] [--wrong wrong.png]
        [--result FILE]

FOLDER holds the parquet files of the drawings.

Shape legend: N images, P pixels times channels, C H W as usual.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from emoji_references import Measure, color_seen
from figures import plain_drawings, zorps
from PIL import Image
from result_file import Row, Value, add_result_option, write_if_asked
from torch import Tensor

import demask
from demask.bulk.contact_sheet import CaptionedImage, contact_sheet
from demask.data.composition.composed import ComposedImages, Pair, open_composed
from demask.data.composition.words import STYLE_NAMES, Wording
from demask.data.transforms import to_tensor
from demask.evaluation.statistics import wilson
from demask.generator import Generator

PARTS = ("names", "styles", "aliases", "pairs", "seeds", "tokenizer")
SEEDS = 8
SEED_PROMPTS = 64
SHOWN = 32


@dataclass
class Numbers:
    """The measured numbers, and images of the errors."""

    rows: list[Row] = field(default_factory=list)
    wrong: list[CaptionedImage] = field(default_factory=list)

    def share(self, what: str, right: Sequence[bool]) -> None:
        """Record and print a fraction with its interval."""
        low, high = wilson(sum(right), len(right))
        share = sum(right) / len(right)
        counts = {"images": len(right), "right images": sum(right)}
        self.rows.append(Row(what, {"right": Value(share, low, high)}, counts))
        print(
            f"  {what:34} {sum(right):5} of {len(right):5}: {share:6.1%} ({low:.1%} to {high:.1%})",
            flush=True,
        )

    def value(self, what: str, value: float, unit: str) -> None:
        """Record and print a number."""
        self.rows.append(Row(what, {"value": Value(value, unit=unit)}))
        print(f"  {what:34} {value:.2f} {unit}", flush=True)

    def show(self, images: Sequence[Image.Image], labels: Sequence[str]) -> None:
        """Store some of the wrong images."""
        self.wrong += [
            CaptionedImage(i, label) for i, label in list(zip(images, labels, strict=True))[:SHOWN]
        ]


@dataclass(frozen=True)
class Sampled:
    """A model with its settings, and the references of its images."""

    generator: Generator
    measure: Measure
    seed: int
    settings: dict[str, Any]

    def images(self, prompts: Sequence[str], seed: int | Sequence[int] | None = None) -> Any:
        """An image for each prompt; image i has the seed ``seed + i``."""
        chosen = self.seed if seed is None else seed
        made = self.generator.images(list(prompts), seed=chosen, **self.settings)
        return [generated.image for generated in made]

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """(N, P) in [0, 1]."""
        return torch.stack([to_tensor(image, self.measure.size).flatten() for image in images])

    @torch.no_grad()
    def returned(self, image_NP: Tensor) -> Tensor:
        """Reconstructions of images (N, P) by the model's tokenizer."""
        side, tokenizer = self.measure.size, self.generator.tokenizer
        image_NCHW = image_NP.unflatten(1, (3, side, side)).to(self.generator.device)
        ids = (tokenizer.encode(part) for part in image_NCHW.split(64))
        back = [tokenizer.decode(ids_BHW).float().cpu().clamp(0, 1) for ids_BHW in ids]
        return torch.cat(back).flatten(1)


def named(model: Sampled, wanted: Sequence[tuple[str, str]], what: str, out: Numbers) -> None:
    """Measure the fraction of (concept, prompt) pairs whose image shows the concept."""
    images = model.images([prompt for _, prompt in wanted])
    _, found = model.measure.nearest(model.pixels(images))
    right = [model.measure.shows(n, c) for n, (c, _) in zip(found, wanted, strict=True)]
    out.share(what, right)
    bad = [row for row, good in enumerate(right) if not good]
    out.show([images[row] for row in bad], [wanted[row][1] for row in bad])


def styled(model: Sampled, every: int, out: Numbers) -> None:
    """Measure, for names with a style, how often the concept is right, and the style."""
    catalog = model.measure.catalog
    drawings = [d for d in catalog.drawings if not d.variant][:: 5 * every]
    style_names = [STYLE_NAMES.get(d.style, (d.style,))[0] for d in drawings]
    prompts = [Wording(style=s).say(d.concept) for s, d in zip(style_names, drawings, strict=True)]
    images = model.images(prompts)
    _, found = model.measure.nearest(model.pixels(images))
    pairs = list(zip(found, drawings, strict=True))
    right = [model.measure.shows(n, d.concept) for n, d in pairs]
    out.share("names with a style: concept", right)
    same = [catalog.drawings[n].style == d.style for n, d in pairs]
    out.share("names with a style: both", [a and b for a, b in zip(right, same, strict=True)])


def paired(model: Sampled, pairs: Sequence[Pair], out: Numbers) -> None:
    """Measure held-out (thing, colour) pairs: the thing, the colour and both."""
    images = model.images([pair.prompt for pair in pairs])
    colors = [color_seen(image) for image in images]
    _, found = model.measure.nearest_of_any_color(model.pixels(images), colors)
    rows = list(zip(found, colors, pairs, strict=True))
    thing = [any(model.measure.shows(n, c) for c in pair.concepts) for n, _, pair in rows]
    color = [seen == pair.color for _, seen, pair in rows]
    both = [a and b for a, b in zip(thing, color, strict=True)]
    out.share("unseen pairs: thing", thing)
    out.share("unseen pairs: colour", color)
    out.share("unseen pairs: both", both)
    bad = [row for row, good in enumerate(both) if not good]
    labels = [
        f"{pairs[row].prompt}{'' if thing[row] else ': thing'}{'' if color[row] else ': colour'}"
        for row in bad
    ]
    out.show([images[row] for row in bad], labels)


def seeded(model: Sampled, concepts: Sequence[str], out: Numbers) -> None:
    """Measure the distance of eight seeds of a prompt, and the number of their styles."""
    differences, styles = [], []
    for number, concept in enumerate(concepts):
        first = model.seed + SEEDS * number
        image_NP = model.pixels(model.images([concept] * SEEDS, seed=first))
        pairs = combinations(range(SEEDS), 2)
        apart = [(image_NP[a] - image_NP[b]).abs().mean() for a, b in pairs]
        differences.append(255 * float(torch.stack(apart).mean()))
        styles.append(len({model.measure.style_of(image_P, concept) for image_P in image_NP}))
    count = len(concepts)
    out.value("difference between seeds, mean", sum(differences) / count, "of 255")
    out.value("difference between seeds, median", sorted(differences)[count // 2], "of 255")
    out.value("styles among eight seeds, mean", sum(styles) / count, f"of {len(STYLE_NAMES)}")
    out.share("two styles or more among eight", [number >= 2 for number in styles])


def reconstructed(model: Sampled, held_out: ComposedImages, out: Numbers) -> None:
    """Measure reconstructions: PSNR, and how many names could be right."""
    catalog = model.measure.catalog

    def psnr(what: str, images: Sequence[Image.Image]) -> None:
        image_NP = model.pixels(images)
        error_N = (model.returned(image_NP) - image_NP).square().mean(1)
        out.value(what, float((-10 * error_N.log10()).mean()), "dB")

    psnr("tokenizer: held-out drawings", [held_out[i].image for i in range(len(held_out))])
    psnr("tokenizer: twelve plain drawings", list(plain_drawings().values()))
    psnr("tokenizer: twelve zorps", zorps())
    firsts = [n for n, d in enumerate(catalog.drawings) if not d.variant][::5]
    _, found = model.measure.nearest(model.returned(model.measure.plain.image_AP[firsts]))
    right = [
        model.measure.shows(n, catalog.drawings[first].concept)
        for n, first in zip(found, firsts, strict=True)
    ]
    out.share("tokenizer: drawings told after it", right)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="emoji")
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--choice-temperature", type=float)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--every", type=int, default=1, help="only every n-th prompt of each part")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--wrong", type=Path, help="an image of what went wrong")
    add_result_option(parser)
    return parser.parse_args()


def main() -> None:
    """Generate, compare and print a table."""
    chosen = arguments()
    names = ("steps", "guidance_scale", "choice_temperature", "temperature")
    settings = {name: getattr(chosen, name) for name in names if getattr(chosen, name) is not None}
    generator = demask.load(chosen.model, preset=chosen.preset)
    held_out = open_composed(f"emoji:{chosen.data},held-out")
    catalog = held_out.catalog
    model = Sampled(generator, Measure(catalog, generator.size[0]), chosen.seed, settings)
    out, every = Numbers(), chosen.every
    print(f"{chosen.model}, {chosen.preset or 'default'}, seed {chosen.seed}, {settings}")
    variants = {drawing.concept for drawing in catalog.drawings if drawing.variant}
    concepts = [concept for concept in catalog.of_concept if concept not in variants]
    if "tokenizer" in chosen.parts:
        reconstructed(model, held_out, out)
    if "names" in chosen.parts:
        named(model, [(c, c) for c in concepts[::every]], "names", out)
    if "styles" in chosen.parts:
        styled(model, every, out)
    if "aliases" in chosen.parts:
        named(model, catalog.held_out_aliases[::every], "held-out aliases", out)
    if "pairs" in chosen.parts:
        # white things were trained on coloured backgrounds only
        paired(model, [p for p in catalog.held_out_pairs() if p.color != "white"][::every], out)
    if "seeds" in chosen.parts:
        several = [c for c in concepts if len(catalog.of_concept[c]) >= 3]
        seeded(model, several[:: max(1, len(several) // SEED_PROMPTS)][:SEED_PROMPTS:every], out)
    if chosen.wrong and out.wrong:
        contact_sheet(out.wrong).save(chosen.wrong)
    title = f"Does {chosen.model} generate what its prompts ask for?"
    write_if_asked(chosen.result, title, out.rows, str(chosen.seed))


if __name__ == "__main__":
    main()
