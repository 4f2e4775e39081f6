"""The command line is exactly this: an option more or less is a decision, made here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

import click
from click.testing import CliRunner

from demask.cli import demask
from demask.cli.options import SETTINGS
from demask.setting_info import info_of
from demask.settings import Settings

MODEL = "--model --tokenizer --device --dtype --lora --aux --low-memory"
SAMPLING = (
    "--preset --steps --schedule --order --start --choice-temperature --choice-temperature-decay"
    " --temperature --temperature-decay --top-k --top-p --correction"
    " --guidance-scale --guidance-schedule --guidance-method --guidance-refresh --negative-prompt"
    " --accelerate --width --height --micro-conditions"
)
RUN = "--recipe --data --held-out --out --set --init --strict"
BESIDE = "--model --recipe --data --held-out --out --set --strict"

COMMANDS = {
    "": "--version",
    "generate": "prompts --prompts --unconditional --class -n --num-images --seed --batch-size"
    f" --out --format --shard-size --overwrite --trace {MODEL} {SAMPLING}",
    "inpaint": "--image --mask --box --strength --strength-of --feather --prompt --class -n"
    f" --num-images --seed --out {MODEL} {SAMPLING}",
    "outpaint": "--image --left --right --top --bottom --prompt --class -n --num-images --seed"
    f" --out {MODEL} {SAMPLING}",
    "reconstruct": "images --model --tokenizer --prompt --device --out",
    "models": "",
    "models list": "",
    "models show": "name --tokenizer",
    "models shrink": "source --out",
    "train": "",
    "train tokenizer": RUN,
    "train masked": f"{RUN} --tokenizer",
    "train lora": BESIDE,
    "train classifier": "--recipe --data --held-out --out --set --strict",
    "train scorer": "--recipe --data --held-out --out --set --strict",
    "train self-guidance": BESIDE,
    "train token-critic": BESIDE,
    "train shortcut": "--model --recipe --prompts --out --set",
    "convert": "source --kind --out",
    "quantize": "--model --tokenizer --device --scheme --data -n --num-images --share --tune --seed"
    " --out",
    "serve": "--model --device --dtype --host --port --api-key-file --public-url"
    " --trusted-proxy --no-page --insecure --max-queue --max-tokens --max-pixels --max-windows"
    " --max-bytes --max-connections --time-limit --no-provenance --c2pa-certificate --c2pa-key",
    "figure": "",
    "figure seeds": f"--variant --prompt --class -n --num-images --seed --out {MODEL}",
    "figure data": "--data -n --num-images --first --out",
    "figure one-step": "--data -n --num-images --first --mask-ratio --guidance-scale --method"
    f" --seed --out {MODEL}",
    "evaluate": "--samples --reference --extractor --metric --resamples --out --cache"
    f" -n --num-images --prompt --class --batch-size --seed {MODEL} {SAMPLING}",
    "compare": "--prompts --variant --num-seeds --seed --batch-size --scorer --control --resamples"
    f" --gallery --out {MODEL}",
    "sweep": f"--recipe --set --only --reference --extractor --out --plot-only {MODEL}",
    "bench": "--front --save --point --presets --recipe --set --only --reference --extractor --out"
    f" --plot-only {MODEL}",
    "tune": "--reference --extractor --budget --refine --search --metric --count --final-count"
    " --finalists --seed --batch-size --save --default --presets --out"
    f" {MODEL} {SAMPLING}",
}


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, f"{path} {name}".strip())


def test_the_commands_and_options_are_these() -> None:
    found = {
        path: " ".join(name for parameter in command.params for name in parameter.opts)
        for path, command in commands(demask)
    }
    assert found == COMMANDS


def test_everything_is_explained() -> None:
    for path, command in commands(demask):
        assert command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, f"{path} {parameter.name}"


def test_every_setting_is_an_option() -> None:
    def nothing() -> None: ...

    for option in reversed(SETTINGS):
        option(nothing)
    options = nothing.__click_params__
    assert sorted(option.name for option in options) == sorted(f.name for f in fields(Settings))
    for option in options:
        (field,) = (f for f in fields(Settings) if f.name == option.name)
        assert option.group == info_of(field).group


def test_the_help_page_has_headings_and_plain_defaults() -> None:
    result = CliRunner().invoke(demask, ["generate", "--help"])
    headings = [line for line in result.output.splitlines() if re.fullmatch(r"\w[\w ]*:", line)]
    titles = ["What to generate", "Output", "Model", "Sampling", "Guidance", "Speed", "Image"]
    assert headings == [f"{title}:" for title in [*titles, "Options"]]
    assert "[default: 0]" in result.output
    assert result.output.count("[PROMPT]...") == 1, "in the usage line alone"
    for path, command in commands(demask):
        page = CliRunner().invoke(demask, [*path.split(), "--help"]).output
        assert "[default: (" not in page, command.name
