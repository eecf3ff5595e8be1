"""A library of real photos, through the Python API: index, update, query, similar, remove."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from small_library import copy_library, make_small_library

from clipsearch import (
    IndexOptions,
    IndexReport,
    InvalidInput,
    Library,
    LibraryClosed,
    LibraryNotFound,
    ModelError,
    UnknownModel,
    UnreadableImage,
)
from clipsearch.index.paths import to_text
from clipsearch.indexing import run
from clipsearch.photos.decoder_pool import DecoderPool


@pytest.fixture(scope="module")
def six(
    tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path], tiny_model_folder: Path
) -> Path:
    """Return a folder with six photos and their library; don't change it."""
    place = tmp_path_factory.mktemp("six")
    return make_small_library(place, sample_photos, tiny_model_folder, count=6)


@pytest.fixture
def photos(tmp_path: Path, six: Path) -> Path:
    """Return a folder of six photos, two of them in a sub-folder, that a test may change."""
    return Path(shutil.copytree(six / "photos", tmp_path / "photos"))


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library(tmp_path / "library", device="cpu") as library:
        yield library


@pytest.fixture
def indexed(tmp_path: Path, six: Path, photos: Path, tiny_model_used: None) -> Iterator[Library]:
    """Return a library of these photos, as another process made it."""
    copy_library(six, tmp_path)
    with Library(tmp_path / "library", device="cpu") as library:
        yield library


def counts(report: IndexReport) -> dict[str, int]:
    """Return what happened in a run, without zeros."""
    names = ("added", "changed", "moved", "copied", "removed", "unchanged", "failed", "embedded")
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def paths_found(library: Library) -> set[Path]:
    return {hit.path for hit in library.query("anything at all", k=100)}


def embedding_at(library: Library, path: Path) -> np.ndarray:
    """Return the embedding that the catalog keeps for a path."""
    catalog, row = library._store.catalog, library.info().model
    return library._store.vectors(row.id, [catalog.photo_at(path).id])[0]


# updating


def test_an_unchanged_folder_is_not_opened_again(indexed, monkeypatch):
    opened = []
    monkeypatch.setattr(run, "read_file", lambda item: opened.append(item))
    assert counts(indexed.index()) == {"unchanged": 6}
    assert opened == []


def test_updates_share_the_processes_that_decode(indexed, photos, sample_photos):
    def pool() -> DecoderPool | None:
        kept = indexed._indexer and indexed._indexer._decoders
        return next(iter(kept._pools.values()), None) if kept else None

    def update(number: int) -> tuple[set[object], set[object]]:
        """Return the processes before and after one more photo."""
        before = set(pool()._processes) if pool() else set()
        shutil.copyfile(sample_photos[number], photos / "one-more.jpg")
        assert indexed.update([photos / "one-more.jpg"]).embedded == 1
        return before, set(pool()._processes)

    none, first = update(6)
    assert none == set()
    assert update(7) == (first, first)
    for process in first:
        process.kill()
    died, others = update(8)
    assert not died & others
    last = pool()
    indexed.close()
    assert not last._processes


def test_a_touched_photo_is_not_embedded_again(indexed, photos):
    os.utime(photos / "photo-0.jpg", ns=(1, 1))
    assert counts(indexed.index()) == {"unchanged": 6}
    assert indexed._store.catalog.photo_at(photos / "photo-0.jpg").file.mtime_ns == 1


def test_a_moved_photo_keeps_its_embedding(indexed, photos):
    before = embedding_at(indexed, photos / "photo-0.jpg")
    (photos / "photo-0.jpg").rename(photos / "trip" / "renamed.jpg")
    assert counts(indexed.index()) == {"moved": 1, "unchanged": 5}
    assert np.array_equal(embedding_at(indexed, photos / "trip" / "renamed.jpg"), before)
    assert photos / "photo-0.jpg" not in paths_found(indexed)


def test_a_moved_folder_keeps_its_embeddings(indexed, photos):
    (photos / "trip").rename(photos / "voyage")
    assert counts(indexed.index()) == {"moved": 2, "unchanged": 4}


def test_a_copied_photo_takes_over_the_embedding(indexed, photos):
    shutil.copyfile(photos / "photo-0.jpg", photos / "copy.jpg")
    assert counts(indexed.index()) == {"added": 1, "copied": 1, "unchanged": 6}
    assert {photos / "copy.jpg", photos / "photo-0.jpg"} <= paths_found(indexed)


def test_equal_photos_of_one_run_are_embedded_once(library, photos, tiny_model_folder):
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile(photos / "photo-0.jpg", photos / name)
    report = library.index([photos], model=str(tiny_model_folder))
    assert counts(report) == {"added": 8, "copied": 2, "embedded": 6}
    assert len(paths_found(library)) == 8


def test_an_edited_photo_is_embedded_again(indexed, photos, sample_photos):
    shutil.copyfile(sample_photos[7], photos / "photo-0.jpg")
    assert counts(indexed.index()) == {"changed": 1, "embedded": 1, "unchanged": 5}
    best = indexed.query(sample_photos[7], k=1)[0]
    assert best.path == photos / "photo-0.jpg"
    assert best.score == pytest.approx(1, abs=1e-3)


def test_two_photos_that_swap_names_swap_embeddings(indexed, photos):
    one, two = photos / "photo-0.jpg", photos / "photo-1.jpg"
    before = embedding_at(indexed, one), embedding_at(indexed, two)
    one.rename(photos / "aside"), two.rename(one), (photos / "aside").rename(two)
    os.utime(one), os.utime(two)
    report = indexed.index()
    assert report.embedded == 0
    assert np.array_equal(embedding_at(indexed, two), before[0])
    assert np.array_equal(embedding_at(indexed, one), before[1])


def test_a_photo_renamed_over_another_replaces_it(indexed, photos):
    before = embedding_at(indexed, photos / "photo-0.jpg")
    (photos / "photo-0.jpg").replace(photos / "photo-1.jpg")
    report = indexed.index()
    assert counts(report) == {"moved": 1, "unchanged": 4}
    assert np.array_equal(embedding_at(indexed, photos / "photo-1.jpg"), before)
    assert len(paths_found(indexed)) == 5


def test_a_deleted_photo_leaves_the_results_and_is_found_again_when_back(indexed, photos, tmp_path):
    shutil.move(photos / "photo-0.jpg", tmp_path / "elsewhere.jpg")
    assert counts(indexed.index()) == {"removed": 1, "unchanged": 5}
    assert photos / "photo-0.jpg" not in paths_found(indexed)
    shutil.move(tmp_path / "elsewhere.jpg", photos / "photo-0.jpg")
    assert counts(indexed.index()) == {"added": 1, "embedded": 1, "unchanged": 5}
    assert photos / "photo-0.jpg" in paths_found(indexed)


def test_a_folder_that_is_away_keeps_its_photos(indexed, photos, tmp_path):
    photos.rename(tmp_path / "unmounted")
    report = indexed.index()
    assert counts(report) == {}
    assert "not there" in report.problems[0].reason
    photos.mkdir()  # an empty mount point
    report = indexed.index()
    assert counts(report) == {}
    assert "empty" in report.problems[0].reason
    photos.rmdir()
    (tmp_path / "unmounted").rename(photos)
    assert counts(indexed.index()) == {"unchanged": 6}
    assert len(paths_found(indexed)) == 6


def test_adding_a_sub_folder_of_a_known_one_updates_only_that(indexed, photos):
    (photos / "photo-0.jpg").unlink()
    assert counts(indexed.index([photos / "trip"])) == {"unchanged": 2}
    assert [folder.path for folder in indexed.info().folders] == [photos]


def test_adding_the_parent_replaces_the_sub_folder(library, photos, tiny_model_folder):
    library.index([photos / "trip"], model=str(tiny_model_folder))
    assert counts(library.index([photos])) == {"added": 4, "embedded": 4, "unchanged": 2}
    assert [folder.path for folder in library.info().folders] == [photos]


def test_a_single_file_is_added_and_updated(library, photos, tiny_model_folder, sample_photos):
    file = photos / "photo-0.jpg"
    assert library.index([file], model=str(tiny_model_folder)).added == 1
    shutil.copyfile(sample_photos[7], file)
    assert counts(library.index()) == {"changed": 1, "embedded": 1}


# broken files and interrupted runs


def test_a_broken_photo_is_recorded_and_not_tried_again_until_it_changes(
    indexed, photos, sample_photos
):
    broken = photos / "broken.jpg"
    whole = sample_photos[7].read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    first = indexed.index()
    assert counts(first) == {"failed": 1, "unchanged": 6}
    assert "truncated" in first.failures[0].reason
    again = indexed.index()
    assert (again.failed, again.known_failures) == (0, 1)
    assert [failure.file.path for failure in indexed.failures()] == [broken]
    assert indexed.index(options=IndexOptions(retry_failed=True)).failed == 1
    broken.write_bytes(whole)
    assert counts(indexed.index()) == {"added": 1, "embedded": 1, "unchanged": 6}
    assert indexed.failures() == []


def test_a_photo_that_breaks_keeps_what_was_indexed(indexed, photos):
    (photos / "photo-0.jpg").write_bytes(b"")
    report = indexed.index()
    assert "empty" in report.failures[0].reason
    assert photos / "photo-0.jpg" in paths_found(indexed)


def test_a_broken_file_that_is_deleted_is_forgotten(indexed, photos):
    (photos / "broken.jpg").write_text("no picture")
    assert indexed.index().failed == 1
    (photos / "broken.jpg").unlink()
    indexed.index()
    assert indexed.failures() == []


def test_a_picture_over_the_pixel_limit_is_refused(indexed, photos):
    PIL.Image.new("RGB", (2000, 1500)).save(photos / "wide.png")
    report = indexed.index(options=IndexOptions(max_megapixels=1))
    assert "megapixel" in report.failures[0].reason


def test_copies_of_a_broken_file_all_fail(indexed, photos):
    for name in ("x.jpg", "y.jpg"):
        (photos / name).write_bytes(b"\xff\xd8 not much of a picture")
    report = indexed.index()
    assert {failure.path.name for failure in report.failures} == {"x.jpg", "y.jpg"}


def test_an_interrupted_run_keeps_its_finished_batches(library, photos, tiny_model_folder):
    def interrupt(progress):
        if progress.phase == "encoding" and progress.done == 4:
            raise KeyboardInterrupt

    options = IndexOptions(batch_size=2)
    model = str(tiny_model_folder)
    report = library.index([photos], model=model, options=options, progress=interrupt)
    assert report.interrupted
    done = report.embedded
    assert done >= 4
    assert len(paths_found(library)) == done
    rest = library.index()
    assert (rest.embedded, rest.unchanged) == (6 - done, done)


def test_a_failing_model_loses_nothing(indexed, photos, sample_photos, monkeypatch):
    def fail(self, batch):
        raise ModelError("out of memory")

    shutil.copyfile(sample_photos[7], photos / "photo-0.jpg")
    shutil.copyfile(sample_photos[8], photos / "new.jpg")
    with monkeypatch.context() as patch:
        patch.setattr("clipsearch.models.image.encoder.ImageEncoder.encode_pixels", fail)
        with pytest.raises(ModelError):
            indexed.index()
    assert len(paths_found(indexed)) == 6
    report = indexed.index()
    assert (report.added, report.changed) == (1, 1)


@pytest.mark.parametrize(
    "name",
    [
        b"with\nnewline.jpg",
        b"quote'\"`$(x).jpg",
        b"not-utf8-\xff\xfe.jpg",
        ("ü" * 120).encode() + b".jpg",
        "\uef80private.jpg".encode(),
        b" leading space.jpg",
        b"-dash.jpg",
    ],
)
def test_odd_names_are_indexed_and_found(indexed, photos, sample_photos, name):
    path = Path(os.fsdecode(os.fsencode(photos) + b"/" + name))
    path.write_bytes(sample_photos[7].read_bytes())
    assert indexed.index().added == 1
    hit = indexed.query(path, k=1)[0]
    assert hit.path == path
    assert hit.path.exists()
    hit.to_dict()["path"].encode()  # plain UTF-8
    assert counts(indexed.index()) == {"unchanged": 7}


# searching


def test_search_equals_brute_force(indexed, photos, sample_photos):
    rows = {hit.path: embedding_at(indexed, hit.path) for hit in indexed.query("x", k=100)}
    queries = indexed.encode_images([sample_photos[9], sample_photos[10]])
    exact = queries @ np.stack(list(rows.values())).T
    scores, ids = indexed.search_vectors(queries, k=4)
    assert scores.dtype == np.float32
    assert ids.dtype == np.int64
    order = np.argsort(-exact, axis=1)[:, :4]
    paths = list(rows)
    for query in range(2):
        found = indexed._store.catalog.photos(ids[query].tolist())
        assert [found[i].file.path for i in ids[query]] == [paths[j] for j in order[query]]
        np.testing.assert_allclose(scores[query], exact[query][order[query]], atol=1e-5)


def test_search_vectors_pads_what_is_not_there(indexed):
    scores, ids = indexed.search_vectors(indexed.encode_text(["a dog"]), k=10)
    assert ids.shape == (1, 10)
    assert (ids[0, 6:] == -1).all()
    assert np.isneginf(scores[0, 6:]).all()


def test_a_photo_finds_itself_however_it_is_given(indexed, photos):
    path = photos / "photo-2.jpg"
    image = PIL.Image.open(path).convert("RGB")
    for query in (path, path.read_bytes(), image, np.asarray(image)):
        hit = indexed.query(query, k=1)[0]
        assert hit.path == path
        assert hit.score == pytest.approx(1, abs=2e-3)


def test_a_batch_of_queries_answers_like_single_ones(indexed, photos, sample_photos):
    queries = ["a dog", photos / "photo-1.jpg", "two people", sample_photos[9]]
    batch = indexed.query_batch(queries, k=3)
    for query, hits in zip(queries, batch, strict=True):
        single = indexed.query(query, k=3)
        assert [hit.path for hit in hits] == [hit.path for hit in single]
        assert [hit.rank for hit in hits] == [1, 2, 3]
        np.testing.assert_allclose(
            [hit.score for hit in hits], [hit.score for hit in single], atol=1e-4
        )


@pytest.mark.parametrize("at_once", [7, 4096])
def test_many_texts_find_what_each_finds_alone(indexed, at_once, monkeypatch):
    """To the last bit of each score, whatever stands beside it."""
    monkeypatch.setattr("clipsearch.searching.search.BATCH", at_once)
    words = ("dog", "a", "red", "people on the beach", "snow", "at night", "two")
    texts = [" ".join(words[: 1 + i % 7]) + " x" * (i % 5) for i in range(30)]
    for options in ({"k": 3}, {"k": 100, "min_score": 0.0}):
        assert indexed.query_batch(texts, **options) == [indexed.query(t, **options) for t in texts]
    vectors = indexed.encode_text(texts)
    scores, ids = indexed.search_vectors(vectors, k=4)
    alone = [indexed.search_vectors(vector[None], k=4) for vector in vectors]
    np.testing.assert_array_equal(scores, np.concatenate([one for one, _ in alone]))
    np.testing.assert_array_equal(ids, np.concatenate([one for _, one in alone]))


def test_embeddings_have_unit_length(indexed, sample_photos):
    for vectors in (
        indexed.encode_text(["a", "b c"]),
        indexed.encode_images(sample_photos[6:9]),
    ):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_similar_leaves_the_picture_and_its_copies_out(indexed, photos):
    picture = photos / "photo-3.jpg"
    shutil.copyfile(picture, photos / "copy.jpg")
    indexed.index()
    hits = indexed.similar(picture, k=100)
    assert {hit.path for hit in hits} == paths_found(indexed) - {picture, photos / "copy.jpg"}
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert len(indexed.similar(str(picture), k=2)) == 2


def test_min_score_keeps_only_better_hits(indexed, photos):
    hits = indexed.query(photos / "photo-0.jpg", k=6, min_score=0.999)
    assert photos / "photo-0.jpg" in {hit.path for hit in hits}
    assert indexed.query("x", min_score=1) == []


def test_a_hit_carries_the_catalog_fields(indexed, photos):
    hit = indexed.query(photos / "photo-0.jpg", k=1)[0]
    with PIL.Image.open(hit.path) as image:
        assert (hit.width, hit.height, hit.format) == (*image.size, "JPEG")
    assert hit.size == hit.path.stat().st_size
    assert hit.to_dict()["path"] == to_text(hit.path)


@pytest.mark.parametrize(
    "query",
    [
        "  ",
        Path("no-such-file.jpg"),
        b"no picture",
        np.zeros((3, 4), np.uint8),
        np.zeros((2, 2, 3)),
    ],
    ids=["blank", "missing file", "bytes", "flat array", "float array"],
)
def test_a_query_that_can_not_be_used_is_refused(indexed, query):
    with pytest.raises(InvalidInput):
        indexed.query(query)


def test_a_picture_that_can_not_be_read_is_told_apart(indexed):
    with pytest.raises(UnreadableImage):
        indexed.query(b"no picture")


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(indexed, k):
    with pytest.raises(InvalidInput):
        indexed.query("a dog", k=k)


def test_an_empty_library_says_how_to_fill_it(library):
    with pytest.raises(LibraryNotFound, match="clipsearch index"):
        library.query("a dog")


def test_a_missing_library_is_not_made_for_a_query(tmp_path):
    with pytest.raises(LibraryNotFound):
        Library(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_a_path_that_is_not_there_is_refused(library, tmp_path):
    with pytest.raises(InvalidInput, match="does not exist"):
        library.index([tmp_path / "nothing"])


def test_an_unknown_model_is_refused_with_the_choices(library, photos):
    with pytest.raises(UnknownModel, match="builtin"):
        library.index([photos], model="bulitin")


# models


def test_another_model_embeds_beside_and_takes_over_when_complete(
    indexed, photos, other_model_folder, tiny_model_folder
):
    before = indexed.info().model
    (photos / "photo-0.jpg").rename(photos / "moved.jpg")
    report = indexed.index([photos / "trip"], model=str(other_model_folder))
    assert report.embedded == 6  # every folder known, not only the one given
    after = indexed.info().model
    assert after.identity.fingerprint != before.identity.fingerprint
    assert [row.photos for row in indexed.info().models] == [6, 6]
    assert len(paths_found(indexed)) == 6
    back = indexed.index(model=str(tiny_model_folder))
    assert counts(back) == {"unchanged": 6}
    assert indexed.info().model == before


def test_queries_use_the_old_model_until_the_new_one_is_complete(indexed, other_model_folder):
    def interrupt(progress):
        if progress.phase == "encoding" and progress.done == 2:
            raise KeyboardInterrupt

    before = indexed.info().model
    options = IndexOptions(batch_size=1)
    indexed.index(model=str(other_model_folder), options=options, progress=interrupt)
    assert indexed.info().model == before
    assert len(paths_found(indexed)) == 6


def test_an_edited_photo_loses_its_embeddings_of_other_models(
    indexed, photos, other_model_folder, tiny_model_folder, sample_photos
):
    indexed.index(model=str(other_model_folder))
    shutil.copyfile(sample_photos[7], photos / "photo-0.jpg")
    indexed.index()
    assert sorted(row.photos for row in indexed.info().models) == [5, 6]
    assert indexed.index(model=str(tiny_model_folder)).embedded == 1


def test_new_weights_under_an_old_name_are_not_mixed(
    library, photos, tiny_model_folder, other_model_folder, tmp_path, sample_photos
):
    model = tmp_path / "model"
    shutil.copytree(tiny_model_folder, model)
    library.index([photos], model=str(model))
    shutil.rmtree(model)
    shutil.copytree(other_model_folder, model)
    library.close()
    with Library(library.folder, device="cpu") as library:
        shutil.copyfile(sample_photos[7], photos / "new.jpg")
        with pytest.raises(ModelError, match="weights"):
            library.index()
        assert len(paths_found(library)) == 6
        assert library.index(model=str(model)).embedded == 7


def test_a_query_by_a_model_that_was_not_used_is_refused(indexed):
    with pytest.raises(ModelError, match="was not indexed with"):
        indexed.query("a dog", model="builtin")


# forgetting


def test_forgotten_photos_leave_the_results_and_the_files_stay(indexed, photos):
    assert indexed.remove([photos / "photo-0.jpg"]) == 1
    assert indexed.remove([photos / "trip"]) == 2
    assert len(paths_found(indexed)) == 3
    assert (photos / "photo-0.jpg").exists()
    with pytest.raises(InvalidInput, match="left out already"):
        indexed.remove([photos / "photo-0.jpg"])
    with pytest.raises(InvalidInput, match=r"not in the library.*; did you mean .*photo-1.jpg"):
        indexed.remove([photos / "foto-1.jpg"])
    (photos / "notes.txt").touch()
    with pytest.raises(InvalidInput, match=r"notes\.txt is not in the library; \D*forgotten$"):
        indexed.remove([photos / "notes.txt"])


def test_a_forgotten_folder_is_not_updated_any_more(indexed, photos):
    assert indexed.remove([photos]) == 6
    assert indexed.info().folders == ()
    assert counts(indexed.index()) == {}


def test_a_damaged_text_tower_is_no_obstacle_and_made_anew(indexed, photos, tiny_model_folder):
    (tower,) = indexed.folder.glob("models/*/text.onnx")
    before = indexed.encode_text(["a dog"])
    tower.write_bytes(b"not a network")
    with Library(indexed.folder, read_only=True, device="cpu") as reader:
        np.testing.assert_allclose(reader.encode_text(["a dog"]), before, atol=1e-4)
    (photos / "photo-0.jpg").write_bytes((photos / "photo-1.jpg").read_bytes() + b" ")
    with Library(indexed.folder, device="cpu") as writer:
        writer.index(model=str(tiny_model_folder))
    assert tower.read_bytes() != b"not a network"


def test_a_file_that_vanishes_during_the_run_is_recorded_and_the_rest_goes_on(
    library, photos, tiny_model_folder
):
    last = photos / "trip" / "photo-5.jpg"

    def vanish(progress):
        if progress.phase == "encoding" and progress.done == 1:
            last.unlink()

    options = IndexOptions(batch_size=1)
    model = str(tiny_model_folder)
    report = library.index([photos], model=model, options=options, progress=vanish)
    assert counts(report) == {"added": 5, "failed": 1, "embedded": 5}
    assert report.failures[0].path == last
    assert "can't be read" in report.failures[0].reason
    library.index()
    assert library.failures() == []


def test_a_mistyped_name_leaves_no_folder_and_index_makes_the_library(
    tmp_path: Path, photos: Path, tiny_model_folder: Path
) -> None:
    folder = tmp_path / "typo"
    with Library(folder, device="cpu") as library:
        asked = (lambda: library.query("a dog"), library.info, library.folders, library.failures)
        for ask in asked:
            with pytest.raises(LibraryNotFound, match="no library here"):
                ask()
        assert repr(library) == f"Library({str(folder)!r}, not made yet)"
        assert not folder.exists()
        with pytest.raises(InvalidInput, match="does not exist"):
            library.index([tmp_path / "nothing"], model=tiny_model_folder)
        for write in (library.index, lambda: library.update([photos]), lambda: library.remove("x")):
            with pytest.raises(LibraryNotFound, match="no library here"):
                write()
        assert not folder.exists()
        assert library.index([photos / "photo-0.jpg"], model=tiny_model_folder).added == 1
        assert len(library.query("a dog")) == 1
    with pytest.raises(LibraryClosed):
        library.info()


def test_a_library_that_another_makes_meanwhile_is_found(
    tmp_path: Path, photos: Path, tiny_model_folder: Path
) -> None:
    with Library(tmp_path / "library") as early:
        with Library(tmp_path / "library", device="cpu") as library:
            library.index([photos / "photo-0.jpg"], model=tiny_model_folder)
        assert early.info().photos == 1
    never = Library(tmp_path / "other")
    never.close()
    with pytest.raises(LibraryClosed):
        never.info()
    with pytest.raises(LibraryClosed):
        never.index([photos])
    assert not (tmp_path / "other").exists()
