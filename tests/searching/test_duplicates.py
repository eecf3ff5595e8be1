"""Which photos are the same, of one burst or much alike: by real photos and the built-in model."""

import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_photos import example_files, small_photos
from photo_edits import EDITS
from PIL import Image

from clipsearch import Duplicates, Library
from clipsearch.index.records import FileState, PhotoMetadata, PhotoRecord
from clipsearch.photos.opening import open_image
from clipsearch.photos.perceptual_hash import perceptual_hash
from clipsearch.searching import pairs
from clipsearch.searching.alike import Looks, base_of, of_one_burst, same
from clipsearch.searching.duplicates import connected
from clipsearch.searching.pairs import Pairs, all_pairs, by_content, by_embedding, by_shape

SCENES = (3, 20, 33)  # of the example photos
OTHERS = (5, 11)


@pytest.fixture(scope="module")
def edited_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each scene, with all its edits; and some others."""
    place = tmp_path_factory.mktemp("edited")
    for number in SCENES:
        folder = place / str(number)
        folder.mkdir()
        photo = small_photos()[number]
        (folder / "original.jpg").write_bytes(photo)
        os.utime(folder / "original.jpg", (0, 0))  # edits are younger
        shutil.copy(folder / "original.jpg", folder / "original (1).jpg")
        with Image.open(io.BytesIO(photo)) as image:
            for name, edit in EDITS.items():
                (folder / f"{name}.jpg").write_bytes(edit(image.convert("RGB")))
    for number in OTHERS:
        (place / f"other {number}.jpg").write_bytes(small_photos()[number])
    return place


@pytest.fixture(scope="module")
def library(edited_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library(tmp_path_factory.mktemp("copies") / "library") as library:
        library.index(edited_photos, model="builtin")
        yield library


@pytest.fixture(scope="module")
def found(library: Library) -> Duplicates:
    return library.duplicates()


def test_a_photo_and_all_that_was_made_of_it_are_one_group(found: Duplicates) -> None:
    groups = [{photo.path for photo in (group.keep, *group.others)} for group in found.same]
    missing = 0
    for number in SCENES:
        of_scene = [
            group for group in groups if any(path.parent.name == str(number) for path in group)
        ]
        assert len(of_scene) == 1, number
        assert {path.parent.name for path in of_scene[0]} == {str(number)}
        missing += len(EDITS) + 2 - len(of_scene[0])
    assert len(groups) == len(SCENES)
    assert missing <= 1  # of 54; one that is too bright may be
    assert (found.photos, found.incomplete) == (len(SCENES) * (len(EDITS) + 2) + len(OTHERS), 0)


def test_what_was_not_made_of_another_is_kept(found: Duplicates) -> None:
    assert {group.keep.path.name for group in found.same} == {"original.jpg"}


def test_the_edits_of_one_kind_are_found_without_the_others(library: Library) -> None:
    from clipsearch.index.filters import Compare, Or

    for edit in ("turned left", "crop 10 % at a corner", "white border", "quarter size"):
        either = Or((Compare("path", "has", "original.jpg"), Compare("path", "has", edit)))
        alone = library.duplicates(filters=either)
        kept = [(group.keep.path.name, len(group.others)) for group in alone.same]
        assert kept == [("original.jpg", 1)] * len(SCENES), edit


def test_the_same_is_found_among_many_which_are_compared_list_by_list(
    library: Library, found: Duplicates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_COMPARED_WITH_ALL", 10)
    monkeypatch.setattr(pairs, "_PRODUCTS", 100)
    assert library.duplicates() == found
    vectors = np.random.default_rng(0).standard_normal((3000, 64), np.float32)
    vectors[::2] += vectors[1::2] * 2  # each is near to another
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = np.full(len(vectors), -1)
    for places, _, others in pairs._nearest(vectors, 1):
        assert (others == places[:, None]).any(axis=1).all()
        nearest[places] = np.where(others == places[:, None], -1, others).max(axis=1)
    assert (nearest == np.arange(3000) ^ 1).mean() > 0.9


def test_filters_say_what_is_compared(library: Library, edited_photos: Path) -> None:
    (group,) = library.duplicates(in_=edited_photos / str(SCENES[0])).same
    assert group.keep.path.parent.name == str(SCENES[0])
    assert not library.duplicates(min_width=100_000).photos


def test_json_has_all_of_a_group(found: Duplicates) -> None:
    group = found.same[0]
    fields = group.to_dict()
    assert fields["kind"] == "same"
    assert fields["keep"]["path"] == str(group.keep.path)
    paths = [one["path"] for one in fields["others"]]
    assert paths == sorted(paths)
    assert group.bytes_of_others == sum(one["size"] for one in fields["others"])


def test_photos_of_an_older_library_are_the_same_by_their_bytes_alone(
    edited_photos: Path, tmp_path: Path
) -> None:
    folder = edited_photos / str(SCENES[0])
    with Library(tmp_path) as library:
        library.index(folder, model="builtin")
    import sqlite3

    with sqlite3.connect(tmp_path / "catalog.sqlite") as catalog:
        catalog.execute("UPDATE photos SET perceptual_hash = NULL, facts = 0")
    with Library(tmp_path) as library:
        (group,) = (found := library.duplicates()).same
        assert {one.path.name for one in (group.keep, *group.others)} == {
            "original.jpg",
            "original (1).jpg",
        }
        assert found.incomplete == found.photos == len(EDITS) + 2
        library.index(folder)  # opens them again
        (group,) = (found := library.duplicates()).same
        assert len(group.others) >= len(EDITS)
        assert found.incomplete == 0


def test_results_show_each_photo_once_whatever_was_done_to_it(library: Library) -> None:
    from clipsearch.index.filters import Compare, Not, Or

    # Of a part that was cropped and a whole that was turned, only a third one tells.
    cut = Or(tuple(Compare("path", "has", word) for word in ("crop", "border", "brighter")))
    hits = library.query("a photo", k=100, fold=True, filters=Not(cut))
    shown = [hit.path.parent.name for hit in hits]
    assert len(shown) == len(SCENES) + len(OTHERS)
    assert set(shown) >= {str(number) for number in SCENES}


def test_what_is_folded_is_behind_what_shows_the_same(library: Library) -> None:
    hits = library.query("a photo", k=100, fold=True)
    every = [photo_id for hit in hits for photo_id in (hit.id, *hit.alike)]
    assert sorted(every) == sorted(hit.id for hit in library.query("a photo", k=100))
    for hit in hits:
        of_one = {library.photo(photo_id).file.path.parent for photo_id in hit.alike}
        assert of_one <= {hit.path.parent}


def test_the_first_of_those_that_are_the_same_stands_for_them(library: Library) -> None:
    ranked = library.query("a photo", k=100)
    rank_of = {hit.id: hit.rank for hit in ranked}
    for hit in library.query("a photo", k=100, fold=True):
        assert all(rank_of[hit.id] < rank_of[photo_id] for photo_id in hit.alike)


def test_pages_of_folded_results_have_neither_gaps_nor_repeats(library: Library) -> None:
    at_once = [hit.id for hit in library.query("a photo", k=100, fold=True)]
    pages: list[int] = []
    for _ in at_once:  # not without end where a page ignores its offset
        page = library.query("a photo", k=3, offset=len(pages), fold=True)
        pages += [hit.id for hit in page]
    assert pages == at_once


# Judged from numbers


def record(number: int, image: Image.Image, **said: object) -> PhotoRecord:
    metadata = PhotoMetadata(*image.size, "JPEG", perceptual_hash=perceptual_hash(image))
    moment = said.pop("moment", None)
    return PhotoRecord(
        id=number,
        file=FileState(Path(f"/photos/{number}.jpg"), 1000, 0),
        content_hash=str(number),
        metadata=replace(metadata, **said),
        indexed_at="",
        moment=moment,
        moment_from="photo" if moment else None,
    )


def picture(number: int, edit: str | None = None) -> Image.Image:
    with Image.open(io.BytesIO(small_photos()[number])) as image:
        whole = image.convert("RGB")
    return open_image(EDITS[edit](whole)).image if edit else whole


def looks(*photos: PhotoRecord, cosine: float = 0.9) -> Looks:
    """Return photos of which each two have this cosine, in a library where others have 0.2."""
    common = np.zeros((len(photos), len(photos) + 1), np.float32)
    common[:, 0] = cosine**0.5
    common[np.arange(len(photos)), 1 + np.arange(len(photos))] = (1 - cosine) ** 0.5
    return Looks.of(photos, common, 0.2)


def pair_is_same(one: PhotoRecord, other: PhotoRecord, cosine: float = 0.9) -> bool:
    return bool(same(looks(one, other, cosine=cosine), np.array([0]), np.array([1]))[0])


def test_a_part_is_the_same_only_if_the_embedding_agrees() -> None:
    whole, part = record(1, picture(3)), record(2, picture(3, "crop 10 %"))
    assert pair_is_same(whole, part)
    assert not pair_is_same(whole, part, cosine=0.4)


def test_a_part_of_other_proportions_is_another_photo() -> None:
    cropped = picture(3, "crop 10 %")
    squeezed = cropped.resize((cropped.width * 9 // 10, cropped.height))
    assert not pair_is_same(record(1, picture(3)), record(2, squeezed))


def test_a_turned_picture_is_the_same_whatever_the_embedding_says() -> None:
    assert pair_is_same(record(1, picture(3)), record(2, picture(3, "turned left")), cosine=0.0)


def test_a_camera_is_believed_that_two_were_taken_in_different_seconds() -> None:
    said = {"camera": "Pixel 7", "moment": "2023-07-14T18:22:05"}
    one, copy = record(1, picture(3), **said), record(2, picture(3, "webp"), **said)
    later = record(3, picture(3, "webp"), **said | {"moment": "2023-07-14T18:22:06"})
    elsewhere = record(4, picture(3, "webp"), camera="X100", moment="2023-07-14T18:22:06")
    silent = record(5, picture(3, "webp"))
    assert pair_is_same(one, copy)
    assert not pair_is_same(one, later)
    assert pair_is_same(one, elsewhere)
    assert pair_is_same(one, silent)


def test_frames_of_one_second_are_not_the_same() -> None:
    said = {"camera": "Pixel 7", "moment": "2023-07-14T18:22:05"}
    frame = picture(3)
    moved = frame.transform(
        frame.size, Image.Transform.AFFINE, (1, 0, 2, 0, 1, 1), fillcolor="grey"
    )
    assert pair_is_same(record(1, frame), record(2, moved))  # for all that is known of them
    assert not pair_is_same(record(1, frame, **said), record(2, moved, **said))


def test_a_burst_is_of_one_camera_one_scene_and_few_seconds() -> None:
    camera = {"camera": "Pixel 7"}
    first = record(1, picture(3), moment="2023-07-14T18:22:05", **camera)
    soon = record(2, picture(20), moment="2023-07-14T18:22:08", **camera)
    later = record(3, picture(20), moment="2023-07-14T18:22:09", **camera)
    of_another = record(4, picture(20), camera="X100", moment="2023-07-14T18:22:05")
    of_none = record(5, picture(20), moment="2023-07-14T18:22:05")
    a_day = record(6, picture(20), moment="2023-07-14", **camera)

    def together(one: PhotoRecord, other: PhotoRecord, cosine: float = 0.9) -> bool:
        two = looks(one, other, cosine=cosine)
        return bool(of_one_burst(two, np.array([0]), np.array([1]))[0])

    assert together(first, soon)
    assert not together(first, soon, cosine=0.5)
    for other in (later, of_another, of_none, a_day):
        assert not together(first, other), other.id


def test_pictures_of_one_colour_are_the_same_by_their_bytes_alone() -> None:
    white, black = (Image.new("RGB", (90, 60), colour) for colour in ("white", "black"))
    one, other = record(1, white), record(2, black)
    assert not pair_is_same(one, other)
    assert pair_is_same(one, replace(other, content_hash="1"))


def test_the_base_is_the_cosine_of_any_two() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 64)).astype(np.float32) + 1.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert base_of(vectors) == pytest.approx(0.5, abs=0.05)
    assert base_of(np.ones((5, 1), np.float32)) == 0.6  # nothing but copies
    assert base_of(vectors[:1]) == 0.0


def test_few_photos_are_paired_as_many_are() -> None:
    """What folds a page of results finds the pairs that a search through the library finds."""
    rows = [record(n, picture(n)) for n in (3, 20, 33)]
    rows += [record(100 + n, picture(3, edit)) for n, edit in enumerate(EDITS)]
    few = looks(*rows)

    there = Pairs.joined(by_content(few), by_embedding(few)[0], by_shape(few))
    for likely in (there, all_pairs(few)):
        judged = same(few, *likely)
        (group,) = connected(likely.ones[judged], likely.others[judged])
        assert set(range(3, len(rows))) | {0} >= set(group)
        assert len(group) >= len(EDITS)


def test_pairs_become_groups() -> None:
    ones, others = np.array([5, 1, 2, 8]), np.array([1, 9, 3, 9])
    assert connected(ones, others) == [[1, 5, 8, 9], [2, 3]]
    assert connected(ones[:0], others[:0]) == []


def test_the_examples_are_all_there() -> None:
    assert len(example_files()) == len(small_photos()) > max(SCENES + OTHERS)
