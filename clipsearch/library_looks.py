"""What a library says of itself and of single photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import whole

if TYPE_CHECKING:
    from clipsearch.index.records import Failure, Folder, PhotoRecord
    from clipsearch.results import AwayFolder, LibraryInfo
    from clipsearch.searching.looking_up import PhotoDetails
    from clipsearch.searching.searcher import Searcher


class LookMethods:
    """The part of `Library` that looks at what is there, without a question."""

    if TYPE_CHECKING:

        @property
        def _searcher(self) -> Searcher: ...

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""
        return self._searcher.folders()

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now (a disk not mounted, say) but have photos.

        Their photos stay in the library and come back into results when the folder does;
        `remove`, or `index` with `prune`, forgets them.
        """
        return self._searcher.away()

    def failures(self) -> list[Failure]:
        """Return the files that could not be indexed, with reasons."""
        return self._searcher.failures()

    def photo(self, photo_id: int) -> PhotoRecord:
        """Return what the library knows of a photo; InvalidInput if it has none with this id."""
        return self._searcher.photo(whole(photo_id, "a photo's id", least=0))

    def details(self, photo_id: int) -> PhotoDetails:
        """Return all that the library knows of a photo, its words and tags, too, as `photo`."""
        return self._searcher.details(whole(photo_id, "a photo's id", least=0))

    def photos(self, photo_ids: Sequence[int] | NDArray[np.int64]) -> list[PhotoRecord]:
        """Return what the library knows of photos, in the order of their ids.

        Takes a row of what `search_vectors` found, too: the -1 that may fill it up are passed over.
        `list` finds photos by filters. Raises InvalidInput for an id of no photo.
        """
        return self._searcher.photos(photo_ids)

    def vectors(
        self, photo_ids: Sequence[int] | NDArray[np.int64], model: str | Path | None = None
    ) -> NDArray[np.float32]:
        """Return the embeddings of photos, float32 (n, width), in the order of their ids.

        They are of unit length but for the rounding to float16, in which they are stored. Takes
        what `photos` takes, and raises as it does; `model` is the library's own, or another one.
        """
        return self._searcher.vectors(photo_ids, model)

    def info(self) -> LibraryInfo:
        """Return the state of the library."""
        return self._searcher.info()
