"""What a library is while it is open: its store, what searches it, what writes to it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

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
    from clipsearch.remote.searcher import HttpSearcher
    from clipsearch.searching.searcher import Searcher


class OpenLibrary:
    """The parts of a library, each made when it is needed; `Library` says what each is for."""

    def __init__(
        self, folder: str | Path | None, *, create: bool, read_only: bool, device: str
    ) -> None:
        """Take what `Library` takes, and raise what it raises."""
        place, device = library_folder(folder), check_device(device)
        create, read_only = yes_or_no(create, "create"), yes_or_no(read_only, "read_only")
        self._begin(place, device, create=create and not read_only, read_only=read_only)
        try:
            self._open_parts()
        except LibraryNotFound:
            if not self._create:
                raise

    def _begin(self, folder: Path, device: str, *, create: bool, read_only: bool) -> None:
        """Be a library of which nothing is open yet."""
        self.folder, self.device = folder, device
        self._process = os.getpid()
        self._making = threading.RLock()
        self._create, self._read_only = create, read_only
        self._models = LoadedModels(Layout(self.folder).models, device)
        self._indexer: Indexer | None = None  # made when it is needed: a search is quick to start
        self._parts: tuple[SearchableStore, StoreSearcher] | None = None
        self._remote: HttpSearcher | None = None  # what is asked in place of the parts
        self._closed = False

    @classmethod
    def _at(cls, address: str, token: str | None) -> Self:
        """Return the library that is served at an address; raises InvalidInput or LibraryError."""
        from clipsearch.remote.searcher import HttpSearcher

        remote = HttpSearcher(address, token)
        library = cls.__new__(cls)
        library._begin(remote.folder, "auto", create=False, read_only=True)
        library._remote = remote
        return library

    def _open_parts(self, *, create: bool = False) -> tuple[SearchableStore, StoreSearcher]:
        """Return the store and what searches it, opened if they are not yet."""
        with self._making:
            if self._remote is not None:
                self._remote.refuse()
            if self._parts is None:
                self._check_usable()
                store = open_store(self.folder, create=create, read_only=self._read_only)
                self._parts = store, StoreSearcher(self.folder, store, self._models)
            return self._parts

    @property
    def _store(self) -> SearchableStore:
        return (self._parts or self._open_parts())[0]

    @property
    def _searcher(self) -> Searcher:
        if self._remote is not None:
            return self._remote
        return (self._parts or self._open_parts())[1]

    def _for_writing(self, *, create: bool = False) -> Indexer:
        """Return the indexer; with `create` make the library if it may be and is missing.

        Raises LibraryReadOnly.
        """
        from clipsearch.index.interface import writable
        from clipsearch.indexing.indexer import Indexer

        if self._remote is not None:
            self._remote.refuse()
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
        where = self._remote.address if self._remote else str(self.folder)
        try:
            state = self._in_words()
        except LibraryClosed:
            state = "closed"
        except LibraryNotFound:
            state = "not made yet"
        except ClipsearchError as error:
            state = str(error)
        return f"Library({where!r}, {state})"

    def _in_words(self) -> str:
        if self._remote is not None:
            info = self._remote.info()
            return photos_and_model(info.photos, info.model)
        models = self._store.models()
        model = next((row for row in models if row.is_current), None)
        return photos_and_model(model.photos if model else 0, model)

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, or sent to another process."""
        again = f"Library({str(self.folder)!r})"
        if self._remote is not None:
            again = f"Library.open({self._remote.address!r})"
        raise LibraryError(
            f"an open library can't be copied or pickled: open it where it is needed, with {again}"
        )
