"""Dates in words: a month, a season or a feast, of a year or the last one; so long ago.

A table of the usual phrases. dateparser, which knows many more, was measured in its stead
(docs/filters.md): it knows no season, takes `2023` for a day in November, and takes 0.17 s.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta

Days = tuple[date, date]  # the first day, and the one behind the last

_NUMBERS = {
    **{"a": 1, "an": 1, "one": 1, "two": 2, "a couple": 2, "three": 3, "four": 4, "five": 5},
    **{"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12},
}
_NUMBER = rf"(\d{{1,4}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_UNIT = r"(day|week|fortnight|month|year)s?"
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
# North of the equator, whole months; the year is that in which it begins.
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}

_AGO = re.compile(rf"{_NUMBER} {_UNIT} ago")
_LAST_FEW = re.compile(rf"(?:last|past|previous) {_NUMBER} {_UNIT}")
_UNIT_ALONE = re.compile(r"(last|past|previous|this) (week|weekend|month|year)")
_DECADE = re.compile(r"'?((?:1[89]|20)?\d0)'?s")
_DAY_AND_MONTH = re.compile(r"(\d{1,2})(?:st|nd|rd|th)? ([a-z]+)(?: (.+))?")
_MONTH_AND_DAY = re.compile(r"([a-z]+) (\d{1,2})(?:st|nd|rd|th)?(?: (.+))?")
_YEAR_FIRST = re.compile(r"(\d{4}|this year|last year) (.+)")
_NAMED = re.compile(r"(?:(last|previous|this) )?(.+?)(?: (\d{4}|this year|last year))?")


def phrase(text: str, today: date) -> Days | None:
    """Return the days that a phrase in lower case stands for; None if it is not known.

    `last` is what is over: in July, the last summer is that of the year before. Without it, and
    without a year, it is the latest that has begun.
    """
    text = re.sub(r"\b(?:of|in|the|on|since|during) |,|\.(?= |$)", "", text)
    return _counted(text, today) or _day_of_month(text, today) or _named(text, today)


def _counted(text: str, today: date) -> Days | None:
    simple = {"today": 0, "now": 0, "yesterday": 1, "day before yesterday": 2}
    if text in simple:
        return _day(today - timedelta(simple[text]))
    if ago := _AGO.fullmatch(text):
        return _day(_back(today, _number(ago[1]), ago[2]))
    if few := _LAST_FEW.fullmatch(text):
        return _back(today, _number(few[1]), few[2]), today + timedelta(1)
    if alone := _UNIT_ALONE.fullmatch(text):
        return _unit(alone[2], today, back=alone[1] != "this")
    if decade := _DECADE.fullmatch(text):
        year = int(decade[1]) if len(decade[1]) == 4 else _century(int(decade[1]), today)
        return date(year, 1, 1), date(year + 10, 1, 1)
    return None


def _number(written: str) -> int:
    return _NUMBERS.get(written) or int(written)


def _century(decade: int, today: date) -> int:
    """Return the first year of the latest decade that is written so and has begun."""
    year = today.year // 100 * 100 + decade
    return year if year <= today.year else year - 100


def _back(today: date, count: int, unit: str) -> date:
    if unit in ("month", "year"):
        months = today.year * 12 + today.month - 1 - count * (12 if unit == "year" else 1)
        year, month = divmod(months, 12)
        return date(year, month + 1, min(today.day, monthrange(year, month + 1)[1]))
    return today - timedelta(count * {"day": 1, "week": 7, "fortnight": 14}[unit])


def _unit(unit: str, today: date, *, back: bool) -> Days:
    """Return this one or the last; weeks begin on Monday."""
    if unit == "year":
        return date(today.year - back, 1, 1), date(today.year - back + 1, 1, 1)
    if unit == "month":
        return _months(*_moved(today.year, today.month, -back), 1)
    monday = today - timedelta(today.weekday() + 7 * back)
    return monday + timedelta(5 * (unit == "weekend")), monday + timedelta(7)


def _moved(year: int, month: int, by: int) -> tuple[int, int]:
    years, month = divmod(month - 1 + by, 12)
    return year + years, month + 1


def _months(year: int, month: int, count: int) -> Days:
    return date(year, month, 1), date(*_moved(year, month, count), 1)


def _day(day: date, count: int = 1) -> Days:
    return day, day + timedelta(count)


def _day_of_month(text: str, today: date) -> Days | None:
    """Return the day of `14 july 2021`, or `july 14`: of the year said, else the latest."""
    if found := _DAY_AND_MONTH.fullmatch(text):
        day, name, year = found.groups()
    elif found := _MONTH_AND_DAY.fullmatch(text):
        name, day, year = found.groups()
    else:
        return None
    month = _month(name)
    if month is None or (year and not re.fullmatch(r"\d{4}|this year|last year", year)):
        return None
    return _of(lambda of: _day(date(of, month, int(day))), None, year, today)


def _named(text: str, today: date) -> Days | None:
    """Return the days of a month, season, feast or weekday: of a year, the last one, this one."""
    turned = _YEAR_FIRST.fullmatch(text)
    named = _NAMED.fullmatch(f"{turned[2]} {turned[1]}" if turned else text)
    if named is None:
        return None
    which, name, year = named.groups()
    if name in _WEEKDAYS and which != "this" and not year:
        back = (today.weekday() - _WEEKDAYS.index(name)) % 7
        return _day(today - timedelta(back or 7 * (which is not None)))
    in_year = _in_year(name)
    return _of(in_year, which, year, today) if in_year else None


def _in_year(name: str) -> Callable[[int], Days] | None:
    """Return what says when in a year something is that comes each year."""
    if month := _month(name):
        return lambda year: _months(year, month, 1)
    if season := _SEASONS.get(name):
        return lambda year: _months(year, season, 3)
    return _FEASTS.get(name.replace("’", "'"))


def _month(name: str) -> int | None:
    found = [number for number, full in enumerate(_MONTHS, 1) if full.startswith(name)]
    return found[0] if len(name) >= 3 and found else {"sept": 9}.get(name)


def _of(
    in_year: Callable[[int], Days], which: str | None, year: str | None, today: date
) -> Days | None:
    if year is not None:
        if which is not None:
            return None  # last summer 2021
        return in_year(
            {"this year": today.year, "last year": today.year - 1}.get(year) or int(year)
        )
    # The next one, for what lasts from one year to another or comes later in this.
    around = [_or_none(in_year, one) for one in range(today.year + 1, today.year - 9, -1)]
    days = [one for one in around if one]  # the 29th of February is not in every year
    if which == "this":
        holding = [one for one in days if one[0] <= today < one[1]]
        return holding[0] if holding else _or_none(in_year, today.year)
    over = (one for one in days if (one[0] if which is None else one[1]) <= today)
    return next(over, None)


def _or_none(in_year: Callable[[int], Days], year: int) -> Days | None:
    try:
        return in_year(year)
    except ValueError:
        return None


def _easter(year: int) -> Days:
    """Return Good Friday to Easter Monday, by the rule of Butcher (Nature, 1876)."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    g = (8 * b + 13) // 25
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    shift = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 19 * shift) // 433
    month = (h + shift - 7 * m + 90) // 25
    sunday = date(year, month, (h + shift - 7 * m + 33 * month + 19) % 32)
    return _day(sunday - timedelta(2), 4)


_FEASTS: dict[str, Callable[[int], Days]] = {
    "christmas": lambda year: _day(date(year, 12, 24), 3),
    "christmas eve": lambda year: _day(date(year, 12, 24)),
    "new year's eve": lambda year: _day(date(year, 12, 31)),
    "new year": lambda year: _day(date(year - 1, 12, 31), 2),  # the night and the day after it
    "new year's day": lambda year: _day(date(year, 1, 1)),
    "easter": _easter,
    "halloween": lambda year: _day(date(year, 10, 31)),
}
