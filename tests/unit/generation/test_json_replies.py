"""The sentence is found in replies that are JSON, or nearly."""

import pytest

from generation.spoken import finished, one_sentence

MAN = "A man in a blue shirt walks with a black bag."
WOMAN = "The woman in the picture wears a red coat, black trousers and white shoes."


WITH_BRACKETS = (  # on a shirt
    'A man in a T-shirt that says {"code": "life"} and blue jeans walks.',
    'A man in a shirt: {color: "red", jeans: "blue"} and white shoes on his feet.',
    '["LOVE"] is written on the shirt of a man in jeans.',
    "['LOVE'] is written on the shirt of a man in jeans.",
)


@pytest.mark.parametrize(
    "reply",
    [
        '"caption": "%s"',
        '```json\n"description": "%s"\n```',
        '{caption: "%s"}',
        "{'caption': '%s'}",
        "{\n  caption: '%s',\n  n: 1\n}",
        "{%s}",
        '[\n  {\n   "caption": "%s"\n  }\n]',
        'Here is the JSON {"caption": "%s"}',
        '```json {"caption": "%s"} ```',
        '{"caption": ["%s", "x"]}',
        '{"caption": "%s',
        '{"clothes": "a black coat and blue jeans", "caption": "%s"}',
        '{"clothing description": "a black coat and blue jeans", "caption": "%s"}',
        '{"caption (English)": "%s"}',
        '{"person\'s description": "%s"}',
        '{"image_description.en": "%s"}',
        '{"one sentence that describes the person in the picture": "%s"}',
        '{"caption.1": "%s", "caption.2": "Another man in a coat."}',
        '{"caption": %s}',
        "{caption: %s}",
        "{“caption”: “%s”}",
        '{"reasoning": "I see a person who wears a dark coat.", "result": "%s"}',
        '{"caption": "%s" "age": "adult"}',
        'Here is the JSON {"caption": "%s"} as you asked.',
        '{"reasoning": "His coat is black, so I say so.", "answer": {"sentence": "%s", "n": [1, 2]}}',
    ],
)
def test_what_is_called_a_caption_is_one(reply: str) -> None:
    assert one_sentence(reply % MAN) == MAN


@pytest.mark.parametrize(
    "reply",
    [
        '%s\n{"gender": "male"}',
        '%s {"gender": "male"}',
        '%s\n```json\n{"gender": "male", "hair": "very long and dark hair"}\n```',
        '%s\n["black coat", "blue jeans"]',
        'Facts: {"gender": "male", "coat": "black"}\n%s',
        '{"gender": "male"}\n\nCaption: %s',
        "{'gender': 'male'}\n%s",
    ],
)
def test_a_sentence_beside_json_that_holds_none_is_the_caption(reply: str) -> None:
    assert one_sentence(reply % MAN) == MAN


@pytest.mark.parametrize(
    "reply", ['```json\n{"caption": "%s"}\n```', '```json\n{\n  "caption": "%s",\n  "n": 1\n}\n```', '{"description":"%s"}']
)
def test_the_sentence_is_found_in_json(reply: str) -> None:
    assert one_sentence(reply % MAN) == MAN


@pytest.mark.parametrize(
    ("reply", "caption"),
    [
        (r'{"caption": "A man in a \"Boss\" shirt and a caf\u00e9 apron."}', 'A man in a "Boss" shirt and a café apron.'),
        ('{"caption": "A man in a "Boss" shirt, a "Cap", and jeans.", "n": 1}', 'A man in a "Boss" shirt, a "Cap", and jeans.'),
        (f'{{"gender": "man", "caption": "{MAN}", "colours": ["blue", "black"]}}', MAN),
        (f'["{MAN}"]', MAN),
        (f'Here is the JSON:\n{{"caption": "{MAN}\\n{WOMAN}"}}\nI hope "this" helps you a lot!', MAN),
        (r'["A man in a red coat and jeans \ud83d"]', "A man in a red coat and jeans ?"),
        (f"<answer>{MAN}</answer>", MAN),
        (r'{"caption": "A man in a coat. He has a caf\u00', "A man in a coat. He has a caf" + r"\u00"),
        ('A man in a shirt with ["LOVE"] printed on it, and jeans.', 'A man in a shirt with ["LOVE"] printed on it, and jeans.'),
        ('A man in a shirt that reads: ["LOVE"] and blue jeans.', 'A man in a shirt that reads: ["LOVE"] and blue jeans.'),
        ('{"caption": "A man in a shirt that says "GO": white, and jeans."}', 'A man in a shirt that says "GO": white, and jeans.'),
        *[(said, said) for said in WITH_BRACKETS],
        ("{'caption': 'A man in a shirt with 'LOVE', jeans and white shoes.'}", "A man in a shirt with 'LOVE', jeans and white shoes."),
        ("{'n': 1, 'caption': 'A man in a cap with 'NYC': black, \"LA\".', 'a': 'x'}", "A man in a cap with 'NYC': black, \"LA\"."),
        ('{"n": 1, "caption": "A man in a \'NYC\': \'LA\', or so, cap."}', "A man in a 'NYC': 'LA', or so, cap."),
        (str({"caption": 'A man\'s "LOVE" shirt is red, he walks.', "n": "x"}), 'A man\'s "LOVE" shirt is red, he walks.'),
        (r'{"caption": "A man\nin a black coat\nwalks away"}', "A man in a black coat walks away"),
    ],
)
def test_strings_and_markup_are_read_as_what_they_stand_for(reply: str, caption: str) -> None:
    assert one_sentence(reply) == caption


@pytest.mark.parametrize(
    "reply",
    [
        "{'caption': '%s', \"hat\": \"no\"}",
        "{'caption': '%s', hat: no}",
        "{'caption': '%s', 1: 'x'}",
        "{'caption': '%s'; 'bag': 'no'}",
        "{'caption': '%s' 'bag': 'no'}",
        "{'caption': '%s' // a note\n}",
        "{'caption': '%s', # a note\n 'bag': 'no'}",
        "{'hat': 'the man's', 'caption': '%s'}",
        "['%s', 'The man's here.']",
        "{'captions': ['%s', \"The man is here.\"]}",
    ],
)
@pytest.mark.parametrize(
    "caption",
    [
        MAN,
        "The man's shirt is red and his trousers are black.",
        "The woman is wearing the boys' shoes, a red coat.",
    ],
)
def test_an_apostrophe_ends_no_string_and_what_follows_a_string_is_not_said(reply: str, caption: str) -> None:
    assert one_sentence(reply % caption) == caption


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ('{"caption": "A man in red trousers. He', "A man in red trousers."),
        ('{"hair": "very long and dark hair", "caption": "A man in red. He', "A man in red."),
        ("{'caption': 'A man's coat is red. He has a", "A man's coat is red."),
        ("{'caption': 'A man in a blue woman's coat. He has a", "A man in a blue woman's coat."),
        ("{'caption': 'A man in his brothers' coat that was his fathers'. He has", "A man in his brothers' coat that was his fathers'."),
        ('{"clothes": {"hat": "a large red hat"}, "caption": "A man walks in red. He', "A man walks in red."),
        ('{"caption": "A man in r', None),
        (f'{MAN}\n{{"gender": "ma', MAN),
        (f'{{"caption": "{MAN}"}}\nI hope th', MAN),
    ],
)
def test_of_json_that_is_cut_off_whole_sentences_stay(text: str, whole: str | None) -> None:
    assert finished(text) == whole


@pytest.mark.parametrize("piece", ['{"', '{"a": "', '["', "[[", '"a": ', '{"a": "x",', "{a b c ", "[ ", '" ', "\\", "\n"])
def test_json_without_end_holds_nobody_up(piece: str) -> None:
    """As long as replies of several hundred tokens become."""
    one_sentence('{"a": "' + piece * 1_000)
    finished(piece * 1_000)
