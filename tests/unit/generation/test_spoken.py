"""What vision-language models say around the sentence that they were asked for, and what of it becomes the caption."""

import pytest

from generation.backends.vlm import Reply, candidate
from generation.candidates import Description, choose
from generation.caption_gate import caption_reason
from generation.config import CaptionConfig
from generation.spoken import finished, one_sentence
from pipeline.contracts.stage import Drop, Keep


@pytest.mark.parametrize(
    ("text", "sentence"), [('\n "A man."\nMore', "A man."), ("- a  boy", "a boy"), ("", ""), ("“A girl in red”", "A girl in red")]
)
def test_one_sentence(text: str, sentence: str) -> None:
    assert one_sentence(text) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Here is a one-sentence description of the person's clothes:\n\nA man in a red shirt.", "A man in a red shirt."),
        ('Sure! Here\'s a sentence describing the person in a jacket:\n"A man in a red jacket."', "A man in a red jacket."),
        ('Sure, here is the sentence: "A man in blue."', "A man in blue."),
        ("Certainly!\nA man in blue.", "A man in blue."),
        ("<think>A man in a red shirt, maybe a bag?\nOk.</think>\nA man in a red shirt.", "A man in a red shirt."),
        ("The shirt is red.\n</think>\n\nA man in a red shirt.", "A man in a red shirt."),
        ("<think>The shirt is red, or is it", ""),
        ("**A man** wears a red shirt.", "A man wears a red shirt."),
        ("A man wears: a red shirt, a hat.", "A man wears: a red shirt, a hat."),
        ("Here is a man in a red shirt.", "Here is a man in a red shirt."),
    ],
)
def test_what_is_said_around_the_sentence_is_no_caption(text: str, sentence: str) -> None:
    assert one_sentence(text) == sentence


WHOLE = "A young woman is wearing a white blouse and blue jeans."


@pytest.mark.parametrize(
    ("text", "is_cut", "caption", "reason"),
    [
        (WHOLE, False, WHOLE, None),
        (WHOLE[:-1], False, WHOLE[:-1], None),  # without a full stop, but the model had nothing to add
        (WHOLE[:-7], True, WHOLE[:-7], "caption_cut"),
        (f'"{WHOLE}" She also carries a', True, WHOLE, None),
        (f"{WHOLE}\nShe also carries a", True, WHOLE, None),
        ("Here is the description of the shirt:", True, "", "caption_cut"),
        ("I'm sorry, I can't help with identifying people or describing their clothes.", False, None, "caption_refusal"),
        ("I cannot provide a description of the jacket of this person.", False, None, "caption_refusal"),
        ("As an AI, no shirt is described by me.", False, None, "caption_refusal"),
        ("Unfortunately, I am unable to see the person's shirt.", False, None, "caption_refusal"),
        ("A man in a shirt that says I am happy.", False, None, None),
    ],
)
def test_cut_sentences_and_refusals_are_dropped_by_name(text: str, is_cut: bool, caption: str | None, reason: str | None) -> None:
    outcome = choose(Description([candidate(Reply(text, is_cut=is_cut))]), CaptionConfig())
    assert isinstance(outcome, Keep | Drop)
    assert outcome.row["caption"] == (text if caption is None else caption)
    assert (outcome.reason if isinstance(outcome, Drop) else None) == reason


MAN = "A man in a blue shirt walks with a black bag."
WOMAN = "The woman in the picture wears a red coat, black trousers and white shoes."


@pytest.mark.parametrize(
    ("answer", "caption"),
    [  # in the manner of LLaVA
        (WOMAN, WOMAN),
        (f"The image shows a man wearing a red shirt.\n{MAN}", "The image shows a man wearing a red shirt."),
        (f"In this image, we can see a man.\n\n{MAN}", "In this image, we can see a man."),
        (f"Based on the image provided, here is a description of the person. {MAN}", MAN),
        (f"Description: {MAN}", MAN),
        (f"The description of the person in the image is as follows:\n{MAN}", MAN),
        (f"Here is a description of the clothes that the person wears.\n\n{MAN}", MAN),
        (f"This is the sentence:\n{MAN}\nIt describes the person.", MAN),
        # Qwen-VL
        (f"```\n{MAN}\n```", MAN),
        (f'```text\n"{MAN}"\n```', MAN),
        (f"Sure thing!\n{MAN}", MAN),
        (f"Sure thing! {MAN}", MAN),
        (f"Certainly! Here is a fluent English sentence that describes the person:\n\n{MAN}", MAN),
        (f"Sure, I can help with that!\n{MAN}", MAN),
        (f"Of course. Let me describe the person in the picture.\n{MAN}", MAN),
        (f"One-sentence description: {MAN}", MAN),
        (f"**Caption:** {MAN}", MAN),
        # InternVL
        (f"## Person\n\n{MAN}", MAN),
        (f"### Description of the person\n{MAN}", MAN),
        (f"**Person**\n\n{MAN}", MAN),
        (f"Final answer: {MAN}", MAN),
        (f"Answer:\n\n{MAN}", MAN),
        (f"1. {MAN}\n2. {WOMAN}", MAN),
        (f"> {MAN}", MAN),
        ("Here is a woman in a red coat: she carries a black bag.", "Here is a woman in a red coat: she carries a black bag."),
        # Gemma
        (f"Okay, here is a one-sentence description of the person's clothing.\n{MAN}", MAN),
        (f"Here’s a sentence describing the person, based on the provided information:\n\n**{MAN}**\n\nLet me know if it helps!", MAN),
        (f"Okay, let's take a look at the person in the picture.\n\n{MAN}", MAN),
        (f"Here are a few options:\n\n*   **Option 1 (concise):** {MAN}\n*   **Option 2:** {WOMAN}", MAN),
        ("Here's a young man in a coat at 10:30 beside a wall.", "Here's a young man in a coat at 10:30 beside a wall."),
        ("A boy in a shirt with the caption: hello world.\nHe runs.", "A boy in a shirt with the caption: hello world."),
        (
            "I'm sorry, I can't provide a description of people.\nHe may wear a shirt.",
            "I'm sorry, I can't provide a description of people.",
        ),
        ("Here is a description of the shirt.", "Here is a description of the shirt."),  # nothing else was said
    ],
)
def test_the_sentence_is_found_in_what_models_say(answer: str, caption: str) -> None:
    assert one_sentence(answer) == caption


@pytest.mark.parametrize(
    "caption",
    [
        "Based on the answers, the man wears a red shirt and blue jeans. He carries a black bag.",
        "In one sentence, the woman wears a red coat and black trousers. She also wears white sneakers.",
        "In one sentence, the woman wears a red coat and black trousers.\nShe also wears white sneakers.",
        "The caption on his shirt reads NYC and he wears blue jeans. His shoes are white and clean.",
        "His shirt caption: NYC in white letters.",
        "According to the answers, a man in a red shirt is walking. He is wearing a black jacket and carries a backpack.",
        "Here is a description of a man in a red coat. He carries a black bag.",
        "Here is a description of a man in a red coat.\nHe carries a black bag.",
    ],
)
def test_a_caption_that_speaks_of_its_task_keeps_its_first_sentence(caption: str) -> None:
    assert one_sentence(caption) == caption.partition("\n")[0]


@pytest.mark.parametrize(
    "preamble",
    [
        "*Description:* ",
        "_Caption:_ ",
        "*Caption:*\n",
        "Description - ",
        "Description of the person – ",
        "The person's description: ",
        "The description of the person in the image is as follows: ",
        "The answer is: ",
        "Response: ",
        "Let me describe the person. ",
        "Here is a one-sentence description of the person's clothing. ",
        "Here is a sentence describing the person, based on the picture: ",
        "Here is a sentence describing the person, based on the picture.\n",
        "Here is a sentence describing the person in the coat: ",
    ],
)
def test_preambles_are_left_out(preamble: str) -> None:
    assert one_sentence(preamble + MAN) == MAN


def test_a_model_in_a_loop_holds_nobody_up() -> None:
    """A minute and more if the search were quadratic in the repeats."""
    assert one_sentence("here is " * 20_000).startswith("here is here is")


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("A man wears a shirt with the no. 5 and dark tr", None),
        ("A man stands in front of St. Mary in a sh", None),
        ("A man in a shirt. Mr. Smith wea", "A man in a shirt."),
        ("A man in a hat, a shirt, etc. and dark tr", None),
        ("A man in a U.S. Army jacket and a ha", None),
        ("A man in a shirt. He also w", "A man in a shirt."),
        ("Here is a description of the person.\nA man in a red sh", None),
        ("A man wearing red. he has jeans and a", "A man wearing red."),
        ("A man in red. É", "A man in red."),
        ("The man wears a shirt with the letter A. He", "The man wears a shirt with the letter A."),
        ("A man in a U. S. Army jacket and a ha", None),
        ("A man in a hat, a shirt, etc. He also w", "A man in a hat, a shirt, etc."),
        ("A man in a red... shirt and dark tr", None),
        ('A man in a shirt that says "Wow!" and dark tr', None),
    ],
)
def test_an_abbreviation_ends_no_sentence(text: str, whole: str | None) -> None:
    assert finished(text) == whole


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The man wears black trousers; I cannot see his shoes.", None),
        ("I cannot see her face, but she wears a red coat and jeans", None),
        ("I can't see the face, but a woman in a red dress and black heels stands.", None),
        ("While I cannot see her face, the woman wears a red coat.", None),
        ("I cannot see a person wearing a red coat in this image.", "caption_refusal"),
        ("I do not see anyone wearing jeans or a jacket here.", "caption_refusal"),
        ("I cannot see anyone dressed in a black jacket and jeans.", "caption_refusal"),
        ("I cannot see any man in this picture who wears a black jacket.", "caption_refusal"),
        ("I cannot tell the colour of the coat that the person is wearing in this blurry image with trousers.", "caption_refusal"),
        ("The man, whose face I can't make out, is wearing a red shirt.", None),
        ("I cannot see the shirt of this person.", "caption_refusal"),
        ("I cannot see the coat and the person in jeans.", "caption_refusal"),
        ("The picture is too dark, so I cannot tell whether the man is wearing a shirt.", "caption_refusal"),
        ("I can't see what the person in this picture is wearing, a shirt or a coat.", "caption_refusal"),
        ("I can't identify real people, but the man wears a red shirt.", "caption_refusal"),
    ],
)
def test_a_caption_that_says_what_is_hidden_is_no_refusal(text: str, reason: str | None) -> None:
    assert caption_reason(text, CaptionConfig()) == reason
