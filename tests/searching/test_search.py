"""A searcher over a store, without a library around it; and query pictures of any kind."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from misbehaving_decoder import MARK, MISBEHAVING

from clipsearch import InvalidInput, Library, LibraryClosed, SearchOptions, UnreadableImage
from clipsearch.index.store import Store
from clipsearch.models.loaded import LoadedModels
from clipsearch.photos.decoder_pool import DecoderPool
from clipsearch.photos.decoders import Decoders
from clipsearch.photos.preparing import Unreadable, prepare
from clipsearch.photos.preprocessing import Preprocessing
from clipsearch.searching import query
from clipsearch.searching.combining import term
from clipsearch.searching.search import StoreSearcher
from clipsearch.searching.searcher import Searcher
from clipsearch.serving.server import Question, WarmSearcher


@pytest.fixture
def searcher(small_library: Path) -> Iterator[StoreSearcher]:
    folder = small_library / "library"
    with Store.open(folder, read_only=True) as store:
        searcher = StoreSearcher(folder, store, LoadedModels(folder / "models", "cpu"))
        yield searcher
        searcher.close()


def test_a_searcher_needs_no_library(searcher: Searcher, small_library: Path) -> None:
    options = SearchOptions(k=3)
    with Library(small_library / "library", read_only=True, device="cpu") as library:
        photo = small_library / "photos" / "photo-0.jpg"
        assert searcher.query("a dog", options) == library.query("a dog", k=3)
        assert searcher.query_batch(["a dog"], options) == [library.query("a dog", k=3)]
        assert searcher.similar(photo, options) == library.similar(photo, k=3)
        vectors = searcher.encode(["a dog", photo])
        assert np.array_equal(vectors[:1], library.encode_text("a dog"))
        for ours, its in zip(
            searcher.search_vectors(vectors, options),
            library.search_vectors(vectors, k=3),
            strict=True,
        ):
            assert np.array_equal(ours, its)
        (first, *_) = library.query("a dog")
        assert searcher.photo(first.id).file.path == library.photo(first.id).file.path == first.path
        assert searcher.info() == library.info()


def test_a_photo_that_is_not_there_is_said(searcher: Searcher) -> None:
    with pytest.raises(InvalidInput, match="no photo 12345"):
        searcher.photo(12345)


def test_the_least_score_holds_for_vectors_too(searcher: Searcher) -> None:
    vectors = searcher.encode(["a dog"])
    scores, ids = searcher.search_vectors(vectors, SearchOptions(k=5))
    least = float(scores[0, 2])
    kept, kept_ids = searcher.search_vectors(vectors, SearchOptions(k=5, min_score=least))
    assert kept_ids[0].tolist() == [*ids[0, :3].tolist(), -1, -1]
    assert np.isneginf(kept[0, 3:]).all()


# Query pictures


@pytest.fixture
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let decoders do what marked bytes say."""
    defaults = DecoderPool.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "_entry", MISBEHAVING)


@pytest.mark.usefixtures("misbehaving")
def test_a_query_picture_that_crashes_its_decoder_costs_that_query(searcher: Searcher) -> None:
    for how in (b"crash", b"abort"):
        with pytest.raises(UnreadableImage, match="decod"):
            searcher.query(MARK + how, SearchOptions())
        with pytest.raises(UnreadableImage, match="decod"):
            searcher.similar(MARK + how, SearchOptions())
    assert len(searcher.query("a dog", SearchOptions())) == 5


@pytest.mark.usefixtures("misbehaving")
def test_a_server_outlives_a_picture_that_crashes_its_decoder(
    small_library: Path, sample_photos: list[Path]
) -> None:
    before = set(threading.enumerate())
    server = WarmSearcher(small_library / "library")
    with pytest.raises(UnreadableImage, match="decod"):
        server.answer(Question("query", term(MARK + b"crash"), SearchOptions()))
    new = sample_photos[9].read_bytes()
    assert len(server.answer(Question("similar", term(new), SearchOptions(k=2)))) == 2
    server.close()
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert "clipsearch-decoder" not in names


@pytest.mark.usefixtures("misbehaving")
def test_the_end_of_a_library_ends_a_query_whose_picture_is_being_decoded(
    small_library: Path,
) -> None:
    library = Library(small_library / "library", read_only=True, device="cpu")
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(library.query, MARK + b"sleep")
        end = time.monotonic() + 30
        while not library._searcher._decoders._pools and time.monotonic() < end:
            time.sleep(0.02)
        library.close()
        with pytest.raises(LibraryClosed, match="was closed; open it again"):
            asked.result(timeout=30)


def test_models_that_want_other_pixels_do_not_cancel_each_other(sample_photos: list[Path]) -> None:
    decoders, data = Decoders(), sample_photos[0].read_bytes()
    asked = [decoders.submit(data, Preprocessing(side, side), 100.0) for side in (32, 40, 32)]
    assert [photo.result(timeout=60).pixels.shape[0] for photo in asked] == [32, 40, 32]
    decoders.close()
    with pytest.raises(LibraryClosed):
        decoders.submit(data, Preprocessing(32, 32), 100.0)


def test_a_picture_is_read_once_and_hashed_once(
    searcher: Searcher, tmp_path: Path, sample_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")  # whose bytes come once
    data = sample_photos[0].read_bytes()
    hashed: list[int] = []

    def sha256(content: bytes) -> object:
        hashed.append(len(content))
        return hashlib.sha256(content)

    monkeypatch.setattr(query, "hashlib", type("Counting", (), {"sha256": staticmethod(sha256)}))
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    writer.start()
    found = searcher.similar(tmp_path / "pipe", SearchOptions())
    writer.join()
    assert hashed == [len(data)]
    assert len(found) == 4  # all but itself


def test_the_two_stages_give_the_vector_that_a_run_stores(
    small_library: Path, tiny_model_folder: Path
) -> None:
    """Bytes -> pixels and pixels -> vectors, anywhere, without a library."""
    models = LoadedModels(small_library / "library" / "models", "cpu")
    with Library(small_library / "library", device="cpu") as library:
        row = library.info().model
        assert row is not None
        encoder = models.encoder_of(row)
        preprocessing = Preprocessing.from_json(row.identity.preprocessing)
        shape = (preprocessing.height, preprocessing.width, 3)
        for photo in sorted((small_library / "photos").rglob("*.jpg")):
            prepared = prepare(photo.read_bytes(), preprocessing)
            assert not isinstance(prepared, Unreadable)
            pixels = np.frombuffer(prepared.pixels, np.uint8).reshape(shape)
            stored = library.encode_images(photo)  # known by its content
            assert np.abs(encoder.encode_pixels(pixels) - stored).max() < 1e-3
            (known,) = library.query(photo, k=1)
            assert (known.width, known.height) == (
                prepared.metadata.width,
                prepared.metadata.height,
            )
    nothing = prepare(b"no picture", preprocessing)
    assert isinstance(nothing, Unreadable)
    assert nothing.reason.startswith("not a picture")
