"""Dates in the names of files, and numbers that are none."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from clipsearch.index.moments_in_names import moment_in_name, moment_of

DATED = {
    "IMG-20210714-WA0001.jpg": "2021-07-14",
    "VID-20210714-WA0001.mp4": "2021-07-14",
    "STK-20200229-WA0007.webp": "2020-02-29",
    "PXL_20230714_101112345.jpg": "2023-07-14T10:11:12",
    "PXL_20230714_101112345.MP.jpg": "2023-07-14T10:11:12",
    "PXL_20230714_101112345.RAW-01.COVER.jpg": "2023-07-14T10:11:12",
    "PXL_20230714_101112345~2.jpg": "2023-07-14T10:11:12",
    "Screenshot_20231027-123303.png": "2023-10-27T12:33:03",
    "Screenshot_20231027-123303_Maps.jpg": "2023-10-27T12:33:03",
    "Screenshot_20231027_123303_com.android.chrome.png": "2023-10-27T12:33:03",
    "Screenshot 2021-07-14 at 10.11.12.png": "2021-07-14T10:11:12",
    "Screenshot 2021-07-14 at 10.11.12 PM.png": "2021-07-14T22:11:12",
    "Screenshot 2021-07-14 at 10.11.12\u202fPM.png": "2021-07-14T22:11:12",
    "Screen Shot 2016-02-01 at 9.05.04 AM.png": "2016-02-01T09:05:04",
    "Bildschirmfoto 2021-07-14 um 10.11.12.png": "2021-07-14T10:11:12",
    "Screenshot from 2021-07-14 10-11-12.png": "2021-07-14T10:11:12",
    "Screenshot_2015-11-30-08-09-10.png": "2015-11-30T08:09:10",
    "IMG_20190102_030405.jpg": "2019-01-02T03:04:05",
    "IMG_20190102_030405_BURST001_COVER.jpg": "2019-01-02T03:04:05",
    "IMG_20190102_030405 (1).jpg": "2019-01-02T03:04:05",
    "IMG_20190102_030405-edited.jpg": "2019-01-02T03:04:05",
    "MVIMG_20190102_030405.jpg": "2019-01-02T03:04:05",
    "IMG20190102030405.jpg": "2019-01-02T03:04:05",
    "VID_20190102_030405.mp4": "2019-01-02T03:04:05",
    "20190102_030405.jpg": "2019-01-02T03:04:05",
    "20190102030405.jpg": "2019-01-02T03:04:05",
    "2021-07-14 10.11.12.jpg": "2021-07-14T10:11:12",
    "2021-07-14_10-11-12.heic": "2021-07-14T10:11:12",
    "2021-07-14T10:11:12.jpg": "2021-07-14T10:11:12",
    "2021-07-14.jpg": "2021-07-14",
    "2021-07-14 beach.jpg": "2021-07-14",
    "2021.07.14 - Anna.jpg": "2021-07-14",
    "beach-2021-07-14-3.jpg": "2021-07-14",
    "signal-2021-07-14-101112.jpg": "2021-07-14T10:11:12",
    "signal-2021-07-14-10-11-12-345.jpg": "2021-07-14T10:11:12",
    "signal-2021-07-14-10-11-12-345-1.jpg": "2021-07-14T10:11:12",
    "WhatsApp Image 2021-07-14 at 10.11.12.jpeg": "2021-07-14T10:11:12",
    "WhatsApp Image 2021-07-14 at 10.11.12 (2).jpeg": "2021-07-14T10:11:12",
    "WhatsApp Image 2021-07-14 at 1.11.12 PM.jpeg": "2021-07-14T13:11:12",
    "WP_20140102_15_16_17_Pro.jpg": "2014-01-02T15:16:17",
    "photo_2021-07-14_10-11-12.jpg": "2021-07-14T10:11:12",
    "photo_5_2021-07-14_10-11-12.jpg": "2021-07-14T10:11:12",
    "/photos/2001-01-01/IMG_20190102_030405.jpg": "2019-01-02T03:04:05",
}
WITHOUT = [
    *("IMG_1234.jpg", "DSC01234.ARW", "DSCF0001.jpg", "P1010001.jpg", "100_0001.jpg"),
    *("+4915120210714.jpg", "0049 20210714 55.jpg".replace(" ", ""), "555-2021-0714.jpg"),
    *("16263439721234.jpg", "1626343972.jpg", "FB_IMG_1626343972123.jpg", "20211314.jpg"),
    *("20210230_101112.jpg", "IMG_20210732_101112.jpg", "00000000_000000.jpg"),
    *("19691231_235959.jpg", "20990101_000000.jpg", "88880714.jpg", "2021071.jpg", "202107141.jpg"),
    *("a20210714b.jpg", "deadbeef20210714cafe.jpg", "x2021-07-14.jpg", "12021-07-14.jpg"),
    *("2021-07-141.jpg", "2021-7.jpg", "2021.jpg", "Star Wars 1977.jpg", "1080x1920.jpg", ""),
    *("2021-07.14.jpg", "/photos/2001-01-01/beach.jpg", "³²¹²-07-14.jpg", "٢٠٢١-٠٧-١٤.jpg"),
    "5f8a20210714c3d2e1f0a9b8c7d6e5f4.jpg",
]


@pytest.mark.parametrize("name", DATED)
def test_a_date_in_a_name_is_read(name: str) -> None:
    assert moment_in_name(name) == DATED[name]


@pytest.mark.parametrize("name", WITHOUT)
def test_a_number_that_is_no_date_is_none(name: str) -> None:
    assert moment_in_name(name) is None


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("IMG_20190102_256105.jpg", "2019-01-02"),
        ("2021-07-14 at 13.11.12 PM.jpg", "2021-07-14"),
        ("2021-07-14 1234.jpg", "2021-07-14"),
    ],
)
def test_a_time_that_no_clock_shows_leaves_the_day(name: str, day: str) -> None:
    assert moment_in_name(name) == day


def test_next_year_is_the_last_that_counts() -> None:
    year = datetime.now(UTC).year
    assert moment_in_name(f"{year + 1}-01-01.jpg") == f"{year + 1}-01-01"
    assert moment_in_name(f"{year + 2}-01-01.jpg") is None


def test_every_moment_comes_back_from_each_way_of_writing_it() -> None:
    chance = random.Random(5)
    ways = ["IMG_%Y%m%d_%H%M%S.jpg", "%Y-%m-%d %H.%M.%S.png", "Screenshot_%Y%m%d-%H%M%S.png"]
    ways += ["signal-%Y-%m-%d-%H%M%S.jpg", "WhatsApp Image %Y-%m-%d at %I.%M.%S %p.jpeg"]
    for _ in range(2000):
        moment = datetime(1970, 1, 1) + timedelta(seconds=chance.randrange(56 * 365 * 86400))
        name = moment.strftime(chance.choice(ways))
        assert moment_in_name(name) == moment.isoformat(), name


def test_hashes_and_serial_numbers_seldom_look_like_dates() -> None:
    chance = random.Random(7)
    hashes = [uuid.UUID(int=chance.getrandbits(128)) for _ in range(20_000)]
    assert sum(moment_in_name(f"{hash_.hex}.jpg") is not None for hash_ in hashes) == 0
    phones = [f"+{chance.randrange(10**11, 10**12)}.jpg" for _ in range(20_000)]
    assert sum(moment_in_name(phone) is not None for phone in phones) == 0


def test_what_the_photo_says_comes_first_without_its_offset() -> None:
    name = "IMG_20190102_030405.jpg"
    assert moment_of("2020-05-06T07:08:09+02:00", name) == ("2020-05-06T07:08:09", "photo")
    assert moment_of("2020-05-06", name) == ("2020-05-06", "photo")
    assert moment_of(None, name) == ("2019-01-02T03:04:05", "name")
    assert moment_of(None, "IMG_1234.jpg") == (None, None)
