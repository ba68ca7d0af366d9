"""What the data card says of models whose names and hashes somebody else has written."""

from dataclasses import replace
from typing import Any

import pytest

from generation.exchange.data_card import CardFacts, write_card
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import SCHEMA_VERSION, make_key
from pipeline.contracts.stage import Item
from tests.unit.pipeline.fake_flow import meta_of

ROW = {"caption": "a man", "prompt": "a man", "labels": [-1] * 27, "seed": 1, "crop_xyxy_px": [0, 0, 1, 1], "measures": {}}


EMBEDDED = {"model": "embedded"}


def card(**fields: Any) -> str:
    """Of one sample with these fields."""
    manifest = ShardManifest(
        schema=SCHEMA_VERSION,
        split_counts={"train": 1},
        counts=Counts(seen=1, kept=1, dropped=0, failed=0),
        shards={},
        config_digest="0",
        attribute_space=PERSON_27.to_json(),
        code_version="1",
    )
    facts = CardFacts("people", manifest, None)
    facts.add(replace(meta_of(Item(make_key(0, 0), ROW)), **fields))
    return write_card(facts)


@pytest.mark.parametrize(
    ("generator", "said"),
    [
        ({"model": "m", "lora": "theirs.safetensors"}, "m, LoRA theirs.safetensors (1)"),
        ({"model": "m", "lora": {"name": "theirs"}}, "m, LoRA {'name': 'theirs'} (1)"),
        ({"model": "m", "weights_sha256": 12}, "m, weights sha256 12… (1)"),
        ({"model": None, "steps": 2}, "unknown (steps 2) (1)"),
        (
            {"model": "m", "prefix": "photo of ", "suffix": ', "`day`"', "negative_prompt": "grey"},
            'm, before each prompt `"photo of "`, after each prompt `", \\"\\u0060day\\u0060\\""`, negative prompt `"grey"` (1)',
        ),
    ],
)
def test_a_generator_of_other_fields_is_told_as_it_is(generator: dict[str, Any], said: str) -> None:
    assert f"Pictures by: {said}." in card(generator=generator)


@pytest.mark.parametrize(
    ("generator", "captioner", "bound_by"),
    [
        ({"model": "org/sd"}, EMBEDDED, "`org/sd`"),
        (EMBEDDED, {"model": "org/blip"}, "`org/blip`"),
        ({"model": "org/sd"}, {"model": "./blip", "weights_sha256": "ab"}, "`./blip` (sha256 ab…), `org/sd`"),
        ({"model": "./embedded", "weights_sha256": "ab"}, EMBEDDED, "`./embedded` (sha256 ab…)"),
        (
            {**EMBEDDED, "lora": {"file": "style.safetensors", "scale": 1.0, "sha256": "ab"}},
            EMBEDDED,
            "`LoRA style.safetensors` (sha256 ab…)",
        ),
        ({"model": "MALS"}, {"model": "org/blip"}, "`org/blip`"),
    ],
)
def test_models_from_elsewhere_bind_the_data_whatever_the_prompts_allow(
    generator: dict[str, Any], captioner: dict[str, Any], bound_by: str
) -> None:
    said = card(licence="CC0-1.0", generator=generator, captioner=captioner)
    assert "\nlicense: other\n" in said
    assert f"**The licences of the models bind what they made too**: {bound_by}. " in said
    assert ("whose weights have this sha256" in said) == ("sha256 ab…)" in bound_by)


def test_what_was_imported_from_mals_is_under_its_own_terms() -> None:
    said = card(generator={"model": "MALS"}, captioner={"model": "MALS"})
    assert "**What was imported from MALS is under the terms of MALS**: research only" in said
    assert "The licences of the models bind" not in said
    assert "\nlicense: other\n" in said


@pytest.mark.parametrize("generator", [{}, {"model": None}, {"model": " "}])
def test_a_model_that_is_not_named_is_said_to_be_unknown_once(generator: dict[str, Any]) -> None:
    said = card(licence="CC0-1.0", generator=generator, captioner={})
    assert said.count("**Which model made some of the data is unknown**") == 1
    assert "The licences of the models bind" not in said
    assert "\nlicense: other\n" in said


def test_data_of_the_embedded_models_has_the_licence_of_its_prompts() -> None:
    said = card(licence="CC0-1.0", generator=EMBEDDED, captioner=EMBEDDED)
    assert "\nlicense: cc0-1.0\n" in said
    assert "under the licence of the prompts" in said
    assert "\nlicense: other\n" in card(licence="research only", generator=EMBEDDED, captioner=EMBEDDED)
