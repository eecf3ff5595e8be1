"""The moment that phones, messengers and screenshots write into the names of their files.

    IMG-20210714-WA0001.jpg                     the day alone
    PXL_20230714_101112345.jpg                  with thousandths, which are left out
    Screenshot_20231027-123303_Maps.png
    2021-07-14 10.11.12.jpg
    WhatsApp Image 2021-07-14 at 10.11.12.jpeg
    Screenshot 2021-07-14 at 10.11.12 PM.png    also with a narrow space before PM
    signal-2021-07-14-101112.jpg

Only whole dates count, whose numbers touch no other figure or letter that could make them part of
something else (a phone number, a hash, a serial number), of years that photos are of.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Source: TypeAlias = Literal["photo", "name"]

_FIRST_YEAR = 1970
_MOST_CHARACTERS = 255  # looked through; no file system has longer names

# Before a date stands its beginning, a sign, or the word that the program wrote (IMG20210714).
_WORDS = "img|vid|pxl|mvimg|pano|dsc|mov|video|image|photo|screenshot|burst|wp|cam|p|s"
_BEFORE = rf"(?:(?<![0-9A-Za-z])|(?<![A-Za-z])(?:{_WORDS}))"
_DATE = re.compile(
    _BEFORE + r"(?P<year>[0-9]{4})(?P<sign>[-_.:]?)(?P<month>[0-9]{2})(?P=sign)(?P<day>[0-9]{2})"
    r"(?![0-9](?![0-9]{5}))",  # or all fourteen figures in a row
    re.IGNORECASE,
)
_BETWEEN = r"(?:[\s_.,T-]{1,3}|[\s_-]+(?:at|um|à|a las|om|kl\.?)[\s_-]+)"
_TIME = re.compile(
    rf"(?P<gap>{_BETWEEN})?(?P<hour>[0-9]{{1,2}})(?P<sign>[-_.:h]?)(?P<minute>[0-9]{{2}})"
    r"(?P=sign)(?P<second>[0-9]{2})"
    r"(?:(?<=[0-9]{6})[0-9]{3}|[.,_-]?[0-9]{3})?(?![0-9])(?:\s?(?P<half>[AP])\.?M\b)?",
    re.IGNORECASE,
)
_END = re.compile(r"(?![0-9A-Za-z])|(?=T[0-9])|(?=[a-z]{2,}\b)", re.IGNORECASE)


def moment_of(taken_at: str | None, name: str) -> tuple[str | None, Source | None]:
    """Return the moment of a photo as ISO 8601 in local time without an offset, and what says it.

    What its metadata says comes first, then the name of its file. A day without a time stays one.
    """
    if taken_at:
        return taken_at[: len("2021-07-14T10:11:12")], "photo"
    found = moment_in_name(name)
    return found, "name" if found else None


def moment_in_name(name: str) -> str | None:
    """Return the moment in the name of a file, or the day alone; None where there is no date."""
    # A path is as good as a name: what stands behind the last slash counts.
    name = name.rpartition("/")[2][-_MOST_CHARACTERS:]
    for date in _DATE.finditer(name):
        try:
            day = datetime(int(date["year"]), int(date["month"]), int(date["day"]))
        except ValueError:
            continue
        if not _FIRST_YEAR <= day.year <= datetime.now(UTC).year + 1:
            continue
        rest = name[date.end() :]
        if (time := _TIME.match(rest)) and (clock := _clock(time)):
            return f"{day.date().isoformat()}T{clock}"
        if _END.match(rest):
            return day.date().isoformat()
    return None


def _clock(time: re.Match[str]) -> str | None:
    """Return hours, minutes and seconds, or None if no clock shows them."""
    hour, minute, second = int(time["hour"]), int(time["minute"]), int(time["second"])
    if not time["sign"] and len(time["hour"]) < 2:
        return None
    if time["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if time["half"] in "pP" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return f"{hour:02}:{minute:02}:{second:02}"
