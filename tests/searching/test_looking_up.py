"""From the ids that a search of vectors finds to photos and to vectors again."""

from pathlib import Path

import numpy as np
import pytest

from clipsearch import InvalidInput, Library, ModelError


def test_what_a_search_of_vectors_finds_leads_to_photos_and_back(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        asked = library.encode_text(["a dog", "a cup"])
        scores, ids = library.search_vectors(asked, k=8)  # of five photos
        for question, row, of_row in zip(asked, ids, scores, strict=True):
            photos = library.photos(row)
            assert [photo.id for photo in photos] == row[:5].tolist()
            assert photos == [library.photo(photo_id) for photo_id in row[:5]]
            vectors = library.vectors(row)
            assert (vectors.dtype, vectors.shape) == (np.float32, (5, asked.shape[1]))
            assert np.abs(vectors @ question - of_row[:5]).max() < 1e-5
        assert [hit.id for hit in library.query("a dog", k=5)] == ids[0][:5].tolist()
        again = library.search_vectors(library.vectors(ids[0][:1]), k=1)[1]
        assert again.tolist() == [ids[0][:1].tolist()]


def test_the_order_of_the_ids_is_kept_and_there_may_be_none(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        ids = [hit.id for hit in library.query("a dog", k=3)]
        for order in (ids, ids[::-1], [ids[1], ids[0], ids[1]]):
            assert [photo.id for photo in library.photos(order)] == order
            assert (library.vectors(order) == [library.vectors([one])[0] for one in order]).all()
        assert library.photos([]) == []
        assert library.vectors(np.array([-1, -1])).shape == (0, library.vectors(ids).shape[1])


@pytest.mark.parametrize("ids", [[99_999], ["1"], [1.5], [[1, 2], [3]], [[1]], None, [True]])
def test_what_is_no_id_of_a_photo_is_refused(small_library: Path, ids: object) -> None:
    with Library(small_library / "library", read_only=True) as library:
        for look_up in (library.photos, library.vectors):
            with pytest.raises(InvalidInput, match="99999" if ids == [99_999] else "whole numbers"):
                look_up(ids)  # type: ignore[arg-type]
        with pytest.raises(ModelError):
            library.vectors([1], model="RN50/openai")


@pytest.mark.parametrize("photo_id", ["1", 1.5, -1, None, True, 99_999])
def test_a_photo_is_asked_for_by_the_id_of_one(small_library, photo_id: object) -> None:
    with (
        Library(small_library / "library", read_only=True) as library,
        pytest.raises(InvalidInput),
    ):
        library.photo(photo_id)
