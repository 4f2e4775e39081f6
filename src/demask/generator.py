"""`Generator`: what users call to generate and edit images.

Shape legend: B batch, L tokens, H W rows and columns of pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from PIL import Image
from torch import Tensor, nn

from demask import editing
from demask.conditioning import ConditionInput
from demask.image import GeneratedImage as GeneratedImage
from demask.jobs import Job as Job
from demask.pipeline import Pipeline
from demask.sampling.decode import last
from demask.settings import Settings, SettingsKwargs
from demask.types import Condition, DecodeState, TokenLayout

GREY = 128.0
"""The colour of masked tokens in previews."""


@dataclass(frozen=True, repr=False)
class Generator(Pipeline):
    """A model that generates images, loaded by `demask.load`.

    ``generate``, ``images`` and ``stream`` generate; ``inpaint``, ``outpaint`` and ``variations``
    edit an image. All take ``conditions`` (prompts or classes), ``num_images``, ``seed`` and any of
    `demask.Settings` by keyword; ``preset`` names measured settings to start from.
    """

    def generate(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: Unpack[SettingsKwargs],
    ) -> list[GeneratedImage]:
        """Generate images.

        Args:
            conditions: a prompt, a class name or number, or several of them; image i shows
                condition i, and after the last the first again. None: all classes in turn, or the
                empty prompt.
            num_images: the number of images; by default one per condition, or one per seed.
            seed: image i has the seed ``seed + i``; or one seed per image. The same seed gives the
                same image, alone or in a batch.
            batch_size: images that are generated together, which changes none of them.
            settings: any of `demask.Settings`, and ``preset``; the others are the model's.

        Raises:
            ValueError: an unknown class, preset or setting, a value of another type or out of
                bounds, or a size that the model cannot generate.
        """
        return list(self.images(conditions, num_images, seed, batch_size, **settings))

    def images(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: Unpack[SettingsKwargs],
    ) -> Iterator[GeneratedImage]:
        """Generate images one batch after the other, in memory that does not grow.

        The arguments are checked at once; see `generate`.
        """
        jobs = self.jobs(conditions, num_images, seed, batch_size, **settings)
        return (
            image
            for job in jobs
            for image in self.finish(job, last(self.decode(job, self.blank(job))))
        )

    def stream(
        self,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        batch_size: int = 64,
        **settings: Unpack[SettingsKwargs],
    ) -> Iterator[DecodeState]:
        """The state after every step of every batch; `preview` makes pixels of one.

        The arguments are checked at once; see `generate`.
        """
        jobs = self.jobs(conditions, num_images, seed, batch_size, **settings)
        return (state for job in jobs for state in self.decode(job, self.blank(job)))

    def inpaint(
        self,
        image: Image.Image,
        mask: Image.Image,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        feather: int | None = None,
        **settings: Unpack[SettingsKwargs],
    ) -> list[GeneratedImage]:
        """Regenerate the white part of a mask; other pixels stay, except at a soft edge.

        The transparent part of an image stays transparent, where it is not regenerated.

        Args:
            image: of any size; see `demask.editing` for images larger than the model's.
            mask: of the same size; see `demask.data.masks.read_mask`.
            conditions: what the new part shows; None: no prompt or class.
            num_images: the number of versions.
            seed: as in `generate`.
            feather: width of the soft edge in pixels; by default half a token.
            settings: as in `generate`.

        Raises:
            ValueError: a mask of another size or without white, or as in `generate`.
        """
        edited = editing.inpaint(
            self, image, mask, conditions, num_images, seed, feather, **settings
        )
        return list(edited)

    def outpaint(
        self,
        image: Image.Image,
        left: int = 0,
        right: int = 0,
        top: int = 0,
        bottom: int = 0,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        feather: int | None = None,
        **settings: Unpack[SettingsKwargs],
    ) -> list[GeneratedImage]:
        """Generate around an image; ``left``, ``right``, ``top`` and ``bottom`` are in pixels.

        The other arguments are those of `inpaint`.

        Raises:
            ValueError: no margin or a negative one, or as in `generate`.
        """
        margins = (left, right, top, bottom)
        edited = editing.outpaint(
            self, image, *margins, conditions, num_images, seed, feather, **settings
        )
        return list(edited)

    def variations(
        self,
        image: Image.Image,
        strength: float = 0.5,
        conditions: ConditionInput | Sequence[ConditionInput] = None,
        num_images: int | None = None,
        seed: int | Sequence[int] = 0,
        strength_of: str = "tokens",
        **settings: Unpack[SettingsKwargs],
    ) -> list[GeneratedImage]:
        """Generate variations of an image: a random part of its tokens is masked and regenerated.

        Args:
            image: of any size.
            strength: the fraction that is regenerated, 0 to 1.
            conditions: what they show; None: no prompt or class.
            num_images: the number of variations.
            seed: as in `generate`.
            strength_of: ``tokens``, or ``steps``: the last steps are made, from as many masked
                tokens as the schedule leaves before them, as aMUSEd edits images.
            settings: as in `generate`.

        Raises:
            ValueError: a strength outside [0, 1], or as in `generate`.
        """
        varied = editing.variations(
            self, image, strength, conditions, num_images, seed, strength_of, **settings
        )
        return list(varied)

    def preview(self, state: DecodeState) -> Tensor:
        """A state of `stream` as bytes (B, H, W, 3) on the CPU; masked tokens are `greyed`.

        Masked tokens are decoded as their most likely codes before they are covered with grey,
        since a tokenizer's decoder mixes neighbouring tokens.
        """
        guess_BL = 0 if state.logits_BLV is None else state.logits_BLV.argmax(-1)
        ids_BL = torch.where(state.masked_BL, guess_BL, state.ids_BL)
        layout = state.step.layout
        return self.greyed(self.pixels(ids_BL, layout, state.condition), state.masked_BL, layout)

    def greyed(self, pixels_BHWC: Tensor, masked_BL: Tensor, layout: TokenLayout) -> Tensor:
        """Images whose masked positions are grey, half known ones in part.

        The tokens of a row have no place in the image, which stays as it is.
        """
        if len(layout.shape) != 2:
            return pixels_BHWC
        share_BHW = masked_BL.view(-1, *layout.grid, layout.parts).float().mean(-1).cpu()
        for dimension in (1, 2):
            share_BHW = share_BHW.repeat_interleave(self.tokenizer.downsampling, dimension)
        return torch.lerp(pixels_BHWC.float(), torch.tensor(GREY), share_BHW[..., None]).byte()

    def condition(
        self, conditions: Sequence[ConditionInput], settings: Settings | None = None
    ) -> Condition:
        """The tensors that the transformer reads for prompts, class names or class numbers.

        Args:
            conditions: B of them.
            settings: for the size and micro-conditions; by default those of the model.

        Raises:
            ValueError: an unknown class, or a size that the model cannot generate.
        """
        chosen = settings or self.settings
        parsed_conditions = [
            self.conditioner.parse(condition_input) for condition_input in conditions
        ]
        return self.conditioner.condition(
            parsed_conditions, self.pixels_of(self.layout_of(chosen)), chosen
        )

    def __repr__(self) -> str:
        """The model, its sizes and its default settings in a few lines."""
        height, width = self.size
        shows = f"{len(self.class_names)} classes" if self.class_names else "prompts"
        usual = Settings()
        own = {k: v for k, v in vars(self.settings).items() if v != getattr(usual, k)}
        settings = ", ".join(
            f"{k}={v!r}" for k, v in ({"steps": self.settings.steps} | own).items()
        )
        presets = ", ".join(self.presets.by_name) or "none"
        return (
            f"Generator '{self.name}' of {shows}: {width}x{height} pixels, "
            f"{self.transformer.layout.sides} tokens of {self.transformer.codebook_size} codes\n"
            f"  {type(self.transformer).__name__}, {parameters(self.transformer)} parameters; "
            f"{type(self.tokenizer).__name__}, {parameters(self.tokenizer)}; on {self.device}\n"
            f"  settings: {settings}\n"
            f"  presets: {presets}"
        )


def parameters(network: object) -> str:
    """The number of parameters of a network, in millions."""
    assert isinstance(network, nn.Module)
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M"
