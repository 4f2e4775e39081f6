from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from demask.config import ConfigError, load_toml, override, parse


@dataclass(frozen=True)
class Optim:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    kind: Literal["adam", "muon"] = "adam"

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")


@dataclass(frozen=True)
class Recipe:
    steps: int
    optim: Optim = field(default_factory=Optim)
    second: Optim | None = None
    stages: tuple[Optim, ...] = ()
    by_name: dict[str, Optim] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    flip: bool = False


def test_nested_tables_become_dataclasses_and_lists_tuples() -> None:
    recipe = parse(
        Recipe,
        {
            "steps": 5,
            "optim": {"learning_rate": 1, "betas": [0.5, 0.9]},
            "second": {"kind": "muon"},
            "stages": [{"learning_rate": 0.5}],
            "by_name": {"head": {"kind": "muon"}},
            "names": ["cat", "ship"],
        },
    )
    assert recipe == Recipe(
        steps=5,
        optim=Optim(1.0, (0.5, 0.9)),
        second=Optim(kind="muon"),
        stages=(Optim(0.5),),
        by_name={"head": Optim(kind="muon")},
        names=("cat", "ship"),
    )
    assert isinstance(recipe.optim, Optim)


@pytest.mark.parametrize(
    ("mapping", "path", "near"),
    [
        ({"steps": 1, "stepz": 2}, "stepz", "steps"),
        ({"steps": 1, "optim": {"learning_rat": 2}}, "optim.learning_rat", "learning_rate"),
        ({"steps": 1, "second": {"beta": 2}}, "second.beta", "betas"),
        ({"steps": 1, "stages": [{}, {"knd": "adam"}]}, "stages.1.knd", "kind"),
        ({"steps": 1, "by_name": {"head": {"knd": "adam"}}}, "by_name.head.knd", "kind"),
    ],
)
def test_an_unknown_key_names_the_file_the_path_and_the_nearest(
    mapping: dict, path: str, near: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Recipe, mapping, "my.toml")
    message = str(caught.value)
    assert message.startswith(f"my.toml: {path}: unknown key")
    assert f"did you mean '{near}'?" in message
    assert "Valid: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "my.toml: steps is missing"),
        ({"steps": "5"}, 'my.toml: steps = "5": must be a valid integer'),
        ({"steps": 1.5}, "my.toml: steps = 1.5: must be a valid integer"),
        ({"steps": True}, "my.toml: steps = true: must be a valid integer"),
        ({"steps": 1, "flip": "yes"}, 'my.toml: flip = "yes": must be a valid boolean'),
        ({"steps": 1, "optim": {"kind": "sgd"}}, "optim.kind = \"sgd\": must be 'adam' or 'muon'"),
        ({"steps": 1, "optim": {"betas": [0.1]}}, "optim.betas.1 is missing"),
        ({"steps": 1, "optim": {"learning_rate": 0}}, "learning_rate must be above 0, not 0"),
        ({"steps": 1, "optim": 3}, "my.toml: optim = 3: "),
        ({"steps": "a", "flip": 1}, "(and 1 more)"),
    ],
)
def test_a_wrong_value_is_one_clear_line(mapping: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Recipe, mapping, "my.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_override_reads_toml_values_and_plain_words() -> None:
    before = {"steps": 1, "optim": {"kind": "adam"}}
    after = override(
        before,
        [
            "steps=10",
            "optim.kind=muon",
            "optim.betas=[0.1, 0.2]",
            "flip = true",
            "second.kind='a=b'",
        ],
    )
    assert after == {
        "steps": 10,
        "optim": {"kind": "muon", "betas": [0.1, 0.2]},
        "flip": True,
        "second": {"kind": "a=b"},
    }
    assert before == {"steps": 1, "optim": {"kind": "adam"}}


@pytest.mark.parametrize("assignment", ["steps", "=3", "optim.=3", "steps.more=3"])
def test_override_refuses_what_is_no_assignment(assignment: str) -> None:
    with pytest.raises(ConfigError, match=assignment.split("=")[0] or "=3"):
        override({"steps": 1}, [assignment])


def test_an_overridden_key_is_checked_like_any_other() -> None:
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        parse(Recipe, override({"steps": 1}, ["step=2"]))


def test_load_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("steps = 3\n[optim]\nlearning_rate = 1e-4\n")
    assert parse(Recipe, load_toml(path), path) == Recipe(3, Optim(1e-4))


@pytest.mark.parametrize("content", [b"steps = = 3", b"\xff\xfe"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="broken.toml is not TOML"):
        load_toml(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent.toml: No such file"):
        load_toml(tmp_path / "absent.toml")
