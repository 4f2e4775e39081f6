"""Write docs/models.md from the table of public models: ``python benchmarks/write_models.py``.

What works with a model is asked of its network, built without weights. With ``--check``, nothing is
written; the exit code is 1 if the page differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from demask.acceleration import ACCELERATORS, parse_accelerator
from demask.checkpoint.architectures import ARCHITECTURES
from demask.checkpoint.published import PUBLISHED_MODELS, PublishedModel
from demask.checkpoint.unfilled import Unfilled
from demask.editing import EDITS
from demask.files import write_text
from demask.guidance import GUIDANCES
from demask.presets import PUBLISHED_PRESETS
from demask.registry import Table
from demask.sampling.correction import CORRECTIONS
from demask.sampling.select import ORDERS
from demask.training.tasks.lora import ADAPTED
from demask.transformer.feature_selection import Base
from demask.transformer.protocols import SupportsAttention, supports
from demask.types import TokenLayout

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
INTRODUCTION = """# Models

The public masked generative transformers that Demask loads, by one call:

```python
import demask

generator = demask.load("amused/amused-256")
generator = demask.load("llvictorll/Halton-MaskGIT/ImageNet_256_base.pth")
generator = demask.load("mine/generator.safetensors", tokenizer="mine/tokenizer.safetensors")
```

`load` takes a hub id, a file of a hub repository, or a folder or file on disk, and recognises the
network by its files and keys. From the hub, the tokenizer and the text encoder that a model needs
come with it; `demask models show NAME` says what it is. Where the authors' sampling settings are
known, they are the default, and the preset `published`: `demask generate --model NAME --preset
published`.

No released weights were at hand: the tests compare every network with its authors' program on
tiny random weights in the published layout (1e-4 for logits and images, exact ids), and replay
recorded runs token for token. **The scores are the authors' own**; Demask did not measure them.
Licences are those of the repositories; read them there.
"""
SCREENSHOT = """
The page with three families, here with the tiny random weights of the tests:

![The page of demask serve with aMUSEd, Halton-MaskGIT and TiTok](page_family.png)"""
WORKS = """
## What works with them

Every mask schedule and temperature works with every model. A variant that is not listed for a
model is refused in one line that names those that work.
"""


def network_of(row: PublishedModel) -> nn.Module:
    """The transformer, without weights."""
    architecture = ARCHITECTURES[row.architecture]
    with Unfilled():
        return architecture.module(architecture.config(**row.config))


def cells(values: Iterable[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(values)} |"


def models() -> Iterator[str]:
    """The table of models."""
    yield cells(["model", "`demask.load(...)`", "pixels", "reads", "parameters", "published score"])
    yield "|---|---|---|---|---|---|"
    for name, row in PUBLISHED_MODELS.items():
        count = f"{row.parameters / 1e6:,.0f} M"
        size = f"{row.pixels} x {row.pixels}"
        yield cells([name, f"`{row.source}`", size, row.reads, count, row.score or "none"])


def parts() -> Iterator[str]:
    """The table of the parts that come from elsewhere, and of the golden cases."""
    yield cells(["model", "tokenizer", "text encoder", "golden case of its tests"])
    yield "|---|---|---|---|"
    for name, row in PUBLISHED_MODELS.items():
        own = "its own"
        text = "none" if row.reads == "classes" else row.text_encoder or own
        yield cells([name, row.tokenizer or own, text, row.tested])


def serving(table: Mapping[str, Any], layout: TokenLayout) -> str:
    """The rows of a table that serve a layout of tokens."""
    names = [name for name, row in table.items() if row.layouts.serve(layout)]
    return "all" if len(names) == len(table) else ", ".join(names)


def accelerators(network: nn.Module, layout: TokenLayout) -> str:
    """The accelerators that take a network."""
    found = []
    for name, row in ACCELERATORS.items():
        accelerator: Any = row
        if accelerator.aux_kind or not accelerator.layouts.serve(layout):
            continue
        try:
            parse_accelerator(name).around(network)  # type: ignore[arg-type]
        except ValueError:
            continue
        found.append(name)
    return ", ".join(found) or "none"


def guidances(network: nn.Module, layout: TokenLayout) -> str:
    """The guidances that a network has what is needed for; networks beside it aside."""
    left_out = {"none"}
    if not supports(network, Base):
        left_out |= {"self_guidance"}
    if not supports(network, SupportsAttention):
        left_out |= {"spatial"}
    table: Table[Any] = GUIDANCES
    names = [n for n, row in table.items() if n not in left_out and row.layouts.serve(layout)]
    return ", ".join(names)


def works() -> Iterator[str]:
    """The table of what works with each architecture."""
    columns: dict[str, Callable[[Any, TokenLayout], str]] = {
        "tokens": lambda _network, layout: str(layout).removeprefix("a "),
        "orders": lambda _network, layout: serving(ORDERS, layout),
        "corrections": lambda _network, layout: serving(CORRECTIONS, layout),
        "guidance": guidances,
        "accelerators": accelerators,
        "edits": lambda _n, layout: ", ".join(n for n, e in EDITS.items() if e.serve(layout)),
        "LoRA training": lambda network, _l: "yes" if isinstance(network, ADAPTED) else "no",
    }
    yield cells(["network", *columns])
    yield "|" + "---|" * (1 + len(columns))
    for name, row in {row.architecture: row for row in PUBLISHED_MODELS.values()}.items():
        network: Any = network_of(row)
        found = (column(network, network.layout) for column in columns.values())
        yield cells([f"`{name}`", *found])


def presets() -> Iterator[str]:
    """The files of the authors' settings."""
    for name, row in PUBLISHED_MODELS.items():
        if row.presets:
            file = PUBLISHED_PRESETS / f"{row.presets}.toml"
            yield f"- {name}: `{file.relative_to(PUBLISHED_PRESETS.parents[1])}`"


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION, *models(), "\n## Their parts\n", *parts(), WORKS, *works()]
    return "\n".join([*lines, "\n## The authors' settings\n", *presets(), SCREENSHOT]) + "\n"


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = page()
    if not parser.parse_args().check:
        write_text(PAGE, text)
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/models.md differs from the table: python benchmarks/write_models.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
