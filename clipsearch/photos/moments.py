"""A date and time as programs write it becomes ISO 8601, as far as it can be true."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

# Blanks stand for noughts, and \d takes the digits of any script, as cameras write them.
_DATE = re.compile(
    r"\s*(\d{4})(?:\s*[:/.-]\s*(\d{1,2})\s*[:/.-]\s*(\d{1,2})|(\d\d)(\d\d))(?!\d)[\sTt]*"
)
_TIME = re.compile(
    r"(\d{1,2})(?:\s*([:.])\s*(\d{1,2})(?:\s*\2\s*(\d{1,2}))?|(\d\d)(\d\d)?)(?!\d)"
    r"(?:[.,]\d*)?\s*(?:([AP])\.?M\b)?",
    re.IGNORECASE,
)
_OFFSET = re.compile(r"\s*(?:([+−-])\s*(\d{1,2})(?::?(\d\d))?|Z|UTC|GMT)\s*", re.IGNORECASE)
_LARGEST_OFFSET = 14  # hours

# Thu, 06 May 2021 12:30:15 +0200, as in mail; Thu May  6 12:30:15 2021, as programs print it
_AS_IN_MAIL = re.compile(r"\s*(?:[a-z]+,?\s+)?(\d\d?)[ -]([a-z]{3})[a-z]*[ -](\d{4})\b(.*)", re.I)
_AS_PRINTED = re.compile(r"\s*(?:[a-z]+\s+)?([a-z]{3})[a-z]*\s+(\d\d?)\s+(\S+)\s+(\d{4})\b", re.I)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def moment(text: str | None, offset: str | None = None) -> str | None:
    """Return a moment as ISO 8601, to the second; a day alone where no time is said.

    The offset from UTC is the one in the text, else `offset`, else left out. None if the text is no
    moment, or one that no clock shows.
    """
    text = _in_figures(text or "")
    date = _DATE.match(text)
    if date is None:
        return None
    year, month, day = (int(part) for part in date.groups() if part)
    time = _TIME.match(text, date.end())
    try:
        start = datetime(year, month, day)
        if time is None:
            return start.date().isoformat()
        shown = (start + _since_midnight(time)).isoformat()
    except (ValueError, OverflowError):  # 0000:00:00 and the like: the clock was never set
        return None
    return shown + (_offset(_OFFSET.match(text, time.end())) or offset_of(offset) or "")


def _in_figures(text: str) -> str:
    if mail := _AS_IN_MAIL.match(text):
        day, month, year, rest = mail.groups()
    elif printed := _AS_PRINTED.match(text):
        month, day, rest, year = printed.groups()
    else:
        return text
    number = _MONTHS.index(month.lower()) + 1 if month.lower() in _MONTHS else 0
    return f"{year}-{number}-{day} {rest}"


def offset_of(text: str | None) -> str | None:
    """Return an offset from UTC as +02:00; None if the text is none."""
    return _offset(_OFFSET.fullmatch(text or ""))


def _since_midnight(time: re.Match[str]) -> timedelta:
    """Return the time of day, 24:00:00 as the end of it; raises ValueError if no clock shows it."""
    hour, _, minute, second, minute_too, second_too, half = time.groups()
    hours, minutes, seconds = int(hour), int(minute or minute_too), int(second or second_too or 0)
    if half and 1 <= hours <= 12:
        hours = hours % 12 + (12 if half in "pP" else 0)
    if minutes > 59 or seconds > 60 or (hours, minutes, seconds) > (24, 0, 0):
        raise ValueError
    return timedelta(hours=hours, minutes=minutes, seconds=min(seconds, 59))  # 60 is a leap second


def _offset(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    sign, hours, minutes = found[1] or "+", int(found[2] or 0), int(found[3] or 0)
    if minutes > 59 or (hours, minutes) > (_LARGEST_OFFSET, 0):
        return None
    return f"{'+' if sign == '+' or not hours + minutes else '-'}{hours:02}:{minutes:02}"
