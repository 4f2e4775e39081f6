"""From a request to pixels, stage by stage: check, batch, condition, predict, decode.

`Pipeline` holds the parts of a model and the stages; `demask.generator.Generator` is what users
call.

Shape legend: B batch, L tokens, C channels, H W rows and columns.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Unpack

import torch
from PIL import Image
from torch import Tensor, nn

from demask import rng
from demask.acceleration import Accelerator, accelerate
from demask.auxiliary import AuxiliaryNetworks
from demask.conditioning import Conditioner, ConditionInput
from demask.guidance import GUIDANCES, parse_guidance
from demask.guidance_provider import ModelProvider
from demask.image import GeneratedImage
from demask.jobs import Job, batches, image_seeds
from demask.layouts import image_size
from demask.preset_file import PresetFile
from demask.sampling.decode import decode, last
from demask.sampling.edit import Canvas, blank
from demask.sampling.sampler import Sampler, check_guidance
from demask.sampling.stepper import NonFiniteLogitsError
from demask.settings import Settings, SettingsKwargs, check_names
from demask.training_range import warn_of_size
from demask.transformer.number_range import first_non_finite
from demask.transformer.protocols import supports
from demask.types import (
    Condition,
    DecodeState,
    Predict,
    ReadsCondition,
    Tokenizer,
    TokenLayout,
    Transformer,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Pipeline:
    """The parts of a model, and the stages from a request to images.

    Attributes:
        name: of the model.
        tokenizer: pixels <-> ids.
        transformer: ids and a condition to logits.
        conditioner: prompts or classes to a condition.
        settings: the defaults of the model.
        low_memory: guidance makes two passes of half the batch.
        aux: auxiliary networks that some settings need.
        presets: named settings, for ``preset="steps8"``.
        loaded: arguments of `demask.load` that an image needs to be generated again.
    """

    name: str
    tokenizer: Tokenizer
    transformer: Transformer
    conditioner: Conditioner
    settings: Settings = field(default_factory=Settings)
    low_memory: bool = False
    aux: AuxiliaryNetworks = field(default_factory=AuxiliaryNetworks)
    presets: PresetFile = field(default_factory=lambda: PresetFile({}))
    loaded: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def device(self) -> torch.device:
        """The device of the model's weights."""
        assert isinstance(self.transformer, nn.Module)
        return next(self.transformer.parameters()).device

    @property
    def class_names(self) -> tuple[str, ...]:
        """Of a class-conditional model; () for one that reads prompts."""
        return self.conditioner.class_names

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels, by default."""
        return self.pixels_of(self.transformer.layout)

    @property
    def multiple(self) -> int:
        """Pixels; both sides of an image are multiples of it."""
        return self.tokenizer.downsampling * self.transformer.grid_multiple

    def pixels_of(self, layout: TokenLayout) -> tuple[int, int]:
        """Height and width in pixels of the image of a layout."""
        return image_size(self.tokenizer, layout)

    def layout_of(self, settings: Settings) -> TokenLayout:
        """The token layout of an image of the size in the settings.

        Raises:
            ValueError: a size that the model cannot generate.
        """
        usual, layout = self.size, self.transformer.layout
        height = usual[0] if settings.height is None else settings.height
        width = usual[1] if settings.width is None else settings.width
        if (height, width) == usual:
            return layout
        if not self.transformer.resizable:
            raise ValueError(
                f"{self.name} generates {usual[1]}x{usual[0]} pixels alone, not {width}x{height}"
            )
        if min(height, width) < 1 or height % self.multiple or width % self.multiple:
            raise ValueError(
                f"an image of {width}x{height} pixels: both sides must be multiples of "
                f"{self.multiple}"
            )
        cell = self.tokenizer.downsampling
        return replace(layout, shape=(height // cell, width // cell))

    def chosen(self, **settings: Unpack[SettingsKwargs]) -> Settings:
        """The model's settings, or those that ``preset`` names, with some changed.

        Raises:
            ValueError: an unknown preset or setting.
        """
        changes: dict[str, Any] = dict(settings)
        preset = changes.pop("preset", None)
        check_names(changes)
        start = self.settings if preset is None else self.presets[preset].settings
        chosen = start.updated(**changes)
        if changes.get("negative_prompt"):
            self.warn_of_unused(chosen)
        return chosen

    def warn_of_unused(self, settings: Settings) -> None:
        """Say so where a negative prompt that was asked for has no effect."""
        name = settings.guidance_method.partition(":")[0]
        if settings.guidance_scale == 1:
            log.warning("the negative prompt has no effect at guidance_scale 1")
        elif not GUIDANCES[name].uses_negative_prompt:
            users = ", ".join(n for n, row in GUIDANCES.items() if row.uses_negative_prompt)
            log.warning(
                "the negative prompt has no effect with the guidance '%s', but with: %s",
                name,
                users,
            )

    def jobs(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: Unpack[SettingsKwargs],
    ) -> Iterator[Job]:
        """Split a request into batches, after all of it is checked; see `Generator.generate`."""
        chosen = self.chosen(**settings)
        layout = self.layout_of(chosen)
        chosen.check_layout(layout)
        check_guidance(self.sampler(chosen), self.guided(chosen))
        self.conditioner.check(chosen)
        warn_of_size(self.name, layout, self.transformer.layout, self.tokenizer.downsampling)
        parsed_conditions = [
            self.conditioner.parse(condition_input)
            for condition_input in self.conditioner.condition_inputs(conditions)
        ]
        seeds = self.seeds(seed, len(parsed_conditions), num_images)
        return batches(parsed_conditions, seeds, batch_size, chosen, layout)

    seeds = staticmethod(image_seeds)

    def reference(self, settings: Settings | None = None) -> Condition:
        """What guidance moves away from, a batch of 1: the negative prompt, or any class.

        Raises:
            ValueError: the model was trained without dropping its condition.
        """
        chosen = settings or self.settings
        return self.conditioner.reference(self.pixels_of(self.layout_of(chosen)), chosen)

    def guided(self, settings: Settings) -> Predict:
        """The transformer's prediction with the accelerators and guidance of the settings."""
        transformer = accelerate(self.transformer, self.acceleration(settings))
        predict, scale = settings.sampler.start.around(transformer), settings.scale
        GUIDANCES[settings.guidance_method.partition(":")[0]]  # an unknown name, even at scale 1
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
        """The accelerators of the settings, with the auxiliary networks that they need."""
        return [
            one if one.aux_kind is None else one.attach(self.aux.get(one.aux_kind))
            for one in settings.acceleration
        ]

    def sampler(self, settings: Settings) -> Sampler:
        """The arguments of `decode`, with the auxiliary network that the order needs."""
        sampler = settings.sampler
        kind = sampler.order.aux_kind
        if kind is None:
            return sampler
        return replace(sampler, order=sampler.order.attach(self.aux.get(kind)))

    def job_condition(self, job: Job) -> Condition:
        """The condition of a batch."""
        size = self.pixels_of(job.layout)
        return self.conditioner.condition(job.parsed_conditions, size, job.settings)

    def blank(self, job: Job) -> Canvas:
        """A canvas on which every token is masked."""
        return blank(len(job.seeds), job.layout, self.transformer.mask_id, self.device)

    def decode(self, job: Job, canvas: Canvas) -> Iterator[DecodeState]:
        """Decode one batch; yields the state after each step.

        Raises:
            NonFiniteLogitsError: names the first layer whose output is not finite.
        """
        predict, sampler = self.guided(job.settings), self.sampler(job.settings)
        condition = self.job_condition(job)

        def states() -> Iterator[DecodeState]:
            return decode(predict, condition, canvas, rng.image_generators(job.seeds), sampler)

        def named() -> Iterator[DecodeState]:
            try:
                yield from states()
            except NonFiniteLogitsError as error:
                raise NonFiniteLogitsError(f"{self.name}, {error}{self.culprit(states)}") from None

        return named()

    def culprit(self, states: Callable[[], Iterator[DecodeState]]) -> str:
        """Decode again; return the first layer whose output is not finite, for a message."""

        def run() -> None:
            with suppress(NonFiniteLogitsError):
                last(states())

        assert isinstance(self.transformer, nn.Module)
        layer = first_non_finite(self.transformer, run)
        return "" if layer is None else f"; the first such layer is {layer}"

    @torch.inference_mode()
    def tokens(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> tokens in their layout (B, *dims)."""
        codes = self.transformer.codebook_size
        ids = self.tokenizer.encode(image_BCHW.to(self.device))
        return self.transformer.layout.split(ids, codes)

    @torch.inference_mode()
    def pixels(
        self, ids_BL: Tensor, layout: TokenLayout, condition: Condition | None = None
    ) -> Tensor:
        """Tokens (B, L) -> bytes (B, H, W, 3) on the CPU; see `tokenizer_for`."""
        images = []  # each is decoded alone: in a batch, rounding may change a byte by 1
        for index, ids_1 in enumerate(layout.join(ids_BL, self.transformer.codebook_size).split(1)):
            own = None if condition is None else condition.take(slice(index, index + 1))
            image_1CHW = self.tokenizer_for(1, own).decode(ids_1)
            images.append((image_1CHW * 255).round().byte().permute(0, 2, 3, 1).cpu())
        return torch.cat(images)

    def tokenizer_for(self, batch: int, condition: Condition | None = None) -> Tokenizer:
        """The tokenizer for a batch; one that reads the condition is given it, or no prompt."""
        if not supports(self.tokenizer, ReadsCondition):
            return self.tokenizer
        if condition is None:
            parsed = [self.conditioner.parse(None)] * batch
            condition = self.conditioner.condition(parsed, self.size, self.settings)
        return self.tokenizer.conditioned(condition)

    def finish(self, job: Job, state: DecodeState) -> Iterator[GeneratedImage]:
        """The images of a batch, from its last state."""
        return self.framed(job, self.pixels(state.ids_BL, state.step.layout, state.condition))

    def framed(self, job: Job, pixels_BHWC: Tensor) -> Iterator[GeneratedImage]:
        """Bytes (B, H, W, 3) -> images with their metadata."""
        rows = zip(pixels_BHWC.numpy(), job.seeds, job.parsed_conditions, strict=True)
        for pixels_HWC, seed, parsed in rows:
            image = Image.fromarray(pixels_HWC)
            yield GeneratedImage(
                image, seed, parsed.label, parsed.prompt, self.name, job.settings, self.loaded
            )
