"""`Settings` refuses what is wrong in the same way for Python, TOML, the command line and HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from click.testing import CliRunner
from fastapi.testclient import TestClient

from demask.acceleration import TokenMerging
from demask.cli import demask as program
from demask.foreign_names import DEMASK_NAMES
from demask.generator import Generator
from demask.guidance import Interval, Spatial
from demask.preset_file import read_presets
from demask.sampling.correction import CORRECTIONS, Remask
from demask.sampling.filter import Filter
from demask.sampling.schedule import SCHEDULES, Power, Ratios, sigmoid
from demask.sampling.select import ORDERS, Confidence, Halton, Margin, Random
from demask.sampling.temperature import LineDecay, Temperature
from demask.server.app import ServerConfig, create_app
from demask.server.engine import Engine
from demask.server.metrics import Metrics
from demask.setting_info import info_of
from demask.settings import Settings, SettingsChanges, SettingsKwargs, settings_from
from demask.types import Step
from tiny import save_tiny, tiny_generator

FIELDS = {field.name: info_of(field) for field in fields(Settings)}


def wrong_values(name: str) -> list[Any]:
    """Values that a field refuses, as JSON holds them."""
    info = FIELDS[name]
    wrong: list[Any] = [True, {}] if info.kind in (int, float) else [3, True, {}]
    if info.kind in (int, float):
        wrong += ["8", "many", [4]]
    if info.kind is int:
        wrong.append(8.5)
    if info.low is not None and not info.or_zero:
        wrong.append(info.low if info.above else info.low - 1)
    if info.or_zero:
        wrong += [-1.0, 1e-9]
    if info.high is not None:
        wrong.append(info.high * 2)
    if info.kind is tuple:
        wrong.append(["remask", 3])
    return wrong


WRONG = [(name, value) for name in FIELDS for value in wrong_values(name)]


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def client(generator: Generator) -> Iterator[TestClient]:
    with Engine({"tiny": generator}) as engine:
        config = ServerConfig(hosts=())
        yield TestClient(create_app(engine, Metrics(), config), "http://127.0.0.1")


def test_the_sampler_has_what_the_settings_say() -> None:
    sampler = Settings(
        steps=5,
        order="margin",
        temperature=1.5,
        temperature_decay="linear",
        top_k=7,
        top_p=0.9,
        corrections=("remask:strength=0.2",),
    ).sampler
    assert (sampler.steps, sampler.order, sampler.filter) == (5, Margin(), Filter(7, 0.9))
    assert sampler.temperature == Temperature(1.5, "linear")
    assert sampler.corrections == (Remask(0.2),)
    assert [sampler.temperature.at(Step(k, 5, (2, 3), torch.ones(1))) for k in range(5)] == (
        pytest.approx([1.2, 0.9, 0.6, 0.3, 0.0])
    )
    chosen = {"choice_temperature": 3.0, "choice_temperature_decay": "constant"}
    assert Settings(**chosen).sampler.order == Confidence(Temperature(3.0, "constant"))
    assert Settings(choice_temperature=3.0).sampler.order == Confidence(Temperature(3.0, "linear"))


def refused(name: str, action: Callable[[], object]) -> str:
    """The line with which a value is refused: it names the setting."""
    with pytest.raises(ValueError, match=name) as caught:
        action()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_python_refuses_a_wrong_value(generator: Generator, name: str, value: Any) -> None:
    line = refused(name, lambda: generator.generate("cat", **{name: value}))
    assert line == f"{name} must be {FIELDS[name].valid}, not {value!r}" or isinstance(value, list)
    assert refused(name, lambda: Settings(**{name: value})) == line


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_toml_refuses_a_wrong_value(name: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "presets.toml"
    written = "{}" if value == {} else json.dumps(value)
    path.write_text(f"[a.settings]\n{name} = {written}\n")
    assert str(path) in refused(f"a.settings: {name} must be", lambda: read_presets(path))


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n, v in WRONG if FIELDS[n].kind in (int, float) and v not in ("8", True, {}, [4])],
)
def test_the_command_line_refuses_a_wrong_value(name: str, value: Any) -> None:
    flag = FIELDS[name].flag or f"--{name.replace('_', '-')}"
    result = CliRunner().invoke(program, ["generate", "cat", f"{flag}={value}"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {name} must be {FIELDS[name].valid}, not ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_the_server_refuses_a_wrong_value(client: TestClient, name: str, value: Any) -> None:
    answer = client.post("/v1/images/generations", json={"prompt": "cat", name: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, name)
    assert error["message"].startswith(f"{name} must be {FIELDS[name].valid}, not ")
    assert "\n" not in error["message"]


NAMES = [
    ("stepz", "unknown {kind} 'stepz'; did you mean 'steps'"),
    ("num_inference_steps", "num_inference_steps: Demask calls it steps"),
    ("cfg", "cfg: Demask calls it guidance_scale"),
    ("n_steps", "n_steps: Demask calls it steps"),
    ("noise", "noise: Demask calls it choice_temperature"),
    ("micro", "micro: Demask calls it micro_conditions"),
    ("num_images_per_prompt", "num_images_per_prompt: Demask calls it num_images"),
]


@pytest.mark.parametrize(("name", "line"), NAMES)
def test_unknown_and_foreign_names(
    generator: Generator, client: TestClient, tmp_path: Path, name: str, line: str
) -> None:
    expected = line.format(kind="setting")
    assert expected in refused(name, lambda: generator.generate("cat", **{name: 4}))
    path = tmp_path / "presets.toml"
    path.write_text(f"[a.settings]\n{name} = 4\n")
    assert expected in refused(name, lambda: read_presets(path))
    answer = client.post("/v1/images/generations", json={"prompt": "cat", name: 4})
    assert answer.status_code == 400
    assert line.format(kind="field") in answer.json()["error"]["message"]
    result = CliRunner().invoke(program, ["generate", "cat", f"--{name.replace('_', '-')}", "4"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    if name in DEMASK_NAMES:
        assert result.stderr.startswith(f"Error: {line}")
    else:
        assert "'--steps'" in result.stderr


def test_a_foreign_name_is_no_name_of_ours() -> None:
    assert not set(DEMASK_NAMES) & {*FIELDS, "preset", "num_images", "seed", "conditions"}


def test_the_type_checker_knows_every_setting() -> None:
    """`Unpack[SettingsKwargs]` makes mypy refuse ``generate(stepz=4)``, if its keys are these."""
    assert list(SettingsChanges.__annotations__) == list(FIELDS)
    assert list(SettingsKwargs.__annotations__) in (["preset"], [*FIELDS, "preset"])
    hints = get_type_hints(Settings)
    kinds = {name: info.kind for name, info in FIELDS.items() if info.kind is not tuple}
    for name, kind in kinds.items():
        assert hints[name] == (kind | None if FIELDS[name].optional else kind), name


def test_numbers_are_stored_as_their_type() -> None:
    stored = Settings(guidance_scale=3, temperature=0, width=16)
    assert [type(v) for v in (stored.guidance_scale, stored.temperature, stored.width)] == [
        float,
        float,
        int,
    ]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"order": Halton(roll=False)}, "halton:roll=False"),
        ({"order": Random}, "random"),
        ({"schedule": Power(2.5)}, "power:exponent=2.5"),
        ({"schedule": Ratios((0.9, 0.5))}, "ratios:values=0.9,0.5"),
        ({"schedule": sigmoid}, "sigmoid"),
        ({"temperature_decay": LineDecay(0.5)}, "line:end=0.5"),
        ({"guidance_method": Spatial}, "spatial"),
        ({"corrections": Remask(strength=0.2)}, ("remask:strength=0.2",)),
        ({"corrections": "zigzag"}, ("zigzag",)),
        ({"corrections": ["zigzag", Remask()]}, ("zigzag", "remask")),
        ({"accelerators": TokenMerging(0.5)}, ("token_merging:ratio=0.5",)),
    ],
)
def test_objects_are_stored_as_the_text_that_names_them(given: dict, text: object) -> None:
    (name,) = given
    stored = Settings(**given)
    assert getattr(stored, name) == text
    assert settings_from(json.loads(json.dumps({name: text}))) == stored
    assert stored.sampler
    assert stored.acceleration is not None


def test_an_object_that_no_text_can_name_is_refused() -> None:
    line = refused("order", lambda: Settings(order=Confidence(Temperature(3.0))))
    assert "'choice_temperature'" in line
    line = refused("schedule", lambda: Settings(schedule=lambda r: 1 - r))
    assert "no registered mask schedule" in line
    scale = Interval(3.0, start=0.2)
    assert "guidance_scale is 1.0" in refused(
        "guidance_schedule", lambda: Settings(guidance_schedule=scale)
    )
    both = Settings(guidance_scale=3, guidance_schedule=scale)
    assert both.scale == scale
    assert replace(both, guidance_scale=2.0).scale == replace(scale, value=2.0)


class Half(Confidence):
    """An order from outside."""


def test_what_is_registered_at_run_time_is_found_everywhere(
    generator: Generator, client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in (SCHEDULES, ORDERS, CORRECTIONS):
        monkeypatch.setattr(table, "_rows", dict(table._rows))
    SCHEDULES.add("steep", lambda r: (1 - r) ** 3)
    ORDERS.add("half", Half)
    CORRECTIONS.add("remask_little", lambda strength=0.01: Remask(strength=strength))
    new = {"schedule": "steep", "order": "half", "corrections": ["remask_little:0.02"]}
    (image,) = generator.generate("cat", steps=2, **new)
    assert (image.settings.schedule, image.settings.order) == ("steep", "half")
    path = tmp_path / "presets.toml"
    path.write_text(
        "[a.settings]\n" + "".join(f"{name} = {json.dumps(v)}\n" for name, v in new.items())
    )
    assert read_presets(path)["a"].settings == Settings(**new)
    model, out = save_tiny(tmp_path / "model"), tmp_path / "out"
    words = ["--schedule", "steep", "--order", "half", "--correction", "remask_little:0.02"]
    words += ["--model", str(model), "--class", "cat", "--steps", "2", "--out", str(out)]
    result = CliRunner().invoke(program, ["generate", *words])
    assert result.exit_code == 0, result.stderr
    answer = client.post("/v1/images/generations", json={"prompt": "cat", "steps": 2, **new})
    assert answer.status_code == 200, answer.text
    client.app.openapi_schema = None
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Generation"]
    for name, registered in (("schedule", "steep"), ("order", "half")):
        assert registered in schema["properties"][name]["description"]


def test_the_server_s_schema_comes_from_the_fields(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Generation"]
    for name, info in FIELDS.items():
        entry = schema["properties"][name]
        assert entry["description"].startswith(info.help), name
        (number, *_), none = entry["anyOf"][:-1], entry["anyOf"][-1]
        assert none == {"type": "null"}
        if info.kind is int and info.low is not None:
            assert number["minimum"] == info.low, name
