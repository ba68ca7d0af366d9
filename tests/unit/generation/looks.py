"""What a sampled look states."""

from generation.sampler import Look
from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS


def stated_labels(look: Look) -> dict[str, int]:
    """What a sentence about this look states, in the polarity of PERSON_27. Absent things are not mentioned, so not stated."""
    labels = {
        "gender": int(look.gender == "man"),
        "age": int(look.age != "child"),
        "hair_length": int(look.hair_length == "long"),
        "sleeve_length": int(look.sleeve_length == "short"),
        "lower_length": int(look.lower_length == "short"),
        "lower_type": int(look.lower_type in ("pants", "shorts")),
    }
    labels |= {"hat": 0} if look.hat else {}
    labels |= {look.carried: 0} if look.carried is not None else {}
    labels |= {f"upper_{colour}": int(colour != look.upper_colour) for colour in UPPER_COLOURS}
    return labels | {f"lower_{colour}": int(colour != look.lower_colour) for colour in LOWER_COLOURS}
