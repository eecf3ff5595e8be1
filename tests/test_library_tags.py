"""Labels, tags and tags of one's own, by the built-in model on the example photos."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import EXAMPLES

from clipsearch import InvalidInput, Library, LibraryReadOnly, check_library
from clipsearch.index.tags import Tagged
from clipsearch.models.prompts import imagenet_templates
from clipsearch.upkeep import backup_library, restore_library

DOGS = ["german-shepherd", "two-dogs-at-window"]


@pytest.fixture(scope="module")
def album(tmp_path_factory) -> Path:
    """Return a folder with `photos` and a library of them."""
    place = tmp_path_factory.mktemp("album")
    for part in ("animals", "food"):
        shutil.copytree(EXAMPLES / part, place / "photos" / part)
    with Library(place / "library") as library:
        library.index(place / "photos", model="builtin")
    return place


@pytest.fixture
def place(album: Path, tmp_path: Path) -> Path:
    """Return a copy of its library beside the same photos."""
    shutil.copytree(album / "library", tmp_path / "library")
    (tmp_path / "photos").symlink_to(album / "photos")
    return tmp_path


def stems(hits) -> set[str]:
    return {hit.path.stem for hit in hits}


def tagged(library: Library, tag: str) -> set[str]:
    """Return what has a tag, as the filters find it by SQL, and by columns for many questions."""
    listed = stems(library.list(tag=tag, k=99))
    first = library.query_batch(["a photo", "another"], tag=tag, k=99)[0]
    assert stems(first) == listed
    alone = library.query("a photo", tag=tag, k=99)
    assert stems(alone) == listed
    assert all(tag in hit.tags for hit in [*first, *alone])
    return listed


# classify


def test_probabilities_are_the_softmax_of_the_models_scale_over_prompts(place: Path) -> None:
    photo = EXAMPLES / "animals" / "tabby-cat-face.jpg"
    labels = ["dog", "cat", "bowl of fruit"]
    with Library(place / "library", read_only=True) as library:
        (found,) = library.classify(photo, labels)
        (picture,) = library.encode_images(photo).astype(np.float64)
        means = [
            library.encode_text([template(label) for template in imagenet_templates()]).mean(axis=0)
            for label in labels
        ]
        scale = library._models.text_encoder_of(library._current_model()).logit_scale
    texts = np.stack([mean / np.linalg.norm(mean) for mean in means])
    weights = np.exp(scale * texts @ picture)
    expected = dict(zip(labels, weights / weights.sum(), strict=True))
    assert found.labels == tuple(sorted(labels, key=expected.__getitem__, reverse=True))
    assert found.probabilities == pytest.approx([expected[one] for one in found.labels], abs=1e-4)
    assert found.labels[0] == "cat" and sum(found.probabilities) == pytest.approx(1, abs=1e-5)


def test_a_picture_that_cant_be_read_stops_no_other(place: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    cow = EXAMPLES / "animals" / "cow-on-meadow.jpg"
    with Library(place / "library", read_only=True) as library:
        found = library.classify(
            [broken, cow, tmp_path / "none.jpg", cow.read_bytes()], ["cow", "car"]
        )
    assert [one.picture for one in found] == [
        *map(str, (broken, cow, tmp_path / "none.jpg")),
        "picture 4",
    ]
    assert [one.error is None for one in found] == [False, True, False, True]
    assert found[1].labels[0] == found[3].labels[0] == "cow"
    assert found[0].labels == () and "none.jpg" in found[2].error


@pytest.mark.parametrize("labels", [[], ["cat"], "cat", ["cat", " cat "], ["cat", 3]])
def test_labels_that_are_none_are_refused(place: Path, labels) -> None:
    with Library(place / "library", read_only=True) as library, pytest.raises(InvalidInput):
        library.classify(EXAMPLES / "animals" / "sheep.jpg", labels)


# tag


def test_of_few_words_photos_get_those_alone_that_they_show(place: Path) -> None:
    with Library(place / "library") as library:
        library.tag(["guitar", "airplane"])  # each photo is more like one of them
        assert (
            stems(library.list(tag="guitar", k=99)) | stems(library.list(tag="airplane", k=99))
            == set()
        )
        library.tag(["cat", "guitar"])
        found = tagged(library, "cat")
        assert {"tabby-cat-face", "kitten-with-yarn"} <= found
        assert len(found) < 8  # of 23
        assert stems(library.list(tag="guitar", k=99)) == set()


def test_words_that_hold_for_photos_are_found_by_filters(place: Path) -> None:
    with Library(place / "library") as library:
        tags = {tag.name: tag for tag in library.tag()}
        assert len(tags) == 1818 and tags["animal"].kind == "word"
        assert {"german-shepherd"} <= tagged(library, "dog") <= {*DOGS}
        animals = tagged(library, "animal")
        assert len(animals) == tags["animal"].photos > 10
        assert tagged(library, "dog") <= animals
        assert animals <= {path.stem for path in (EXAMPLES / "animals").iterdir()}
        assert tagged(library, "ANIMAL".lower()) == stems(library.list(tag="Animal", k=99))
        again = {tag.name: tag.photos for tag in library.tag()}
    assert again == {name: tag.photos for name, tag in tags.items()}


def test_own_words_take_the_place_of_others_and_off_forgets_them(place: Path) -> None:
    words = place / "words.txt"
    words.write_text("cow < cattle\ncar\npizza\n")
    with Library(place / "library") as library:
        library.tag(["animal", "food"])
        assert stems(library.list(tag="animal", k=99)) != set()
        assert {tag.name for tag in library.tag(words)} == {"cow", "cattle", "car", "pizza"}
        assert "cow-on-meadow" in tagged(library, "cow") & tagged(library, "cattle")
        assert stems(library.list(tag="animal", k=99)) == set()
        assert {tag.name for tag in library.tag(["cow", "dog"])} == {"cow", "dog"}
        assert library.tag(off=True) == []
        assert stems(library.list(tag="cow", k=99)) == set()
        with pytest.raises(InvalidInput):
            library.tag(words, off=True)
        with pytest.raises(InvalidInput):
            library.tag(["bell\x07"])
        with pytest.raises(InvalidInput, match="3 is no word"):
            library.tag(3)  # type: ignore[arg-type]
    with Library(place / "library", read_only=True) as library, pytest.raises(LibraryReadOnly):
        library.tag()


def test_index_tags_what_is_new_and_what_has_other_content(place: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    with Library(place / "library") as library:
        library.tag(["cow", "cat", "food"])
        shutil.copyfile(EXAMPLES / "animals" / "cow-on-meadow.jpg", new / "one.jpg")
        library.index(new)
        assert "one" in tagged(library, "cow")
        shutil.copyfile(EXAMPLES / "animals" / "tabby-cat-face.jpg", new / "one.jpg")
        library.index(new)
        assert "one" in tagged(library, "cat") and "one" not in tagged(library, "cow")
        (new / "one.jpg").rename(new / "two.jpg")
        library.index(new)
        assert "two" in tagged(library, "cat") and "one" not in tagged(library, "cat")
        library.remove(new)
        assert "two" not in tagged(library, "cat")
    assert check_library(place / "library").ok


@pytest.mark.slow  # it loads torch
def test_another_model_tags_anew(place: Path, tiny_model_folder: Path) -> None:
    with Library(place / "library") as library:
        library.tag(["cow", "cat", "food"])
        library.teach("Bessie", EXAMPLES / "animals" / "cow-on-meadow.jpg")
        before = {tag.name: tag.photos for tag in library.tags()}
        library.index(model=str(tiny_model_folder))
        rows = _rows(place, "SELECT DISTINCT model_id FROM tag_vectors")
        assert len(rows) == 2
        assert tagged(library, "Bessie") >= {"cow-on-meadow"}  # a person said so
        library.index(model="builtin")
        assert {tag.name: tag.photos for tag in library.tags()} == before


# teach


def test_what_is_likely_is_shown_until_a_person_says_so(place: Path, tmp_path: Path) -> None:
    dog = place / "photos" / "animals" / "german-shepherd.jpg"
    (tmp_path / "more").mkdir()
    with Image.open(dog) as picture:
        for number in range(3):
            cut = 20 * (number + 1)
            box = (cut, 0, picture.width, picture.height - cut)
            picture.crop(box).save(tmp_path / "more" / f"rex-{number}.jpg")
    with Library(place / "library") as library:
        library.index(tmp_path / "more")
        library.teach("Rex", dog)
        likely = library.likely("REX")
        assert {"rex-0", "rex-1", "rex-2"} <= stems(likely) == tagged(library, "Rex") - {dog.stem}
        scores = [hit.score for hit in likely]
        assert scores == sorted(scores, reverse=True)
        assert all(0.5 <= score <= 1 for score in scores)
        first, second = likely[0].path, likely[1].path
        library.teach("Rex", first)  # learned anew, for all photos, the last among them
        assert {"rex-0", "rex-1", "rex-2"} - {first.stem} <= stems(library.likely("Rex"))
        library.teach("Rex", others=second)
        assert not {first.stem, second.stem} & stems(library.likely("Rex"))
        library.tag(["dog"])
        for name in ("dog", "Rexx"):
            with pytest.raises(InvalidInput):
                library.likely(name)


def test_a_taught_tag_is_likely_confirmed_and_refused(place: Path) -> None:
    photos = place / "photos" / "animals"
    with Library(place / "library") as library:
        tag = library.teach("Rex", photos / "german-shepherd.jpg")
        assert (tag.kind, tag.yes, tag.no, tag.said) == ("taught", 1, 0, 1)
        assert tagged(library, "Rex") >= {"german-shepherd"}
        library.teach("rex", photos / "two-dogs-at-window.jpg", others=photos / "sheep.jpg")
        assert [(one.name, one.yes, one.no) for one in library.tags()] == [("Rex", 2, 1)]
        assert tagged(library, "Rex") >= {*DOGS} and "sheep" not in tagged(library, "Rex")
        assert library.list(tag="Rex", k=1)[0].tags == ("Rex",)
        library.teach("Rex", others=photos / "two-dogs-at-window.jpg")
        assert "two-dogs-at-window" not in tagged(library, "Rex")
        library.index()
        library.tag(["dog"])
        assert "two-dogs-at-window" not in tagged(library, "Rex")
        with pytest.raises(InvalidInput, match="no example left"):
            library.teach("Rex", others=photos / "german-shepherd.jpg")
        assert "german-shepherd" in tagged(library, "Rex")
        assert library.forget_tag("REX").name == "Rex"
        assert [one.name for one in library.tags()] == ["dog"]
        with pytest.raises(InvalidInput, match="was not taught"):
            library.forget_tag("dog")
        with pytest.raises(InvalidInput, match="no tag"):
            library.forget_tag("Rex")


def test_what_a_person_said_stands_whatever_the_model_says(place: Path) -> None:
    photos = place / "photos" / "animals"
    with Library(place / "library") as library:
        library.teach("Rex", photos / "sheep.jpg", others=photos / "giraffes.jpg")
        tables = library._tagger().tables
        (row,) = tables.rows()
        everything = [Tagged(row.id, hit.id, 0.9) for hit in library.list(k=99)]
        with library._writing():
            tables.put(everything)
        assert "giraffes" not in tagged(library, "Rex")
        assert len(tagged(library, "Rex")) == len(everything) - 1
        assert library.tags()[0].said == 1
        with library._writing():
            tables.start_anew(None)
        assert tagged(library, "Rex") == {"sheep"}


def test_examples_may_lie_outside_and_are_known_by_content(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    shutil.copyfile(EXAMPLES / "animals" / "horses-on-hill.jpg", outside)
    with Library(place / "library") as library:
        library.teach("Bella", [outside, (EXAMPLES / "animals" / "sheep.jpg").read_bytes()])
        assert tagged(library, "Bella") >= {"horses-on-hill", "sheep"}  # the same content
        outside.unlink()
        new = tmp_path / "new"
        new.mkdir()
        shutil.copyfile(EXAMPLES / "animals" / "sheep.jpg", new / "again.jpg")
        library.index(new)
        assert "again" in tagged(library, "Bella")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, 7])
def test_what_is_no_name_is_refused(place: Path, name) -> None:
    with Library(place / "library") as library, pytest.raises(InvalidInput):
        library.teach(name, EXAMPLES / "animals" / "sheep.jpg")


def test_pictures_that_teach_nothing_are_refused(place: Path) -> None:
    sheep = EXAMPLES / "animals" / "sheep.jpg"
    with Library(place / "library") as library:
        for pictures, others in (((), ()), (sheep, sheep), ((), sheep)):
            with pytest.raises(InvalidInput):
                library.teach("Rex", pictures, others=others)
        with pytest.raises(InvalidInput, match="as a file"):
            library.teach("Rex", np.zeros((8, 8, 3), np.uint8))
        assert library.tags() == []


# upkeep


def test_a_backup_and_a_salvaged_library_keep_what_was_taught(place: Path, tmp_path: Path) -> None:
    photo = EXAMPLES / "animals" / "german-shepherd.jpg"
    with Library(place / "library") as library:
        library.tag(["dog", "food"])
        library.teach("Rex", photo)
        before = {tag.name: tag.photos for tag in library.tags()}
    backup_library(place / "library", tmp_path / "kept.backup")
    restore_library(tmp_path / "kept.backup", tmp_path / "restored")
    with Library(tmp_path / "restored") as library:
        assert {tag.name: tag.photos for tag in library.tags()} == before
    catalog = tmp_path / "restored" / "catalog.sqlite"
    with catalog.open("r+b") as file:  # so that all is read anew, row by row
        file.write(b"\0" * 100)
    check_library(tmp_path / "restored", repair=True)
    with Library(tmp_path / "restored") as library:
        library.index()
        assert {tag.name: tag.photos for tag in library.tags()} == before
    assert check_library(tmp_path / "restored").ok


def test_tags_of_rows_that_are_not_there_are_found_and_mended(place: Path) -> None:
    with Library(place / "library") as library:
        library.tag(["dog", "food"])
    catalog = sqlite3.connect(place / "library" / "catalog.sqlite", isolation_level=None)
    catalog.execute("INSERT INTO photo_tags VALUES (77, 1, 1, 'model')")
    catalog.close()
    assert not check_library(place / "library").ok
    assert check_library(place / "library", repair=True).ok


def _rows(place: Path, sql: str) -> list[tuple[object, ...]]:
    catalog = sqlite3.connect(place / "library" / "catalog.sqlite")
    try:
        return catalog.execute(sql).fetchall()
    finally:
        catalog.close()
