"""Key points of MediaPipe's 33-point body -> numbers about the person. Pure numpy.

A person is a (33, 4) float32 array: x, y in pixels of the picture (may lie outside it), visibility (not hidden) and presence (inside the
picture), both 0-1. Written by `backends.pose`; `filter` stores the measures, `recrop` reads the points.
"""

import numpy as np
import numpy.typing as npt

Person = npt.NDArray[np.float32]

NUM_KEYPOINTS = 33
NOSE = 0
SHOULDERS, HIPS, KNEES, ANKLES = (11, 12), (23, 24), (25, 26), (27, 28)
BODY = (NOSE, *SHOULDERS, *HIPS, *KNEES, *ANKLES)
_X, _Y, _VISIBILITY, _PRESENCE = range(4)
_PARTS = {"nose": (NOSE,), "shoulders": SHOULDERS, "hips": HIPS, "knees": KNEES, "ankles": ANKLES}
MIN_BOX_PRESENCE = 0.5
SAME_PERSON_DISTANCE = 0.12  # of the body height: two poses whose torsos lie closer are one person found twice
BYSTANDER_SHARE = 0.4  # a second person less high than this share of the first is part of the scene
_FLAT_TORSO_SHARE = 0.05  # a torso lower than this share of the picture is no standing one


def is_whole(person: Person) -> bool:
    """Head to ankle inside the picture, upright. The pose backend looks a second time when it found nobody like this."""
    return min(part_presence(person).values()) > 0.5 and torso_height(person) > 0 and leg_ratio(person) > 0.7


def distinct_persons(persons: list[Person]) -> list[Person]:
    """Persons by falling height, without repeats of the same body; an upright pose is preferred to one upside down."""
    ordered = sorted(persons, key=lambda p: (not is_whole(p), -body_height(p)))
    found: list[Person] = []
    for person in ordered:
        if all(_torso_distance(person, other) > SAME_PERSON_DISTANCE * body_height(other) for other in found):
            found.append(person)
    return found


def measure_persons(persons: list[Person], width: int, height: int) -> dict[str, float]:
    """Measures of the main person of a (height, width) picture and of how many others there are.

    Returns: num_persons (bystanders not counted); and, when somebody is there: visible_keypoints (0-33, visibility > 0.5);
    presence_{nose,shoulders,hips,knees,ankles} and visibility_* (best of left and right, 0-1); margin_{top,bottom,left,right} (distance
    from the outermost body point to the frame, as a share of the picture's height or width, negative outside); body_share (nose to ankles /
    picture height); torso_share; leg_ratio and head_ratio (hips to the lower ankle, and nose to shoulders, over shoulders to hips, all
    vertical); box_width_px, box_height_px, box_aspect (width / height) of the box around `box_points`.
    """
    if not persons:
        return {"num_persons": 0}
    main, *others = persons
    beside = sum(_counts_beside(p, main) for p in others)
    measures: dict[str, float] = {"num_persons": 1 + beside, "visible_keypoints": int((main[:, _VISIBILITY] > 0.5).sum())}
    measures |= {f"presence_{name}": value for name, value in part_presence(main).items()}
    measures |= {f"visibility_{name}": _best(main, points, _VISIBILITY) for name, points in _PARTS.items()}
    measures |= _margins(main, width, height)
    measures |= _box(main)
    measures |= {"body_share": body_height(main) / height, "torso_share": torso_height(main) / height}
    if torso_height(main) > _FLAT_TORSO_SHARE * height:
        measures |= {"leg_ratio": leg_ratio(main), "head_ratio": (_middle(main, SHOULDERS)[1] - main[NOSE, _Y]) / torso_height(main)}
    return {name: round(float(value), 4) if isinstance(value, float | np.floating) else value for name, value in measures.items()}


def box_points(person: Person) -> npt.NDArray[np.float32]:
    """(N, 2) x, y: the body's points, and hands, feet and face where the picture shows them; guesses would stretch the box."""
    seen = person[:, _PRESENCE] > MIN_BOX_PRESENCE
    seen[list(BODY)] = True
    return person[seen, :2]


def part_presence(person: Person) -> dict[str, float]:
    """Best presence of left and right for nose, shoulders, hips, knees, ankles."""
    return {name: _best(person, points, _PRESENCE) for name, points in _PARTS.items()}


def body_height(person: Person) -> float:
    """Vertical extent of nose, shoulders, hips, knees and ankles in px."""
    ys = person[list(BODY), _Y]
    return float(ys.max() - ys.min())


def torso_height(person: Person) -> float:
    """Middle of the shoulders to middle of the hips, px downwards; negative upside down."""
    return float(_middle(person, HIPS)[1] - _middle(person, SHOULDERS)[1])


def leg_ratio(person: Person) -> float:
    """Hips to the lower ankle over shoulders to hips, vertical. 1.1-2 standing, below 1 kneeling or sitting, negative on the head."""
    torso = torso_height(person)
    lower_ankle = float(person[list(ANKLES), _Y].max())
    return (lower_ankle - float(_middle(person, HIPS)[1])) / (torso if abs(torso) > 1e-3 else 1e-3)


def _counts_beside(other: Person, main: Person) -> bool:
    """False for small bystanders, for people behind the frame's edge, and for bodies upside down (imagined in legs and bags)."""
    tall_enough = body_height(other) >= BYSTANDER_SHARE * body_height(main)
    return tall_enough and part_presence(other)["shoulders"] > 0.5 and torso_height(other) > _FLAT_TORSO_SHARE * body_height(other)


def _margins(person: Person, width: int, height: int) -> dict[str, float]:
    xs, ys = person[list(BODY), _X], person[list(BODY), _Y]
    return {
        "margin_top": float(ys.min()) / height,
        "margin_bottom": 1.0 - float(ys.max()) / height,
        "margin_left": float(xs.min()) / width,
        "margin_right": 1.0 - float(xs.max()) / width,
    }


def _box(person: Person) -> dict[str, float]:
    points = box_points(person)
    width, height = (points.max(axis=0) - points.min(axis=0)).tolist()
    return {"box_width_px": width, "box_height_px": height, "box_aspect": width / max(height, 1.0)}


def _middle(person: Person, points: tuple[int, ...]) -> npt.NDArray[np.float32]:
    return np.asarray(person[list(points), :2].mean(axis=0), dtype=np.float32)


def _best(person: Person, points: tuple[int, ...], column: int) -> float:
    return float(person[list(points), column].max())


def _torso_distance(one: Person, other: Person) -> float:
    centre = [(_middle(p, SHOULDERS) + _middle(p, HIPS)) / 2 for p in (one, other)]
    return float(np.hypot(*(centre[0] - centre[1])))
