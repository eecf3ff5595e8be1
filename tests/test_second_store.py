"""A library works over any store that keeps the contract, or only searches one filled elsewhere.

The second store is the one in memory that the tests bring.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from memory_store import FilledElsewhere, MemoryStore

from clipsearch import Hits, Library
from clipsearch.errors import LibraryError, LibraryReadOnly
from clipsearch.index.interface import SearchableStore


def library_over(store: SearchableStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return a library over a store, as if `open_store` knew its kind."""
    with monkeypatch.context() as patch:
        patch.setattr("clipsearch.open_library.open_store", lambda *_, **__: store)
        return Library(folder, device="cpu")


def known(hits: Hits) -> list[tuple[str, float]]:
    return [(hit.source, round(hit.score, 3)) for hit in hits]


def test_a_library_over_another_store_gives_the_same_answers(
    small_library: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = small_library / "photos"
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 none")
    store = MemoryStore()
    own = Library(small_library / "library", device="cpu")
    with library_over(store, small_library / "other", monkeypatch) as other, own:
        own.index()
        report = other.index([photos], model=tiny_model_folder)
        assert (report.added, report.failed) == (5, 1)
        assert other.index().unchanged == 5
        (photos / "photo-0.jpg").rename(photos / "trip" / "renamed.jpg")
        (photos / "photo-1.jpg").unlink()
        shutil.copyfile(photos / "photo-2.jpg", photos / "copy.jpg")
        for library in (own, other):
            report = library.index()
            assert (report.moved, report.removed, report.copied, report.embedded) == (1, 1, 1, 0)
            assert library.remove([photos / "trip" / "photo-3.jpg"]) == 1
        query = np.eye(own.info().model.identity.width, dtype=np.float32)[:3]
        scores, ids = other.search_vectors(query, k=9)
        np.testing.assert_allclose(scores, own.search_vectors(query, k=9)[0], atol=1e-6)
        assert other.photo(int(ids[0][0])).id == ids[0][0]
        for ask in (
            lambda library: library.query(photos / "copy.jpg"),
            lambda library: library.similar(photos / "copy.jpg"),
            lambda library: library.query("a red square", k=2),
        ):
            assert known(ask(other)) == known(ask(own))
        mine, theirs = own.info(), other.info()
        assert (theirs.photos, theirs.model.photos) == (mine.photos, mine.model.photos) == (4, 4)
        assert [one.file.path for one in theirs.failures] == [photos / "broken.jpg"]
        photos.rename(photos.with_name("away"))
        for library in (own, other):
            hits = library.query("a red square")
            assert (len(hits), [(a.path, a.photos) for a in hits.left_out]) == (0, [(photos, 4)])


def test_a_library_that_is_filled_elsewhere_is_searched_and_not_indexed_into(
    small_library: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = small_library / "photos"
    store = MemoryStore()
    with library_over(store, small_library / "other", monkeypatch) as filling:
        filling.index([photos], model=tiny_model_folder)
        reader: FilledElsewhere = store.reader()
        with library_over(reader, small_library / "other", monkeypatch) as library:
            assert len(library.query("a red square")) == 5
            assert library.info().photos == len(library.similar(photos / "photo-1.jpg")) + 1
            for refused in (
                lambda: library.index([photos]),
                lambda: library.update([photos]),
                lambda: library.remove([photos]),
            ):
                with pytest.raises(LibraryReadOnly, match="is filled elsewhere") as caught:
                    refused()
                assert "\n" not in str(caught.value)
                assert str(caught.value).startswith(f"{small_library / 'other'}: ")
                assert caught.value.exit_code == LibraryError.exit_code
            assert len(library.query("a red square")) == 5
