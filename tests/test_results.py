"""The answer of a search: a sequence of hits, and what was left out."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from clipsearch import Hits, Library
from clipsearch.results import AwayFolder


def test_hits_are_a_sequence(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        found = library.query("a dog", k=4)
    assert isinstance(found, Sequence)
    assert found == list(found)
    assert found == tuple(found)
    assert found != list(found)[:-1]
    assert hash(found) == hash(Hits(found))
    assert [hit.rank for hit in found] == [1, 2, 3, 4]
    assert isinstance(found[1:3], Hits)
    assert found[1:3] == [found[1], found[2]]
    assert found[-1] in found
    assert not Hits()


def test_json_gives_the_same_hits_again(small_library: Path, sample_photos: list[Path]) -> None:
    odd = small_library / "photos" / os.fsdecode(b"caf\xe9 \xee\xbe\x80.jpg")
    odd.write_bytes(sample_photos[7].read_bytes())
    with Library(small_library / "library", device="cpu") as library:
        library.index()
        found = library.query("a dog", k=100)
    assert odd in {hit.path for hit in found}
    away = Hits(found, [AwayFolder(odd.parent, "does not exist", 3)])
    again = Hits.from_json(json.loads(json.dumps(away.to_json())))
    assert again == found
    assert again.left_out == away.left_out
    assert [hit.path for hit in again] == [hit.path for hit in found]


def test_what_a_notebook_shows_names_each_photo_and_what_was_left_out(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        found = library.query("a dog", k=2)
    first, *lines = repr(found).splitlines()
    assert first == "<Hits: 2 photos>"
    assert [hit.source in line for hit, line in zip(found, lines, strict=True)] == [True, True]
    gone = repr(Hits(found[:1], [AwayFolder(Path("/disk"), "is not mounted", 12)]))
    assert gone.splitlines()[-1] == "left out: /disk is not mounted (12)"
    assert repr(Hits(list(found) * 30)).splitlines()[-1] == "      and 40 more"
    assert repr(Hits()) == "<Hits: no photos>"
