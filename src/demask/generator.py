"""Condition -> predict -> guide -> decode -> pixels: the whole pipeline on one screen.

Shape legend: B batch, L tokens, C channels, H W rows and columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor, nn

from demask import rng
from demask.acceleration import Accelerator, accelerate
from demask.auxiliary import AuxiliaryNetworks
from demask.conditioning import Conditioner, ConditionInput, ParsedCondition
from demask.guidance import GUIDANCES, parse_guidance
from demask.guidance_provider import ModelProvider
from demask.preset_file import PresetFile
from demask.sampling.decode import decode, last
from demask.sampling.edit import Canvas, blank
from demask.sampling.sampler import Sampler, check_guidance
from demask.settings import Settings
from demask.types import Condition, DecodeState, Grid, Predict, Tokenizer, Transformer


@dataclass(frozen=True)
class GeneratedImage:
    """A finished image and all that is needed to generate it again.

    Attributes:
        image: the pixels.
        seed: of its random generator.
        label: the class number, or -1 for any, and for a model of prompts.
        prompt: what it was asked to show: words, or a class name.
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
        info.add_text("software", "Demask (generated image)")
        return info


@dataclass(frozen=True)
class Job:
    """The images of one batch: who shows what under which seed, and how many tokens each has."""

    parsed_conditions: list[ParsedCondition]
    seeds: list[int]
    settings: Settings
    grid: Grid


@dataclass(frozen=True)
class Generator:
    """A tokenizer and a transformer that generate together. Made by `demask.load`.

    Attributes:
        name: of the model.
        tokenizer: pixels <-> ids.
        transformer: ids + condition -> logits.
        conditioner: what is asked for -> condition.
        settings: the defaults.
        low_memory: guidance makes two passes of half the size.
        aux: networks beside the transformer that some settings need.
        presets: settings with a name, for ``preset="steps8"``.
    """

    name: str
    tokenizer: Tokenizer
    transformer: Transformer
    conditioner: Conditioner
    settings: Settings = field(default_factory=Settings)
    low_memory: bool = False
    aux: AuxiliaryNetworks = field(default_factory=AuxiliaryNetworks)
    presets: PresetFile = field(default_factory=lambda: PresetFile({}))

    @cached_property
    def device(self) -> torch.device:
        """Where the model is."""
        assert isinstance(self.transformer, nn.Module)
        return next(self.transformer.parameters()).device

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a class-conditional model; () for one that reads prompts."""
        return self.conditioner.class_names

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels, unless other ones are asked for."""
        return self.pixels_of(self.transformer.grid)

    @property
    def multiple(self) -> int:
        """The sides of images are multiples of so many pixels."""
        return self.tokenizer.downsampling * self.transformer.grid_multiple

    def pixels_of(self, grid: Grid) -> tuple[int, int]:
        """Height and width of a grid's image."""
        return grid[0] * self.tokenizer.downsampling, grid[1] * self.tokenizer.downsampling

    def grid_of(self, settings: Settings) -> Grid:
        """The token grid of the settings' size.

        Raises:
            ValueError: a size that the model cannot generate.
        """
        usual = self.size
        height = usual[0] if settings.height is None else settings.height
        width = usual[1] if settings.width is None else settings.width
        if (height, width) != usual and not self.transformer.resizable:
            raise ValueError(
                f"{self.name} generates {usual[1]}x{usual[0]} pixels alone, not {width}x{height}"
            )
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"an image of {width}x{height} pixels: both sides must be multiples of "
                f"{self.multiple}"
            )
        return height // self.tokenizer.downsampling, width // self.tokenizer.downsampling

    def generate(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> list[GeneratedImage]:
        """Generate images; image i has seed ``seed + i`` and condition i, going round.

        Args:
            conditions: a prompt, a class name or number, or several of them; None: all classes in
                turn, or the empty prompt.
            num_images: how many images; by default one a condition, or one a seed.
            seed: of the first image; or one for each.
            batch_size: images generated together, which changes none of them.
            settings: any of `Settings`, where the model's default is not wanted; ``preset`` names
                others to start from.

        Raises:
            ValueError: an unknown class or setting, a number out of range, or a size that the
                model cannot generate.
        """
        return list(self.images(conditions, num_images, seed, batch_size, **settings))

    def images(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[GeneratedImage]:
        """As `generate`, one image after the other, in memory that does not grow."""
        for job in self.jobs(conditions, num_images, seed, batch_size, **settings):
            yield from self.finish(job, last(self.decode(job, self.blank(job))))

    def stream(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[DecodeState]:
        """As `generate`, but every step of every batch; `preview` shows one."""
        for job in self.jobs(conditions, num_images, seed, batch_size, **settings):
            yield from self.decode(job, self.blank(job))

    def chosen(self, **settings: Any) -> Settings:
        """The model's settings, or those that ``preset`` names, with some changed.

        Raises:
            ValueError: an unknown preset or setting.
        """
        preset = settings.pop("preset", None)
        start = self.settings if preset is None else self.presets[preset].settings
        return start.updated(**settings)

    def jobs(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: object,
    ) -> Iterator[Job]:
        """Split a condition input into batches, after checking all of it."""
        chosen = self.chosen(**settings)
        check_guidance(self.sampler(chosen), self.guided(chosen))
        self.conditioner.check(chosen)
        grid = self.grid_of(chosen)
        self.check_steps(chosen.steps, grid)
        parsed_conditions = [
            self.conditioner.parse(condition_input)
            for condition_input in self.condition_inputs(conditions)
        ]
        seeds = self.seeds(seed, len(parsed_conditions), num_images)
        if batch_size < 1:
            raise ValueError(f"the batch size is at least 1, not {batch_size}")

        def batches() -> Iterator[Job]:
            for start in range(0, len(seeds), batch_size):
                part = seeds[start : start + batch_size]
                shown = [
                    parsed_conditions[(start + i) % len(parsed_conditions)]
                    for i in range(len(part))
                ]
                yield Job(shown, list(part), chosen, grid)

        return batches()

    def condition_inputs(
        self, conditions: ConditionInput | Sequence[ConditionInput]
    ) -> list[ConditionInput]:
        """One or several conditions, or what is usual for the model.

        Raises:
            ValueError: an empty list of them.
        """
        if conditions is None:
            return self.conditioner.default_conditions()
        if isinstance(conditions, str | int):
            return [conditions]
        condition_inputs = list(conditions)
        if not condition_inputs:
            raise ValueError("the list of conditions is empty; None means what is usual")
        return condition_inputs

    @staticmethod
    def seeds(
        seed: int | Sequence[int], condition_inputs: int, num_images: int | None
    ) -> Sequence[int]:
        """The seed of every image; the range of one seed takes no memory.

        Raises:
            ValueError: no image, a seed out of range, or another number of seeds than images.
        """
        if isinstance(seed, int):
            count = condition_inputs if num_images is None else num_images
            seeds: Sequence[int] = range(seed, seed + count)
        else:
            count = len(seed) if num_images is None else num_images
            seeds = list(seed)
        if count < 1:
            raise ValueError(f"the number of images is at least 1, not {count}")
        if len(seeds) != count:
            raise ValueError(f"{len(seeds)} seeds for {count} images; one each, or one seed")
        for value in (seeds[0], seeds[-1]) if isinstance(seeds, range) else seeds:
            rng.check_seed(value)
        return seeds

    def check_steps(self, steps: int, grid: Grid) -> None:
        """Steps must be at least 1 and at most the tokens of the grid."""
        if not 1 <= steps <= grid[0] * grid[1]:
            raise ValueError(f"steps must be 1 to {grid[0] * grid[1]} (the tokens), not {steps}")

    def condition(
        self, conditions: Sequence[ConditionInput], settings: Settings | None = None
    ) -> Condition:
        """What the transformer reads for some prompts, class names or numbers."""
        chosen = settings or self.settings
        parsed_conditions = [
            self.conditioner.parse(condition_input) for condition_input in conditions
        ]
        return self.conditioner.condition(
            parsed_conditions, self.pixels_of(self.grid_of(chosen)), chosen
        )

    def reference(self, settings: Settings | None = None) -> Condition:
        """What guidance moves away from, a batch of 1: the negative prompt, or any class.

        Raises:
            ValueError: the model was trained without dropping its condition.
        """
        chosen = settings or self.settings
        return self.conditioner.reference(self.pixels_of(self.grid_of(chosen)), chosen)

    def guided(self, settings: Settings) -> Predict:
        """The transformer under the settings' accelerators and guidance."""
        transformer = accelerate(self.transformer, self.acceleration(settings))
        predict, scale = transformer.predict, settings.scale
        GUIDANCES[settings.guidance_method.partition(":")[0]]
        if settings.guidance_scale == 1:
            return predict
        provider = ModelProvider(
            transformer,
            self.tokenizer,
            partial(self.reference, settings),
            self.aux,
            settings.acceleration,
            batched=not self.low_memory,
        )
        refresh = settings.guidance_refresh
        return parse_guidance(settings.guidance_method, predict, scale, provider, refresh)

    def acceleration(self, settings: Settings) -> list[Accelerator]:
        """The settings' accelerators, with the networks that they ask for."""
        return [
            one if one.aux_kind is None else one.attach(self.aux.get(one.aux_kind))
            for one in settings.acceleration
        ]

    def sampler(self, settings: Settings) -> Sampler:
        """What the decode loop needs, with the network that its order asks for."""
        sampler = settings.sampler
        kind = sampler.order.aux_kind
        if kind is None:
            return sampler
        return replace(sampler, order=sampler.order.attach(self.aux.get(kind)))

    def job_condition(self, job: Job) -> Condition:
        """What the transformer reads for a batch."""
        size = self.pixels_of(job.grid)
        return self.conditioner.condition(job.parsed_conditions, size, job.settings)

    def blank(self, job: Job) -> Canvas:
        """A canvas with nothing on it."""
        return blank(len(job.seeds), job.grid, self.transformer.mask_id, self.device)

    def decode(self, job: Job, canvas: Canvas) -> Iterator[DecodeState]:
        """Generate one batch, step by step."""
        generators = rng.image_generators(job.seeds)
        predict = self.guided(job.settings)
        condition = self.job_condition(job)
        return decode(predict, condition, canvas, generators, self.sampler(job.settings))

    @torch.inference_mode()
    def pixels(self, ids_BL: Tensor, grid: Grid) -> Tensor:
        """Ids -> bytes (B, H, W, 3) on the CPU."""
        image_BCHW = self.tokenizer.decode(ids_BL.unflatten(1, grid))
        return (image_BCHW * 255).round().byte().permute(0, 2, 3, 1).cpu()

    def finish(self, job: Job, state: DecodeState) -> Iterator[GeneratedImage]:
        """The images of a batch whose last state this is."""
        return self.framed(job, self.pixels(state.ids_BL, state.step.grid))

    def framed(self, job: Job, pixels_BHWC: Tensor) -> Iterator[GeneratedImage]:
        """Bytes -> images that know how they were made."""
        rows = zip(pixels_BHWC.numpy(), job.seeds, job.parsed_conditions, strict=True)
        for pixels_HWC, seed, parsed in rows:
            image = Image.fromarray(pixels_HWC)
            yield GeneratedImage(image, seed, parsed.label, parsed.prompt, self.name, job.settings)

    def preview(self, state: DecodeState) -> Tensor:
        """A state as bytes (B, H, W, 3): masked tokens are grey.

        Beneath the grey lie the likeliest codes, since a tokenizer lets neighbours shine through.
        """
        guess_BL = 0 if state.logits_BLV is None else state.logits_BLV.argmax(-1)
        ids_BL = torch.where(state.masked_BL, guess_BL, state.ids_BL)
        pixels_BHWC = self.pixels(ids_BL, state.step.grid)
        masked_BHW = state.masked_BL.unflatten(1, state.step.grid).cpu()
        for dimension in (1, 2):
            masked_BHW = masked_BHW.repeat_interleave(self.tokenizer.downsampling, dimension)
        return torch.where(masked_BHW[..., None], 128, pixels_BHWC).byte()
