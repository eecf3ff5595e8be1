"""Dates as people write them: `2023`, `2023-07`, `2021..2022`, `last summer`, `two weeks ago`.

Each stands for a span of time, reckoned from a clock that the caller reads. Photos keep the time
that the clock showed where they were taken, so a span knows no offset from UTC either.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import NamedTuple

from clipsearch.arguments import shown
from clipsearch.asking.date_words import phrase
from clipsearch.errors import InvalidInput

_PLAIN = re.compile(r"(\d{4})(?:[-/.:](\d{1,2})(?:[-/.:](\d{1,2}))?)?")
_WITH_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d):(\d\d)(?::(\d\d))?")
_DAY_FIRST = re.compile(r"(\d{1,2})\.\s*(\d{1,2})\.\s*(\d{4})")
_WRITTEN = '2023, 2023-07, 2023-07-14, 2021..2022, "July 2021", "last summer" or "two weeks ago"'


class Span(NamedTuple):
    """A span of time, by the clock of the place; None where it is open."""

    first: datetime | None  # its first moment
    behind: datetime | None  # the first moment that is not of it any more

    def __str__(self) -> str:
        """Return the dates for a person, the last day as one that belongs to it."""
        if self.behind is None:
            return f"from {iso(self.first)}" if self.first else "at any time"
        if self.first is None:
            return f"before {iso(self.behind)}"
        last = self.behind - (timedelta(1) if _is_midnight(self.behind) else timedelta(seconds=1))
        first, last_day = iso(self.first), iso(last)
        return f"on {first}" if first == last_day else f"from {first} to {last_day}"


def after(given: str | date, now: datetime) -> Span:
    """Return what `--after` asks for: from the first moment of a date on; of a range, all of it.

    Raises InvalidInput, with what may be written, for what is no date.
    """
    if isinstance(given, str) and ".." in given:
        return _range(given, now)
    return Span(_one(given, now).first, None)


def before(given: str | date, now: datetime) -> Span:
    """Return what `--before` asks for: up to the first moment of a date, and without it.

    Raises InvalidInput, with what may be written, for what is no date.
    """
    if isinstance(given, str) and ".." in given:
        raise InvalidInput(
            f"before takes one date, not the range {given}: after takes a range, both its ends "
            "included"
        )
    return Span(None, _one(given, now).first)


def iso(moment: datetime) -> str:
    """Return a moment as a store compares it with others: a day alone for its midnight."""
    return moment.date().isoformat() if _is_midnight(moment) else moment.isoformat()


def _is_midnight(moment: datetime) -> bool:
    return (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0)


def _range(given: str, now: datetime) -> Span:
    begin, _, end = given.partition("..")
    if not begin.strip() and not end.strip():
        raise _no_date(given)
    span = Span(
        _one(begin, now).first if begin.strip() else None,
        _one(end, now).behind if end.strip() else None,
    )
    if span.first and span.behind and span.first >= span.behind:
        raise InvalidInput(f"the range {given} ends before it begins")
    return span


def _one(given: str | date, now: datetime) -> Span:
    if isinstance(given, datetime):
        moment = given.replace(tzinfo=None, microsecond=0)
        return Span(moment, moment + timedelta(seconds=1))
    if isinstance(given, date):
        return _days(given, given + timedelta(1))
    if not isinstance(given, str):
        raise _no_date(given)
    text = " ".join(given.split())
    try:
        found = _plain(text) or phrase(text.lower(), now.date())
    except (ValueError, OverflowError):  # the 30th of February, the year 0
        found = None
    if found is None:
        raise _no_date(given)
    return found if isinstance(found, Span) else _days(*found)


def _plain(text: str) -> Span | tuple[date, date] | None:
    """Return the span of a date in figures, as exact as it is written."""
    if with_time := _WITH_TIME.fullmatch(text):
        moment = datetime.fromisoformat(text)
        return Span(moment, moment + timedelta(seconds=1 if with_time[4] else 60))
    if day_first := _DAY_FIRST.fullmatch(text):
        text = "-".join(reversed(day_first.groups()))
    plain = _PLAIN.fullmatch(text)
    if plain is None:
        return None
    year, month, day = (int(part) if part else 0 for part in plain.groups())
    if day:
        return date(year, month, day), date(year, month, day) + timedelta(1)
    if plain[2]:
        return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1)
    return date(year, 1, 1), date(year + 1, 1, 1)


def _days(first: date, behind: date) -> Span:
    midnight = datetime.min.time()
    return Span(datetime.combine(first, midnight), datetime.combine(behind, midnight))


def _no_date(given: object) -> InvalidInput:
    return InvalidInput(f"{shown(given)} is no date: write {_WRITTEN}")
