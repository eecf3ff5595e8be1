"""The curves of a run as one picture: loss, recall both ways, learning rate, logit scale, speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.errors import InvalidInput
from clipsearch.privacy import load_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Metrics = Sequence[Mapping[str, Any]]

# Colours that people tell apart who don't see red and green: those of Okabe and Ito.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
_LINES_OF_DOTS = 30  # so few values get a dot each


def draw_curves(
    metrics: Metrics, path: Path, *, title: str = "", guessing: float | None = None
) -> None:
    """Draw lines of `metrics.jsonl` as a PNG; what was not measured has no panel.

    `guessing` is the loss of a model that knows nothing, ln(batch) for the softmax loss.
    """
    try:
        load_matplotlib()
    except ImportError as error:
        raise InvalidInput(
            "drawing curves needs matplotlib: pip install 'clipsearch[train]'"
        ) from error
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [panel for panel in _PANELS if any(_series(metrics, name)[0] for name, *_ in panel[1])]
    if not panels:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.2 * columns, 3.3 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)  # draws without a screen, and leaves pyplot's state alone
    figure.suptitle(title, fontsize=11)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    last = max(line["step"] for line in metrics)
    for axis, (name, lines, options) in zip(axes, panels, strict=False):
        _draw_panel(axis, metrics, name, lines, last=last, **options)
        if name == "loss" and guessing is not None:
            axis.axhline(guessing, color=GREY, linewidth=0.9, linestyle="--", label="guessing")
            axis.legend(fontsize=8, frameon=False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    aside = path.with_suffix(".part")
    figure.savefig(aside, format="png")
    aside.replace(path)


# Panel, its lines (name in metrics.jsonl, legend, colour, style), how it is drawn.
_Line = tuple[str, str, str, str]
_PANELS: tuple[tuple[str, tuple[_Line, ...], dict[str, Any]], ...] = (
    (
        "loss",
        (("loss", "training", BLUE, "-"), ("val/loss", "validation", ORANGE, "-")),
        {"smooth": True},
    ),
    (
        "recall on validation, %",
        (
            ("val/text_to_image_R@1", "text to image, R@1", BLUE, ":"),
            ("val/text_to_image_R@10", "text to image, R@10", BLUE, "-"),
            ("val/image_to_text_R@1", "image to text, R@1", ORANGE, ":"),
            ("val/image_to_text_R@10", "image to text, R@10", ORANGE, "-"),
        ),
        {"percent": True},
    ),
    (
        "learning rate",
        (("learning_rate", "image tower", BLUE, "-"), ("text_learning_rate", "text", ORANGE, "-")),
        {"from_zero": True},
    ),
    ("logit scale", (("logit_scale", "", BLUE, "-"),), {}),
    ("gradient norm", (("gradient_norm", "", BLUE, "-"),), {"smooth": True}),
    ("photos a second", (("samples_per_second", "", BLUE, "-"),), {"from_zero": True}),
)


def _draw_panel(
    axis: Axes,
    metrics: Metrics,
    name: str,
    lines: Sequence[_Line],
    *,
    last: int,
    smooth: bool = False,
    percent: bool = False,
    from_zero: bool = False,
) -> None:
    for key, legend, colour, style in lines:
        steps, values = _series(metrics, key)
        if not steps:
            continue
        if percent:
            values = [100 * value for value in values]
        dots = "o" if len(steps) <= _LINES_OF_DOTS else ""
        if smooth and len(steps) > _LINES_OF_DOTS:
            axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.3)
            values, dots = running_mean(values, len(values) // 20), ""
        axis.plot(
            steps, values, style, color=colour, label=legend, linewidth=1.6, marker=dots, ms=3
        )
        if not from_zero or values[-1] > 0.05 * max(values):  # it would lie on the axis
            text = f" {_short(values[-1])}"
            axis.annotate(text, (steps[-1], values[-1]), color=colour, fontsize=8, va="center")
    axis.set_title(name, fontsize=10, loc="left")
    axis.set_xlim(0, last * 1.09 or 1)
    if from_zero or percent:
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    axis.set_xlabel("step", fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if len([line for line in lines if _series(metrics, line[0])[0]]) > 1:
        axis.legend(fontsize=8, frameon=False)


def _series(metrics: Metrics, name: str) -> tuple[list[int], list[float]]:
    """Return the steps and values of one number, without what was not finite."""
    there = [(line["step"], line[name]) for line in metrics if line.get(name) is not None]
    return [step for step, _ in there], [value for _, value in there]


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Return the mean of each value and up to `width` before it.

    >>> running_mean([1.0, 3.0, 5.0, 7.0], 1)
    [1.0, 2.0, 4.0, 6.0]
    """
    means = []
    for end in range(1, len(values) + 1):
        window = values[max(0, end - 1 - width) : end]
        means.append(sum(window) / len(window))
    return means


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
