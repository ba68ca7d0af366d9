"""Numbers of a whole run, one unit at a time: values kept as float32, so that 1.5 million rows with thirty measures stay under 200 MB."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

QUANTILES = {"p1": 0.01, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
NUM_BINS = 24


def short(value: float) -> str:
    """For people: three significant digits, never in powers of ten; whole numbers as they are."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.3f}"


class Distribution:
    """All values of one number. `summary` gives count, extremes, mean, quantiles, and a histogram from the 1st to the 99th percentile."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray[Any, np.dtype[np.float32]]] = []

    def add(self, values: Sequence[float]) -> None:
        """What is not finite (as float32) is left out: nothing can be said of it, and one such value would spoil every figure."""
        with np.errstate(over="ignore"):
            chunk = np.array(values, np.float32)
        if len(finite := chunk[np.isfinite(chunk)]):
            self._chunks.append(finite)

    def summary(self) -> dict[str, Any]:
        """{"count": 0} when nothing was added. histogram: NUM_BINS counts between low and high; what lies outside is in the end bins."""
        if not self._chunks:
            return {"count": 0}
        values = np.concatenate(self._chunks)
        quantiles = np.quantile(values, list(QUANTILES.values()))
        low, high = float(quantiles[0]), float(quantiles[-1])
        counts, _ = np.histogram(np.clip(values, low, high), NUM_BINS, (low, high if high > low else low + 1))
        return {
            "count": len(values),
            "min": _rounded(values.min()),
            "max": _rounded(values.max()),
            "mean": _rounded(values.mean(dtype=np.float64)),
            **{name: _rounded(value) for name, value in zip(QUANTILES, quantiles, strict=True)},
            "histogram": {"low": _rounded(low), "high": _rounded(high), "counts": counts.tolist()},
        }


class Distributions:
    """Named distributions, e.g. the measures of a stage."""

    def __init__(self) -> None:
        self._named: dict[str, Distribution] = {}

    def add(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Values by name; a row may lack names. What is no number is left out: a measure may be text, such as a perceptual hash."""
        by_names: dict[tuple[str, ...], list[Mapping[str, float]]] = {}
        for row in rows:
            by_names.setdefault(tuple(row), []).append(row)
        for names, alike in by_names.items():  # nearly always one group, whose columns are made without a look at each value
            for name, values in zip(names, zip(*[row.values() for row in alike], strict=True), strict=True):
                known = values if set(map(type, values)) <= {int, float} else [v for v in values if isinstance(v, int | float)]
                if known:
                    self._named.setdefault(name, Distribution()).add(known)

    def summary(self) -> dict[str, dict[str, Any]]:
        return {name: distribution.summary() for name, distribution in self._named.items()}


class Texts:
    """How many texts, how long, how many of them different, which come most often. Keeps a 64-bit number per different text."""

    def __init__(self) -> None:
        self._words = Distribution()
        self._times: Counter[int] = Counter()
        self._common: dict[int, str] = {}

    def add(self, texts: Iterable[str]) -> None:
        known = [text for text in texts if text is not None]
        self._words.add([len(text.split()) for text in known])
        for text in known:
            number = hash(text)
            self._times[number] += 1
            if self._times[number] == 2:
                self._common[number] = text

    def summary(self, num_common: int = 5) -> dict[str, Any]:
        repeated = sorted(self._common.items(), key=lambda item: (-self._times[item[0]], item[1]))[:num_common]
        return {
            "count": self._times.total(),
            "different": len(self._times),
            "words": self._words.summary(),
            "most_repeated": [{"text": text, "times": self._times[number]} for number, text in repeated],
        }


def _rounded(value: float) -> float:
    return float(f"{float(value):.6g}")
