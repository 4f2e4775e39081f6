"""`demask models`: list the models, and show one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from demask.cli.command import Group
from demask.cli.options import FOLDER, add

if TYPE_CHECKING:
    from rich.console import RenderableType

    from demask.generator import Generator


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the models, or show one."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


@models.command("list")
def list_models() -> None:
    """List the models that ship with Demask."""
    from demask.presets import SHIPPED_MODELS

    rows = [(name, p.about, p.license, p.score) for name, p in SHIPPED_MODELS.items()]
    show(table(("model", "generates", "license", "score"), rows))


@models.command("show")
@click.argument("name", metavar="NAME|PATH")
@click.option("--tokenizer", metavar="PATH", help="A model's tokenizer, if kept elsewhere.")
def show_model(name: str, tokenizer: str | None) -> None:
    """Show a model's sizes, license, score and default settings."""
    from rich.markup import escape

    from demask.assembly import load
    from demask.presets import SHIPPED_MODELS

    rows: list[tuple[str, str]] = []
    if name in SHIPPED_MODELS:
        preset = SHIPPED_MODELS[name]
        rows = [("generates", preset.about), ("license", preset.license), ("score", preset.score)]
    generator = load(name, tokenizer=tokenizer, device="cpu")
    rows += [*published_facts(generator), *facts(generator)]
    show(table((escape(name), ""), rows))


@models.command("shrink")
@click.argument("source", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@add(FOLDER)
def shrink_model(source: Path, out: Path) -> None:
    """Write a trained model with 8-bit weights: half the size, nearly the same images."""
    from demask.checkpoint.eight_bit import shrink_model as shrink

    for path in shrink(source, out):
        click.echo(f"{path.stat().st_size / 1e6:6.1f} MB  {path}")


def facts(generator: Generator) -> list[tuple[str, str]]:
    """The parts of a model, as rows of a table."""
    from dataclasses import asdict

    from torch import nn

    transformer, tokenizer = generator.transformer, generator.tokenizer
    assert isinstance(transformer, nn.Module)
    assert isinstance(tokenizer, nn.Module)
    height, width = generator.size
    settings = asdict(generator.settings)
    return [
        ("images", f"{width}x{height} pixels"),
        (
            "tokens",
            f"{generator.transformer.layout.sides} of {generator.transformer.codebook_size} codes",
        ),
        ("transformer", f"{type(transformer).__name__}, {count_parameters(transformer)}"),
        ("tokenizer", f"{type(tokenizer).__name__}, {count_parameters(tokenizer)}"),
        reads(generator),
        *((name.replace("_", " "), text(value)) for name, value in settings.items()),
        *preset_facts(generator),
    ]


def published_facts(generator: Generator) -> Iterator[tuple[str, str]]:
    """Which public model it is, by its number of parameters too, and its score, as rows."""
    from torch import nn

    from demask.checkpoint.published import PUBLISHED_MODELS, published_model

    assert isinstance(generator.transformer, nn.Module)
    row = published_model(generator.transformer, generator.name)
    count = sum(parameter.numel() for parameter in generator.transformer.parameters())
    if row is not None and abs(count - row.parameters) < row.parameters / 100:
        name = next(name for name, other in PUBLISHED_MODELS.items() if other is row)
        yield "public model", f"{name}, {row.source}; license: see its repository"
        yield "published score", row.score or "none"


def preset_facts(generator: Generator) -> Iterator[tuple[str, str]]:
    """The presets of the model, with their measured scores, as rows."""
    presets = generator.presets
    for name, preset in presets.by_name.items():
        settings = f"{preset.settings.steps} steps, guidance {preset.settings.guidance_scale:g}"
        mark = " (default)" if name == presets.default else ""
        yield f"preset {name}{mark}", "; ".join([settings, *preset.scores])


def reads(generator: Generator) -> tuple[str, str]:
    """Prompts or classes, as a row."""
    names = generator.class_names
    if not names:
        return "reads", "prompts"
    return "classes", f"{len(names)}: {', '.join(names[:12])}" + ", ..." * (len(names) > 12)


def count_parameters(module: object) -> str:
    """The number of parameters of a module as text, and how many of them are quantized."""
    from torch import nn

    from demask.acceleration.quantization import quantized_layers

    assert isinstance(module, nn.Module)
    low = quantized_layers(module).values()
    rounded = sum(layer.in_features * layer.out_features for layer in low)
    scales = sum(layer.out_features for layer in low)
    count = sum(p.numel() for p in module.parameters()) + rounded - scales
    if not low:
        return f"{count:,} parameters"
    bits = " and ".join(sorted({f"{layer.precision.bits}-bit" for layer in low}))
    return f"{count:,} parameters, of those {rounded:,} {bits}"


def text(value: object) -> str:
    """The value of a setting as text; None is the default of the order or of the model."""
    if value is None:
        return "default"
    if value == "":
        return "none"
    return (", ".join(value) or "none") if isinstance(value, tuple) else str(value)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> RenderableType:
    """A table with a line below its header."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        result.add_row(*(Text(cell) for cell in row))
    return result


def show(what: RenderableType) -> None:
    """Print a table, in colour only on a terminal."""
    from rich.console import Console

    Console().print(what)
