"""One rule for strings: what names a picture and what is words, wherever it is asked."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from clipsearch import Hits, InvalidInput, Library
from clipsearch.cli.batch import run_batch
from clipsearch.cli.search_flags import Search
from clipsearch.cli.searching import run

PICTURES = ["photos/photo-0.jpg", "./photos/photo-0.jpg", "scan"]
WORDS = ["a dog", "photo of 3.5 cats", "cats", "black/white"]
REFUSED = ["photos/nope.jpg", "nope.png", "./nope", "/nowhere/nope", "photos/trip", "..", ""]
Ask = Callable[..., list[tuple[int, float]]]


@pytest.fixture
def library(small_library: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(small_library)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(small_library / "library"))
    monkeypatch.setenv("CLIPSEARCH_NO_SERVER", "1")
    (small_library / "cats").mkdir()
    (small_library / "scan").write_bytes((small_library / "photos" / "photo-0.jpg").read_bytes())
    return small_library / "library"


def known(hits: Hits) -> list[tuple[int, float]]:
    return [(hit.id, round(hit.score, 4)) for hit in hits]


@pytest.fixture(params=["query", "query_batch", "command", "batch"])
def ask(
    request: pytest.FixtureRequest, library: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> Ask:
    """Ask in one of the ways to ask."""

    def in_python(asked: str, **how: bool) -> list[tuple[int, float]]:
        with Library(library, read_only=True) as opened:
            if request.param == "query":
                return known(opened.query(asked, **how))  # type: ignore[arg-type]
            return known(opened.query_batch([asked], **how)[0])  # type: ignore[arg-type]

    def by_command(asked: str, **how: bool) -> list[tuple[int, float]]:
        search = Search.of("query", [asked], {"json": True, **how})
        if request.param == "command":
            run(search)
            hits = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
        else:
            Path("questions.txt").write_text(f"{asked}\n")
            with suppress(SystemExit):
                run_batch(search, "questions.txt")
            (line,) = capsysbinary.readouterr().out.splitlines() or [b'{"error": "is empty"}']
            answer = json.loads(line)
            if "error" in answer:
                raise InvalidInput(answer["error"])
            hits = answer["hits"]
        return [(hit["id"], round(hit["score"], 4)) for hit in hits]

    return in_python if request.param in ("query", "query_batch") else by_command


def test_what_a_string_means_is_the_same_however_it_is_asked(ask: Ask, library: Path) -> None:
    with Library(library, read_only=True) as opened:
        picture = known(opened.query(Path("photos/photo-0.jpg")))
        words = {asked: known(opened.query(asked, text=True)) for asked in [*WORDS, *PICTURES]}
    for asked in PICTURES:
        assert ask(asked) == ask(asked, image=True) == picture
        assert ask(asked, text=True) == words[asked] != picture
    for asked in WORDS:
        assert ask(asked) == words[asked]
    for asked in REFUSED:
        with pytest.raises(InvalidInput, match=r"no file|is a folder|is empty"):
            ask(asked)


def test_similar_takes_every_string_for_a_picture(library: Path) -> None:
    with Library(library, read_only=True) as opened:
        address = Path("scan").absolute().as_uri()
        expected = known(opened.similar(Path("scan")))
        assert known(opened.similar("scan")) == known(opened.similar(address)) == expected
        with pytest.raises(InvalidInput, match="there is no file"):
            opened.similar("a dog")
        with pytest.raises(InvalidInput, match="is a folder"):
            opened.similar("cats")


def test_a_program_fetches_nothing_unless_it_says_that_it_is_a_picture(library: Path) -> None:
    address = Path("scan").absolute().as_uri()
    with Library(library, read_only=True) as opened:
        for asked in (address, "http://127.0.0.1:9/a.jpg", "data:image/png;base64,AA=="):
            with pytest.raises(InvalidInput, match="image=True searches with the picture"):
                opened.query(asked)
            assert len(opened.query(asked, text=True, k=1)) == 1
        assert known(opened.query(address, image=True)) == known(opened.query(Path("scan")))
        with pytest.raises(InvalidInput, match="not both"):
            opened.query("a dog", text=True, image=True)
