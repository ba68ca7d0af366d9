"""The MediaPipe pose model as one `.task` file, built once from the two models inside the installed mediapipe wheel.

A bundle is a stored zip of detector and landmark model, each with metadata that says how its input is normalised. The models in the wheel
lack that metadata; the values are those of MediaPipe's own graphs (pose_detection_cpu, pose_landmark_by_roi_cpu).
"""

import importlib.metadata
import importlib.util
import io
import os
import zipfile
from pathlib import Path

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.fileio import write_bytes

_MODELS = {  # name in the bundle: (path in the wheel, mean and std of the image input)
    "pose_detector.tflite": ("modules/pose_detection/pose_detection.tflite", 127.5, 127.5),
    "pose_landmarks_detector.tflite": ("modules/pose_landmark/pose_landmark_full.tflite", 0.0, 255.0),
}
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def pose_model(configured: str) -> Path:
    """The bundle to load: the user's .task file, or, for "embedded", ours from the cache (built on first use).

    Raises ConfigError if the user's file does not exist, StageError if the wheel holds no models.
    """
    if configured == "embedded":
        return _cached_bundle()
    path = Path(configured).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"filter.pose_model={configured!r} does not exist; accepted: embedded, or the path of a MediaPipe pose .task file"
        )
    return path


def build_bundle() -> bytes:
    """The bundle's bytes; the same wheel always gives the same ones."""
    spec = importlib.util.find_spec("mediapipe")
    if spec is None or spec.origin is None:
        raise StageError("mediapipe is not installed; install the extra `generation`, or set filter.pose_model to a .task file")
    root = Path(spec.origin).parent
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as bundle:
        for name, (path, mean, std) in _MODELS.items():
            try:
                model = (root / path).read_bytes()
            except FileNotFoundError as err:
                raise StageError(
                    f"the installed mediapipe holds no {path} (0.10.21 does); set filter.pose_model to a pose_landmarker .task file"
                ) from err
            bundle.writestr(zipfile.ZipInfo(name, _ZIP_TIME), _with_normalisation(model, mean, std))
    return sink.getvalue()


def _cached_bundle() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby"
    try:
        version = importlib.metadata.version("mediapipe")
    except importlib.metadata.PackageNotFoundError as err:
        raise StageError("mediapipe is not installed; install the extra `generation`") from err
    path = cache / f"pose-{version}.task"
    if not path.exists():
        write_bytes(path, build_bundle())
    return path


def _with_normalisation(model: bytes, mean: float, std: float) -> bytes:
    from mediapipe.tasks.python.metadata.metadata_writers import metadata_writer

    writer = metadata_writer.MetadataWriter(bytearray(model))
    writer.add_general_info("pose", "pose")
    writer.add_image_input([mean], [std])
    return bytes(writer.populate()[0])
