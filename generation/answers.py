"""What a vision-language model is asked about a picture, and what its answer says of the 27 attributes.

The answer is one JSON object; each field has a closed set of values, "unknown" among them, so that a guess is never forced. An answer
outside of it is no answer: it is counted, not repaired.
"""

import json
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from pipeline.config import build
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS
from pipeline.contracts.errors import ConfigError

YesNo = Literal["yes", "no", "unknown"]
Length = Literal["short", "long", "unknown"]
Colour = Literal["black", "white", "red", "purple", "yellow", "blue", "green", "gray", "pink", "brown", "orange", "beige", "other"]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Answers about one person. Colours: all that the garment has; an empty list for unknown."""

    gender: Literal["man", "woman", "unknown"] = "unknown"
    age: Literal["under 18", "over 18", "unknown"] = "unknown"
    hair: Length = "unknown"
    hat: YesNo = "unknown"
    backpack: YesNo = "unknown"
    handbag: YesNo = "unknown"
    bag: YesNo = "unknown"
    sleeves: Length = "unknown"
    lower_garment: Literal["pants", "shorts", "dress", "skirt", "unknown"] = "unknown"
    lower_length: Length = "unknown"
    upper_colours: list[Colour] = field(default_factory=list)
    lower_colours: list[Colour] = field(default_factory=list)


def question() -> str:
    """The instruction: every field with the values it may take."""
    hints = get_type_hints(Answers)
    lines = [f'  "{f.name}": {_accepted(hints[f.name])}' for f in fields(Answers)]
    return (
        "Look at the main person in the picture. Answer with one JSON object and nothing else. Use exactly these fields and values, "
        '"unknown" or an empty list where the picture does not show it:\n{\n' + ",\n".join(lines) + "\n}"
    )


def sentence_request(answers: Answers | None) -> str:
    """The second instruction, with what is known."""
    known = ""
    if answers is not None:
        facts = {f.name: value for f in fields(Answers) if (value := getattr(answers, f.name)) not in ("unknown", [])}
        known = f" Known about the person: {json.dumps(facts)}."
    return (
        f"Describe this person in one fluent English sentence: gender, clothes with their colours, shoes, and what they carry.{known} "
        "Say only what the picture shows; do not mention the background. Answer with the sentence only."
    )


def parse_answers(text: str) -> Answers:
    """The first JSON object in a model's text, validated. Raises ValueError saying what is wrong with it."""
    start = text.find("{")
    if start < 0 or text.rfind("}") < start:
        raise ValueError("no JSON object in the answer")
    try:
        data, _ = json.JSONDecoder().raw_decode(text, start)  # what the model says behind it is no part of the answer
    except (ValueError, RecursionError) as err:
        raise ValueError(f"not JSON: {err}") from err
    try:
        return build(Answers, {str(name): _plain(value) for name, value in data.items()}, "answer")
    except ConfigError as err:
        raise ValueError(str(err)) from err


def labels_of_answers(answers: Answers) -> dict[str, int]:
    """All 27 attributes: 0, 1, or -1 for unknown. Colours are labelled as a group or not at all, as in the annotation guideline (C1)."""
    labels = dict.fromkeys(PERSON_27.names, MISSING)
    labels |= _coded(answers.gender, "gender", {"woman": 0, "man": 1}) | _coded(answers.age, "age", {"under 18": 0, "over 18": 1})
    labels |= _coded(answers.hair, "hair_length", {"short": 0, "long": 1})
    for name in ("hat", "backpack", "handbag", "bag"):
        labels |= _coded(getattr(answers, name), name, {"yes": 0, "no": 1})
    labels |= _coded(answers.sleeves, "sleeve_length", {"long": 0, "short": 1})
    labels |= _coded(answers.lower_garment, "lower_type", {"dress": 0, "skirt": 0, "pants": 1, "shorts": 1})
    labels |= _coded(answers.lower_length, "lower_length", {"long": 0, "short": 1})
    for part, space, stated in (("upper", UPPER_COLOURS, answers.upper_colours), ("lower", LOWER_COLOURS, answers.lower_colours)):
        labels |= {f"{part}_{colour}": int(colour not in stated) for colour in space} if stated else {}
    return labels


def _coded(value: str, name: str, codes: dict[str, int]) -> dict[str, int]:
    return {name: codes[value]} if value in codes else {}


def _accepted(hint: Any) -> str:
    if getattr(hint, "__origin__", None) is list:
        return "a list of " + ", ".join(f'"{value}"' for value in get_args(get_args(hint)[0]))
    return " or ".join(f'"{value}"' for value in get_args(hint))


def _plain(value: Any) -> Any:
    """Case and spelling that models mix up."""
    if isinstance(value, str):
        text = " ".join(value.lower().split())
        return {"grey": "gray"}.get(text, text)
    return [_plain(item) for item in value] if isinstance(value, list) else value
