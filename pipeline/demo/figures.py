"""Figures as inline SVG. Text, axes and grid take the colour of the page (`currentColor`), so that one figure serves light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#010203"  # stands for currentColor until the SVG is written
BLUE, ORANGE = "#3b82d6", "#d9772b"  # told apart with any colour vision, readable on white and on near-black
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


def loss_curve(name: str, steps: Sequence[int], values: Sequence[float]) -> str:
    """One objective over the training steps: every logged value faint, their running mean bold."""
    with _style(f"loss-{name}"):
        figure, axes = _axes(3.4, 2.1)
        axes.plot(steps, values, color=BLUE, alpha=0.35, linewidth=0.8)
        axes.plot(steps, running_mean(values, max(1, len(values) // 15)), color=BLUE, linewidth=1.8)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        return _svg(figure, f"{name.upper()} loss over {len(values)} logged steps, from {values[0]:.2f} to {values[-1]:.2f}")


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
