"""What may be said of a search: one frozen value, from the command line to the vectors."""

import json
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipsearch import InvalidInput, Library, SearchOptions
from clipsearch.asking.keywords import FilterKeywords
from clipsearch.cli.search_flags import SEARCH_FLAGS
from clipsearch.index.filters import And, Compare
from clipsearch.options import ONLY, SORTS, SearchKeywords

OPTIONS = st.builds(
    SearchOptions,
    k=st.integers(1, 2**70),
    offset=st.integers(0, 2**70),
    sort=st.sampled_from(SORTS),
    only=st.none() | st.sampled_from(ONLY),
    relevant=st.booleans(),
    fold=st.booleans(),
    min_score=st.none() | st.floats(-1, 1),
    include_away=st.booleans(),
    exact=st.booleans(),
    where=st.none() | st.just("width > 3"),
    model=st.none() | st.sampled_from(["builtin", "ViT-B-32/laion2b_s34b_b79k"]),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(OPTIONS)
def test_json_gives_the_same_options_again(options: SearchOptions) -> None:
    assert SearchOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


def test_only_what_is_not_usual_is_written() -> None:
    assert SearchOptions().to_json() == {}
    assert SearchOptions(k=3, exact=True).to_json() == {"k": 3, "exact": True}
    assert SearchOptions(model=Path("/models/mine")).to_json() == {"model": "/models/mine"}


@pytest.mark.parametrize(
    "value",
    [
        {"kk": 3},
        {"k": 0},
        {"k": "3"},
        {"exact": 1},
        {"where": 3},
        {"where": " "},
        {"filters": {"a": 1}},
        {3: 3},
        None,
        [],
        "k",
    ],
    ids=repr,
)
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        SearchOptions.from_json(value)


def test_options_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        SearchOptions().k = 3  # type: ignore[misc]


def test_keywords_and_flags_are_those_of_the_options() -> None:
    names = {one.name for one in fields(SearchOptions)}
    filters = get_type_hints(FilterKeywords)
    assert get_type_hints(SearchKeywords) == {**get_type_hints(SearchOptions), **filters}
    on_the_command_line = {flag.field for flag in SEARCH_FLAGS}
    assert filters.keys() <= on_the_command_line
    # --all stands for two of them.
    assert names - on_the_command_line == {"filters", "relevant", "fold"}
    assert "all" in on_the_command_line


def test_filters_are_given_by_name_and_as_a_tree() -> None:
    tree = Compare("width", ">=", 10)
    options = SearchOptions.of(None, {"k": 3, "camera": "Pixel", "lens": None, "filters": tree})  # type: ignore[typeddict-item]
    assert options == SearchOptions(k=3, filters=tree & Compare("camera", "has", "Pixel"))
    assert SearchOptions.of(None, {"camera": "Pixel"}).filters == And(
        (Compare("camera", "has", "Pixel"),)
    )
    with pytest.raises(InvalidInput, match="no date"):
        SearchOptions.of(None, {"after": "some time"})
    with pytest.raises(InvalidInput, match="after must be given within the options"):
        SearchOptions.of(SearchOptions(), {"after": "2021"})
    with pytest.raises(InvalidInput, match="filters must be made of"):
        SearchOptions.of(None, {"filters": 5, "after": "2021"})  # type: ignore[typeddict-item]


def test_options_are_given_whole_or_as_keywords(small_library: Path) -> None:
    with Library(small_library / "library", read_only=True) as library:
        whole = library.query("a dog", SearchOptions(k=2))
        assert whole == library.query("a dog", k=2)
        assert len(whole) == 2
        with pytest.raises(InvalidInput, match="k must be given within the options"):
            library.query("a dog", SearchOptions(), k=2)
        with pytest.raises(InvalidInput, match="options must be SearchOptions"):
            library.query("a dog", 2)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="kk"):
            library.query("a dog", kk=2)  # type: ignore[call-arg]
