"""Whatever the Python API and the program are given, they answer, or refuse it in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

from clipsearch import (
    ClipsearchError,
    IndexOptions,
    InvalidInput,
    Library,
    UnknownModel,
    UnreadableImage,
    backup_library,
    check_library,
)
from clipsearch.cli.app import app

PHOTOS = 3
HUGE = 10**5000  # Python does not even write it out


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path], tiny_model_folder: Path
) -> Path:
    """Return the library of three photos; don't change it."""
    place = tmp_path_factory.mktemp("arguments") / "library"
    with Library(place, device="cpu") as library:
        library.index(sample_photos[:PHOTOS], model=Path(tiny_model_folder))
    return place


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    with Library(folder, device="cpu") as library:
        yield library


@pytest.mark.parametrize(
    ("k", "found"),
    [
        *((np.int64(2), 2), (np.int32(2), 2), (np.uint64(2), 2), (np.uint64(2**64 - 1), PHOTOS)),
        *((2**63, PHOTOS), (10**30, PHOTOS), (HUGE, PHOTOS)),
    ],
    ids=["int64", "int32", "uint64", "largest", "2**63", "10**30", "10**5000"],
)
def test_any_integer_is_a_number_of_photos(library: Library, k: int, found: int) -> None:
    vectors = library.encode_text(["a dog"])
    assert len(library.query("a dog", k=k)) == found
    assert len(library.similar(np.zeros((4, 4, 3), np.uint8), k=k)) == found
    assert [len(hits) for hits in library.query_batch(["a dog"], k=k)] == [found]
    if k < 2**60:
        assert library.search_vectors(vectors, k=k)[1].shape == (1, found)
    else:
        with pytest.raises(InvalidInput, match="there are only 3 photos"):
            library.search_vectors(vectors, k=k)


@pytest.mark.parametrize("model", [Path, str, lambda folder: f"local-dir:{folder}"])
def test_a_folder_is_a_model_however_it_is_given(
    library: Library, tiny_model_folder: Path, model: Callable[[Path], str | Path]
) -> None:
    given = model(tiny_model_folder)
    assert len(library.query("a dog", model=given)) == PHOTOS
    assert library.index(model=given).unchanged == PHOTOS


NO_NUMBER = (True, np.bool_(True), 2.0, np.float32(2), "2", None, [2], 0, -1, -HUGE, float("nan"))
NO_SCORE = ("0.5", float("nan"), float("inf"), -float("inf"), 10**400, True, 1j, [0.5])
NO_ANSWER = (1, 0, "no", None, [], np.zeros(2))
NO_MODEL = (5, b"builtin", ["builtin"], "a\0b", "\ud800", Path("a\0b"), "x" * 5000)
NO_PATH = (5, None, b"photos", "a\0b", "\ud800", Path("a\0b"), "x" * 5000, ["x"])
NO_QUERY = (None, 5, 2.5, [], ["a"], {}, object(), "", "  ", "a\ud800", "a\udcff", Path("a\0b"))
NO_PICTURE = (
    *(np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), b"", b"abc"),
    *(bytearray(b"x"), Path("/"), Path("x" * 5000), PIL.Image.new("RGB", (0, 5))),
)
NO_LIST = (None, 5, 2.5, object())
NO_VECTORS = (
    *(None, 5, "a", [[1.0], [1.0, 2.0]], np.zeros((1, 3), complex), np.zeros((1, 3), object)),
    *(np.zeros(16, np.float32), np.zeros((1, 3)), np.full((1, 16), np.nan)),
    *(np.full((1, 16), 1e300), np.zeros((1, 1, 16)), np.zeros((1, 16), bool)),
)

REFUSED: dict[str, tuple[Callable[[Library, object], object], tuple[object, ...]]] = {
    "k": (lambda library, it: library.query("a", k=it), NO_NUMBER),
    "k of a batch": (lambda library, it: library.query_batch(["a"], k=it), NO_NUMBER),
    "k of similar": (lambda library, it: library.similar(b"", k=it), NO_NUMBER),
    "k of vectors": (lambda library, it: library.search_vectors([[0.0]], k=it), NO_NUMBER),
    "min_score": (lambda library, it: library.query("a", min_score=it), (*NO_SCORE, 40, -1.5)),
    "exact": (lambda library, it: library.query("a", exact=it), NO_ANSWER),
    "include_away": (lambda library, it: library.query("a", include_away=it), NO_ANSWER),
    "model": (lambda library, it: library.query("a", model=it), NO_MODEL),
    "model to index with": (lambda library, it: library.index(model=it), NO_MODEL),
    "query": (lambda library, it: library.query(it), (*NO_QUERY, *NO_PICTURE)),
    "one of a batch": (lambda library, it: library.query_batch(["a", it]), NO_QUERY + NO_PICTURE),
    "queries": (lambda library, it: library.query_batch(it), NO_LIST),
    "text": (lambda library, it: library.encode_text([it]), (*NO_QUERY, *NO_PICTURE)),
    "texts": (lambda library, it: library.encode_text(it), NO_LIST),
    "picture": (lambda library, it: library.encode_images([it]), ("a.jpg", *NO_PICTURE)),
    "pictures": (lambda library, it: library.encode_images(it), NO_LIST),
    "like": (lambda library, it: library.similar(it), (None, 5, "a\0b", *NO_PICTURE)),
    "vectors": (lambda library, it: library.search_vectors(it), NO_VECTORS),
    "path to index": (lambda library, it: library.index([it]), NO_PATH),
    "path to update": (lambda library, it: library.update([it]), NO_PATH),
    "path to forget": (lambda library, it: library.remove([it]), NO_PATH),
    "paths": (lambda library, it: library.index(it), NO_LIST[1:]),
    "options": (lambda library, it: library.index([], options=it), (5, {}, "fast", [], False)),
    "wait": (lambda library, it: library.index([], wait=it), NO_ANSWER),
    "prune": (lambda _, it: IndexOptions(prune=it), NO_ANSWER),
    "batch_size": (lambda _, it: IndexOptions(batch_size=it), ("1", 0, 2.5, True)),
    "max_megapixels": (lambda _, it: IndexOptions(max_megapixels=it), (*NO_SCORE, 0, -1)),
    "device": (lambda library, it: Library(library.folder, device=it), (None, 5, "gpu", ["cpu"])),
    "read_only": (lambda library, it: Library(library.folder, read_only=it), NO_ANSWER),
    "folder": (lambda _, it: Library(it, create=False), [it for it in NO_PATH if it is not None]),
    "library to check": (lambda _, it: check_library(it), (5, "a\0b")),
    "repair": (lambda library, it: check_library(library.folder, repair=it), NO_ANSWER),
    "backup": (lambda library, it: backup_library(library.folder, it), (5, "a\0b", "x" * 300)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(library: Library, name: str) -> None:
    call, values = REFUSED[name]
    for value in values:
        with pytest.raises((InvalidInput, UnknownModel, UnreadableImage)) as refused:
            call(library, value)
        assert "\n" not in str(refused.value)
    assert len(library.query("a dog")) == PHOTOS


@pytest.mark.parametrize("shape", [np.asfortranarray, lambda v: np.repeat(v, 2, axis=1)[:, ::2]])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.dtype(">f4"), np.float16, list])
def test_vectors_may_lie_in_memory_as_they_like(
    library: Library, shape: Callable[..., np.ndarray], kind: object
) -> None:
    vectors = library.encode_text(["a dog", "a cat"])
    given = shape(vectors).tolist() if kind is list else shape(vectors).astype(kind)
    scores, ids = library.search_vectors(given, k=PHOTOS)
    expected, photos = library.search_vectors(vectors, k=PHOTOS)
    np.testing.assert_allclose(scores, expected, atol=2e-3)
    assert ids.shape == photos.shape
    assert library.search_vectors(np.zeros_like(vectors), k=1)[0].tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize(
    "arguments",
    [
        *(["query", "a", "--top", n] for n in ("0", "-1", "1e3", "nan", "", "x")),
        *(["query", "a", "--min-score", n] for n in ("nan", "inf", "-inf", "1e400", "x", "")),
        *(["index", "--max-megapixels", n] for n in ("nan", "inf", "0", "-1", "1e400")),
        *(["serve", "--idle", n] for n in ("nan", "inf", "-1", "1e400")),
        *(["watch", "--rescan", n] for n in ("nan", "inf", "0", "1e400")),
        *(["query", text, "--text"] for text in ("a\udcff", "  ")),
        *(["query", "a", "--model", name] for name in ("", "\udcff", "x" * 5000)),
    ],
)
def test_the_program_refuses_what_cannot_be_meant(folder: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(app, [*arguments, "--library", str(folder)])
    assert done.exit_code == 2 or isinstance(done.exception, InvalidInput | UnknownModel)


@pytest.mark.parametrize("top", ["99999999999999999999", "+2"])
def test_the_program_takes_any_number_of_photos(folder: Path, top: str) -> None:
    done = CliRunner().invoke(
        app, ["query", "a", "--top", top, "--paths", "--library", str(folder)]
    )
    assert not isinstance(done.exception, ClipsearchError)
    assert done.exit_code == 0
