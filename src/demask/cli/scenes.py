"""The metric `scenes` of `demask evaluate`: images of scenes, judged by the exact scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demask.cli.measured import Samples, generated_samples
from demask.cli.options import ModelChoice, condition_inputs
from demask.cli.progress import counting

if TYPE_CHECKING:
    from demask.evaluation.metrics import Score
    from demask.evaluation.scenes_scores import Judged
    from demask.generator import Generator

EACH = 200
"""Images of each caption that leaves everything open, at most."""

SHARE_OPEN = 5
"""There is one image of each such caption for this many images of held-out captions."""


@dataclass(frozen=True)
class SceneOptions:
    """What the command line says of the metric scenes.

    Attributes:
        samples: images to judge; by default the model generates them.
        metrics: must be scenes alone.
        others: options that the metric has no use for; must be empty.
        num_images: images of held-out captions, or of classes.
        prompts: in place of the held-out captions.
        classes: some of the model's.
    """

    samples: Path | None
    metrics: tuple[str, ...]
    others: Sequence[str]
    num_images: int
    prompts: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if set(self.metrics) != {"scenes"}:
            raise ValueError("the metric scenes is measured alone; leave the others out")
        if self.others:
            raise ValueError(
                f"the metric scenes needs no {' and no '.join(self.others)}; leave it out"
            )
        if self.num_images < 1:
            raise ValueError(f"-n is at least 1, not {self.num_images}")


def evaluate_scenes(
    asked: SceneOptions,
    choice: ModelChoice,
    seed: int,
    batch_size: int,
    settings: dict[str, Any],
) -> tuple[Samples, list[Score]]:
    """Judge images from files or a model; faithfulness, then diversity.

    Raises:
        ValueError: images or captions that are none of scenes, or a model that refuses something.
    """
    from demask.evaluation.scenes_scores import diversity_scores, faithfulness

    if asked.samples:
        samples = captioned_samples(asked.samples)
        judged = judged_samples(samples)
        of_classes = [one for one in judged if isinstance(one.wanted, str)]
        return samples, [*faithfulness(judged), *diversity_scores(of_classes, seed)]
    generator = choice.load(settings.get("preset"))
    check_model(generator)
    samples, number_open = model_samples(generator, asked, seed, batch_size, settings)
    samples = replace(samples, facts={"model": asdict(choice), **samples.facts})
    judged = judged_samples(samples)
    closed = judged if generator.class_names else judged[: samples.count - number_open]
    spread = diversity_scores(judged[samples.count - number_open :], seed)
    return samples, [*faithfulness(closed), *spread]


def model_samples(
    generator: Generator,
    asked: SceneOptions,
    seed: int,
    batch_size: int,
    settings: dict[str, Any],
) -> tuple[Samples, int]:
    """The images that a model will generate, and how many at the end show diversity."""
    from demask.evaluation.scenes_scores import held_out_captions, open_captions

    count = asked.num_images
    conditions = condition_inputs(asked.prompts, asked.classes, generator)
    each = 0
    if conditions is None and not generator.class_names:
        each = min(EACH, count // SHARE_OPEN)
        conditions = [*held_out_captions(count), *open_captions(each)]
        count = len(conditions)
    made = generated_samples(generator, conditions, count, seed, batch_size, settings)
    if generator.class_names:
        shown = [
            generator.conditioner.parse(condition_input)
            for condition_input in generator.condition_inputs(conditions)
        ]
        names = [generator.class_names[parsed.label] for parsed in shown]
        return replace(made, words=tuple(names[i % len(names)] for i in range(count))), count
    number_open = count - asked.num_images if each else 0
    return made, number_open


def check_model(generator: Generator) -> None:
    """Raise a ValueError unless a model generates images of scenes."""
    from demask.scenes.vocabulary import SHAPES, SIDE

    if generator.size != (SIDE, SIDE) or not set(generator.class_names) <= set(SHAPES):
        height, width = generator.size
        classes = f" of {len(generator.class_names)} classes" if generator.class_names else ""
        raise ValueError(
            f"{generator.name} generates {width}x{height} pixels{classes}; the metric scenes is "
            f"for {SIDE}x{SIDE} scenes of captions or of the classes {', '.join(SHAPES)}"
        )


def captioned_samples(path: Path) -> Samples:
    """Images from files with the captions of scenes, or in classes named after the shapes.

    Raises:
        ValueError: they cannot be read, or some have no caption.
    """
    from demask.data import open_images
    from demask.evaluation.images import in_batches

    images = open_images(str(path), strict=True)
    read = [images[i] for i in range(len(images))]
    words = [p.captions[0] if p.captions else images.class_names[p.label] for p in read]
    facts = {"path": str(path), "data": images.fingerprint}
    batches = lambda: in_batches((p.image, p.label) for p in read)  # noqa: E731
    return Samples(batches, len(read), words=tuple(words), facts=facts)


def judged_samples(samples: Samples) -> list[Judged]:
    """Generate or read images and judge them batch by batch, after all captions were understood.

    Raises:
        ValueError: a caption that is none of a scene, or images of another size.
    """
    from demask.evaluation.scenes_scores import judge, wanted_of

    wanted = [wanted_of(words) for words in samples.words]
    judged: list[Judged] = []
    with counting("judging images", samples.count) as progress:
        for pixels_BHWC, _ in samples.batches():
            here = wanted[len(judged) : len(judged) + len(pixels_BHWC)]
            judged += judge(pixels_BHWC.numpy(), here)
            progress(len(judged))
    return judged
