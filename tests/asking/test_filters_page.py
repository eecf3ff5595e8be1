"""What docs/filters.md shows is read as it says."""

import re
import shlex
from datetime import datetime

import pytest
from places import ROOT

from clipsearch.asking.dates import after
from clipsearch.asking.grammar import KEYS
from clipsearch.asking.keywords import KEYWORDS
from clipsearch.cli.filter_flags import option_name
from clipsearch.cli.quick import quick_search
from clipsearch.index.filters import EVERYTHING

PAGE = (ROOT / "docs" / "filters.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(--[a-z-]+) [^`]+` \| `([a-z-]+):` \|.*\| `([^`]+)` \|$", PAGE, re.M)


def test_the_page_has_every_filter_as_an_option_and_within_a_question():
    assert [option for option, _, _ in ROWS] == [option_name(keyword) for keyword in KEYWORDS]
    assert [key for _, key, _ in ROWS] == list(KEYS)


@pytest.mark.parametrize(("option", "example"), [(row[0], row[2]) for row in ROWS])
def test_an_example_asks_for_what_its_row_says(option, example):
    search = quick_search(shlex.split(example))
    assert search is not None
    assert option in example
    assert search.options.filters != EVERYTHING


def test_every_date_on_the_page_is_one():
    section = PAGE.partition("## Dates")[2].partition("`last` is what is over")[0]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.M)
    dates = [date for cell in cells for date in re.findall("`([^`]+)`", cell)]
    assert len(dates) > 25
    for date in dates:
        after(date, datetime(2026, 11, 28))
