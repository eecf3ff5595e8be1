"""`clipsearch query` and `clipsearch similar`, once they are read: search, and show."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, cast

from clipsearch.cli.asked import STANDARD_INPUT, pictures, understand, with_filters_of, with_terms
from clipsearch.cli.ending import NOTHING_FOUND, say
from clipsearch.cli.hits import show_hits
from clipsearch.cli.printable import shown_count
from clipsearch.cli.search_flags import Search
from clipsearch.errors import InvalidInput, UnreadableImage
from clipsearch.index.filters import EVERYTHING, And, Compare, fold
from clipsearch.searching.asked import is_a_file
from clipsearch.searching.combining import QuerySum, term, weighted, without
from clipsearch.searching.web_picture import shown_address
from clipsearch.serving.client import Server, connected
from clipsearch.serving.protocol import OtherProtocol

if TYPE_CHECKING:
    from clipsearch.results import AwayFolder, Hits
    from clipsearch.searching.query import Picture, Query


def run(search: Search) -> None:
    """Search and show what was found; ends the process if nothing was."""
    search = with_filters_of(search)
    for line in search.said:
        say(line)
    found, more = _listed(search) if search.command == "list" else (_found(search), False)
    say_what_was_left_out(found.left_out, set())
    for note in found.notes:
        say(note)
    show_hits(found, search.shape, search.fields, thumbnails=search.thumbnails)
    if more:
        say(f"there are more: --offset {search.options.offset + len(found)} shows the next")
    if not found:
        say(_nothing(found, search))
        sys.exit(NOTHING_FOUND)
    if search.acts:
        from clipsearch.cli.seeing.acting import act

        act(found, search)


def _nothing(found: Hits, search: Search) -> str:
    if search.options.offset:
        return f"nothing found beyond the first {search.options.offset}"
    if found.weak:
        return "nothing here matches (--all shows what comes nearest)"
    filtered = search.options.filters != EVERYTHING or search.options.where is not None
    if filtered and search.options.min_score is None and search.options.only != "words":
        return f"nothing found: {_unknown_tag(search) or 'no photo passes the filters'}"
    return "nothing found"


def _unknown_tag(search: Search) -> str:
    """Return that no photo has a tag that was asked for, where that is so."""
    tree = search.options.filters
    parts = tree.parts if isinstance(tree, And) else (tree,)
    wanted = [one.value for one in parts if isinstance(one, Compare) and one.field == "tag"]
    if not wanted:
        return ""
    from clipsearch.library import Library
    from clipsearch.near_names import did_you_mean, near_name

    with Library(search.library, read_only=True) as library:
        known = [one.name for one in library.tags() if one.photos]
    if not known:
        return "photos have no tags yet (`clipsearch tag` and `clipsearch teach` make some)"
    unknown = (str(one) for one in wanted if fold(str(one)) not in map(fold, known))
    name = next(unknown, None)
    return f"no photo has the tag {name}{did_you_mean(near_name(name, known))}" if name else ""


def say_what_was_left_out(folders: Iterable[AwayFolder], said: set[Path]) -> None:
    """Say of folders that are away what was left out; once of each, by what was said already."""
    for folder in folders:
        if folder.path not in said:
            said.add(folder.path)
            photos = shown_count(folder.photos, "photo")
            say(f"{folder.path} {folder.reason}: {photos} left out (--include-away shows them)")


def _listed(search: Search) -> tuple[Hits, bool]:
    """Return what passes the filters, and whether there are more."""
    from clipsearch.library import Library

    if search.asked.strip() or search.minus:
        words = search.asked or f"-{search.minus[0]}"
        raise InvalidInput(
            f"list takes filters, not words: `clipsearch query {quote(words)}` finds photos by them"
        )
    options = search.options
    with Library(search.library, read_only=True) as library:
        found = library.list(replace(options, k=options.k + 1))
    return found[: options.k], len(found) > options.k


def _found(search: Search) -> Hits:
    """Ask the server of the library; where there is none, or it does not know, do its work."""
    meant: Query | None = None
    if search.options.model is None and search.device == "auto":
        with connected(search.library) as server:
            if server is not None:
                meant = _meant(search)
                if (found := _asked_from(server, search, meant)) is not None:
                    return found
    return _found_here(search, meant)


def _asked_from(server: Server, search: Search, meant: Query) -> Hits | None:
    try:
        return server.ask(search.command, meant, search.options)
    except OtherProtocol:
        say(
            "the server that runs for this library is of another version: searched without it; "
            "end it and start `clipsearch serve` anew"
        )
        return None


def _found_here(search: Search, meant: Query | None) -> Hits:
    from clipsearch.library import Library

    with Library(search.library, read_only=True, device=search.device) as library:
        meant = _meant(search) if meant is None else meant
        with _naming(search):
            if search.command == "similar":
                pictures = cast("Picture | QuerySum", meant)
                return library.similar(pictures, search.options, text=True)
            # What is words and what is a picture is settled.
            settled = isinstance(meant, (str, QuerySum))
            return library.query(meant, search.options, text=settled)


def _meant(search: Search) -> Query:
    terms = search.plus + search.minus
    with _naming(search):
        if search.command == "similar":
            meant: Query = pictures(search.asked, search.unquoted)
        else:
            weight, asked = weighted(search.asked) if terms else (1.0, search.asked)
            meant = understand(
                asked, text=search.text, image=search.image, unquoted=search.unquoted
            )
            if isinstance(meant, str) and not search.minus:
                _hint_at_minus(meant)
            meant = term(meant, weight) if weight != 1.0 else meant
        return with_terms(meant, search.plus, search.minus, text=search.text) if terms else meant


def _hint_at_minus(asked: str) -> None:
    """Say how to ask for what should be missing: of "without people", models see the people."""
    if (found := without(asked)) is None:
        return
    what, less = found
    say(
        f"a model takes this for photos with {less}: `clipsearch query {quote(what)} --minus "
        f"{quote(less)}` finds those without"
    )


@contextmanager
def _naming(search: Search) -> Iterator[None]:
    """Say which picture it is that can't be read; and the way out, if words were meant."""
    given = search.command != "query" or search.text or search.image
    hint = "" if given or not is_a_file(search.asked) else "; --text searches for it as words"
    try:
        yield
    except UnreadableImage as error:
        asked = search.asked
        name = "the picture on standard input" if asked == STANDARD_INPUT else shown_address(asked)
        raise InvalidInput(f"can't search with {name}: {error}{hint}") from error
    except InvalidInput as error:  # it may not be read, say
        raise InvalidInput(f"{error}{hint}") from error
