"""What answers questions about a library: the protocol that others may keep to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipsearch.copies import Duplicates
from clipsearch.index.facets import Facets
from clipsearch.index.records import Failure, Folder, PhotoRecord
from clipsearch.options import SearchOptions
from clipsearch.results import AwayFolder, Hits, LibraryInfo
from clipsearch.searching.combining import QuerySum
from clipsearch.searching.inquiries import Inquiry
from clipsearch.searching.looking_up import PhotoDetails, PhotoIds
from clipsearch.searching.query import Picture, Query, QueryPicture


class Searcher(Protocol):
    """Answers questions about one library, for any thread.

    `StoreSearcher` is the one for a library on this machine. Each method raises InvalidInput for a
    question that can't be meant, and LibraryNotFound where there are no photos yet.
    """

    def query(self, query: Query, options: SearchOptions) -> Hits:
        """Return the photos nearest to a text or picture, best first."""

    def query_batch(self, queries: Sequence[Query], options: SearchOptions) -> list[Hits]:
        """Return the hits of each query by what is seen alone; BATCH at a time go together."""

    def answers(self, inquiries: Sequence[Inquiry]) -> Iterator[tuple[int, Hits | Exception]]:
        """Yield the place of each question with its hits, or with what it raises alone."""

    def similar(self, picture: Picture | QuerySum, options: SearchOptions) -> Hits:
        """Return the photos most like a picture, without the picture itself, wherever it lies."""

    def listed(self, options: SearchOptions) -> Hits:
        """Return the photos that pass the filters, without a question: by date or path."""

    def facets(self, options: SearchOptions) -> Facets:
        """Return what the photos that pass the filters say, counted."""

    def count(self, options: SearchOptions) -> int:
        """Return how many photos pass the filters."""

    def duplicates(self, options: SearchOptions) -> Duplicates:
        """Return the groups of the same photo, of bursts and of look-alikes of what passes."""

    def search_vectors(
        self, queries: NDArray[np.float32], options: SearchOptions
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return cosines (n, k) and photo ids (n, k) of the nearest to unit vectors (n, width).

        Rows with fewer hits end in -inf and -1.
        """

    def encode(self, queries: Sequence[Query | QueryPicture]) -> NDArray[np.float32]:
        """Return unit vectors, float32 (n, width), of texts and pictures."""

    def photo(self, photo_id: int) -> PhotoRecord:
        """Return what is known of a photo; InvalidInput if the library has none with this id."""

    def details(self, photo_id: int) -> PhotoDetails:
        """Return all that is known of a photo, its words and tags, too."""

    def photos(self, photo_ids: PhotoIds) -> list[PhotoRecord]:
        """Return what is known of photos, in the order of their ids, -1 passed over.

        Raises InvalidInput if the library has none with one of these ids.
        """

    def vectors(self, photo_ids: PhotoIds, model: str | Path | None) -> NDArray[np.float32]:
        """Return embeddings, float32 (n, width), of photos, as `photos` does."""

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now but have photos, with the reasons."""

    def failures(self) -> list[Failure]:
        """Return the files that could not be indexed, with reasons."""

    def prepare_for_pictures(self) -> bool:
        """Load what pictures need, but not torch; return whether that was enough."""

    def info(self) -> LibraryInfo:
        """Return the state of the library."""
