"""The value that says which photos a search may find."""

import json

import pytest

from clipsearch.errors import InvalidInput
from clipsearch.index.filters import Filters


def test_json_gives_the_same_filters_again() -> None:
    assert Filters.from_json(json.loads(json.dumps(Filters().to_json()))) == Filters()


@pytest.mark.parametrize("value", [{"camera": "X100"}, {"": 1}, [], None, "all"])
def test_what_is_no_filter_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="filter"):
        Filters.from_json(value)
