"""What a library is while it is open: its store, what searches it, what writes to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from clipsearch.arguments import yes_or_no
from clipsearch.errors import (
    ClipsearchError,
    LibraryClosed,
    LibraryError,
    LibraryNotFound,
    LibraryReadOnly,
)
from clipsearch.index.layout import Layout
from clipsearch.index.opening import open_store
from clipsearch.models.devices import check_device
from clipsearch.models.loaded import LoadedModels
from clipsearch.results import photos_and_model
from clipsearch.searching.search import StoreSearcher
from clipsearch.settings import library_folder

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from clipsearch.index.interface import SearchableStore
    from clipsearch.indexing.indexer import Indexer


class OpenLibrary:
    """The parts of a library, each made when it is needed; `Library` says what each is for."""

    def __init__(
        self, folder: str | Path | None, *, create: bool, read_only: bool, device: str
    ) -> None:
        """Take what `Library` takes, and raise what it raises."""
        self.folder = library_folder(folder)
        self.device = check_device(device)
        create, read_only = yes_or_no(create, "create"), yes_or_no(read_only, "read_only")
        self._process = os.getpid()
        self._making = threading.RLock()
        self._create, self._read_only = create and not read_only, read_only
        self._models = LoadedModels(Layout(self.folder).models, device)
        self._indexer: Indexer | None = None  # made when it is needed: a search is quick to start
        self._parts: tuple[SearchableStore, StoreSearcher] | None = None
        self._closed = False
        try:
            self._open_parts()
        except LibraryNotFound:
            if not self._create:
                raise

    def _open_parts(self, *, create: bool = False) -> tuple[SearchableStore, StoreSearcher]:
        """Return the store and what searches it, opened if they are not yet."""
        with self._making:
            if self._parts is None:
                self._check_usable()
                store = open_store(self.folder, create=create, read_only=self._read_only)
                self._parts = store, StoreSearcher(self.folder, store, self._models)
            return self._parts

    @property
    def _store(self) -> SearchableStore:
        return (self._parts or self._open_parts())[0]

    @property
    def _searcher(self) -> StoreSearcher:
        return (self._parts or self._open_parts())[1]

    def _for_writing(self, *, create: bool = False) -> Indexer:
        """Return the indexer; with `create` make the library if it may be and is missing.

        Raises LibraryReadOnly.
        """
        from clipsearch.index.interface import writable
        from clipsearch.indexing.indexer import Indexer

        if self._read_only:
            raise LibraryReadOnly(f"the library {self.folder} was opened read-only")
        with self._making:
            if self._indexer is None:
                store = writable(self._open_parts(create=create and self._create)[0], self.folder)
                self._indexer = Indexer(self.folder, store, self._models)
            return self._indexer

    def _writing(self) -> AbstractContextManager[None]:
        """Be the one writer for the block; raises LibraryReadOnly or LibraryLocked."""
        from clipsearch.index.interface import writable

        self._check_open()
        self._for_writing()
        return writable(self._store, self.folder).writing()

    def _use_models(self, models: LoadedModels) -> None:
        """Take models that are loaded already, before anything else is asked."""
        self._models = models
        if self._parts is not None:
            self._parts = self._store, StoreSearcher(self.folder, self._store, models)

    def _check_open(self) -> None:
        """Raise LibraryClosed if it is closed, or of another process."""
        if self._parts is None:
            self._check_usable()
        else:
            self._store.places()

    def _check_usable(self) -> None:
        """Raise LibraryClosed for what was never made, as its store would."""
        if self._closed:
            raise LibraryClosed(f"{self.folder}: the library was closed; open it again")
        if os.getpid() != self._process:
            raise LibraryClosed(f"{self.folder}: the library is of another process; open it here")

    def __repr__(self) -> str:
        try:
            models = self._store.models()
            model = next((row for row in models if row.is_current), None)
            state = photos_and_model(model.photos if model else 0, model)
        except LibraryClosed:
            state = "closed"
        except LibraryNotFound:
            state = "not made yet"
        except ClipsearchError as error:
            state = str(error)
        return f"Library({str(self.folder)!r}, {state})"

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, or sent to another process."""
        raise LibraryError(
            f"an open library can't be copied or pickled: open it where it is needed, with "
            f"Library({str(self.folder)!r})"
        )
