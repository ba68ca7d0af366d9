"""Figures as inline SVG. Text, axes and grid take the colour of the page (`currentColor`), so that one figure serves light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#010203"  # stands for currentColor until the SVG is written
BLUE, ORANGE = "#3b82d6", "#d9772b"  # told apart with any colour vision, readable on white and on near-black
_COLOURS = (BLUE, ORANGE, "#2a9d76", "#a45bc4", "#8a8f3a")  # further curves of one figure
MOST_POINTS = 400  # of a curve: more would be seen by nobody and make the page heavy

Curve = tuple[Sequence[float], Sequence[float]]  # steps, values
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.12,
    "axes.grid": True,
}


def loss_curve(name: str, steps: Sequence[float], values: Sequence[float]) -> str:
    """One objective over the training steps: every logged value faint, their running mean bold."""
    with _style(f"loss-{name}"):
        figure, axes = _axes(3.4, 2.1)
        few_steps, few = thinned(steps, values)
        axes.plot(few_steps, few, color=BLUE, alpha=0.35, linewidth=0.8)
        axes.plot(few_steps, running_mean(few, max(1, len(few) // 15)), color=BLUE, linewidth=1.8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        return _svg(figure, f"{name.upper()} loss over {len(values)} logged steps, from {values[0]:.2f} to {values[-1]:.2f}")


def curves(name: str, series: Mapping[str, Curve], unit: str = "", from_zero: bool = True, log: bool = False) -> str:
    """Several quantities over the training steps, a legend where there is more than one; long curves as means of equal stretches."""
    with _style(f"curves-{name}"):
        figure, axes = _axes(3.4, 2.1)
        for (label, (steps, values)), colour in zip(series.items(), _COLOURS, strict=False):
            few_steps, few = thinned(steps, values)
            few_points = {"marker": "o", "markersize": 3} if len(few) < 30 else {}
            axes.plot(few_steps, few, color=colour, linewidth=1.5, label=label, **few_points)
        if log:
            axes.set_yscale("log")
        elif from_zero:
            axes.set_ylim(bottom=0)
        if len(series) > 1:
            figure.legend(frameon=False, fontsize=8, loc="outside upper left", ncols=len(series), handlelength=1.0, columnspacing=1.2)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        ends = "; ".join(f"{label} from {values[0]:.4g} to {values[-1]:.4g}" for label, (_, values) in series.items())
        return _svg(figure, f"{name} over the training steps: {ends}")


def thinned(steps: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most MOST_POINTS points, each the mean of a stretch; the last point of a short curve is the last value."""
    size = -(-len(values) // MOST_POINTS)
    starts = range(0, len(values), size or 1)
    return [_mean(steps[i : i + size]) for i in starts], [_mean(values[i : i + size]) for i in starts]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def compare_seeds(groups: Mapping[str, Sequence[float]], label: str) -> str:
    """One dot per seed and a bar at the mean, groups as rows; values are fractions and shown as percent."""
    with _style(f"seeds-{label}"):
        figure, axes = _axes(5.2, 0.55 * len(groups) + 0.75)
        for row, ((_, values), colour, mark) in enumerate(zip(groups.items(), (BLUE, ORANGE), "os", strict=False)):
            percent = [100 * v for v in values]
            axes.plot(percent, [-row] * len(percent), mark, color=colour, markersize=8, alpha=0.75)
            mean = sum(percent) / len(percent)
            axes.plot([mean, mean], [-row - 0.28, -row + 0.28], color=colour, linewidth=2.5)
        axes.set_yticks([-row for row in range(len(groups))], list(groups))
        axes.set_ylim(-len(groups) + 0.4, 0.6)
        axes.set_xlabel(f"{label}, %")
        told = "; ".join(f"{name}: {', '.join(f'{100 * v:.1f}' for v in values)}" for name, values in groups.items())
        return _svg(figure, f"{label} in percent of each seed. {told}")


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean over up to `width` values on each side; the ends have fewer."""
    return [sum(values[max(0, i - width) : i + width + 1]) / len(values[max(0, i - width) : i + width + 1]) for i in range(len(values))]


def _style(salt: str) -> Any:
    import matplotlib

    settings: Any = {**_STYLE, "svg.hashsalt": salt}  # the salt makes ids, and so bytes, the same in every run
    return matplotlib.rc_context(settings)


def _axes(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # not pyplot: it would look for a screen

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: "Figure", alternative: str) -> str:
    """The figure as an <svg> element that fills its column, with a text for those who cannot see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL).replace(_INK, "currentColor")
    # HTML knows these name spaces by itself; the sizes go so that the column decides
    svg = re.sub(r' (?:xmlns(?::xlink)?|width|height)="[^"]*"', "", svg[svg.index("<svg") :], count=4)
    return svg.replace("<svg", f'<svg role="img" aria-label="{alternative}"', 1)
