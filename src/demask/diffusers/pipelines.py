"""`DemaskPipeline` and its twins for image-to-image and inpainting.

The only module that imports diffusers. Shape legend: B batch, L tokens, V codebook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from demask.assembly import load
from demask.device import check_device, default_device
from demask.diffusers import decoding
from demask.diffusers.networks import Networks
from demask.diffusers.requests import (
    Generators,
    conditions_of,
    negative_prompt_of,
    output_of,
    seeds_of,
)
from demask.editing import Progress
from demask.generator import Generator
from demask.quiet import quiet_torchao
from demask.registry import unknown
from demask.types import DecodeState

try:
    with quiet_torchao():
        from diffusers import DiffusionPipeline, ImagePipelineOutput
except ImportError as error:
    raise ImportError(
        "demask.diffusers needs diffusers: pip install 'demask[diffusers]'"
    ) from error

Callback = Callable[[Any, int, int, dict[str, Any]], Any]

TENSORS: dict[str, Callable[[DecodeState], torch.Tensor | None]] = {
    "latents": lambda state: state.ids_BL,
    "masked": lambda state: state.masked_BL,
    "logits": lambda state: state.logits_BLV,
}
"""What ``callback_on_step_end`` can be given."""


class DemaskPipeline(DiffusionPipeline):  # type: ignore[misc]
    """Generates images with any model of Demask, behind the interface of diffusers.

    Args:
        model: a generator of `demask.load`, or the component ``model`` of another pipeline, which
            then share their weights and LoRAs.
    """

    def __init__(self, model: Generator | Networks) -> None:
        super().__init__()
        self.offload_device: str | None = None
        self.register_modules(model=Networks(model) if isinstance(model, Generator) else model)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        torch_dtype: torch.dtype | None = None,
        variant: str | None = None,
        device: str = "cpu",
        **arguments: Any,
    ) -> DemaskPipeline:
        """Load a model.

        Args:
            pretrained_model_name_or_path: all that `demask.load` reads: a shipped model, a
                folder, a file or a hub id.
            torch_dtype: of the weights; by default float32.
            variant: of a public layout's files, such as ``fp16``.
            device: where the weights go; move them later with ``to``.
            arguments: other arguments of `demask.load`, such as ``preset``.

        Raises:
            ValueError: as `demask.load`.
        """
        name = pretrained_model_name_or_path
        model = load(name, device=device, dtype=torch_dtype, variant=variant, **arguments)
        return cls(model)

    @classmethod
    def from_pipe(cls, pipeline: DemaskPipeline, **_: Any) -> DemaskPipeline:
        """A pipeline that shares the networks of another one, offloaded or not."""
        twin = cls(pipeline.model)
        twin.offload_device = pipeline.offload_device
        return twin

    def save_pretrained(self, *_: Any, **__: Any) -> None:
        """Raise a NotImplementedError: the layout of diffusers holds no models of Demask."""
        raise NotImplementedError(
            "a DemaskPipeline is not saved in diffusers' layout; keep the files it was loaded from"
        )

    @property
    def demask_generator(self) -> Generator:
        """The generator of Demask behind this pipeline."""
        generator: Generator = self.model.generator
        return generator

    def __call__(
        self,
        prompt: str | Sequence[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str | Sequence[str] | None = None,
        num_images_per_prompt: int = 1,
        generator: Generators = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        class_labels: int | str | Sequence[int | str] | torch.Tensor | None = None,
        decode: decoding.Decode = decoding.generate,
        **settings: Any,
    ) -> Any:
        """Generate images; what is None is that of the model.

        Args:
            prompt: what the images show, or several such texts; None: nothing in particular.
            height: in pixels.
            width: in pixels.
            num_inference_steps: Demask's ``steps``.
            guidance_scale: 1 is off, as in Demask.
            negative_prompt: one text for all images.
            num_images_per_prompt: the images of a prompt follow each other.
            generator: gives the seeds; see `demask.diffusers.requests.seeds_of`.
            output_type: ``pil``, ``np`` (B, H, W, C) or ``pt`` (B, C, H, W), both in [0, 1].
            return_dict: whether an ``ImagePipelineOutput`` or a tuple is returned.
            callback_on_step_end: called with the pipeline, the index of the step, the number of
                steps that follow, and the tensors by name; what it returns is not used.
            callback_on_step_end_tensor_inputs: ``latents``: token ids (B, L), ``masked``: (B, L),
                ``logits``: (B, L, V).
            class_labels: class names or numbers, for a model of classes.
            decode: how the tokens are decoded, which the other pipelines set.
            settings: any other of `demask.Settings`, and ``preset``.

        Raises:
            ValueError: as `Generator.generate`, or an unknown ``output_type`` or tensor.
        """
        convert = output_of(output_type)
        tensors = callback_on_step_end_tensor_inputs
        for name in tensors:
            if name not in TENSORS:
                raise ValueError(unknown("callback_on_step_end_tensor_inputs", name, TENSORS))
        settings |= {
            "steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "negative_prompt": negative_prompt_of(negative_prompt),
            "height": height,
            "width": width,
        }
        model = self.demask_generator
        conditions = conditions_of(model, prompt, class_labels, num_images_per_prompt)
        with self._on_device():
            progress = decode(self.demask_generator, conditions, seeds_of(generator), settings)
            images = convert(list(self._finished(progress, callback_on_step_end, tensors)))
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _finished(
        self, progress: Iterator[Progress], callback: Callback | None, tensors: Sequence[str]
    ) -> Iterator[Image.Image]:
        """The images; the progress bar and the callback follow the states."""
        last: int | None = None
        with self.progress_bar(total=0) as bar:
            for each in progress:
                if not isinstance(each, DecodeState):
                    yield each.image
                    continue
                index, steps = each.step.index, each.step.steps
                if last is None or index <= last:  # another batch or window
                    bar.total += steps - index
                last = index
                if callback is not None:
                    given = {name: TENSORS[name](each) for name in tensors}
                    callback(self, index, steps - 1 - index, given)
                bar.update()

    def load_lora_weights(
        self,
        pretrained_model_name_or_path: str | Path,
        weight_name: str | None = None,
        lora_scale: float | None = None,
    ) -> None:
        """Load the model again with one more LoRA, merged into its weights.

        Args:
            pretrained_model_name_or_path: a folder or file that ``demask.load(loras=...)`` reads.
            weight_name: the file inside the folder.
            lora_scale: its weight; None: as it was trained.

        Raises:
            ValueError: no such LoRA, or one of another model; the pipeline stays as it was.
        """
        path = Path(pretrained_model_name_or_path) / (weight_name or "")
        entry = str(path) if lora_scale is None else f"{path}:{lora_scale}"
        self.model.reload([*self.demask_generator.loaded.get("loras", ()), entry])

    def unload_lora_weights(self) -> None:
        """Load the model again without LoRAs."""
        self.model.reload([])

    def enable_model_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep the weights on the CPU between calls, and on the device during a call.

        Args:
            gpu_id: the number of the GPU, if ``device`` does not name it.
            device: by default the GPU.

        Raises:
            ValueError: it is not available.
        """
        name = str(default_device() if device is None else device)
        if device is None and name == "cpu":
            raise ValueError("enable_model_cpu_offload needs a GPU, and there is none here")
        name = name if gpu_id is None or ":" in name else f"{name}:{gpu_id}"
        check_device(name)
        self.to("cpu")
        self.offload_device = name

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        """A context in which offloaded weights are on the device."""
        if self.offload_device is None:
            yield
            return
        self.model.to(self.offload_device)
        try:
            yield
        finally:
            self.model.to("cpu")


class DemaskImg2ImgPipeline(DemaskPipeline):
    """Generates variations of an image; see `Generator.variations`."""

    def __call__(  # type: ignore[override]
        self,
        prompt: str | Sequence[str] | None = None,
        image: Image.Image | None = None,
        strength: float = 0.5,
        strength_of: str = "tokens",
        **request: Any,
    ) -> Any:
        """Generate variations of an image.

        Args:
            prompt: as in `DemaskPipeline`.
            image: of any size.
            strength: the fraction that is regenerated, 0 to 1.
            strength_of: ``tokens``, or ``steps`` as aMUSEd; see `Generator.variations`.
            request: the other arguments of `DemaskPipeline`.

        Raises:
            ValueError: as `Generator.variations`.
        """
        decode = decoding.vary(image, strength, strength_of)  # type: ignore[arg-type]
        return super().__call__(prompt, decode=decode, **request)


class DemaskInpaintPipeline(DemaskPipeline):
    """Regenerates the white part of a mask; see `Generator.inpaint`."""

    def __call__(  # type: ignore[override]
        self,
        prompt: str | Sequence[str] | None = None,
        image: Image.Image | None = None,
        mask_image: Image.Image | None = None,
        feather: int | None = None,
        **request: Any,
    ) -> Any:
        """Regenerate a part of an image.

        Args:
            prompt: as in `DemaskPipeline`.
            image: of any size.
            mask_image: of the same size, white where the image is regenerated.
            feather: width of the soft edge in pixels; by default half a token.
            request: the other arguments of `DemaskPipeline`.

        Raises:
            ValueError: as `Generator.inpaint`.
        """
        decode = decoding.inpaint(image, mask_image, feather)  # type: ignore[arg-type]
        return super().__call__(prompt, decode=decode, **request)
