"""A server that was told so fetches pictures for its clients; from nowhere near itself."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_process import clipsearch
from test_http_search import found, ids
from web_door import Door, open_door

from clipsearch import Library, term
from clipsearch.searching import public_web


@pytest.fixture(scope="module")
def fetching(example_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    place = tmp_path_factory.mktemp("fetching") / "library"
    shutil.copytree(example_library, place)
    with open_door(place, fetch=True) as opened:
        yield opened


def test_what_stands_beside_the_server_is_not_fetched(fetching: Door) -> None:
    for address in (f"{fetching.address}/api/library", "http://169.254.169.254/latest", "file:///"):
        answer = fetching.post("/api/search", {"terms": [{"url": address}]})
        assert answer.status == 400
        assert "only" in answer.error


def test_a_picture_of_the_web_is_asked_with(
    fetching: Door, own: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine taken for the web: another server here has the picture."""
    photo = own.list(k=1, in_="city")[0]
    monkeypatch.setattr(public_web, "is_public", lambda place: place == "127.0.0.1")
    address = f"{fetching.address}/photos/{photo.id}?download=true"
    terms = [{"url": address}, {"text": "night", "weight": 0.5}]
    answer = fetching.post(
        "/api/search", {"terms": terms, "k": 9, "fold": False, "relevant": False}
    )
    expected = own.query(term(photo.path.read_bytes()) + 0.5 * term("night"), k=9)
    assert ids(answer) == found(expected)


def test_the_program_fetches_where_it_is_told_so_and_has_a_page() -> None:
    ended = clipsearch("serve", "--fetch")
    assert (ended.code, ended.out) == (2, b"")
    assert "--fetch are for the page: give --web, too" in ended.err
