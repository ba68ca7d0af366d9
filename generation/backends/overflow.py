"""Pictures that are no numbers: float16 ends at 65504, and what models made for bfloat16 compute beyond it comes out as NaN, black."""

import logging
from collections.abc import Sequence

from pipeline.contracts.errors import ConfigError

log = logging.getLogger(__name__)

MIN_BAD = 8  # so many, if they are more than half of all, are no accident

_WAYS_OUT = {
    "float16": "generate.dtype=bfloat16 reaches further, float32 is exact",
    "bfloat16": "generate.dtype=float32 is exact",
    "float32": "weights are damaged, or generate.scheduler or generate.guidance is not for this model",
}


class OverflowCount:
    """Of a model's pictures, those with a value that is not finite. One costs itself only; a model that makes little else is refused."""

    def __init__(self, dtype: str) -> None:
        self.detail = f"values that are not finite in {dtype}; {_WAYS_OUT[dtype]}"
        self._bad = self._seen = 0

    def add(self, finite: Sequence[bool]) -> None:
        """One flag a picture. Raises ConfigError once at least MIN_BAD, and more than half, of the pictures so far are not finite."""
        had_none = self._bad == 0
        self._seen += len(finite)
        self._bad += finite.count(False)
        if self._bad >= MIN_BAD and 2 * self._bad > self._seen:
            raise ConfigError(f"{self._bad} of the first {self._seen} pictures hold {self.detail}")
        if had_none and self._bad:
            log.warning("a picture holds %s (said once; each is counted as failed: not_finite)", self.detail)
