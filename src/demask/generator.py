"""Condition -> predict -> guide -> decode -> pixels: the whole pipeline on one screen.

Shape legend: B batch, L tokens, C channels, H W rows and columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from demask import rng
from demask.guidance.classifier_free import ClassifierFree
from demask.registry import unknown
from demask.sampling.decode import decode, last
from demask.sampling.edit import Canvas, blank
from demask.settings import Settings
from demask.types import Condition, DecodeState, Grid, Predict, Tokenizer, Transformer

Wish = str | int | None
"""What a picture should show: a class name or number, or None for any class."""


@dataclass(frozen=True)
class Picture:
    """A finished picture and all that is needed to paint it again.

    Attributes:
        image: the pixels.
        seed: of its random generator.
        label: the class number, or -1 for any.
        prompt: what it was asked to show.
        model: the model's name.
        settings: how it was sampled.
    """

    image: Image.Image
    seed: int
    label: int
    prompt: str
    model: str
    settings: Settings

    def png_text(self) -> PngInfo:
        """The facts, as PNG text chunks."""
        info = PngInfo()
        info.add_text("prompt", self.prompt)
        info.add_text("seed", str(self.seed))
        info.add_text("model", self.model)
        info.add_text("settings", json.dumps(asdict(self.settings)))
        info.add_text("software", "Demask (generated picture)")
        return info


@dataclass(frozen=True)
class Job:
    """The pictures of one batch: who shows what under which seed."""

    labels: list[int]
    seeds: list[int]
    settings: Settings


@dataclass(frozen=True)
class Generator:
    """A tokenizer and a transformer that paint together. Made by `demask.load`.

    Attributes:
        name: of the model.
        tokenizer: pixels <-> ids.
        transformer: ids + condition -> logits.
        class_names: of a class-conditional model.
        settings: the defaults.
    """

    name: str
    tokenizer: Tokenizer
    transformer: Transformer
    class_names: tuple[str, ...]
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        assert isinstance(self.transformer, nn.Module)
        return next(self.transformer.parameters()).device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        rows, columns = self.transformer.grid
        return rows * self.tokenizer.downsampling, columns * self.tokenizer.downsampling

    def generate(
        self,
        conditions: Wish | Sequence[Wish] = None,
        num_images: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> list[Picture]:
        """Paint pictures; picture i has seed ``seed + i`` and condition i, going round.

        Args:
            conditions: a class name or number, several, or None: all classes in turn.
            num_images: how many pictures; by default one a condition.
            seed: of the first picture.
            batch_size: pictures painted together, which changes none of them.
            settings: any of `Settings`, where the model's default is not wanted.

        Raises:
            ValueError: an unknown class or setting, or a number out of range.
        """
        return list(self.pictures(conditions, num_images, seed, batch_size, **settings))

    def pictures(
        self,
        conditions: Wish | Sequence[Wish] = None,
        num_images: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[Picture]:
        """As `generate`, one picture after the other, in memory that does not grow."""
        for job in self.jobs(conditions, num_images, seed, batch_size, **settings):
            yield from self.finish(job, last(self.decode(job, self.blank(job))))

    def stream(
        self,
        conditions: Wish | Sequence[Wish] = None,
        num_images: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[DecodeState]:
        """As `generate`, but every step of every batch; `preview` shows one."""
        for job in self.jobs(conditions, num_images, seed, batch_size, **settings):
            yield from self.decode(job, self.blank(job))

    def jobs(
        self,
        conditions: Wish | Sequence[Wish] = None,
        num_images: int | None = None,
        seed: int = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[Job]:
        """Split a wish into batches, after checking all of it."""
        chosen = self.settings.updated(**settings)
        _ = chosen.sampler, chosen.scale
        self.check_steps(chosen.steps, self.transformer.grid)
        wishes = self.wishes(conditions)
        labels = [self.label(wish) for wish in wishes]
        count = len(labels) if num_images is None else num_images
        if count < 1:
            raise ValueError(f"the number of pictures is at least 1, not {count}")
        if batch_size < 1:
            raise ValueError(f"the batch size is at least 1, not {batch_size}")
        rng.check_seed(seed)
        rng.check_seed(seed + count - 1)

        def batches() -> Iterator[Job]:
            for start in range(0, count, batch_size):
                numbers = range(start, min(start + batch_size, count))
                yield Job(
                    [labels[i % len(labels)] for i in numbers], [seed + i for i in numbers], chosen
                )

        return batches()

    def wishes(self, conditions: Wish | Sequence[Wish]) -> list[Wish]:
        """One or several conditions, or all classes in turn."""
        if conditions is None:
            return list(range(len(self.class_names)))
        if isinstance(conditions, str | int):
            return [conditions]
        return list(conditions)

    def label(self, wish: Wish) -> int:
        """The class number that a wish means; -1 for any class."""
        if wish is None:
            return -1
        if isinstance(wish, str) and not wish.lstrip("-").isdigit():
            if wish not in self.class_names:
                raise ValueError(unknown("class", wish, self.class_names))
            return self.class_names.index(wish)
        number = int(wish)
        if not 0 <= number < len(self.class_names):
            raise ValueError(
                f"class {number} is out of range; valid: 0 to {len(self.class_names) - 1}"
            )
        return number

    def check_steps(self, steps: int, grid: Grid) -> None:
        """Steps must be at least 1 and at most the tokens of the grid."""
        if not 1 <= steps <= grid[0] * grid[1]:
            raise ValueError(f"steps must be 1 to {grid[0] * grid[1]} (the tokens), not {steps}")

    def condition(self, labels: Sequence[int]) -> Condition:
        """What the transformer reads; any class is the unconditional one."""
        class_ids_B = torch.tensor(labels, device=self.device)
        if (class_ids_B < 0).any():
            anything = self.unconditional()["class_ids"]
            class_ids_B = torch.where(class_ids_B < 0, anything, class_ids_B)
        return Condition({"class_ids": class_ids_B})

    def unconditional(self) -> Condition:
        """The condition of any class.

        Raises:
            ValueError: the model was trained without class dropout.
        """
        make = getattr(self.transformer, "unconditional", None)
        if make is None:
            raise ValueError(
                f"{self.name} was trained without class dropout: name a class, keep guidance at 1"
            )
        return make()

    def guided(self, settings: Settings) -> Predict:
        """The transformer under the settings' guidance."""
        if settings.guidance == 1:
            return self.transformer.predict
        return ClassifierFree(self.transformer.predict, self.unconditional(), settings.scale)

    def blank(self, job: Job) -> Canvas:
        """A canvas with nothing on it."""
        grid, mask_id = self.transformer.grid, self.transformer.mask_id
        return blank(len(job.seeds), grid, mask_id, self.device)

    def decode(self, job: Job, canvas: Canvas) -> Iterator[DecodeState]:
        """Paint one batch, step by step."""
        generators = rng.image_generators(job.seeds)
        predict = self.guided(job.settings)
        condition = self.condition(job.labels)
        return decode(predict, condition, canvas, generators, job.settings.sampler)

    @torch.inference_mode()
    def pixels(self, ids_BL: Tensor, grid: Grid) -> Tensor:
        """Ids -> bytes (B, H, W, 3) on the CPU."""
        image_BCHW = self.tokenizer.decode(ids_BL.unflatten(1, grid))
        return (image_BCHW * 255).round().byte().permute(0, 2, 3, 1).cpu()

    def finish(self, job: Job, state: DecodeState) -> Iterator[Picture]:
        """The pictures of a batch whose last state this is."""
        return self.framed(job, self.pixels(state.ids_BL, state.step.grid))

    def framed(self, job: Job, pixels_BHWC: Tensor) -> Iterator[Picture]:
        """Bytes -> pictures that know how they were made."""
        for pixels_HWC, seed, label in zip(pixels_BHWC.numpy(), job.seeds, job.labels, strict=True):
            prompt = self.class_names[label] if label >= 0 else ""
            image = Image.fromarray(pixels_HWC)
            yield Picture(image, seed, label, prompt, self.name, job.settings)

    def preview(self, state: DecodeState) -> Tensor:
        """A state as bytes (B, H, W, 3): hidden tokens are grey.

        Beneath the grey lie the likeliest codes, since a tokenizer lets neighbours shine through.
        """
        guess_BL = 0 if state.logits_BLV is None else state.logits_BLV.argmax(-1)
        ids_BL = torch.where(state.hidden_BL, guess_BL, state.ids_BL)
        pixels_BHWC = self.pixels(ids_BL, state.step.grid)
        hidden_BHW = state.hidden_BL.unflatten(1, state.step.grid).cpu()
        for dimension in (1, 2):
            hidden_BHW = hidden_BHW.repeat_interleave(self.tokenizer.downsampling, dimension)
        return torch.where(hidden_BHW[..., None], 128, pixels_BHWC).byte()
