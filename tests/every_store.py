"""Every store there is, for the tests of the contract."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from memory_store import MemoryStore

from clipsearch.index.changes import Change, Embedded
from clipsearch.index.interface import SearchableStore, WritableStore
from clipsearch.index.records import FileState, ModelIdentity, PhotoMetadata
from clipsearch.index.store import Store
from clipsearch.index.vectors import segments, vector_files, vector_index

WIDTH = 8
ONE = ModelIdentity("one", "ViT", "aa", '{"size":224}', WIDTH)
OTHER = ModelIdentity("other", "ViT", "bb", '{"size":224}', 4)
PHOTOS = Path("/photos")
# Names that mean something to SQL, to patterns or to encodings, or begin like others.
STRANGE = [
    *("100%", "a_b", "a'b", 'a"b', "ü é 木", "a\\b", "a;b--", "*", "[a]", "new\nline"),
    *(os.fsdecode(b"caf\xe9"), "\uef80", "trip", "trip 2", "trip!", "trip0"),
]


@dataclass(frozen=True)
class Kind:
    """A kind of store, and how it is opened."""

    name: str
    in_segments: bool = False  # in several index files, with FAISS, however small

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Opened]:
        """Open a new store with two models, with the writer lock held by this thread."""
        with pytest.MonkeyPatch.context() as patch:
            if self.in_segments:
                patch.setattr(segments, "NEWEST", 10)
                patch.setattr(vector_files, "SMALL", -1)
                patch.setattr(vector_index, "SMALL", -1)
            store = MemoryStore() if self.name == "memory" else Store.open(folder, create=True)
            try:
                with ExitStack() as lock:
                    lock.enter_context(store.writing())
                    assert [store.add_model(model) for model in (ONE, OTHER)] == [1, 2]
                    yield Opened(self, store, folder, lock)
            finally:
                store.close()


@dataclass(frozen=True)
class Opened:
    """A store that is open for writing."""

    kind: Kind
    store: WritableStore
    folder: Path
    lock: ExitStack

    def release(self) -> None:
        """Let another be the writer."""
        self.lock.close()

    def fill(self, *batches: Sequence[Change]) -> None:
        """Commit batches of the first model's, each followed by what a run does after it."""
        for batch in batches:
            self.store.apply(batch, 1)
            if self.kind.in_segments:
                self.store.refresh_vectors(1)

    def reader(self) -> SearchableStore:
        """Return the same store as another opens it, to search it only."""
        if isinstance(self.store, MemoryStore):
            return self.store.reader()
        return Store.open(self.folder, read_only=True)


KINDS = [Kind("sqlite"), Kind("sqlite", in_segments=True), Kind("memory")]
every_kind = pytest.mark.parametrize(
    "kind", KINDS, ids=["SQLite", "SQLite in segments", "in memory"]
)


def unit_vectors(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def state(name: str | Path, size: int = 10, mtime_ns: int = 100) -> FileState:
    return FileState(PHOTOS / name, size, mtime_ns)


def photo(name: str | Path, vector: np.ndarray, content: str | None = None) -> Embedded:
    return Embedded(state(name), content or f"hash of {name}", PhotoMetadata(4, 3, "JPEG"), vector)


def names(store: SearchableStore) -> dict[str, int]:
    """Return the photos' ids by their paths below PHOTOS."""
    photos = store.photos(store.photos_below(None).tolist())
    return {str(one.file.path.relative_to(PHOTOS)): id_ for id_, one in photos.items()}
