"""Data sets of the Hugging Face Hub, read with the ``datasets`` library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demask.data.caption_columns import choose_columns, join_columns
from demask.data.classes import number_labels
from demask.data.images import ImageSample, read_image
from demask.data.parquet import LABEL_COLUMN, image_column
from demask.data.scores import SCORE_COLUMN, known, read_scores
from demask.fingerprint import fingerprint

PREFIX = "hf:"


class HubImages:
    """A data set with images in ``image`` or ``img``.

    Optional columns are ``label`` (classes), ``score`` (preference scores) and captions.

    Args:
        dataset: a `datasets.Dataset`.
        name: id of the data set, for messages.
        class_names: order of the classes; their names, if the data set only has numbers.
        caption_columns: the caption columns; for the default see `choose_columns`.

    Raises:
        ValueError: no image column, or unusable labels, captions or scores.
    """

    def __init__(
        self,
        dataset: Any,
        name: str,
        class_names: Sequence[str] | None = None,
        caption_columns: Sequence[str] | None = None,
    ) -> None:
        from datasets import Image

        self.name = name
        self._column = image_column(name, dataset.column_names)
        # undecoded, so that `read_image` reports broken images
        self._dataset = dataset.cast_column(self._column, Image(decode=False))
        labelled = LABEL_COLUMN in dataset.column_names
        labels = list(dataset[LABEL_COLUMN]) if labelled else [None] * len(dataset)
        found = getattr(dataset.features.get(LABEL_COLUMN), "names", None)
        texts = choose_columns(name, dataset.column_names, caption_columns)
        try:
            self.labels, self.class_names = number_labels(labels, found, class_names)
            self.captions = join_columns([list(dataset[text]) for text in texts], len(dataset))
            scored = SCORE_COLUMN in dataset.column_names
            self.scores = read_scores(dataset[SCORE_COLUMN] if scored else [None] * len(dataset))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """A hash of the name, the library's fingerprint, the classes, captions and scores."""
        captions = [self.captions] if any(self.captions) else []
        facts = (*self.class_names, *captions, *known(self.scores))
        return fingerprint(self.name, self._dataset._fingerprint, *facts)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> ImageSample:
        cell = self._dataset[index][self._column] or {}
        name = f"{self.name}[{index}]"
        image = read_image(cell.get("bytes"), name)
        return ImageSample(
            image, self.labels[index], name, self.captions[index], self.scores[index]
        )


def open_hub(
    source: str,
    class_names: Sequence[str] | None = None,
    caption_columns: Sequence[str] | None = None,
) -> HubImages:
    """Open ``hf:owner/name`` or ``hf:owner/name:split``; the first call downloads it.

    Raises:
        ValueError: the library is missing, there is no such data set or split, or no connection.
    """
    name, _, split = source.removeprefix(PREFIX).partition(":")
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            "reading from the Hub needs datasets: pip install 'demask[data]'"
        ) from error
    try:
        dataset = datasets.load_dataset(name, split=split or "train")
    # the library raises the errors of all its dependencies
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"can't load {source} from the Hub: {reason}") from error
    return HubImages(dataset, source, class_names, caption_columns)
