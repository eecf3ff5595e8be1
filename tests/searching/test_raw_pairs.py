"""Of a raw photo and the picture that the camera made of it, a search finds the picture."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_raws import Said, camera_jpeg, dng, preview_of
from PIL import Image

from clipsearch import Library
from clipsearch.results import Hits

PAIRS = 8
QUERY = "anything"


def pixels(photo: Path) -> np.ndarray:
    with Image.open(photo) as image:
        return np.asarray(image.convert("RGB").resize((96, 64)))


def at_second(second: int) -> Said:
    return replace(Said(), taken_at=f"2023:07:14 18:22:{second:02}")


def bare(photos: list[Path]) -> dict[str, bytes]:
    """Return raw photos beside JPEGs that say nothing: of the same picture, and of another."""
    one = pixels(photos[-6])
    another = np.random.default_rng(0).integers(0, 255, one.shape).astype(np.uint8)
    return {
        "bare.dng": dng(one),
        "bare.jpg": preview_of(one),
        "namesake.dng": dng(one // 4),
        "namesake.jpg": preview_of(another),
    }


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path], tiny_model_folder: Path
) -> Path:
    """Return a folder of `photos`, pairs and others, and their `library`."""
    place = tmp_path_factory.mktemp("pairs")
    photos = place / "photos"
    (photos / "elsewhere").mkdir(parents=True)
    for number, photo in enumerate(sample_photos[:PAIRS]):
        stem, picture = f"DSC_{number:04}", pixels(photo)
        (photos / f"{stem}.NEF").write_bytes(dng(picture, said=at_second(number)))
        suffix = (".JPG", ".jpg", ".jpeg")[number % 3]
        (photos / f"{stem}{suffix}").write_bytes(camera_jpeg(picture, at_second(number)))
    picture = pixels(sample_photos[PAIRS])
    phone = "PXL_20230714_182205123"
    (photos / f"{phone}.RAW-02.ORIGINAL.dng").write_bytes(dng(picture))
    (photos / f"{phone}.RAW-01.COVER.jpg").write_bytes(camera_jpeg(picture))
    alone = {
        "alone.dng": dng(pixels(sample_photos[-1])),
        "later.dng": dng(pixels(sample_photos[-2]), said=at_second(30)),
        "later.jpg": camera_jpeg(pixels(sample_photos[-2]), at_second(31)),
        "other.dng": dng(pixels(sample_photos[-3])),
        "other.jpg": camera_jpeg(pixels(sample_photos[-3]), replace(Said(), model="Test T2")),
        "apart.dng": dng(pixels(sample_photos[-4])),
        "elsewhere/apart.jpg": camera_jpeg(pixels(sample_photos[-4])),
        "undated.dng": dng(pixels(sample_photos[-5]), said=replace(Said(), taken_at="")),
        "undated.jpg": camera_jpeg(pixels(sample_photos[-5]), replace(Said(), taken_at="")),
    }
    alone |= bare(sample_photos)
    for name, data in alone.items():
        (photos / name).write_bytes(data)
    with Library(place / "library", device="cpu") as library:
        report = library.index([photos], model=str(tiny_model_folder))
        assert report.embedded == 2 * PAIRS + 2 + len(alone), report.failures
    return place


@pytest.fixture
def library(made: Path) -> Iterator[Library]:
    with Library(made / "library", device="cpu") as library:
        yield library


def names(hits: Hits) -> list[str]:
    return [hit.path.name for hit in hits]


def test_a_raw_photo_behind_its_picture_is_no_result(library: Library, made: Path) -> None:
    everything = {path.name for path in (made / "photos").rglob("*.*")}
    behind = {f"DSC_{number:04}.NEF" for number in range(PAIRS)}
    behind |= {"PXL_20230714_182205123.RAW-02.ORIGINAL.dng", "bare.dng"}
    found = library.query(QUERY, k=100)
    assert set(names(found)) == everything - behind
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    assert {hit.format for hit in found if hit.path.suffix == ".dng"} == {"RAW"}


def test_nor_is_one_that_is_found_by_its_name(library: Library) -> None:
    assert names(library.query("bare", only="words")) == ["bare.jpg"]
    assert set(names(library.query("later", only="words"))) == {"later.dng", "later.jpg"}


@pytest.mark.parametrize("k", [1, 2, 5, 11, 17])
def test_k_results_are_k_results(library: Library, k: int) -> None:
    """Those that would be found if the raw photos behind pictures were not there."""
    texts = [QUERY, "a dog", "two bicycles"]
    everything = [library.query(text, k=100) for text in texts]
    assert all(len(hits) >= 17 for hits in everything)
    for one, all_of_them in zip(library.query_batch(texts, k=k), everything, strict=True):
        assert one == all_of_them[:k]
    assert library.query(QUERY, k=k) == everything[0][:k]


def test_the_least_score_holds_still(library: Library) -> None:
    everything = library.query(QUERY, k=100)
    least = everything[6].score
    assert names(library.query(QUERY, k=100, min_score=least)) == names(everything[:7])


def test_what_is_like_one_of_a_pair_is_not_the_other(library: Library, made: Path) -> None:
    for one in ("DSC_0001.NEF", "DSC_0001.jpg"):
        found = library.similar(made / "photos" / one, k=6)
        assert len(found) == 6
        assert not {"DSC_0001.NEF", "DSC_0001.jpg"} & set(names(found))
    assert "later.jpg" in names(library.similar(made / "photos" / "later.dng", k=100))


def test_a_raw_photo_and_its_picture_are_no_duplicates(library: Library, made: Path) -> None:
    found = library.duplicates()
    named = {photo.path.name for one in found.groups for photo in (one.keep, *one.others)}
    behind = {f"DSC_{number:04}.NEF" for number in range(PAIRS)}
    assert not named & {*behind, "PXL_20230714_182205123.RAW-02.ORIGINAL.dng", "bare.dng"}
    same = [{photo.path.name for photo in (one.keep, *one.others)} for one in found.same]
    assert {"apart.dng", "apart.jpg"} in same  # in two folders: one photo twice
    assert found.photos == library.info().photos - PAIRS - 2
    raws = [path for path in (made / "photos").rglob("*") if path.suffix in (".NEF", ".dng")]
    assert library.duplicates(type="raw").photos == len(raws)


def test_vectors_are_searched_as_they_are(library: Library) -> None:
    scores, ids = library.search_vectors(library.encode_text(QUERY), k=100)
    assert (ids >= 0).sum() == library.info().photos
    assert np.isfinite(scores[ids >= 0]).all()


def test_a_picture_that_can_not_be_found_stands_in_front_of_nothing(
    made: Path, tmp_path: Path
) -> None:
    """One without a vector of the model, as after a run that was interrupted."""
    for path in (made / "library").rglob("*"):
        target = tmp_path / path.relative_to(made / "library")
        target.mkdir(parents=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    catalog = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    catalog.execute(
        "DELETE FROM embeddings WHERE photo_id IN (SELECT id FROM photos WHERE path LIKE ?)",
        ("%DSC_0002.jpeg",),
    )
    catalog.close()
    with Library(tmp_path, device="cpu") as library:
        found = names(library.query(QUERY, k=100))
    assert "DSC_0002.NEF" in found
    assert "DSC_0001.NEF" not in found
