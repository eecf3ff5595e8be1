"""Filters on the command line, and in a question."""

import json
from pathlib import Path

import pytest

from clipsearch import Library, SearchOptions
from clipsearch.cli.filter_flags import refuse_twice
from clipsearch.cli.quick import quick_search
from clipsearch.cli.searching import run
from clipsearch.errors import InvalidInput
from clipsearch.serving.client import Server


@pytest.fixture
def here(small_library, monkeypatch) -> Path:
    monkeypatch.chdir(small_library)
    monkeypatch.setenv("CLIPSEARCH_LIBRARY", str(small_library / "library"))
    monkeypatch.setenv("CLIPSEARCH_NO_SERVER", "1")
    return small_library


@pytest.fixture
def ask(here, capfdbinary):
    """Run a command line in this process; return the paths found, by name, and what was said."""

    def run_it(*arguments: str) -> tuple[list[str], str]:
        search = quick_search([*arguments, "--paths"])
        assert search is not None
        try:
            run(search)
        except SystemExit as ended:
            assert ended.code == 1
        out, err = capfdbinary.readouterr()
        found = [str(Path(line).relative_to(here / "photos")) for line in lines(out)]
        # That the words of a copied library are to be read again is none of these tests' business.
        said = [line for line in lines(err) if "are not searched yet" not in line]
        return found, "".join(f"{line}\n" for line in said)

    return run_it


def lines(out: bytes) -> list[str]:
    return out.decode().splitlines()


def names(here: Path, folder: str) -> list[str]:
    photos = here / "photos"
    return sorted(str(path.relative_to(photos)) for path in (photos / folder).rglob("*.jpg"))


def test_options_and_a_question_mean_the_same(here, ask):
    by_option, said = ask("query", "a dog", "--all", "--in", "photos/trip")
    assert sorted(by_option) == names(here, "trip")
    assert said == ""
    by_question, said = ask("query", "a dog in:TRIP", "--all")
    assert by_question == by_option
    assert said == 'understood: "a dog", in any folder TRIP\n'
    others, _ = ask("query", "a dog -in:trip", "--all")
    assert sorted(others + by_option) == names(here, ".")


def test_a_shell_may_take_off_the_quotes_of_a_value(here, ask):
    (here / "photos" / "trip").rename(here / "photos" / "a trip")
    with Library(here / "library") as library:
        library.index()
    found, said = ask("query", "a", "dog", "in:a trip", "--all")
    assert sorted(found) == names(here, "a trip")
    assert said == 'understood: "a dog", in any folder a trip\n'


def test_what_dates_and_places_were_taken_for_is_said(ask):
    _, said = ask("list", "--after", "1990..1991", "--near", "48.85,2.35")
    assert said.splitlines() == [
        "after 1990..1991: from 1990-01-01 to 1991-12-31",
        "near 48.85,2.35: within 10 km of 48.85, 2.35",
        "nothing found: no photo passes the filters",
    ]


def test_a_word_with_a_dash_joins_minus(here, ask):
    by_option, _ = ask("query", "a dog", "--minus", "people", "--all")
    by_question, said = ask("query", "a dog -people", "--all")
    assert by_question == by_option
    assert said == 'understood: "a dog", minus people\n'


def test_text_turns_it_off(ask):
    found, said = ask("query", "a dog in:nowhere", "--text", "--all")
    assert len(found) == 5
    assert said == ""
    assert ask("query", "a dog in:nowhere", "--all")[0] == []


def test_a_batch_and_python_take_no_filters_out_of_a_text(here, capfdbinary):
    from clipsearch.cli.batch import run_batch
    from clipsearch.cli.search_flags import Search

    (here / "asked.txt").write_text("a dog in:nowhere\n")
    run_batch(Search.of("query", [], {}), "asked.txt")
    (answer,) = map(json.loads, lines(capfdbinary.readouterr().out))
    with Library(here / "library", read_only=True) as library:
        hits = library.query("a dog in:nowhere")
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in hits]
    assert len(hits) == 5


def test_photos_are_listed_page_by_page(here, ask):
    first, said = ask("list", "--sort", "path", "-k", "3")
    assert said == "there are more: --offset 3 shows the next\n"
    rest, said = ask("list", "--sort", "path", "--offset", "3")
    assert said == ""
    assert ask("list", "--where", "width < 0")[1] == "nothing found: no photo passes the filters\n"
    assert first + rest == names(here, ".")
    assert sorted(ask("list", "in:trip")[0]) == names(here, "trip")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "in:trip after:1990"], "no words beside its filters: `clipsearch list`"),
        (["query", "-people"], "only what the photo should not show"),
        (["query", "a dog after:foo"], "no date.*--text takes all for words"),
        (["list", "a dog"], "`clipsearch query 'a dog'`"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_what_can(arguments, said, ask):
    from clipsearch.cli.search_flags import Search

    command, *words = arguments
    with pytest.raises(InvalidInput, match=said):
        run(Search.of(command, words, {}))


def test_an_option_that_can_not_be_meant_is_named(ask):
    for option, value in (("--after", "foo"), ("--type", "jpge"), ("--near", "91,0")):
        with pytest.raises(InvalidInput, match=f"^{option}: "):
            ask("list", option, value)


def test_a_condition_in_sql_goes_with_filters_and_is_refused_in_one_line(here, ask):
    found, said = ask("query", "a dog", "--all", "--where", "folder LIKE '%/trip' OR name < 'c'")
    assert said == ""
    assert found
    assert set(found) <= set(names(here, "."))
    assert all(Path(one).parent.name == "trip" or Path(one).name < "c" for one in found)
    within, _ = ask("query", "a dog in:trip", "--all", "--where", "name < 'c'")
    assert set(within) == {one for one in names(here, "trip") if Path(one).name < "c"}
    assert ask("list", "--where", "0")[0] == []
    with pytest.raises(
        InvalidInput, match=r"^--where: no such column: colour; a photo has id, path"
    ):
        ask("query", "a dog", "--where", "colour = 'red'")


def test_a_query_with_a_condition_goes_without_the_server(here):
    class NobodyThere:
        """A connection that is not to be used."""

    server = Server(NobodyThere(), here / "library")  # type: ignore[arg-type]
    assert server.ask("query", "a dog", SearchOptions(where="width > 3")) is None


@pytest.mark.parametrize("written", [["--in", "a", "--in", "b"], ["--after=2020", "--after=2021"]])
def test_a_filter_that_would_hide_another_is_refused(written: list[str]) -> None:
    for command in (["list"], ["query", "a dog"]):
        assert quick_search([*command, *written]) is None  # left to Typer, before which it is asked
    with pytest.raises(InvalidInput, match=r"^--(in|after) can be given once"):
        refuse_twice(["list", *written])
    refuse_twice(["list", *written[:1], "--tag", "a", "--tag", "b", "--", *written])
    assert quick_search(["list", "--tag", "a", "--tag", "b"]) is not None
