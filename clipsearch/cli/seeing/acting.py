"""What is done with the photos found beside listing them: a page, copies, links, the viewer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.cli.ending import SOME_UNREAD, say
from clipsearch.cli.printable import shown_count
from clipsearch.errors import ClipsearchError
from clipsearch.settings import absolute, cache_folder

if TYPE_CHECKING:
    from clipsearch.cli.search_flags import Search
    from clipsearch.results import Hit, Hits

_SIDE = 320  # pixels of a picture on a page
_PAGE = "hits.html"  # in the cache: what was opened last


def act(found: Hits, search: Search) -> None:
    """Do what was asked for with the photos found; says what was done on standard error.

    Ends the process with 4 where some photos could not be put into a folder.
    """
    page = search.html
    if page is not None:
        _write_page(found, search, absolute(page))
        say(f"{page}: a page of {shown_count(len(found), 'photo')}")
    failed = _put(found, search.copy_to, "copied") + _put(found, search.link_to, "linked")
    if search.open:
        _open(found, search)
    if failed:
        sys.exit(SOME_UNREAD)


def _put(found: Hits, folder: str | None, done: str) -> int:
    """Copy or link into a folder; return how many photos could not be."""
    if folder is None:
        return 0
    from clipsearch.cli.seeing.folders import copy, link, put

    count, failed = put(found, absolute(folder), copy if done == "copied" else link)
    for line in failed:
        say(f"not {done}: {line}")
    say(f"{folder}: {shown_count(count, 'photo')} {done}")
    return len(failed)


def _open(found: Sequence[Hit], search: Search) -> None:
    """Open the one photo found, or a page of all."""
    from clipsearch.showing.viewer import check_display, open_file

    try:
        check_display()
    except ClipsearchError as error:
        raise ClipsearchError(f"{error} (--html FILE writes a page to take along)") from error
    if len(found) == 1:
        file = found[0].path
    elif search.html is not None:
        file = absolute(search.html)
    else:
        file = _page_in_the_cache()
        _write_page(found, search, file)
    open_file(file)
    say(f"opened {file}")


def _page_in_the_cache() -> Path:
    cache = cache_folder()
    if cache is None:
        raise ClipsearchError("this user has no cache folder for a page to open: name one, --html")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClipsearchError(f"can't make {cache}: {error.strerror or error}") from error
    return cache / _PAGE


def _write_page(found: Sequence[Hit], search: Search, file: Path) -> None:
    from clipsearch.results import cards_of
    from clipsearch.showing.contact_sheet import page, write_page

    remark = f"{shown_count(len(found), 'photo')} found by clipsearch {search.command}"
    write_page(file, page(search.asked or "Photos", remark, [*cards_of(found, _SIDE)]))
