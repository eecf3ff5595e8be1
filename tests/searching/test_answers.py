"""Questions that are answered together find what each finds alone, to the last bit."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch import Hits, InvalidInput, Library, LibraryNotFound, SearchOptions, term
from clipsearch.index.filters import Compare
from clipsearch.index.vectors import vector_files, vector_index
from clipsearch.searching.inquiries import Inquiry

COUNT = 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path]) -> Path:
    """Make a library of real photos, some of them copies, one a raw photo behind its picture."""
    place = tmp_path_factory.mktemp("answers")
    folder = place / "photos"
    (folder / "holidays").mkdir(parents=True)
    for photo in sample_photos[:COUNT]:
        shutil.copy(photo, folder)
    shutil.copy(sample_photos[0], folder / "holidays" / "a copy of it.jpg")
    shutil.copy(sample_photos[1], folder / "holidays" / "dog on a beach.jpg")
    shutil.copy(sample_photos[COUNT], folder / "holidays" / "away.jpg")
    with Library(place / "library", device="cpu") as library:
        library.index(folder, model="builtin")
    with sqlite3.connect(place / "library" / "catalog.sqlite") as catalog:
        raw = str((folder / sample_photos[2].name).with_suffix(".dng"))
        ids = "SELECT id FROM photos ORDER BY path LIMIT 1 OFFSET"
        taken = "taken_at = '2021-07-14T10:00:00', camera = 'X'"
        catalog.execute(
            f"UPDATE photos SET {taken} WHERE path = ?", (str(folder / sample_photos[2].name),)
        )
        catalog.execute(
            f"UPDATE photos SET {taken}, path = ?, format = 'RAW' WHERE id = ({ids} 9)", (raw,)
        )
    catalog.close()
    return place


@pytest.fixture(params=["small", "FAISS"])
def library(
    request: pytest.FixtureRequest, made: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Library]:
    if request.param == "FAISS":
        monkeypatch.setattr(vector_files, "SMALL", -1)
        monkeypatch.setattr(vector_index, "SMALL", -1)
    with Library(made / "library", read_only=True, device="cpu") as library:
        yield library


TEXTS = [
    "a dog on a beach",
    "a cat",
    "holidays",
    "été 写真",
    "",
    " \n",
    "\ud800",
    "a boat at night",
]


def queries(photos: list[Path]) -> st.SearchStrategy:
    """Return a strategy of what may be asked: words, pictures that are known or new, and sums."""
    words = st.sampled_from(TEXTS)
    files = [photos[0].read_bytes(), photos[COUNT + 2].read_bytes(), b"\xff\xd8 none", b""]
    one = st.one_of(words, words, st.sampled_from(files))
    weights = st.sampled_from([1.0, 0.5, -1.0])
    several = st.lists(st.tuples(one, weights), min_size=1, max_size=3)
    return st.one_of(one, several.map(lambda terms: sum_of([term(*each) for each in terms])))


def sum_of(terms: list) -> object:
    total = terms[0]
    for other in terms[1:]:
        total = total + other
    return total


OPTIONS = st.builds(
    SearchOptions,
    k=st.sampled_from([1, 3, 3, 50]),
    offset=st.sampled_from([0, 0, 2]),
    sort=st.sampled_from(["relevance", "relevance", "date", "path"]),
    min_score=st.sampled_from([None, None, 0.2]),
    include_away=st.booleans(),
    exact=st.booleans(),
    model=st.sampled_from([None, None, None, "another"]),
    only=st.sampled_from([None, None, "visual", "words"]),
    relevant=st.booleans(),
    fold=st.booleans(),
    filters=st.sampled_from(
        [SearchOptions().filters, Compare("folder", "=", "holidays"), Compare("width", ">", 10**6)]
    ),
)


def alone(library: Library, one: Inquiry) -> Hits | Exception:
    try:
        if one.similar:
            return library.similar(one.query, one.options)
        return library.query(one.query, one.options, text=True)
    except Exception as error:  # noqa: BLE001 (which is compared)
        return error


def known(outcome: Hits | Exception) -> object:
    """Return all that an answer says, in a form that is equal only where each bit is."""
    if isinstance(outcome, Exception):
        return type(outcome), str(outcome)
    hits = [tuple(map(repr, vars(hit).values())) for hit in outcome]
    return hits, outcome.weak, outcome.notes, outcome.left_out


def has_words(query: object) -> bool:
    """Tell whether words are in it, which `similar` reads as `str` of any meaning."""
    terms = getattr(query, "terms", [(1, query)])
    return any(isinstance(one, str) for _, one in terms)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_each_question_finds_what_it_finds_alone(
    library: Library, sample_photos: list[Path], data: st.DataObject
) -> None:
    one = st.tuples(queries(sample_photos), OPTIONS, st.booleans()).map(
        lambda given: Inquiry(*given[:2], similar=given[2] and not has_words(given[0]))
    )
    some = data.draw(st.lists(one, min_size=1, max_size=6))
    usual = SearchOptions(k=3, relevant=True, fold=True)
    some += [Inquiry(text, usual) for text in data.draw(st.permutations(TEXTS))]
    some += [Inquiry(f"{text} {n}", usual) for n, text in enumerate(TEXTS)]
    found = dict(library.answers(some))
    assert sorted(found) == list(range(len(some)))
    for place, inquiry in enumerate(some):
        assert known(found[place]) == known(alone(library, inquiry)), inquiry


def test_what_can_be_is_done_once_for_all(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, searched = [], []
    tower = library._models.text_encoder_of(library._store.models()[0])
    encode, search = tower.encode_text, library._store.search
    monkeypatch.setattr(tower, "encode_text", lambda texts: encoded.append(1) or encode(texts))
    monkeypatch.setattr(
        library._store, "search", lambda *a, **b: searched.append(a[2]) or search(*a, **b)
    )
    options = SearchOptions(k=3, relevant=True, only="visual")
    some = [Inquiry(f"dog {n}", options) for n in range(12)]
    assert all(isinstance(found, Hits) for _, found in library.answers(some))
    assert (len(encoded), len(searched)) == (1, 1)


def test_answers_tell_of_folders_that_are_away(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "library", tmp_path / "library")
    photos = made / "photos"
    photos.rename(made / "gone")
    try:
        with Library(tmp_path / "library", read_only=True, device="cpu") as library:
            some = [
                Inquiry("a dog", SearchOptions(include_away=away, k=2)) for away in (True, False)
            ]
            found = dict(library.answers(some))
            assert [len(found[place]) for place in (0, 1)] == [2, 0]
            assert [one.path for one in found[1].left_out] == [photos]
            assert found[0].left_out == ()
            for place, inquiry in enumerate(some):
                assert known(found[place]) == known(alone(library, inquiry))
    finally:
        (made / "gone").rename(photos)


def test_a_library_without_photos_answers_each_with_that(tmp_path: Path) -> None:
    with Library(tmp_path / "library") as library, pytest.raises(LibraryNotFound):
        dict(library.answers([Inquiry("a dog", SearchOptions())]))


def test_words_in_a_sum_with_pictures_are_words_whatever_they_look_like(
    library: Library, sample_photos: list[Path], tmp_path: Path
) -> None:
    """So nobody who asks from elsewhere can have a file opened here."""
    picture, other = sample_photos[0].read_bytes(), str(sample_photos[5])
    asked = term(picture) - term(other)
    ((_, found),) = library.answers([Inquiry(asked, SearchOptions(k=50), similar=True)])
    assert isinstance(found, Hits)
    with pytest.raises(InvalidInput, match="empty"):
        library.query("", text=True)
    assert np.isfinite([hit.score for hit in found]).all()
