"""The pages say what is true: their Python runs, their commands parse, their links lead somewhere.

Python blocks of a page share a namespace and a folder with ``photo.png`` in it, and meet a tiny
random model in place of those that `demask.load` would bring.
"""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import click
import pytest
import torch
from PIL import Image

import demask
from demask.acceleration import ACCELERATORS
from demask.assembly import load
from demask.auxiliary import AuxiliaryNetworks
from demask.cli import demask as program
from demask.cli.sweep import read_recipe as read_sweep
from demask.cli.train import read_recipe
from demask.conditioning import Classes, Prompts
from demask.generator import Generator
from demask.guidance import GUIDANCES, SCALES
from demask.sampling.correction import CORRECTIONS
from demask.sampling.schedule import SCHEDULES
from demask.sampling.select import ORDERS
from demask.sampling.temperature import DECAYS
from demask.settings import Settings
from demask.tokenizer.conv_tokenizer import ConvTokenizer, ConvTokenizerConfig
from demask.training.tasks import TRAININGS
from demask.transformer.condition import encode_micro_conditions
from demask.transformer.modern_maskgit import ModernMaskGIT
from demask.transformer.token_critic import TokenCritic, TokenCriticConfig
from tiny import tiny_meissonic, tiny_text_encoder, tiny_tokenizer, tiny_transformer

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METHODS = {page.stem for page in PAGES if page.parent.name == "methods"} - {"README"}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(
    r"--(order|schedule|(?:choice-temperature|temperature)-decay|correction|guidance-schedule|accelerate)"
    r"[ =]([a-z][^\s`|)]*)"
)
TABLES = (ORDERS, SCHEDULES, DECAYS, CORRECTIONS, SCALES, GUIDANCES, ACCELERATORS)
CLASS_MODELS = {"cifar10", "weights/maskgit-256", "mine/generator.safetensors"} | {
    "llvictorll/Halton-MaskGIT/ImageNet_256_base.pth"
}
TEXT_MODELS = {"emoji", "runs/words", "runs/meissonic/stage2", "weights/Meissonic"} | {
    "MeissonFlow/Meissonic",
    "amused/amused-256",
    "amused/amused-512",
}
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words after ``demask`` of every command line on a page."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["demask"]:
                yield words[1:]
            elif words[:1] == ["accelerate"]:
                yield words[words.index("demask") + 1 :]


COMMANDS = [words for page in PAGES for words in commands(page)]


def parsed(words: list[str]) -> click.Context:
    """The context of the command that would run; it is not run."""
    command, context = program, click.Context(program, info_name="demask")
    while isinstance(command, click.Group) and words:
        word, command, words = command.resolve_command(context, words)
        context = click.Context(command, context, word)
    return command.make_context(context.info_name, words, context.parent)


@pytest.fixture(scope="module")
def ten_classes() -> Generator:
    """The tiny model with the classes and the grid of the shipped one, and networks beside it."""
    torch.manual_seed(2)
    config = replace(tiny_transformer().config, num_classes=len(CIFAR10), grid=(8, 8))
    transformer, weaker = ModernMaskGIT(config).eval(), ModernMaskGIT(config).eval()
    for model in (transformer, weaker):
        torch.nn.init.normal_(model.head.weight, std=0.5)
    critic = TokenCritic(TokenCriticConfig(15, len(CIFAR10), width=16, depth=1, heads=2)).eval()
    return Generator(
        "cifar10",
        tiny_tokenizer(),
        transformer,
        Classes("cifar10", transformer, CIFAR10),
        aux=AuxiliaryNetworks(loaded={"weaker": weaker, "token_critic": critic}),
    )


@pytest.fixture(scope="module")
def prompts() -> Generator:
    """A tiny model of prompts with the tokens of the published one, of 16 pixels."""
    torch.manual_seed(2)
    sizes = ConvTokenizerConfig((5, 3), (16,) * 4, (1,) * 4, (1,) * 4, pixel_width=16)
    tokenizer = ConvTokenizer(sizes).eval()
    return Generator("words", tokenizer, tiny_meissonic(), Prompts(tiny_text_encoder()))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_python_runs(
    page: Path,
    ten_classes: Generator,
    prompts: Generator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fake_load(*arguments: object, **keywords: object) -> Generator:
        given = inspect.signature(load).bind(*arguments, **keywords).arguments
        assert given["model"] in CLASS_MODELS | TEXT_MODELS, "which kind of model is it?"
        return prompts if given["model"] in TEXT_MODELS else ten_classes

    monkeypatch.setattr(demask, "load", fake_load)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32), (200, 90, 30)).save("photo.png")
    for table in TABLES:  # a page may add rows
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    module = ModuleType("page")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "page", module)
    for number, block in enumerate(blocks(page, "python"), start=1):
        code = compile(block, f"{name(page)}, python block {number}", "exec", dont_inherit=True)
        exec(code, module.__dict__)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_commands_parse(words: list[str]) -> None:
    context = parsed(words)
    given = context.params
    settings = {f.name: given[f.name] for f in fields(Settings) if f.name in given}
    chosen = Settings().updated(**settings)
    assert chosen.sampler
    assert chosen.scale
    assert len(chosen.acceleration) == len(chosen.accelerators)
    encode_micro_conditions(1, 1, chosen.micro_conditions)
    if given.get("model") in TEXT_MODELS:
        assert not given.get("classes")
    elif given.get("model") in CLASS_MODELS:
        assert not given.get("prompts")
        assert not chosen.negative_prompt
    if context.info_name in ("sweep", "bench"):
        assert read_sweep(ROOT / given["recipe"], given["overrides"]).only(given["only"])
    elif "recipe" in given:
        training = TRAININGS[context.info_name.replace("-", "_")]
        file = given["recipe"] and ROOT / given["recipe"]
        recipe = read_recipe(training, {**given, "recipe": file})
        assert isinstance(recipe, training.recipe())
        if "data" in training.inputs:
            assert recipe.data.pictures == given["data"]


@pytest.mark.parametrize("words", ["generate --stps 3", "train masked", "sample", "outpaint cat"])
def test_a_wrong_command_would_be_seen(words: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(words.split())


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=name)
def test_the_links_lead_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    gone = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    assert gone == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_variants_exist(page: Path) -> None:
    for option, written in NAMED.findall(page.read_text()):
        value = written.rstrip(".,;:")
        if option in ("correction", "accelerate"):
            field = {"correction": "corrections", "accelerate": "accelerators"}[option]
            chosen = Settings().updated(**{field: (value,)})
        else:
            steps = value.count(",") + 1 if value.startswith("listed:") else 12
            chosen = Settings(steps=steps, choice_temperature=1.0)
            chosen = replace(chosen, **{option.replace("-", "_"): value})
        assert chosen.sampler
        assert chosen.scale
        assert len(chosen.acceleration) == len(chosen.accelerators)


def test_every_variant_has_its_page() -> None:
    pages = "".join((ROOT / "docs" / "methods" / f"{page}.md").read_text() for page in METHODS)
    missing = [row for table in TABLES for row in table if not re.search(rf"\b{row}\b", pages)]
    assert missing == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "methods" / "README.md").read_text()
    assert {Path(link).stem for link in LINK.findall(index) if "/" not in link} == METHODS
