"""What became of a picture, stage by stage, and what decided it, from a run of ten: some are dropped, and two are alike."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.annotate import AnnotateStage
from generation.candidates import Candidate, Description, choose
from generation.cli import main
from generation.config import CaptionConfig, FilterConfig, GenerationConfig, PromptsConfig, RunConfig, ShardConfig
from generation.filter_decision import Thresholds, decide
from generation.images import encode_jpeg
from generation.shard import write_shards
from generation.why import why
from generation.work import run_stage
from pipeline.completion import input_digest
from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units
from pipeline.tables import read_rows
from tests.unit.generation.test_redecide import WHOLE

JPEG = encode_jpeg(np.zeros((8, 8, 3), np.uint8), 90)
SMALL, NOBODY, BROKEN, SHORT, REPEAT, KEPT = (f"{index:09d}_00" for index in (1, 2, 3, 4, 6, 5))


class Fake:
    """A stage whose outcome is a function of the item."""

    reads_images, batch_size = False, 4

    def __init__(self, name: str, one: Callable[[Item], Outcome]) -> None:
        self.name, self.one, self.writes_images = name, one, name == "recrop"

    def setup(self) -> None: ...
    def teardown(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self.one(item) for item in batch]


def filtered(item: Item, thresholds: Thresholds) -> Outcome:
    if item.key == BROKEN:
        return Fail("corrupt_image", "no picture")
    change = {SMALL: {"body_share": 0.62}, NOBODY: {"num_persons": 0}}.get(item.key, {})
    row = {"measures": {**WHOLE, "encoded_bytes": 14_600.0, "width_px": 1024.0, **change}}
    reason = decide(row["measures"], thresholds)
    return Keep(row) if reason is None else Drop(reason, row)


def cropped(item: Item) -> Outcome:
    shown = KEPT if item.key == REPEAT else item.key
    return Keep({"crop_xyxy_px": [0, 0, 8, 9], "phash": f"{int(shown[:9]):016x}"}, JPEG)


def captioned(item: Item, config: CaptionConfig) -> Outcome:
    texts = ["a man", "a person"] if item.key == SHORT else ["a woman in a red coat and blue jeans"]
    outcome = choose(Description([Candidate(text, -0.5) for text in texts]), config)
    assert isinstance(outcome, Keep | Drop)
    return replace(outcome, row={**outcome.row, "captioner": {"model": "x"}})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerationConfig:
    """Units of 4: those of 0 to 7 are done, of the last one the pictures only."""
    config = GenerationConfig(
        run=RunConfig(folder=str(tmp_path_factory.mktemp("run")), unit_size=4),
        prompts=PromptsConfig(num_prompts=10),
        filter=FilterConfig(thresholds=Thresholds(min_body_share=0.7)),
        shard=ShardConfig(val_fraction=0, max_hash_distance=0),
    )
    paths = RunPaths(config.run.path)
    paths.config.write_text(to_yaml(config))
    run_stage("prompts", config)
    prompts = [Item(row["key"], row) for row in read_rows(paths.units("prompts", 0, "parquet"))]
    stages: dict[str, Any] = {
        "generate": Fake("generate", lambda item: Keep({"seed": int(item.key[:9]), "generator": {"model": "drawn"}})),
        "filter": Fake("filter", lambda item: filtered(item, config.filter.thresholds)),
        "recrop": Fake("recrop", cropped),
        "caption": Fake("caption", lambda item: captioned(item, config.caption)),
        "annotate": AnnotateStage(config.annotate),
    }
    before = None
    for name, stage in stages.items():
        inputs = chained_input(paths, before, None, False) if before else lambda u: UnitInput(prompts[4 * u : 4 * u + 4], "prompts")
        run_units(stage, paths, range(2 if before else 3), config_digest="d", inputs=inputs)
        before = name
    sources = input_digest(paths, [("annotate", 0)])
    run_single("shard", paths, config_digest="d", input_digest=sources, make=lambda: write_shards(config, paths, 2, "d"))
    return config


def told(config: GenerationConfig, key: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, dict[str, Any]], str]:
    """Stages of the JSON answer by name, and the words for people."""
    assert main(["why", str(config.run.path), key, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert main(["why", str(config.run.path), key]) == 0
    return {stage["stage"]: stage for stage in answer["stages"]}, capsys.readouterr().out


def test_a_kept_picture_is_followed_from_its_prompt_to_its_shard(config: GenerationConfig, capsys: pytest.CaptureFixture[str]) -> None:
    stages, text = told(config, KEPT, capsys)
    assert stages["filter"]["measures"]["body_share"] == 0.8
    assert "body_share 0.8, " in text
    assert "encoded_bytes 14600, width_px 1024" in text
    assert {stage["status"] for stage in stages.values()} == {"kept"}
    assert list(stages) == ["prompts", "generate", "filter", "recrop", "caption", "annotate", "shard"]
    assert (stages["prompts"]["source"], stages["generate"]["seed"]) == ("sampler", 5)
    assert (stages["annotate"]["labels_from"], stages["annotate"]["attributes"]["gender"]) == ("caption", 0)
    assert (stages["shard"]["split"], stages["shard"]["shard"]) == ("train", "train-000000.tar")
    assert "'a woman in a red coat and blue jeans' (score -0.5)" in text
    assert "train, train-000000.tar" in text


@pytest.mark.parametrize(
    ("key", "last", "reason", "words"),
    [
        (SMALL, "filter", "small_person", "small_person: body_share 0.62, filter.thresholds.min_body_share 0.7\n"),
        (NOBODY, "filter", "no_person", "no_person: num_persons 0\n"),
        (SHORT, "caption", "caption_short", "caption_short: words 2, caption.min_words 5\n"),
        (SHORT, "caption", "caption_short", "'a person' (score -0.5): caption_short\n"),
        (REPEAT, "shard", "near_duplicate", f"of {KEPT}\n"),
        (BROKEN, "filter", "corrupt_image", f"failed, corrupt_image\n            what was wrong: grep -r {BROKEN} "),
    ],
)
def test_a_lost_picture_ends_where_it_was_lost_with_what_decided(
    config: GenerationConfig, capsys: pytest.CaptureFixture[str], key: str, last: str, reason: str, words: str
) -> None:
    stages, text = told(config, key, capsys)
    assert list(stages)[-1] == last
    assert stages[last]["reason"] == reason
    assert words in text


def test_what_is_not_made_yet_is_said(config: GenerationConfig, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    stages, _ = told(config, "000000009_00", capsys)
    assert {name: stage["status"] for name, stage in stages.items()} == {"prompts": "kept", "generate": "kept", "filter": "not made yet"}
    new = replace(config, run=replace(config.run, folder=str(tmp_path)))
    with pytest.raises(ContractError, match="has no prompts yet"):
        why(new, KEPT)
    run_stage("prompts", new)
    assert [stage["status"] for stage in why(new, KEPT)["stages"]] == ["kept", "not made yet"]


def test_one_table_of_the_unit_is_enough(config: GenerationConfig, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of earlier stages, and all pictures, may have been deleted."""
    stages, _ = told(config, KEPT, capsys)
    table = RunPaths(config.run.path).units("generate", 1, "parquet")
    hidden = table.rename(table.with_suffix(".away"))
    try:
        assert told(config, KEPT, capsys)[0] == stages
    finally:
        hidden.rename(table)


@pytest.mark.parametrize("key", ["000000010_00", "000000001_01", "nonsense", "٠٠٠٠٠٠٠٠٤_00"])
def test_a_key_of_no_picture_is_refused_with_what_keys_look_like(config: GenerationConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.* 000000000_00 to 000000009_00: prompt and variant, in 3 units of 4"):
        why(config, key)
