"""What fine-tuning alone has of APTM: the prompts of PA-100K and the words of the second caption view."""

import re

from finetune.datasets.pa100k import PA_26
from finetune.text_views import words_of
from pretrain.parity.fixture import Check, Fixture, equal

_DIGITS = re.compile(r"\d+")


def finetuning_checks(fixture: Fixture) -> list[Check]:
    """The published second view loses digits, ours keeps them (`finetune.text_views`); apart from them, words are the same."""
    golden = fixture.json("text.json")
    ours = [_DIGITS.sub(" ", " ".join(words_of(case["text"]))).split() for case in golden["eda_only_chars"]]
    return [
        equal("text/prompts of PA-100K", list(PA_26.prompts), golden["prompts_pa100k"]),
        equal("text/words of the second view", ours, [case["out"].split() for case in golden["eda_only_chars"]]),
    ]
