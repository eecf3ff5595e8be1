"""Dates as people write them, from a clock that is given."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.asking.dates import after, before, iso
from clipsearch.errors import InvalidInput

NOW = datetime(2026, 11, 28, 9, 30)  # a Saturday


def days(text: str, now: datetime = NOW) -> tuple[str, str]:
    """Return the first and the last day of what a date stands for."""
    span = after(f"{text}..{text}", now)
    assert span.first and span.behind
    return iso(span.first), iso(span.behind - timedelta(days=1))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2023", "2023-01-01", "2023-12-31"),
        ("2023-07", "2023-07-01", "2023-07-31"),
        ("2023-12", "2023-12-01", "2023-12-31"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2023-07-14", "2023-07-14", "2023-07-14"),
        ("2023/7/4", "2023-07-04", "2023-07-04"),
        ("2023:07:14", "2023-07-14", "2023-07-14"),  # as EXIF has it
        ("14.7.2023", "2023-07-14", "2023-07-14"),
        ("July 2021", "2021-07-01", "2021-07-31"),
        ("sept. 2021", "2021-09-01", "2021-09-30"),
        ("14 July 2021", "2021-07-14", "2021-07-14"),
        ("July 14th, 2021", "2021-07-14", "2021-07-14"),
        ("the 3rd of May 2021", "2021-05-03", "2021-05-03"),
        ("29 feb", "2024-02-29", "2024-02-29"),  # the last there was
        ("summer 2021", "2021-06-01", "2021-08-31"),
        ("2021 summer", "2021-06-01", "2021-08-31"),
        ("winter 2023", "2023-12-01", "2024-02-29"),
        ("fall of 2021", "2021-09-01", "2021-11-30"),
        ("christmas 2022", "2022-12-24", "2022-12-26"),
        ("new year 2023", "2022-12-31", "2023-01-01"),
        ("easter 2024", "2024-03-29", "2024-04-01"),
        ("easter 2025", "2025-04-18", "2025-04-21"),
        ("easter 2007", "2007-04-06", "2007-04-09"),
        ("easter 2038", "2038-04-23", "2038-04-26"),  # the latest
        ("easter 1981", "1981-04-17", "1981-04-20"),  # an exception of the Gregorian rule
        ("1990s", "1990-01-01", "1999-12-31"),
        ("the 90s", "1990-01-01", "1999-12-31"),
        ("today", "2026-11-28", "2026-11-28"),
        ("yesterday", "2026-11-27", "2026-11-27"),
        ("two weeks ago", "2026-11-14", "2026-11-14"),
        ("a year ago", "2025-11-28", "2025-11-28"),
        ("9 months ago", "2026-02-28", "2026-02-28"),
        ("last week", "2026-11-16", "2026-11-22"),
        ("this week", "2026-11-23", "2026-11-29"),
        ("last weekend", "2026-11-21", "2026-11-22"),
        ("last month", "2026-10-01", "2026-10-31"),
        ("last year", "2025-01-01", "2025-12-31"),
        ("the last 3 days", "2026-11-25", "2026-11-28"),
        ("monday", "2026-11-23", "2026-11-23"),
        ("saturday", "2026-11-28", "2026-11-28"),
        ("last Saturday", "2026-11-21", "2026-11-21"),
        ("last summer", "2026-06-01", "2026-08-31"),
        ("last autumn", "2025-09-01", "2025-11-30"),  # this one is not over
        ("autumn", "2026-09-01", "2026-11-30"),
        ("this winter", "2026-12-01", "2027-02-28"),
        ("winter", "2025-12-01", "2026-02-28"),
        ("last july", "2026-07-01", "2026-07-31"),
        ("summer last year", "2025-06-01", "2025-08-31"),
        ("last christmas", "2025-12-24", "2025-12-26"),
    ],
)
def test_a_date_stands_for_its_days(text, first, last):
    assert days(text) == (first, last)


def test_the_last_of_something_is_over_and_this_one_need_not_be():
    in_july, in_january = datetime(2026, 7, 15), datetime(2027, 1, 15)
    assert days("last summer", in_july) == ("2025-06-01", "2025-08-31")
    assert days("this summer", in_july) == ("2026-06-01", "2026-08-31")
    assert days("summer", in_july) == ("2026-06-01", "2026-08-31")
    assert days("this winter", in_january) == ("2026-12-01", "2027-02-28")
    assert days("last winter", in_january) == ("2025-12-01", "2026-02-28")


def test_months_ago_end_with_the_month():
    assert days("a month ago", datetime(2026, 3, 31)) == ("2026-02-28", "2026-02-28")


def test_after_begins_with_the_first_moment_and_before_ends_without_it():
    assert str(after("2023-07", NOW)) == "from 2023-07-01"
    assert str(before("2023-07", NOW)) == "before 2023-07-01"
    assert after("2023", NOW).behind is None
    assert before("2023", NOW).first is None


def test_a_range_includes_both_ends():
    assert str(after("2021..2022", NOW)) == "from 2021-01-01 to 2022-12-31"
    assert str(after("2021-05..2022", NOW)) == "from 2021-05-01 to 2022-12-31"
    assert str(after("last july..yesterday", NOW)) == "from 2026-07-01 to 2026-11-27"
    assert str(after("2021..", NOW)) == "from 2021-01-01"
    assert str(after("..2022", NOW)) == "before 2023-01-01"
    assert str(after("2023-07-14..2023-07-14", NOW)) == "on 2023-07-14"


def test_a_time_of_day_is_as_exact_as_it_is_written():
    assert str(after("2023-07-14 18:30", NOW)) == "from 2023-07-14T18:30:00"
    minute = after("2023-07-14T18:30..2023-07-14T18:30", NOW)
    assert str(minute) == "from 2023-07-14T18:30:00 to 2023-07-14T18:30:59"


def test_python_may_give_a_date_or_a_moment_and_its_offset_does_not_count():
    assert str(after(date(2023, 7, 14), NOW)) == "from 2023-07-14"
    moment = datetime(2023, 7, 14, 18, 30, 5, 999, tzinfo=UTC)
    assert str(before(moment, NOW)) == "before 2023-07-14T18:30:05"


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "..", "foo", "2023-13", "2023-02-30", "30 feb 2021", "07/14/2023", "202"),
        *("last summer 2021", "next year", "ma", "40 jul 2021", "0000", "9999 years ago", "20233"),
    ],
)
def test_what_is_no_date_is_refused_with_what_may_be_written(text):
    with pytest.raises(InvalidInput, match=r'no date: write 2023, 2023-07, .*"two weeks ago"'):
        after(text, NOW)


def test_a_range_that_can_not_be_is_refused():
    with pytest.raises(InvalidInput, match="ends before it begins"):
        after("2022..2021", NOW)
    with pytest.raises(InvalidInput, match="after takes a range"):
        before("2021..2022", NOW)
    with pytest.raises(InvalidInput, match="no date"):
        after(20, NOW)  # type: ignore[arg-type]


@given(st.dates(min_value=date(1000, 1, 1), max_value=date(9998, 12, 31)))
def test_a_day_a_month_and_a_year_hold_each_other(day):
    year, month, alone = (after(f"{day:%Y-%m-%d}"[:length], NOW).first for length in (4, 7, 10))
    assert year and month and alone and year <= month <= alone
    ends = [after(f"..{f'{day:%Y-%m-%d}'[:length]}", NOW).behind for length in (10, 7, 4)]
    assert alone + timedelta(days=1) == ends[0] <= ends[1] <= ends[2]


@given(st.text(max_size=30), st.datetimes(min_value=datetime(1900, 1, 1)))
def test_any_text_is_a_date_or_refused(text, now):
    for read in (after, before):
        try:
            span = read(text, now)
        except InvalidInput:
            continue
        assert span.first or span.behind
