"""The tree that says which photos a search may find: what it may be made of, and its JSON."""

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from made_filters import trees

from clipsearch.errors import InvalidInput
from clipsearch.index.filters import (
    EVERYTHING,
    MOST_NESTED,
    MOST_PARTS,
    And,
    Below,
    Compare,
    Filter,
    Missing,
    Not,
    OneOf,
    Or,
    Within,
    fold,
    from_json,
    to_json,
)

PIXEL = Compare("camera", "has", "Pixel")
WIDE = Compare("width", ">=", 3000)


@given(trees())
def test_json_gives_the_same_filters_again(tree: Filter) -> None:
    assert from_json(json.loads(json.dumps(to_json(tree)))) == tree


def test_operators_make_flat_trees() -> None:
    assert PIXEL & WIDE & Missing("place") == And((PIXEL, WIDE, Missing("place")))
    assert Or((PIXEL, WIDE, PIXEL)) == PIXEL | WIDE | PIXEL
    assert And((Not(PIXEL), WIDE)) == ~PIXEL & WIDE
    assert And((PIXEL,)) == EVERYTHING & PIXEL
    with pytest.raises(TypeError):
        PIXEL & "wide"  # type: ignore[operator]


def test_values_are_brought_to_one_form() -> None:
    assert Compare("moment", ">", "2021-07-14").value == "2021-07-14T00:00:00"
    assert Compare("moment", ">", "2021-07-14T10:30").value == "2021-07-14T10:30:00"
    assert Below(Path("/photos/a")) == Below("/photos/a/")  # type: ignore[arg-type]
    assert Below("/") == Below("//")
    assert OneOf("width", [640, 800]) == OneOf("width", (640.0, 800.0))  # type: ignore[arg-type]
    with pytest.raises(FrozenInstanceError):
        WIDE.value = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ÉCOLE", "ecole"),
        ("Straße", "strasse"),
        ("Åre", "are"),
        ("Ｐ30", "p30"),
        ("NIKON", "nikon"),
    ],
)
def test_folded_text_has_neither_case_nor_diacritics(text: str, folded: str) -> None:
    assert fold(text) == fold(text.lower()) == folded


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (Compare, ("colour", "=", "red"), "no field 'colour'"),
        (Compare, (None, "=", "red"), "no field None"),
        (Compare, ("camera", "<", "A"), "compares by = has"),
        (Compare, ("width", "has", 3), "compares by"),
        (Compare, ("path", "=", "a.jpg"), "path compares by has"),
        (Compare, ("width", ">", "wide"), "width must be a finite number"),
        (Compare, ("width", ">", float("nan")), "width must be a finite number"),
        (Compare, ("width", ">", True), "width must be a finite number"),
        (Compare, ("camera", "has", ""), "camera must be a text"),
        (Compare, ("camera", "has", "a\0"), "camera must be a text"),
        (Compare, ("camera", "has", "\u0301"), "no letter is left"),
        (Compare, ("camera", "has", "x" * 5000), "5,000 characters"),
        (Compare, ("moment", ">", "2021-02-30"), "must be a day"),
        (Compare, ("moment", ">", "2021"), "must be a day"),
        (Compare, ("moment", ">", "2021-07-14T10:00:00+02:00"), "must be a day"),
        (OneOf, ("path", ("a",)), "no field for OneOf"),
        (OneOf, ("camera", "abc"), "several values"),
        (OneOf, ("camera", ("a",) * (MOST_PARTS + 1)), "10,000 parts"),
        (Below, ("photos",), "absolute"),
        (Below, (3,), "must be a text"),
        (Within, (91, 0, 1), "latitude"),
        (Within, (0, -181, 1), "longitude"),
        (Within, (0, 0, 0), "km must be above 0"),
        (Within, (0, 0, float("inf")), "km"),
        (Missing, ("colour",), "no field"),
        (And, ((PIXEL, "wide"),), "made of"),
        (Or, ("wide",), "several"),
        (Not, (None,), "made of"),
    ],
)
def test_what_can_not_be_meant_is_refused(kind: type, values: tuple[Any, ...], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        kind(*values)


@pytest.mark.parametrize(
    "value",
    [
        *({"camera": "X100"}, {"": 1}, {}, [], None, "all", {1: 2}, {"and": {}}, {"and": [1]}),
        *({"compare": ["width", ">"]}, {"compare": 3}, {"compare": [[], ">", 3]}, {"or": [{}]}),
        *(
            {"not": []},
            {"below": ["/"]},
            {"missing": {}},
            {"within": [0, 0]},
            {"within": [{}, 0, 0]},
        ),
        *({"one_of": ["width", 3]}, {"one_of": ["camera", [{}]]}, {"and": [], "or": []}),
    ],
    ids=repr,
)
def test_what_is_no_filter_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput):
        from_json(value)


def test_a_tree_has_limits() -> None:
    tree: Filter = PIXEL
    for _ in range(MOST_NESTED - 1):
        tree = Not(tree)
    assert from_json(to_json(tree)) == tree
    with pytest.raises(InvalidInput, match="deep"):
        Not(tree)
    with pytest.raises(InvalidInput, match="deep"):
        from_json({"not": to_json(tree)})
    endless: list[Any] = []
    endless.append({"and": endless})
    with pytest.raises(InvalidInput, match="deep"):
        from_json({"and": endless})
    with pytest.raises(InvalidInput, match="parts"):
        And((PIXEL,) * MOST_PARTS)
