"""MediaPipe pose key points of pictures, in this process or in a pool beside a GPU stage. The only importer of mediapipe.

The Tasks API finds several persons; `detect` returns them as (33, 4) arrays (see `pose_measures`).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from generation.images import Image, resize_to_height
from generation.pose_measures import BODY, NUM_KEYPOINTS, Person, body_height, distinct_persons, is_whole

MAX_PERSONS = 3
MIN_CONFIDENCE = 0.3  # below MediaPipe's 0.5: presence of the key points decides later, and drawn backs score low
MODEL_HEIGHT_PX = 512  # smaller pictures are enlarged: the detector misses people in small ones
BORDER_SHARE = 0.25  # of the height, added on all sides for the second look


class PoseDetector:
    """One loaded model. Not thread-safe; `close` when done."""

    def __init__(self, model: Path) -> None:
        _silence_native_logs()
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            num_poses=MAX_PERSONS,
            running_mode=vision.RunningMode.IMAGE,
            min_pose_detection_confidence=MIN_CONFIDENCE,
        )
        self._model: Any = vision.PoseLandmarker.create_from_options(options)

    def detect(self, image: Image) -> list[Person]:
        """Persons in an (H, W, 3) uint8 RGB picture, whole ones and tall ones first; coordinates in px of this picture.

        One look misses people, so there are up to three: where nobody is whole, at the picture with a border of repeated edge pixels
        (rendered figures that fill the frame: losses fall from 12 % to 7 %), and where there is one person, at the picture with that
        person painted over (two rendered people side by side: found in 85 % instead of 53 %; a second one imagined in 2 %).
        """
        persons = distinct_persons(self._look(image))
        if not any(is_whole(p) for p in persons):
            again = distinct_persons(self._look_with_border(image))
            persons = again if any(is_whole(p) for p in again) else persons
        if len(persons) == 1:
            persons += self._look(painted_over(image, persons[0]))
        return distinct_persons(persons)

    def close(self) -> None:
        self._model.close()

    def _look_with_border(self, image: Image) -> list[Person]:
        border = round(BORDER_SHARE * image.shape[0])
        persons = self._look(np.pad(image, ((border, border), (border, border), (0, 0)), mode="edge"))
        return [np.concatenate([p[:, :2] - border, p[:, 2:]], axis=1) for p in persons]

    def _look(self, image: Image) -> list[Person]:
        import mediapipe

        height, width = image.shape[:2]
        enlarged = resize_to_height(image, MODEL_HEIGHT_PX) if height < MODEL_HEIGHT_PX else image
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(enlarged))
        found = self._model.detect(picture).pose_landmarks
        persons = [np.array([(p.x * width, p.y * height, p.visibility, p.presence) for p in body], np.float32) for body in found]
        assert all(p.shape == (NUM_KEYPOINTS, 4) for p in persons)
        return persons


def painted_over(image: Image, person: Person) -> Image:
    """A copy of the picture with the box around a person's body filled with the median colour."""
    height, width = image.shape[:2]
    body, margin = person[list(BODY), :2], 0.06 * body_height(person)
    left, right = (int(np.clip(v, 0, width)) for v in (body[:, 0].min() - margin, body[:, 0].max() + margin))
    top, bottom = (int(np.clip(v, 0, height)) for v in (body[:, 1].min() - 2.5 * margin, body[:, 1].max() + 1.5 * margin))
    copy = image.copy()
    copy[top:bottom, left:right] = np.median(image.reshape(-1, 3), axis=0).astype(np.uint8)
    return copy


def _silence_native_logs() -> None:
    """MediaPipe's C++ side prints its delegates on stderr for every process."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
