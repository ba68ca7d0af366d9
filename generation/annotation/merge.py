"""Labels read from a text and labels answered by a vision-language model -> one set, by a stated precedence. Pure."""

from collections.abc import Callable, Mapping

from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

_GROUPS = (  # colours are labelled as a group or not at all, so a group is taken from one side as a whole
    *((name,) for name in PERSON_27.names if not name.startswith(("upper_", "lower_")) or name in ("lower_length", "lower_type")),
    tuple(f"upper_{colour}" for colour in UPPER_COLOURS),
    tuple(f"lower_{colour}" for colour in LOWER_COLOURS),
)
Labels = Mapping[str, int]
Rule = Callable[[list[int], list[int]], list[int]]


def merge(text: Labels, answers: Labels | None, precedence: str) -> tuple[dict[str, int], list[str]]:
    """(labels, names of attributes on which both sides speak and differ).

    precedence: text, answers (the other side is ignored); text_first, answers_first (the other fills what is not stated); agree (what both
    state must be equal, else -1; what one states holds). Without answers the text alone decides.
    """
    said = answers if answers is not None else dict.fromkeys(PERSON_27.names, MISSING)
    if answers is None and precedence == "answers":
        precedence = "text"
    conflicts = [name for name in PERSON_27.names if MISSING not in (text[name], said[name]) and text[name] != said[name]]
    rule = PRECEDENCES[precedence]
    merged = {name: value for group in _GROUPS for name, value in _merge_group(group, text, said, rule).items()}
    return {name: merged[name] for name in PERSON_27.names}, conflicts


def _merge_group(group: tuple[str, ...], text: Labels, answers: Labels, rule: Rule) -> dict[str, int]:
    return dict(zip(group, rule([text[name] for name in group], [answers[name] for name in group]), strict=True))


def _first(one: list[int], other: list[int]) -> list[int]:
    return other if MISSING in one else one


def _agree(one: list[int], other: list[int]) -> list[int]:
    if MISSING in one or MISSING in other:
        return _first(one, other)
    return one if one == other else [MISSING] * len(one)


PRECEDENCES: dict[str, Rule] = {
    "text": lambda text, answers: text,
    "answers": lambda text, answers: answers,
    "text_first": _first,
    "answers_first": lambda text, answers: _first(answers, text),
    "agree": _agree,
}
