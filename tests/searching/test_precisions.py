"""A library whose photos are embedded in each precision, and one that moves between processors."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clipsearch import Library
from clipsearch.models.encoder import LEAST_COSINE, Encoder, load_encoder
from clipsearch.models.names import resolve_model
from clipsearch.photos.opening import open_image

pytestmark = pytest.mark.usefixtures("each_precision")

OTHER = {"float32": "bf16", "bf16": "int8", "int8": "bf16"}
QUERIES = ["horses", "a musician", "snow on a mountain", "food on a plate"]


@pytest.fixture(scope="module")
def exact() -> Encoder:
    return load_encoder(resolve_model("builtin"), device="cpu", exact=True)


@pytest.fixture(scope="module")
def photos(each_precision, repository, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(each_precision) / "photos"
    folder.mkdir()
    for path in sorted((repository / "examples" / "photos").rglob("*.jpg"))[::6]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def library(photos) -> Library:
    with Library(photos.parent / "library", device="cpu") as library:
        assert library.index(photos, model="builtin").failed == 0
        yield library


def in_float32(encoder: Encoder, paths: list[Path]) -> np.ndarray:
    opened = [open_image(path, shrink_to=encoder.image_size).image for path in paths]
    return encoder.encode_images(opened)


def test_photos_are_found_as_plain_counting_in_float32_finds_them(library, photos, exact):
    paths = sorted(photos.iterdir())
    scores = exact.encode_text(QUERIES) @ in_float32(exact, paths).T
    for hits, plain in zip(library.query_batch(QUERIES, k=len(paths)), scores, strict=True):
        found = {hit.path: hit.score for hit in hits}
        ours = np.array([found[path] for path in paths])
        turned = np.sqrt(2 * (1 - LEAST_COSINE))  # how far a vector may be turned
        np.testing.assert_allclose(ours, plain, atol=turned)
        assert hits[0].path == paths[int(plain.argmax())]


def test_it_goes_on_where_the_processor_has_another_precision(
    library, photos, exact, each_precision, monkeypatch, tmp_path, repository
):
    moved = tmp_path / "library"
    shutil.copytree(library.folder, moved)
    monkeypatch.setenv("CLIPSEARCH_PRECISION", OTHER[each_precision])
    known = sorted(photos.iterdir())
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(repository / "examples" / "photos" / "animals" / "tabby-cat-face.jpg", new)
    with Library(moved, device="cpu") as there:
        report = there.index()
        assert (report.embedded, report.unchanged) == (0, len(known))
        report = there.index(new)
        assert (report.embedded, report.added) == (1, 1)
        again = there.encode_images([open_image(path).image for path in known])
        scores, _ = there.search_vectors(again, k=1)
        assert scores.min() >= 2 * LEAST_COSINE**2 - 1 - 1e-3  # two turns, and float16 on the disk
        assert there.query("a cat", k=1)[0].path.parent == new
    assert (in_float32(exact, known) * again).sum(axis=1).min() >= LEAST_COSINE - 1e-3
