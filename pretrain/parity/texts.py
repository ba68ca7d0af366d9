"""Prompts, cleaning, tokenisation and masks: all compared exactly."""

from random import Random

from pipeline.contracts.attributes import PERSON_27
from pretrain.captions import pre_caption
from pretrain.masking import Masker
from pretrain.parity.fixture import Check, Fixture, equal
from pretrain.parity.masks import mask_one
from pretrain.settings import MaskingConfig
from pretrain.tokenizer import CaptionTokenizer


def text_checks(fixture: Fixture) -> list[Check]:
    golden, settings = fixture.json("text.json"), fixture.settings
    tokenizer = CaptionTokenizer(fixture.folder / "vocab.txt")
    config = MaskingConfig(
        probability=settings["mask_prob"],
        max_masks=settings["max_masks"],
        skipgram_probability=settings["skipgram_prb"],
        skipgram_size=settings["skipgram_size"],
        mlm_candidates="padded",
    )
    masker = Masker(tokenizer, config)
    cleaned = [pre_caption(case["text"], case["max_words"], case["clean"]) for case in golden["pre_caption"]]
    masked = [mask_one(masker, run["input_ids"], Random(run["seed"])) for run in golden["masking_runs"]]
    tokenized = [_tokenized(tokenizer, case) for case in golden["tokenize"]]
    return [
        equal("text/prompts", list(PERSON_27.prompts), golden["prompts_mals"]),
        equal("text/pre_caption", cleaned, [case["out"] for case in golden["pre_caption"]]),
        equal("text/tokenize", tokenized, [_expected(case) for case in golden["tokenize"]]),
        equal("text/masking", masked, [(run["masked_ids"], run["masked_pos"]) for run in golden["masking_runs"]]),
        *(_input_check(fixture, tokenizer, name, golden[f"prompts_{space}"]) for name, space in (("attr", "mals"), ("pa", "pa100k"))),
        *_caption_checks(fixture, tokenizer, golden),
    ]


def _caption_checks(fixture: Fixture, tokenizer: CaptionTokenizer, golden: dict) -> list[Check]:
    """From the captions of the batch to the model's inputs: cut to the most words, then to ids."""
    most_words, most_tokens = fixture.settings["max_words"], fixture.settings["max_tokens"]
    truncated = [pre_caption(caption, most_words) for caption in golden["captions"]]
    views = {"text": truncated, "text_eda": [pre_caption(caption, most_words) for caption in golden["captions_eda_standin"]]}
    checks = [equal("text/captions truncated", truncated, golden["captions_truncated"])]
    for view, captions in views.items():
        suffix = view.removeprefix("text")
        for kind, ours in zip(("ids", "atts"), tokenizer(captions, most_tokens, "max"), strict=True):
            checks.append(equal(f"text/{kind} of {view} captions", ours.tolist(), fixture.inputs[f"text_{kind}{suffix}"].tolist()))
    return checks


def _tokenized(tokenizer: CaptionTokenizer, case: dict) -> tuple[list[int], list[int]]:
    ids, mask = tokenizer([case["text"]], case["max_length"], "max")
    return ids[0].tolist(), mask[0].tolist()


def _expected(case: dict) -> tuple[list[int], list[int]]:
    return case["input_ids"], case["attention_mask"]


def _input_check(fixture: Fixture, tokenizer: CaptionTokenizer, name: str, prompts: list[str]) -> Check:
    ids, _ = tokenizer(prompts, None)
    return equal(f"text/ids of {name} prompts", ids.tolist(), fixture.inputs[f"{name}_ids"].tolist())
