"""`clipsearch teach`: a tag of one's own, from a few photos."""

from typing import Annotated

import typer

from clipsearch.cli.options import JsonOption, LibraryOption, VerboseOption


def teach(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", show_default=False, help="What it is called.")
    ] = None,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PHOTO]...",
            show_default=False,
            help="Photos that show it: three show it well. They need not be in the library.",
        ),
    ] = None,
    others: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="PHOTO",
            show_default=False,
            help="A photo that doesn't show it; may be given several times.",
        ),
    ] = None,
    forget: Annotated[
        str | None,
        typer.Option(
            "--forget",
            metavar="NAME",
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

    All photos that are like them get the tag as likely: `clipsearch list --tag NAME` shows them.
    The same command again confirms photos, or refuses them with --not, and makes it better. It is
    for pets, things and places; people's faces are not recognised.
    """
    from clipsearch.cli.output import write_json, write_text
    from clipsearch.cli.printable import printable, shown_count
    from clipsearch.cli.tag_command import as_json, list_tags, write_tags
    from clipsearch.errors import InvalidInput
    from clipsearch.library import Library

    given = name is not None or bool(others)
    if given + (forget is not None) + only_list != 1:
        raise InvalidInput("name a tag and photos that show it, or give --list or --forget NAME")
    with Library(library, create=False, read_only=only_list) as lib:
        if only_list:
            taught = [one for one in lib.tags() if one.kind == "taught"]
            (write_tags if json else list_tags)(taught)
            return
        if forget is not None:
            tag = lib.forget_tag(forget)
        else:
            if name is None:
                raise InvalidInput("name the tag that --not speaks of")
            tag = lib.teach(name, photos or [], others=others or [])
    if json:
        write_json(as_json(tag))
    elif forget is not None:
        write_text(f"{printable(tag.name)} is forgotten; the photos stay as they are")
    else:
        likely = shown_count(tag.photos - tag.said, "photo")
        write_text(
            f"{printable(tag.name)}: {likely} likely, {tag.said:,} said by you, of "
            f"{shown_count(tag.yes, 'example')} and {tag.no:,} that show something else"
        )
