"""What `clipsearch eval` writes: tables for people, tab-separated lines when piped, JSON, plots."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.cli.ending import say
from clipsearch.cli.output import json_line, write_out, write_rows
from clipsearch.cli.printable import shown_count
from clipsearch.cli.tables import show_table
from clipsearch.errors import InvalidInput
from clipsearch.settings import from_here

if TYPE_CHECKING:
    from clipsearch.training.evaluation.compare import Comparison
    from clipsearch.training.evaluation.ranks import Difference, Figure, Name
    from clipsearch.training.evaluation.results import Evaluation

STANDARD_OUTPUT = "-"
_RANK = "median rank"  # the one metric that is no share

_INTERVAL = ("low", "high")  # the ends of the 95 % interval

Row = Sequence[object]


def check_places(json: str | None, plot: Path | None) -> None:
    """Raise InvalidInput, before the work, for files that could not be written after it."""
    for name in (None if json == STANDARD_OUTPUT else json, plot):
        if name is None:
            continue
        path = Path(name)
        if path.is_dir():
            raise InvalidInput(f"{path} is a folder: name a file to write")
        folder = from_here(path).parent
        if not folder.is_dir():
            raise InvalidInput(f"can't write {path}: there is no folder {folder}")
    if plot is not None and plot.suffix.lower() != ".png":
        raise InvalidInput(f"a plot is a PNG file: name it {plot.with_suffix('.png')}")
    if plot is not None:
        from clipsearch.training.evaluation.plots import check_can_plot

        check_can_plot()


def write_json_to(place: str | None, content: Mapping[str, Any]) -> None:
    """Write a result where --json says, whole or not at all."""
    if place is None:
        return
    line = json_line(content)
    if place == STANDARD_OUTPUT:
        write_out(line)
        return
    path = Path(place)
    aside = path.with_name(f"{path.name}.part")
    try:
        aside.write_bytes(line)
        aside.replace(path)
    except OSError as error:
        raise InvalidInput(f"can't write {path}: {error.strerror or error}") from error


def say_what_was_measured(result: Evaluation) -> None:
    """Say on standard error which model saw how many photos, and which were left out."""
    facts, settings = result.measured, result.measured.settings
    questions = max(len(some.rank) for some in result.ranks.values())
    captions = f", {shown_count(questions, 'caption')}" if result.task == "retrieval" else ""
    photos = shown_count(result.photos, "photo")
    say(
        f"{facts.model} on {', '.join(settings.data)}: {photos}{captions}; "
        f"95 % intervals by {settings.resamples:,} resamples of the photos"
    )
    if facts.skipped:
        left_out = shown_count(len(facts.skipped), "photo")
        say(f"{left_out} left out, the first: {facts.skipped[0]}")


def show_evaluation(result: Evaluation) -> None:
    """Write each metric with its interval, and under each shift."""
    if not sys.stdout.isatty():
        write_rows(_evaluation_lines(result))
        return
    rows = [
        [way, metric, *(_value(number, metric) for number in figure)]
        for (way, metric), figure in result.figures.items()
    ]
    show_table("", ["", "", "value", *_INTERVAL], _once_named(rows))
    if result.drops:
        _show_drops(result)


def _once_named(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield rows without the name in front where the row above has the same."""
    above: object = None
    for name, *others in rows:
        yield "" if name == above else name, *others
        above = name


def _evaluation_lines(result: Evaluation) -> Iterable[Row]:
    yield "shift", "asked", "metric", "value", "low", "high", "drop"
    for (way, metric), figure in result.figures.items():
        yield "none", way, metric, *_numbers(figure), ""
    for shift, drops in result.drops.items():
        for (way, metric), found in drops.items():
            yield shift, way, metric, f"{found.b:.4f}", "", "", f"{found.a - found.b:.4f}"


def _show_drops(result: Evaluation) -> None:
    """Show the first metric of each way, and what is over both, under each shift."""
    firsts: dict[str, Name] = {}
    for name in result.figures:
        firsts.setdefault(name[0], name)
    rows = [["none", *(_value(result.figures[name].value, name[1]) for name in firsts.values())]]
    for shift, drops in result.drops.items():
        rows.append([shift, *(_dropped(drops[name]) for name in firsts.values())])
    headings = [f"{way}, {metric}" for way, metric in firsts.values()]
    show_table("under shifts, with the change", ["shift", *headings], rows)


_MOST_CLASSES = 30  # shown for people; --json and pipes have all


def show_details(result: Evaluation) -> None:
    """Write what a task has beside its metrics: C, the curve, each class, confusions."""
    details = result.details
    if "chosen_c" in details:
        say(f"probe: C = {details['chosen_c']:.3g}, by a fifth of the photos learned from")
    if "curve" in details:
        _show_curve(details)
    classes = details.get("per_class", [])
    if not classes:
        return
    ways = list(result.ranks)
    rows = [[c["class"], c["photos"], *(f"{100 * c[way]:.1f}" for way in ways)] for c in classes]
    means = [sum(c[way] for c in classes) / len(classes) for way in ways]
    title = "top-1 of each class"
    if sys.stdout.isatty() and len(rows) > _MOST_CLASSES:
        rows = sorted(rows, key=lambda row: float(str(row[-1])))[:_MOST_CLASSES]
        title = f"top-1 of the {_MOST_CLASSES} hardest classes of {len(classes)} (--json has all)"
    rows.append(["mean of the classes", result.photos, *(f"{100 * mean:.1f}" for mean in means)])
    show_table(title, ["class", "photos", *ways], rows)
    pairs = details.get("confusions", [])
    if pairs:
        cells = [[p["class"], p["taken_for"], p["photos"], p["of"]] for p in pairs]
        show_table("most often confused", ["class", "taken for", "photos", "of"], cells)


def _show_curve(details: Mapping[str, Any]) -> None:
    rows: list[Row] = [[0, 0, f"{100 * details['zero_shot_top1']:.1f}", "by the class names"]]
    for point in details["curve"]:
        draws = [100 * top1 for top1 in point["draws"]]
        spread = f"{min(draws):.1f} to {max(draws):.1f}"
        learned_from = point["learned_from"]
        rows.append([point["shots"], learned_from, f"{100 * point['top1']:.1f}", spread])
    show_table("photos a class, mean of the draws", ["shots", "photos", "top-1", "draws"], rows)
    shots = details["shots_to_beat_zero_shot"]
    if shots is None:
        say("no number of shots that was tried beats the class names")
    else:
        say(f"{shown_count(shots, 'photo')} a class beat the class names")


def show_comparison(comparison: Comparison) -> None:
    """Write each metric of A and B, the difference, and the verdict."""
    if not sys.stdout.isatty():
        rows: list[Row] = [("asked", "metric", "a", "b", "difference", "low", "high", "better")]
        for (way, metric), found in comparison.differences.items():
            ends = f"{found.a:.4f}", f"{found.b:.4f}", *_numbers(found.change)
            rows.append((way, metric, *ends, found.better or "neither"))
        write_rows(rows)
    else:
        cells = [
            [
                way,
                metric,
                _value(found.a, metric),
                _value(found.b, metric),
                *(_value(number, metric, signed=True) for number in found.change),
                found.better or "",
            ]
            for (way, metric), found in comparison.differences.items()
        ]
        title = f"A {comparison.a.measured.model}, B {comparison.b.measured.model}"
        headings = ["", "", "A", "B", "B less A", *_INTERVAL, "better"]
        show_table(title, headings, _once_named(cells))
    say(comparison.verdict)


def _numbers(figure: Figure) -> tuple[str, str, str]:
    return f"{figure.value:.4f}", f"{figure.low:.4f}", f"{figure.high:.4f}"


def _value(value: float, metric: str, *, signed: bool = False) -> str:
    """Return a share in percent, a rank as it is, both to a tenth."""
    sign = "+" if signed else ""
    return f"{round(value, 1):{sign}g}" if metric == _RANK else f"{100 * value:{sign}.1f}"


def _dropped(found: Difference) -> str:
    return f"{100 * found.b:.1f} ({100 * (found.b - found.a):+.1f})"
