"""What an agent may see: perhaps one folder only, and without more no places and no paths.

An agent may run on somebody else's machine. Where photos were taken is more than what they show,
and a path tells names of people and of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput, LibraryError
from clipsearch.index.filters import EVERYTHING, And, Below, Compare, Filter, Not, OneOf, Or, Within
from clipsearch.index.paths import to_text
from clipsearch.photos.away import lies_below

if TYPE_CHECKING:
    from clipsearch.index.records import PhotoRecord
    from clipsearch.library import Library
    from clipsearch.options import SearchOptions

_OF_PLACES = ("latitude", "longitude", "place")


@dataclass(frozen=True)
class Scope:
    """What may be seen of a library."""

    folder: Path | None = None  # absolute: nothing but what lies there or below
    details: bool = False  # places, coordinates and full paths, too

    def check(self, library: Library) -> None:
        """Raise LibraryError for a folder in which the library has no photo: it is mistyped."""
        if self.folder is not None and not library.count(filters=Below(to_text(self.folder))):
            raise LibraryError(f"the library has no photo in {self.folder}")

    def narrowed(self, options: SearchOptions) -> SearchOptions:
        """Return the same search among what may be seen.

        Raises InvalidInput for one by places or paths where these are not to be told: whoever may
        ask whether a photo was taken near a place soon knows where.
        """
        if not self.details:
            _check_tells_no_place(options.filters)
        if self.folder is None:
            return options
        here = Below(to_text(self.folder))
        both = here if options.filters == EVERYTHING else options.filters & here
        return replace(options, filters=both)

    def sees(self, photo: PhotoRecord) -> bool:
        """Tell whether a photo may be seen."""
        return self.folder is None or lies_below(photo.file.path, [self.folder])

    def photos(self, library: Library, ids: Iterable[int]) -> list[PhotoRecord]:
        """Return photos by their ids; InvalidInput for one there is not, or not to be seen."""
        wanted = list(ids)
        found = []
        for photo_id in wanted:
            try:
                photo = library.photo(photo_id)
            except InvalidInput:
                photo = None
            if photo is None or not self.sees(photo):
                raise InvalidInput(f"there is no photo {photo_id}")
            found.append(photo)
        return found


def _check_tells_no_place(filters: Filter) -> None:
    for part in _parts(filters):
        if isinstance(part, Below):
            raise InvalidInput("a folder is asked for by its name, not by its path")
        if isinstance(part, Within) or (
            isinstance(part, Compare | OneOf) and part.field in _OF_PLACES
        ):
            raise InvalidInput(
                "where photos were taken is not told here: the owner allows it with --details"
            )


def _parts(tree: Filter) -> Iterator[Filter]:
    yield tree
    if isinstance(tree, And | Or):
        for part in tree.parts:
            yield from _parts(part)
    elif isinstance(tree, Not):
        yield from _parts(tree.part)
