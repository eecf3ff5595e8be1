"""`clipsearch check`: look for everything that can be wrong, and mend it if asked."""

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption
from clipsearch.cli.printable import shown_count

if TYPE_CHECKING:
    from clipsearch.index.upkeep.findings import Checked
    from clipsearch.upkeep import CheckReport

PROBLEMS_FOUND = 1


def check(
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            show_default=False,
            help="Compare size and time of each photo's file with the catalog.",
        ),
    ] = False,
    hashes: Annotated[
        bool,
        typer.Option(
            "--hashes",
            show_default=False,
            help="Read each photo's file and compare its SHA-256, too.",
        ),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            show_default=False,
            help="Mend what can be mended without losing anything.",
        ),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check the library: catalog, vectors, index, text models and, if asked, the photo files.

    Ends with 0 only when all is well, else with 1. The library may be in use meanwhile; --repair
    waits for nobody and says who is writing.
    """
    from clipsearch.cli.output import write_json
    from clipsearch.cli.progress import showing_progress
    from clipsearch.upkeep import check_library

    with showing_progress() as progress:
        report = check_library(
            library, files=files, hashes=hashes, repair=repair, progress=progress
        )
    if json:
        write_json(report.to_dict())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(PROBLEMS_FOUND)


def _show(report: "CheckReport") -> None:
    from clipsearch.cli.output import write_rows, write_text
    from clipsearch.cli.printable import printable

    rows = [_row(part) for part in report.parts]
    if sys.stdout.isatty():
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = (f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows)
        write_text("\n".join(printable(line) for line in lines))
    else:
        write_rows(rows)
    write_text("\n".join(printable(line) for line in _lines(report)))


def _row(part: "Checked") -> tuple[str, str, str]:
    wrong = f"{part.wrong:,} wrong" if part.problems else "ok"
    return part.part, shown_count(part.looked_at, part.unit), wrong


def _lines(report: "CheckReport") -> Iterator[str]:
    if report.repaired or report.lost:
        yield from _problems(report.found, "was: ")
        yield from (f"repaired: {line}" for line in report.repaired)
        yield from (f"lost: {line}" for line in report.lost)
    yield from _problems(report.parts, "")
    yield from (f"note: {note}" for part in report.parts for note in part.notes)
    if report.lost:
        yield "`clipsearch index` adds what was lost again, where its files are still there"
    state = "all is well" if report.ok else "not all is well"
    yield f"{report.folder}: {state} ({report.seconds:.1f} s)"


def _problems(parts: Iterable["Checked"], before: str) -> Iterator[str]:
    for part in parts:
        for problem in part.problems:
            count = f"{problem.count:,} " if problem.count > 1 or problem.examples else ""
            named = f": {', '.join(problem.examples)}" if problem.examples else ""
            more = ", ..." if problem.count > len(problem.examples) > 0 else ""
            yield f"{before}{part.part}: {count}{problem.what}{named}{more}"
            if not before:
                yield f"  what to do: {problem.remedy}"
