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


def moment(text: str | None, offset: str | None = None) -> str | None:
    """Return a moment as ISO 8601, to the second; a day alone where no time is said.

    The offset from UTC is the one in the text, else `offset`, else left out. None if the text is no
    moment, or one that no clock shows.
    """
    date = _DATE.match(text or "")
    if text is None or date is None:
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
