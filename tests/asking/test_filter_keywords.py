"""Filters by their keywords, as Python and the command line give them."""

from datetime import date, datetime
from pathlib import Path

import pytest

from clipsearch.asking.filter_keywords import _READ, all_of, meant
from clipsearch.asking.keywords import KEYWORDS
from clipsearch.errors import InvalidInput
from clipsearch.index.filters import EVERYTHING, And, Below, Compare, Missing, OneOf, Or, Within
from clipsearch.index.records import RAW
from clipsearch.photos.formats import decoders, formats_called

NOW = datetime(2026, 11, 28, 9, 30)


def filter_of(keyword: str, value: object):
    return meant(keyword, value, NOW).filter


def test_all_that_is_given_holds_at_once_and_none_is_not_given():
    given = {"camera": "Pixel", "min_width": 100, "lens": None}
    assert all_of(given, NOW) == And(
        (Compare("camera", "has", "Pixel"), Compare("width", ">=", 100))
    )
    assert all_of({}, NOW) == EVERYTHING


def test_every_keyword_is_read():
    assert {*KEYWORDS} == _READ.keys()


def test_a_folder_is_a_path_or_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert filter_of("in_", "here") == Below(str(tmp_path / "here"))
    assert filter_of("in_", "elsewhere") == Compare("folder", "=", "elsewhere")
    assert filter_of("in_", "elsewhere/") == Below(str(tmp_path / "elsewhere"))
    assert filter_of("in_", Path("elsewhere")) == Below(str(tmp_path / "elsewhere"))
    assert filter_of("in_", "..") == Below(str(tmp_path.parent))
    assert filter_of("in_", "~/x") == Below(str(Path.home() / "x"))
    assert meant("in_", "elsewhere", NOW).said == "in any folder elsewhere"
    for wrong in ("", " ", 5, ["a"], "a\0b"):
        with pytest.raises(InvalidInput):
            filter_of("in_", wrong)


def test_dates_are_compared_by_local_time():
    first, behind = Compare("moment", ">=", "2021-01-01"), Compare("moment", "<", "2023-01-01")
    assert filter_of("after", "2021..2022") == And((first, behind))
    assert filter_of("after", date(2021, 1, 1)) == first
    assert filter_of("before", "2023") == behind


def test_a_type_is_a_suffix_or_a_name():
    assert (
        filter_of("type", "JPG") == filter_of("type", ".jpeg") == OneOf("format", ("JPEG", "MPO"))
    )
    assert filter_of("type", "heic") == OneOf("format", ("HEIF",))
    assert filter_of("type", "raw") == OneOf("format", (RAW,))
    dng = OneOf("format", (RAW,)) & Compare("path", "has", ".dng")
    assert filter_of("type", "DNG") == dng
    assert filter_of("type", "png, dng") == Or((OneOf("format", ("PNG",)), dng))
    assert filter_of("type", ["png", "dng"]) == filter_of("type", "png,dng")
    with pytest.raises(InvalidInput, match=r"no type 'hiec' of photo; did you mean heic\?"):
        filter_of("type", "hiec")
    with pytest.raises(InvalidInput, match="there are jpeg, png"):
        filter_of("type", "qqqq")


def test_every_format_that_is_opened_can_be_asked_for():
    assert {one for kind in decoders() for one in formats_called(kind)} >= decoders().keys()


def test_the_shape_and_size_of_a_photo():
    assert filter_of("orientation", "Landscape") == Compare("aspect", ">", 1)
    assert filter_of("orientation", "square") == Compare("aspect", "=", 1)
    assert filter_of("min_width", 3000) == filter_of("min_width", "3000")
    for wrong in (0, 1.5, "wide", True, None):
        with pytest.raises(InvalidInput, match="a width"):
            filter_of("min_width", wrong)
    with pytest.raises(InvalidInput, match="did you mean portrait"):
        filter_of("orientation", "portait")


def test_several_tags_are_all_meant():
    tags = And((Compare("tag", "=", "beach"), Compare("tag", "=", "dog")))
    assert filter_of("tag", ["beach", "dog"]) == tags
    assert filter_of("tag", "beach") == tags.parts[0]
    assert filter_of("missing", ["date", "position"]) == And(
        (Missing("moment"), Missing("latitude"))
    )


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_nothing_is_no_value(keyword):
    for wrong in ("", " ", 5.5, b"x"):
        with pytest.raises(InvalidInput):
            filter_of(keyword, wrong)


def test_a_position_is_a_place():
    assert filter_of("near", (48.85, 2.35)) == Within(48.85, 2.35, 10)
