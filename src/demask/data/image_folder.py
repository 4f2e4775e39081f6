"""Images in folders: each sub-folder is a class; captions are in files next to the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from demask.data.caption_files import read_caption_files
from demask.data.classes import Label, number_labels
from demask.data.images import ImageSample, UnreadableImageError, read_image
from demask.data.scores import known
from demask.fingerprint import file_sample, fingerprint

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


class ImageFolder:
    """The images of a folder, sorted by path.

    The class of an image is its first-level folder. Without sub-folders there is one class. Files
    of other suffixes and files whose name begins with a dot are ignored. Captions and scores are
    read by `read_caption_files`.

    Args:
        root: the folder.
        class_names: order of the classes; alphabetical by default.
        caption_columns: the caption columns of tables; empty for no captions.

    Raises:
        ValueError: no images, images both inside and outside of class folders, a class that is not
            in ``class_names``, or captions that do not match the images.
    """

    def __init__(
        self,
        root: Path,
        class_names: Sequence[str] | None = None,
        caption_columns: Sequence[str] | None = None,
    ) -> None:
        self.root = root
        files = find_files(root, SUFFIXES | {".txt"})
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        if not self.paths:
            raise ValueError(f"{root} holds no images ({', '.join(sorted(SUFFIXES))})")
        labels = [self._class_of(path) for path in self.paths]
        loose = labels.count(None)
        if 0 < loose < len(labels):
            raise ValueError(
                f"{root} holds {loose} images beside its class folders; move them into one"
            )
        try:
            self.labels, self.class_names = number_labels(labels, None, class_names)
        except ValueError as error:
            raise ValueError(f"{root}: {error}") from error
        names = [path.relative_to(root).as_posix() for path in self.paths]
        texts = [path for path in files if path.suffix.lower() not in SUFFIXES]
        written = read_caption_files(root, names, texts, caption_columns)
        self.captions = [said.captions for said in written]
        self.scores = [said.score for said in written]

    def _class_of(self, path: Path) -> Label:
        above = path.relative_to(self.root).parts[:-1]
        return above[0] if above else None

    @property
    def fingerprint(self) -> str:
        """A hash of each file's path and `file_sample`, the classes, captions and scores."""
        facts = [(path.relative_to(self.root).as_posix(), file_sample(path)) for path in self.paths]
        captions = [self.captions] if any(self.captions) else []
        return fingerprint(*facts, *self.class_names, *captions, *known(self.scores))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageSample:
        name = self.paths[index].relative_to(self.root).as_posix()
        try:
            data = self.paths[index].read_bytes()
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}") from error
        image = read_image(data, name)
        return ImageSample(
            image, self.labels[index], name, self.captions[index], self.scores[index]
        )


def find_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files below a folder with one of these suffixes, sorted by path, without dot files.

    First-level folders may be symbolic links.
    """
    entries = [folder, *(entry for entry in folder.iterdir() if entry.is_symlink())]
    paths = {path for entry in entries if entry.is_dir() for path in entry.rglob("*")}
    found = [
        path
        for path in paths
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).parts)
