"""Searching over HTTP: the library's own answers, with each parameter, and one line for errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from web_door import Door, open_door

from clipsearch import Library, LibraryNotFound, SearchOptions
from clipsearch.searching.combining import term


def ids(answer: object) -> list[int]:
    return [hit["id"] for hit in answer.json["hits"]]  # type: ignore[attr-defined]


def found(hits: object) -> list[int]:
    return [hit.id for hit in hits]  # type: ignore[attr-defined]


def test_a_question_is_answered_as_the_library_answers(door: Door, own: Library) -> None:
    answer = door.get("/api/search", q="a dog", k=5)
    expected = own.query("a dog", k=5, relevant=True, fold=True)
    assert answer.status == 200
    hits = answer.json["hits"]
    for hit, said in zip(expected, hits, strict=True):
        assert hit.to_dict() == {
            **{name: value for name, value in said.items() if name != "thumb"},
            "score": round(said["score"], 6),
        }
        assert said["thumb"] == f"/thumbs/{hit.id}?v={hit.content_hash[:12]}"
    assert answer.json["weak"] == expected.weak
    assert answer.json["query"] == {"words": "a dog", "minus": [], "understood": []}
    assert answer.json["total"] is None


OPTIONS = [
    ({"k": 3, "offset": 2}, {"k": 3, "offset": 2}),
    ({"sort": "path", "relevant": "false"}, {"sort": "path", "relevant": False}),
    ({"sort": "date"}, {"sort": "date"}),
    ({"relevant": "0", "fold": "0", "k": 60}, {"relevant": False, "fold": False, "k": 60}),
    ({"fold": "false", "relevant": "false", "k": 60}, {"fold": False, "relevant": False, "k": 60}),
    ({"only": "words"}, {"only": "words"}),
    ({"only": "visual"}, {"only": "visual"}),
    ({"min-score": "0.3"}, {"min_score": 0.3}),
    ({"include-away": "true"}, {"include_away": True}),
    ({"exact": "1"}, {"exact": True}),
    ({"in": "animals"}, {"in_": "animals"}),
    ({"after": "2020", "before": "2022"}, {"after": "2020", "before": "2022"}),
    ({"camera": "pixel"}, {"camera": "pixel"}),
    ({"lens": "50"}, {"lens": "50"}),
    ({"near": "48.8,2.3"}, {"near": "48.8,2.3"}),
    ({"type": ["png", "jpeg"]}, {"type": ["png", "jpeg"]}),
    ({"type": "png"}, {"type": "png"}),
    ({"min-width": "200"}, {"min_width": 200}),
    ({"min_width": "200"}, {"min_width": 200}),
    ({"orientation": "portrait"}, {"orientation": "portrait"}),
    ({"tag": ["dog", "cat"]}, {"tag": ["dog", "cat"]}),
    ({"missing": ["date", "camera"]}, {"missing": ["date", "camera"]}),
]


@pytest.mark.parametrize(("given", "meant"), OPTIONS, ids=lambda one: str(one))
def test_each_parameter_says_what_it_says_in_python(
    door: Door, own: Library, given: dict, meant: dict
) -> None:
    usual = {"k": 50, "relevant": True, "fold": True}
    answer = door.get("/api/search", q="a bird", **given)
    assert answer.status == 200, answer.json
    assert ids(answer) == found(own.query("a bird", **{**usual, **meant}))


def test_filters_change_what_is_found(door: Door) -> None:
    all_of_them = ids(door.get("/api/search", q="a bird", relevant="false", fold="false", k=100))
    for given, _ in OPTIONS[10:]:
        some = ids(door.get("/api/search", q="a bird", relevant="false", k=100, **given))
        assert set(some) < set(all_of_them), given


def test_a_question_holds_filters_and_less_of_something(door: Door, own: Library) -> None:
    answer = door.get("/api/search", q="a dog in:animals -grass", relevant="false", fold="false")
    assert answer.json["query"] == {
        "words": "a dog",
        "minus": ["grass"],
        "understood": ["in any folder animals", "minus grass"],
    }
    expected = own.query(term("a dog") - "grass", k=50, in_="animals")
    assert ids(answer) == found(expected)
    as_text = door.get("/api/search", q="a dog in:animals -grass", text="true", k=60, fold="0")
    assert as_text.json["query"]["understood"] == []
    plain = own.query("a dog in:animals -grass", text=True, k=60, relevant=True)
    assert ids(as_text) == found(plain)


def test_a_weight_may_stand_before_a_term(door: Door, own: Library) -> None:
    answer = door.get("/api/search", q="2:a dog -grass", relevant="false", fold="false", k=9)
    assert ids(answer) == found(own.query(2 * term("a dog") - "grass", k=9))


def test_without_words_the_newest_come_first_to_the_last(door: Door, own: Library) -> None:
    everything = own.list(k=100)
    answer = door.get("/api/search", k=20)
    assert (ids(answer), answer.json["total"], answer.json["more"]) == (
        found(everything[:20]),
        len(everything),
        True,
    )
    last = door.get("/api/search", k=20, offset=40)
    assert (ids(last), last.json["more"]) == (found(everything[40:]), False)
    beyond = door.get("/api/search", k=20, offset=100_000_000)
    assert (ids(beyond), beyond.json["more"]) == ([], False)
    assert ids(door.get("/api/search", sort="path")) == found(own.list(k=50, sort="path"))
    filtered = door.get("/api/search", q="in:food", camera="pixel")
    assert filtered.json["total"] == len(own.list(k=100, in_="food", camera="pixel")) > 0
    assert filtered.json["query"]["understood"] == ["in any folder food"]


def test_pages_have_no_gaps_and_no_repeats(door: Door) -> None:
    pages = [
        door.get("/api/search", q="a photo", relevant="false", k=13, offset=offset)
        for offset in range(0, 78, 13)
    ]
    together = [one for page in pages for one in ids(page)]
    assert together == ids(door.get("/api/search", q="a photo", relevant="false", k=100))
    assert [page.json["more"] for page in pages] == [True] * 4 + [False] * 2


def test_similar_leaves_the_photo_and_its_copy_out(door: Door, own: Library) -> None:
    first = own.list(k=1, in_="animals", sort="path")[0]
    answer = door.get(f"/api/similar/{first.id}", k=60, relevant="false", fold="false")
    expected = own.similar(first.path, k=60)
    assert ids(answer) == found(expected)
    assert len(ids(answer)) == own.count() - 2
    in_a_folder = door.get(f"/api/similar/{first.id}", relevant="0", in_="food", k=60)
    assert ids(in_a_folder) == found(own.similar(first.path, k=60, in_="food", fold=True))


def test_all_that_is_known_of_a_photo(door: Door, own: Library) -> None:
    hit = own.list(k=1, camera="pixel")[0]
    known = door.get(f"/api/photos/{hit.id}").json
    assert known["path"] == str(hit.path)
    assert known["folder"] == str(hit.path.parent)
    assert {"name": "Camera", "value": "Pixel 7"} in known["exif"]
    assert {"name": "Aperture", "value": "f/2.8"} in known["exif"]
    assert (known["thumb"], known["original"]) == (
        f"/thumbs/{hit.id}?v={hit.content_hash[:12]}",
        f"/photos/{hit.id}",
    )
    assert known["words"] == []
    assert door.get("/api/photos/999999").status == 404
    assert door.get("/api/similar/999999").status == 404
    assert "no photo 999999" in door.get("/api/similar/999999").error


def test_a_photo_whose_file_is_away_is_told_of_without_it(
    door: Door, own: Library, tmp_path: Path
) -> None:
    hit = own.list(k=2, camera="canon")[1]
    shutil.move(hit.path, tmp_path / "aside")
    try:
        known = door.get(f"/api/photos/{hit.id}").json
    finally:
        shutil.move(tmp_path / "aside", hit.path)
    assert {"name": "Camera", "value": "Canon EOS R6"} in known["exif"]
    assert "Aperture" not in [one["name"] for one in known["exif"]]


def test_what_the_library_holds_and_whether_it_changed(door: Door, own: Library) -> None:
    said = door.get("/api/library").json
    info = own.info().to_dict()
    assert {name: said[name] for name in info} == info
    state = door.get("/api/state").json
    assert state == said["state"]
    assert (state["photos"], state["indexing"]) == (own.count(), None)
    assert state["revision"]
    assert door.get("/api/health").json == {"status": "ok"}


def test_a_library_that_is_not_made_yet_has_a_state_and_no_photos(tmp_path: Path) -> None:
    with open_door(tmp_path) as empty:
        assert empty.get("/api/state").json == {"photos": 0, "revision": "", "indexing": None}
        answer = empty.get("/api/search", q="a dog")
        assert (answer.status, answer.json["error"]["kind"]) == (503, "LibraryNotFound")
        assert "clipsearch index" in answer.error
        with pytest.raises(LibraryNotFound, match="clipsearch index"):
            Library.open(empty.address)


WRONG = [
    ({"queri": "dog"}, "no parameter 'queri'"),
    ({"min-scor": "0"}, "did you mean min-score?"),
    ({"k": "0"}, "k must be at least 1"),
    ({"k": "ten"}, "k must be a whole number"),
    ({"k": "1e3"}, "k must be a whole number"),
    ({"k": "20000"}, "at most 10000"),
    ({"k": "9" * 30}, "k must be a whole number"),
    ({"offset": "-1"}, "offset must be at least 0"),
    ({"q": "a dog", "offset": "9999"}, "10,000 together"),
    ({"q": ["a", "b"]}, "q can be given once"),
    ({"camera": ["a", "b"]}, "camera can be given once"),
    ({"sort": "size"}, "relevance, date, path"),
    ({"relevant": "yes"}, "relevant must be true or false"),
    ({"min-score": "2"}, "at most 1"),
    ({"min-score": "nan"}, "min-score must be a number"),
    ({"only": "sight"}, "visual, words"),
    ({"after": "some day"}, "is no date"),
    ({"near": "7"}, "near must be"),
    ({"type": "docx"}, "no type"),
    ({"missing": "dat"}, "did you mean date?"),
    ({"orientation": "tall"}, "landscape"),
    ({"in": "../x"}, "whole path"),
    ({"in": "~/x"}, "whole path"),
    ({"q": "dog in:./x"}, "whole path"),
    ({"q": "in:a/b"}, "whole path"),
    ({"q": "-people"}, "only what the photo should not show"),
    ({"q": "dog after:someday"}, "is no date"),
    ({"q": "x" * 10_001}, "at most 10000 characters"),
    ({"where": "1=1"}, "where is for who has the library"),
    ({"model": "builtin"}, "model is for who has the library"),
    ({"only": "words", "similar": "1"}, "no parameter 'similar'"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=lambda one: str(one)[:40])
def test_what_cannot_be_meant_is_said_in_one_line(door: Door, given: dict, said: str) -> None:
    answer = door.get("/api/search", **given)
    assert answer.status == 400
    assert answer.json["error"]["kind"] in ("InvalidInput", "MissingPackages")
    assert said in answer.error


def test_the_server_looks_up_no_folder_that_a_client_names(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`in` is a name or a path of photos: what else lies where the server runs changes nothing."""
    expected = door.get("/api/search", in_="animals").json["total"]
    (tmp_path / "animals").mkdir()
    monkeypatch.chdir(tmp_path)
    assert door.get("/api/search", in_="animals").json["total"] == expected > 0
    assert door.get("/api/search", in_="clipsearch").json["total"] == 0
    assert door.get("/api/search", in_="/etc").json["total"] == 0


def test_there_is_nothing_else(door: Door) -> None:
    assert door.get("/api/serch").json["error"]["kind"] == "NotFound"
    assert door.ask("DELETE", "/api/search").status == 405


def test_bounds_and_usual_values_are_those_of_the_options() -> None:
    from clipsearch.serving.protocol import MOST_HITS
    from clipsearch.serving.web.parameters import OPTIONS as PARAMETERS

    by_name = {one.name: one for one in PARAMETERS}
    assert by_name["k"].most == MOST_HITS
    assert SearchOptions(**{one.field: one.usual for one in PARAMETERS if one.usual is not None})
