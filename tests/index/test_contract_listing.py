"""What every store must hold: its photos in an order of their own, a page at a time."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from every_store import PHOTOS, STRANGE, Kind, every_kind, names, photo, unit_vectors

from clipsearch.index.interface import SearchableStore
from clipsearch.index.paths import to_text
from clipsearch.index.selection import Selection

pytestmark = every_kind
TAKEN = ("2021-07-14T10:00:00", "2021-07-14", "2021-07-14T00:00:00", None, "2019-01-01T00:00:01")


@pytest.fixture
def filled(kind: Kind, tmp_path: Path):
    """Return a store with photos of strange names, a fifth of them without a date."""
    with kind.opened(tmp_path / "library") as opened:
        vectors = unit_vectors(2 * len(STRANGE))
        photos = [
            photo(f"{folder}/{name}", vectors[n])
            for n, (folder, name) in enumerate((f, s) for f in ("b", "a") for s in STRANGE)
        ]
        opened.fill(
            [
                replace(one, metadata=replace(one.metadata, taken_at=TAKEN[n % len(TAKEN)]))
                for n, one in enumerate(photos)
            ]
        )
        reader = opened.reader()
        yield reader
        reader.close()


def expected(store: SearchableStore, order: str) -> list[int]:
    """Return the ids of all photos as they should be listed."""
    known = store.photos(store.photos_below(None).tolist()).values()
    rows = sorted((to_text(one.file.path), one.id, one.metadata.taken_at) for one in known)
    if order == "path":
        return [id_ for _, id_, _ in rows]
    dated = [row for row in rows if row[2]]
    dated.sort(key=lambda row: f"{row[2]}T00:00:00"[:19], reverse=True)
    return [id_ for _, id_, _ in dated] + [id_ for _, id_, taken in rows if not taken]


@pytest.mark.parametrize("order", ["date", "path"])
def test_all_photos_are_listed_and_pages_have_no_gaps_and_no_repeats(filled, order):
    everything = filled.listed(None, order, limit=1000)
    assert everything.dtype == np.int64
    assert everything.tolist() == expected(filled, order)
    for size in (1, 5, 7):
        pages = [
            filled.listed(None, order, offset=start, limit=size).tolist()
            for start in range(0, len(everything) + size, size)
        ]
        assert list(chain.from_iterable(pages)) == everything.tolist()
        assert pages[-1] == []
    assert len(filled.listed(None, order, offset=2**80, limit=2**80)) == 0


@pytest.mark.parametrize("order", ["date", "path"])
def test_a_selection_is_listed_alone(filled, order):
    everything = expected(filled, order)
    some = everything[::3]
    without = [id_ for id_ in everything if id_ not in some]
    for selected, wanted in (
        (Selection.only_these(some), some),
        (Selection.all_but_these(some), without),
        (Selection.only_these([]), []),
    ):
        assert filled.listed(selected, order, limit=1000).tolist() == wanted
        assert filled.listed(selected, order, offset=2, limit=3).tolist() == wanted[2:5]


def test_what_lies_at_a_path_is_where_its_path_is(filled):
    at = names(filled)
    ids = filled.listed(None, "path", limit=2).tolist()
    first = [name for name, id_ in at.items() if id_ in ids]
    assert all((PHOTOS / name).parent.name == "a" for name in first)
