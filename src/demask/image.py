"""A generated image: its pixels and all that is needed to generate it again."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demask import rng
from demask.data.color import with_alpha
from demask.files import write_atomically
from demask.old_names import current_settings
from demask.settings import Settings, settings_from

NEEDED = ("model", "prompt", "seed", "settings")
"""The text chunks that every PNG of Demask has; ``label`` and ``load`` may be missing."""

MOST_TEXT = 64 * 1024
"""Characters of a chunk that is read; Demask writes a few hundred."""


@dataclass(frozen=True)
class GeneratedImage:
    """A generated image and all that is needed to generate it again.

    Attributes:
        image: the pixels: ``RGB``, or ``RGBA`` of an edit that keeps transparent pixels.
        seed: of the random generator of this image.
        label: the class number; -1 for no class, and for a model of prompts.
        prompt: the prompt, or the class name.
        model: the name that `demask.load` was called with.
        settings: all settings.
        loaded: the other arguments of `demask.load`: ``dtype``, ``loras``, ``aux``, ``variant``.
    """

    image: Image.Image
    seed: int
    label: int
    prompt: str
    model: str
    settings: Settings
    loaded: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> Path:
        """Write a PNG whose text chunks `read` understands; an existing file is replaced.

        Returns:
            The path.

        Raises:
            ValueError: the name does not end in ``.png``, the format that keeps all of it.
            OSError: the file cannot be written; nothing half-written is left.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise ValueError(f"a generated image is saved as .png, not as '{target.name}'")
        write_atomically(target, self._write)
        return target

    @classmethod
    def read(cls, source: str | Path | BinaryIO) -> GeneratedImage:
        """Read what `save`, the command line or the server wrote.

        Generate it again with
        ``demask.load(image.model, **image.loaded).generate(**image.arguments)``. An edited image
        (inpainted, outpainted or varied) does not hold its original: these arguments generate a
        new image.

        Args:
            source: a path or an open file.

        Raises:
            ValueError: no PNG, or one without the metadata of Demask.
            OSError: no such file.
        """
        if not isinstance(source, str | Path) and not hasattr(source, "read"):
            raise ValueError(f"source must be a path or an open file, not {source!r}")
        data = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
        image, text = read_png(data)
        try:
            seed = int(text["seed"])
            rng.check_seed(seed)
            return cls(
                image,
                seed,
                int(text.get("label", -1)),
                text["prompt"],
                text["model"],
                settings_from(current_settings(json.loads(text["settings"]))),
                dict(json.loads(text.get("load", "{}"))),
            )
        except (ValueError, TypeError, RecursionError) as error:
            nested = isinstance(error, RecursionError)
            reason = "too many brackets" if nested else " ".join(str(error).split())
            raise ValueError(f"the settings in this PNG cannot be read: {reason}") from error

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `Generator.generate` that generate this image again."""
        return {"conditions": [self.prompt or None], "seed": self.seed, **vars(self.settings)}

    def png_text(self) -> PngInfo:
        """The metadata as PNG text chunks."""
        info = PngInfo()
        info.add_text("prompt", self.prompt)
        info.add_text("seed", str(self.seed))
        info.add_text("model", self.model.encode(errors="backslashreplace").decode())
        info.add_text("settings", json.dumps(asdict(self.settings)))
        if self.label >= 0:
            info.add_text("label", str(self.label))
        if self.loaded:
            info.add_text("load", json.dumps(dict(self.loaded)))
        info.add_text("software", "Demask (generated image)")
        return info

    def __repr__(self) -> str:
        size = f"{self.image.width}x{self.image.height}"
        return f"GeneratedImage({self.prompt!r}, {size}, seed {self.seed}, model {self.model!r})"

    def _repr_png_(self) -> bytes:
        """The image in a notebook."""
        buffer = io.BytesIO()
        self._write(buffer)
        return buffer.getvalue()

    def _write(self, temporary: Path | BinaryIO) -> None:
        self.image.save(temporary, "PNG", pnginfo=self.png_text())


def read_png(data: bytes) -> tuple[Image.Image, dict[str, str]]:
    """The pixels and the text chunks of a PNG.

    Raises:
        ValueError: no PNG, or one without the metadata of Demask.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            opened.load()  # some programs write the text after the pixels
            text: dict[str, str] = getattr(opened, "text", {})
            image = with_alpha(opened)
    except Exception as error:  # a decoder raises anything on arbitrary bytes
        raise ValueError("this is no PNG that can be read") from error
    if any(name not in text for name in NEEDED):
        raise ValueError("this PNG holds no settings of Demask; was it saved by another program?")
    if max(len(str(value)) for value in text.values()) > MOST_TEXT:
        raise ValueError("the settings in this PNG are too long")
    return image, {name: str(value) for name, value in text.items()}
