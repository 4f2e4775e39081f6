"""Names that other programs and older versions use for settings, and what Demask calls them."""

from __future__ import annotations

from collections.abc import Iterable

from demask.old_names import SETTINGS
from demask.registry import unknown

DEMASK_NAMES = {
    **SETTINGS,
    "num_inference_steps": "steps",
    "num_sampling_steps": "steps",
    "sampling_steps": "steps",
    "sample_steps": "steps",
    "num_steps": "steps",
    "n_steps": "steps",
    "num_iter": "steps",
    "num_iterations": "steps",
    "timesteps": "steps",
    "gen_steps": "steps",
    "cfg": "guidance_scale",
    "cfg_scale": "guidance_scale",
    "cfg_weight": "guidance_scale",
    "cfg_w": "guidance_scale",
    "scale": "guidance_scale",
    "cfg_schedule": "guidance_schedule",
    "scheduler": "schedule",
    "mask_schedule": "schedule",
    "mask_scheduling_method": "schedule",
    "noise_schedule": "schedule",
    "sched_mode": "schedule",
    "sampler": "order",
    "sampling_order": "order",
    "randomize": "order",
    "temp": "temperature",
    "sm_temp": "temperature",
    "softmax_temperature": "temperature",
    "sampling_temperature": "temperature",
    "r_temp": "choice_temperature",
    "gumbel_temperature": "choice_temperature",
    "mask_temperature": "choice_temperature",
    "randomize_temperature": "choice_temperature",
    "topk": "top_k",
    "topp": "top_p",
    "nucleus": "top_p",
    "uncond_prompt": "negative_prompt",
    "neg_prompt": "negative_prompt",
    "micro_conditioning": "micro_conditions",
    "image_size": "width and height",
    "resolution": "width and height",
    "num_images_per_prompt": "num_images",
    "num_samples": "num_images",
    "n_samples": "num_images",
    "nb_sample": "num_images",
    "num_outputs": "num_images",
    "prompt": "conditions",
    "prompts": "conditions",
    "labels": "conditions",
    "class_labels": "conditions",
    "generator": "seed",
    "manual_seed": "seed",
    "random_seed": "seed",
    "batchsize": "batch_size",
    "bsz": "batch_size",
    "mask_image": "mask",
    "init_image": "image",
}


def translated(name: str) -> str | None:
    """The line that says what Demask calls a setting of another program; None if it is unknown."""
    ours = DEMASK_NAMES.get(name)
    return None if ours is None else f"{name}: Demask calls it {ours}"


def unknown_setting(name: str, valid: Iterable[str], kind: str = "setting") -> str:
    """One line for a name that is no setting: its translation, or the valid names."""
    return translated(name) or unknown(kind, name, valid)
