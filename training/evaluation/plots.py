"""Results as pictures (PNG)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.errors import InvalidInput
from clipsearch.privacy import load_matplotlib
from clipsearch.training.evaluation.compare import Comparison
from clipsearch.training.evaluation.ranks import Figure, Name, metrics_of
from clipsearch.training.evaluation.results import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that people tell apart who don't see red and green: those of Okabe and Ito.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
_GREY = COLOURS[-1]


def check_can_plot() -> None:
    """Raise InvalidInput where matplotlib is missing."""
    try:
        load_matplotlib()
    except ImportError as error:
        raise InvalidInput("plots need matplotlib: pip install 'clipsearch[train]'") from error


@contextmanager
def drawing(path: Path, *, width: float = 7.5, height: float = 4.0) -> Iterator[Axes]:
    """Give the axes to draw on, and write them as a PNG at the end; sizes in inches."""
    check_can_plot()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(picture)  # draws without a screen, and leaves pyplot's state alone
    axes = picture.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    yield axes
    aside = path.with_name(f"{path.name}.part")
    try:
        picture.savefig(aside, format="png")
        aside.replace(path)
    except OSError as error:
        raise InvalidInput(f"can't write {path}: {error.strerror or error}") from error


def plot_evaluation(result: Evaluation, path: Path) -> None:
    """Draw the curve of shots or of a sweep; else every share as bars, with its interval.

    With shifts there is a group of bars for each.
    """
    if result.task == "few-shot":
        _plot_shots(result, path)
        return
    if result.task == "linear-probe":
        _plot_sweep(result, path)
        return
    shares = [metric.name for metric in metrics_of(result.task) if not metric.lower_is_better]
    names = [name for name in result.figures if name[1] in shares]
    groups: dict[str, list[Figure]] = {"": [result.figures[name] for name in names]}
    for shift, drops in result.drops.items():
        groups[shift] = [Figure(drops[n].b, drops[n].b, drops[n].b) for n in names]
    if len(groups) == 1:
        _plot_bars(result, names, groups[""], path)
        return
    with drawing(path, width=9) as axes:
        places = np.arange(len(groups))
        thickness = 0.8 / len(names)
        for number, name in enumerate(names):
            heights = [100 * figures[number].value for figures in groups.values()]
            colour = COLOURS[number % len(COLOURS)]
            offset = (number - (len(names) - 1) / 2) * thickness
            axes.bar(places + offset, heights, thickness, color=colour, label=", ".join(name))
        axes.set_xticks(places, ["none", *list(groups)[1:]])
        axes.set_xlabel("shift")
        _finish_shares(axes, f"{result.task}, {result.measured.model}")
        columns = len(dict.fromkeys(way for way, _ in names))
        axes.figure.legend(loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def _plot_bars(
    result: Evaluation, names: Sequence[Name], figures: Sequence[Figure], path: Path
) -> None:
    ways = list(dict.fromkeys(way for way, _ in names))
    with drawing(path) as axes:
        for place, (name, figure) in enumerate(zip(names, figures, strict=True)):
            value, low, high = (100 * number for number in figure)
            colour = COLOURS[ways.index(name[0]) % len(COLOURS)]
            axes.bar(place, value, color=colour, yerr=[[value - low], [high - value]], capsize=3)
        axes.set_xticks(range(len(names)), ["\n".join(name) for name in names], fontsize=8)
        _finish_shares(axes, f"{result.task}, {result.measured.model}")


def _plot_shots(result: Evaluation, path: Path) -> None:
    """Draw accuracy against shots, with the range of the draws, beside the zero-shot line."""
    curve, zero_shot = result.details["curve"], 100 * result.details["zero_shot_top1"]
    shots = [point["shots"] for point in curve]
    draws = [[100 * top1 for top1 in point["draws"]] for point in curve]
    with drawing(path) as axes:
        axes.plot(shots, [np.mean(some) for some in draws], "o-", color=COLOURS[0], label="probe")
        ends = list(map(min, draws)), list(map(max, draws))
        axes.fill_between(shots, *ends, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.axhline(zero_shot, color=COLOURS[1], linestyle="--", label="zero-shot, 80 templates")
        axes.set_xscale("log", base=2)
        axes.set_xticks(shots, [str(k) for k in shots])
        axes.set_xlabel("labelled photos a class")
        _finish_shares(axes, f"top-1, {result.measured.model}, {result.photos:,} photos")
        axes.legend(fontsize=8, frameon=False, loc="lower right")


def _plot_sweep(result: Evaluation, path: Path) -> None:
    """Draw accuracy on held-out photos against C, the chosen one marked."""
    sweep, chosen = result.details["sweep"], result.details["chosen_c"]
    with drawing(path) as axes:
        axes.plot(
            [point["c"] for point in sweep],
            [100 * point["held_out_top1"] for point in sweep],
            "o-",
            color=COLOURS[0],
        )
        axes.axvline(chosen, color=_GREY, linestyle="--", label=f"chosen: C = {chosen:.3g}")
        axes.set_xscale("log")
        axes.set_xlabel("C: small holds the weights small")
        _finish_shares(
            axes, f"top-1 of the linear probe on held-out photos, {result.measured.model}"
        )
        axes.legend(fontsize=8, frameon=False)


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the difference in every share with its interval, B less A, in points."""
    found = {n: d for n, d in comparison.differences.items() if not d.lower_is_better}
    with drawing(path, height=0.9 + 0.35 * len(found)) as axes:
        for place, difference in enumerate(found.values()):
            value, low, high = (100 * number for number in difference.change)
            colour = _GREY if difference.better is None else COLOURS["BA".index(difference.better)]
            error = [[value - low], [high - value]]
            axes.errorbar(value, place, xerr=error, fmt="o", capsize=3, color=colour)
        axes.axvline(0, color=_GREY, linewidth=0.9)
        axes.set_yticks(range(len(found)), [", ".join(name) for name in found], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("B less A, points, with 95 % interval")
        a, b = comparison.a.measured.model, comparison.b.measured.model
        axes.set_title(f"A {a}\nB {b}", fontsize=9)


def _finish_shares(axes: Axes, title: str) -> None:
    axes.set_ylim(0, 100)
    axes.set_ylabel("percent")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9)
