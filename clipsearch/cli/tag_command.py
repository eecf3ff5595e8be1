"""`clipsearch tag`: tag all photos with words."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption

if TYPE_CHECKING:
    from clipsearch.index.tags import Tag


def tag(
    words: Annotated[
        Path | None,
        typer.Option(
            "--words",
            metavar="FILE",
            readable=False,
            show_default=False,
            help="Words of your own, one a line; `poodle < dog` says what is a kind of what.  "
            "[default: 1,818 plain words that ship]",
        ),
    ] = None,
    off: Annotated[
        bool, typer.Option("--off", show_default=False, help="Tag photos with words no more.")
    ] = False,
    only_list: Annotated[
        bool,
        typer.Option("--list", show_default=False, help="Only list the tags that photos have."),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tag all photos with plain words, and new ones at every index from now on.

    `clipsearch query --tag beach` and `clipsearch list --tag beach` find them. A photo gets only
    words that the model holds for likely. `clipsearch teach` makes tags of your own.
    """
    from clipsearch.cli.ending import say
    from clipsearch.cli.output import write_text
    from clipsearch.errors import InvalidInput
    from clipsearch.library import Library

    if only_list and (off or words is not None):
        raise InvalidInput("--list only lists: it goes with neither --off nor --words")
    with Library(library, create=False, read_only=only_list) as lib:
        tags = lib.tags() if only_list else lib.tag(words, off=off)
    if json:
        write_tags(tags)
    elif only_list:
        list_tags(tags)
        if not any(one.photos for one in tags):
            say("no photo has a tag yet: `clipsearch tag` tags all with plain words")
    elif off:
        write_text("photos are tagged with words no more; what was taught stays")
    else:
        used = [one for one in tags if one.kind == "word" and one.photos]
        most = ", ".join(f"{one.name} ({one.photos:,})" for one in used[:5]) or "none fits yet"
        write_text(f"photos have {len(used):,} of {_count(tags, 'word'):,} words: {most}")


def list_tags(tags: "list[Tag]") -> None:
    """Show the tags that photos have, or that were taught."""
    from clipsearch.cli.tables import show_table

    rows = [
        (one.name, one.kind, one.photos, one.said, one.yes, one.no)
        for one in tags
        if one.photos or one.kind == "taught"
    ]
    if rows:
        show_table("", ("tag", "kind", "photos", "said by you", "yes", "no"), rows)


def write_tags(tags: "list[Tag]") -> None:
    """Write the tags that photos have, or that were taught, as JSON."""
    from clipsearch.cli.output import write_json

    for one in tags:
        if one.photos or one.kind == "taught":
            write_json(as_json(one))


def as_json(tag: "Tag") -> dict[str, Any]:
    """Return a tag as JSON has it."""
    return {name: value for name, value in vars(tag).items() if name != "id"}


def _count(tags: "list[Tag]", kind: str) -> int:
    return sum(one.kind == kind for one in tags)
