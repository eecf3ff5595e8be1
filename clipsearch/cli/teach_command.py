"""`clipsearch teach`: a tag of one's own, from a few photos."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipsearch.cli import completing
from clipsearch.cli.help_pages import Command
from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption

if TYPE_CHECKING:
    from clipsearch.results import Hits


class Teach(Command):
    """The command, which takes every photo behind --not for one that doesn't show the tag.

    Else `--not wrong/*.jpg` would refuse the first photo of a folder and confirm all others.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; raises InvalidInput for what is wrong with them."""
        return super().parse_args(ctx, [*_each_refused(args)])


def _each_refused(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments with --not before each photo that follows it up to the next option."""
    refused = taken = False
    for place, argument in enumerate(arguments):
        if argument == "--":
            yield from arguments[place:]
            return
        if argument.startswith("-") and argument != "-":
            if refused and not taken:
                yield "--not"  # which needs a value: whoever reads it says so
            refused, taken = argument == "--not", False
            if not refused:
                yield argument
                refused = taken = argument.startswith("--not=")
        else:
            if refused:
                yield "--not"
            taken = True
            yield argument
    if refused and not taken:
        yield "--not"


def teach(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            autocompletion=completing.tags,
            help="What it is called.",
        ),
    ] = None,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO",
            show_default=False,
            help="Photos that show it: three show it well. They need not be in the library.",
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="PHOTO...",
            show_default=False,
            help="Photos that don't show it: all that follow, up to the next option.",
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget",
            metavar="NAME",
            autocompletion=completing.tags,
            show_default=False,
            help="Forget a tag, and all that was said of it.",
        ),
    ] = None,
    only_list: Annotated[
        bool,
        typer.Option("--list", show_default=False, help="List the tags that were taught."),
    ] = False,
    library: LibraryOption = None,
    json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Teach a tag of your own, such as your dog's name, by a few photos.

    All photos that are like them get the tag as likely: without PHOTO, these are shown, and
    `clipsearch list --tag NAME` shows all that have it. The same command again confirms photos, or
    refuses them with --not, and makes it better. It is for pets, things and places; people's faces
    are not recognised.
    """
    from clipsearch.cli.ending import say
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.cli.printable import printable, shown_count
    from clipsearch.cli.tag_command import as_json, list_tags, write_tags
    from clipsearch.errors import InvalidInput
    from clipsearch.library import Library

    given = name is not None or bool(others)
    if given + (forget is not None) + only_list != 1:
        raise InvalidInput("name a tag and photos that show it, or give --list or --forget NAME")
    if name is None and others:
        raise InvalidInput("name the tag before --not: all that follows --not are photos")
    asks = name is not None and not photos and not others
    with Library(library, create=False, read_only=only_list or asks) as lib:
        if asks:
            _show_likely(lib.likely(str(name)), json=json)
            return
        if only_list:
            taught = [one for one in lib.tags() if one.kind == "taught"]
            (write_tags if json else list_tags)(taught)
            if not taught:
                say("nothing was taught yet: `clipsearch teach NAME PHOTO...` makes a tag")
            return
        if forget is not None:
            tag = lib.forget_tag(forget)
        else:
            tag = lib.teach(str(name), photos or [], others=others or [])
    if json:
        write_json(as_json(tag))
    elif forget is not None:
        write_text(f"{printable(tag.name)} is forgotten; the photos stay as they are")
    else:
        likely = shown_count(tag.photos - tag.said, "photo")
        learned = f"learned from {shown_count(tag.yes, 'example')}"
        unlike = f" and {tag.no:,} that show something else" if tag.no else ""
        named = f", beside {tag.said:,} that you named" if tag.said else ""
        write_text(f"{printable(tag.name)}: {likely} likely{named}; {learned}{unlike}")


def _show_likely(found: "Hits", *, json: bool) -> None:
    """Show the photos to be confirmed or refused; raises SystemExit where there are none."""
    from clipsearch.cli.ending import NOTHING_FOUND, say
    from clipsearch.cli.hits import Shape, show_hits

    show_hits(found, Shape.JSON if json else Shape.TABLE)
    if not found:
        say("nothing found: no photo is likely to show it, beside what you named")
        raise SystemExit(NOTHING_FOUND)
