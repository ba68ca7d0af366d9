from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pipeline.config import apply_overrides, build, load, of_training, read_yaml, to_dict, to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.paths import of_run

IN_QUOTES = (
    " (in quotes: without them YAML reads 64 as a number, 4:00:00 as seconds, no as a truth value, 2026-11-21 as a date; "
    """on a command line 'a.b="64"')"""
)


@dataclass(frozen=True, kw_only=True)
class Optim:
    lr: float = 1e-3
    steps: int = 10
    betas: tuple[float, float] = (0.9, 0.98)
    kind: Literal["adamw", "sgd"] = "adamw"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"optim.steps={self.steps}; accepted: 1 or more")


@dataclass(frozen=True, kw_only=True)
class Config:
    name: str
    optim: Optim = field(default_factory=Optim)
    extra: Optim | None = None
    stages: tuple[Optim, ...] = ()
    revision: str | None = None
    flag: bool = False
    sizes: list[int] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | float | None = None
    text_or_number: float | str = 0.0
    file: Path | None = None


def make(**data) -> Config:
    return build(Config, {"name": "n", **data}, "c.yaml")


def test_defaults_and_nested_values():
    config = make(optim={"lr": 1, "betas": [0, 0.5]}, extra={"steps": 3}, stages=[{"steps": 4}], weights={"itc": 1}, file="a/b")
    assert config.optim == Optim(lr=1.0, betas=(0.0, 0.5))
    assert (config.extra, config.stages, config.file) == (Optim(steps=3), (Optim(steps=4),), Path("a/b"))
    assert isinstance(config.optim.lr, float)
    assert isinstance(config.weights["itc"], float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"optm": {}}, "c.yaml: unknown key optm; did you mean optim?"),
        ({"optim": {"learn": 1}}, "c.yaml: unknown key optim.learn; accepted: lr, steps, betas, kind"),
        ({"extra": {"step": 1}}, "c.yaml: unknown key extra.step; did you mean extra.steps?"),
        ({"stages": [{}, {"step": 1}]}, "c.yaml: unknown key stages[1].step; did you mean stages[1].steps?"),
        ({"optim": {"steps": True}}, "c.yaml: optim.steps=True; accepted: a whole number"),
        ({"optim": {"steps": 1.5}}, "c.yaml: optim.steps=1.5; accepted: a whole number"),
        ({"optim": {"lr": "fast"}}, "c.yaml: optim.lr='fast'; accepted: a number"),
        ({"optim": {"lr": False}}, "c.yaml: optim.lr=False; accepted: a number"),
        ({"optim": {"lr": None}}, "c.yaml: optim.lr=None; accepted: a number"),
        ({"optim": {"kind": "adam"}}, "c.yaml: optim.kind='adam'; accepted: 'adamw', 'sgd'"),
        ({"optim": {"betas": [0.9]}}, "c.yaml: optim.betas=[0.9] has 1 values; accepted: 2 (a list of a number)"),
        ({"optim": {"steps": 0}}, "c.yaml: optim.steps=0; accepted: 1 or more"),
        ({"optim": 3}, "c.yaml: optim=3; accepted: a section with lr, steps, betas, kind"),
        ({"sizes": [1, "x"]}, "c.yaml: sizes[1]='x'; accepted: a whole number"),
        ({"sizes": 1}, "c.yaml: sizes=1; accepted: a list of a whole number"),
        ({"weights": {"itc": "x"}}, "c.yaml: weights.itc='x'; accepted: a number"),
        ({"weights": ["itc"]}, "c.yaml: weights=['itc']; accepted: a mapping of names to a number"),
        ({"flag": 1}, "c.yaml: flag=1; accepted: true or false"),
        ({"name": 7}, f"c.yaml: name=7; accepted: text{IN_QUOTES}"),
        ({"revision": 14400}, f"c.yaml: revision=14400; accepted: text{IN_QUOTES}"),
        ({"optim": {"lr": float("nan")}}, "c.yaml: optim.lr=nan; accepted: a number, finite"),
        ({"optim": {"steps": float("inf")}}, "c.yaml: optim.steps=inf; accepted: a whole number, finite"),
        ({"stages": {"lr": 1}}, "c.yaml: stages={'lr': 1}; accepted: a list of sections with lr, steps, betas, kind"),
        ({"limit": "x"}, "c.yaml: limit='x'; accepted: a whole number or a number or null"),
    ],
)
def test_a_refusal_names_file_field_value_and_what_is_accepted(data, message):
    with pytest.raises(ConfigError) as info:
        make(**data)
    assert str(info.value) == message


def test_a_field_without_default_must_be_given():
    with pytest.raises(ConfigError, match=r"c\.yaml: name is missing; it has no default"):
        build(Config, {}, "c.yaml")


def test_numbers_with_an_exponent_are_numbers_only_where_a_number_is_meant():
    config = make(optim={"lr": "1e-4", "steps": "1e3"}, revision="12e45", text_or_number="1e5", limit="2.5E+1")
    assert (config.optim.lr, config.optim.steps, config.revision, config.text_or_number, config.limit) == (1e-4, 1000, "12e45", "1e5", 25.0)


@pytest.mark.parametrize("text", ["e5", "1e", "nan", "infe3", "1e5x", "0x1e5", "1_0e2"])
def test_other_texts_are_no_numbers(text):
    with pytest.raises(ConfigError, match="accepted: a number"):
        make(optim={"lr": text})


def test_a_union_keeps_what_fits_exactly():
    assert isinstance(make(limit=3).limit, int)
    assert isinstance(make(limit=3.5).limit, float)
    assert make(limit=None).limit is None


def test_a_section_whose_lines_are_all_comments_is_the_default():
    assert make(optim=None).optim == Optim()
    assert make(extra=None).extra is None


def test_overrides_come_last_and_are_yaml():
    data = apply_overrides(
        {"name": "n", "optim": None, "extra": {"lr": 1}}, ["optim.lr=1e-4", "extra.steps=5", "sizes=[1, 2]", "revision="]
    )
    config = build(Config, data, "c")
    assert (config.optim.lr, config.extra, config.sizes, config.revision) == (1e-4, Optim(lr=1.0, steps=5), [1, 2], None)


def test_a_mapping_takes_the_place_of_a_section_so_that_names_can_be_removed():
    data = {"name": "n", "optim": {"lr": 1, "steps": 5}, "weights": {"itc": 1, "itm": 2}}
    config = build(Config, apply_overrides(data, ["optim={steps: 7}", "weights={itc: 3}"]), "c")
    assert (config.optim, config.weights) == (Optim(steps=7), {"itc": 3.0})


def test_overrides_do_not_change_what_they_start_from():
    data = {"optim": {"lr": 1}}
    apply_overrides(data, ["optim.lr=2"])
    assert data == {"optim": {"lr": 1}}


@pytest.mark.parametrize("item", ["optim", "=3", "optim..lr=3", "name.x=3", "optim.lr=[1"])
def test_a_malformed_override_is_refused_with_its_text(item):
    with pytest.raises(ConfigError) as info:
        apply_overrides({"name": "n"}, [item])
    assert repr(item) in str(info.value)


def test_yaml_round_trip(tmp_path):
    config = make(optim={"betas": [0.5, 0.6]}, file="x", stages=[{}])
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    again = load(Config, tmp_path / "c.yaml")
    assert again == config
    assert to_dict(again) == to_dict(config) != to_dict(make())
    assert to_dict(config)["optim"]["betas"] == [0.5, 0.6]


def test_a_key_that_overrides_a_merged_one_does_not_stand_twice(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &a {x: 1}\np: {b: &b {<<: *a, x: 2}}\nc: {<<: *b, y: 3}\n")
    assert read_yaml(tmp_path / "c.yaml")["c"] == {"x": 2, "y": 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "is not valid YAML"),
        (b"- 1", "holds a list"),
        (b"a: \xff", "is not valid YAML"),
        (b"", "name is missing"),
        (b"name: a\noptim: {lr: 1, lr: 2}", "'lr' stands twice"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(Config, tmp_path / "c.yaml")


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load(Config, tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"is a folder; give the YAML file, of a run or training .*config\.yaml"):
        load(Config, tmp_path)


def test_an_alias_of_what_it_stands_in_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("run: &a {name: *a}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml: an anchor \(&\) holds an alias \(\*\) of itself"):
        read_yaml(tmp_path / "c.yaml")
    (tmp_path / "c.yaml").write_text("one: &a {lr: 1}\nother: *a\nday: 2026-11-21\n")
    assert read_yaml(tmp_path / "c.yaml")["other"] == {"lr": 1}


def test_the_config_of_a_training_means_the_folder_that_it_lies_in(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("out: elsewhere\n")
    assert of_training(file, ["seed=1"]) == (file, ["seed=1"])
    (tmp_path / "checkpoint").mkdir()  # of something else
    assert of_training(file, ["seed=1"]) == (file, ["seed=1"])
    (tmp_path / "checkpoint" / "aptm").mkdir(parents=True)
    (tmp_path / "checkpoint" / "aptm" / "metadata.json").touch()  # fetched from elsewhere, beside a recipe
    assert of_training(file, ["seed=1"]) == (file, ["seed=1"])
    (tmp_path / "metrics.jsonl").touch()
    for path in (file, tmp_path):
        assert of_training(path, ["seed=1"]) == (file, [f'out="{tmp_path}"', "seed=1"])


def test_the_config_of_a_run_means_the_folder_that_it_lies_in(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("run: {name: elsewhere}\n")
    assert of_run(file, ["run.seed=1"]) == (file, ["run.seed=1"])  # a recipe of that name
    (tmp_path / "tickets" / "done").mkdir(parents=True)  # of something else
    assert of_run(file, ["run.seed=1"]) == (file, ["run.seed=1"])
    (tmp_path / "caption" / "done").mkdir(parents=True)
    for path in (file, tmp_path):
        assert of_run(path, ["run.seed=1"]) == (file, ["run.seed=1", f'run.folder="{tmp_path}"'])
        assert of_run(path, ["run.folder=other"]) == (file, ["run.folder=other"])  # a run like this one


def test_another_name_makes_of_a_run_a_recipe_for_a_new_folder(tmp_path):
    """Its config.yaml holds the folder once it was continued by that: `--redo` would delete there."""
    file = tmp_path / "config.yaml"
    file.write_text(f"run: {{name: a, folder: {tmp_path}}}\n")
    (tmp_path / "filter" / "done").mkdir(parents=True)
    for path in (file, tmp_path):
        source, items = of_run(path, ["run.name=b"])
        assert apply_overrides(read_yaml(source), items)["run"] == {"name": "b", "folder": None}
        assert of_run(source, items) == (source, items)  # once more in the stage package
