"""Photos over HTTP: small and whole, only those of the library, and only as they were indexed."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import numpy as np
import pillow_heif
import pytest
from example_photos import example_files
from made_raws import dng
from PIL import Image, ImageOps
from web_door import Answer, Door, open_door

from clipsearch import Library
from clipsearch.index.records import PhotoRecord
from clipsearch.photos import as_indexed
from clipsearch.serving.web.sent_files import attachment
from clipsearch.showing import picture_maker

STRANGE = b'quo"te;\\back\nline \xff\xe9.jpg'  # a name that is no text
SCRIPT = '"><img src=x onerror=alert(1)>.png'


class Place:
    """A library that may be spoiled, with its photos and its open door."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = folder / "library"
        self.photos = folder / "photos"
        self.door: Door

    def file(self, name: str | bytes) -> Path:
        return Path(os.fsdecode(os.fsencode(self.photos) + b"/" + os.fsencode(name)))

    def id(self, name: str | bytes) -> int:
        with Library(self.library, read_only=True) as library:
            found = {hit.path: hit.id for hit in library.list(k=100)}
        return found[self.file(name)]

    def get(self, path: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.door.ask("GET", path, headers=named)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("shown"))
    place.photos.mkdir()
    one, *others = example_files()[:6]
    with Image.open(one) as image:
        image = ImageOps.exif_transpose(image).convert("RGB")
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "a camera maker"
        image.save(place.file("turned.jpg"), exif=exif)
        image.save(place.file("deep.tiff"))
        pillow_heif.from_pillow(image).save(place.file("phone.heic"))
        image.resize((300, 200)).save(place.file(SCRIPT))
        image.resize((240, 320)).save(place.file("short.webp"))
        small = np.asarray(image.resize((600, 400)))
    place.file("raw.dng").write_bytes(dng(small))
    shutil.copy(others[0], place.file(STRANGE))
    for path in others[1:]:
        shutil.copy(path, place.file(path.name))
    with Library(place.library, device="cpu") as library:
        library.index([place.photos], model="builtin")
    with open_door(place.library) as place.door:
        yield place


@pytest.fixture
def spoiled(place: Place) -> Iterator[tuple[int, Path]]:
    """Return a photo's id and its file, which a test may replace by whatever it likes."""
    name = example_files()[3].name
    file, aside = place.file(name), place.folder / "aside"
    photo_id = place.id(name)
    shutil.move(file, aside)
    yield photo_id, file
    with suppress(FileNotFoundError):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    shutil.move(aside, file)
    assert place.get(f"/photos/{photo_id}").status == 200


def shown(answer: Answer) -> Image.Image:
    assert answer.status == 200, answer.body
    return Image.open(io.BytesIO(answer.body))


def hash_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Thumbnails


def test_thumbnails_are_upright_and_kept_for_ever_by_their_address(place: Place) -> None:
    photo = place.id("turned.jpg")
    digest = hash_of(place.file("turned.jpg"))
    small = place.get(f"/thumbs/{photo}?v={digest[:12]}")
    assert small.headers["content-type"] == "image/webp"
    assert small.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert small.headers["x-content-type-options"] == "nosniff"
    large = place.get(f"/thumbs/{photo}?size=large&v=another")
    assert large.headers["cache-control"] == "private, no-cache"
    with Image.open(place.file("turned.jpg")) as image:
        upright = ImageOps.exif_transpose(image)
        for answer, side in ((small, 480), (large, max(upright.size))):
            picture = shown(answer)
            assert (picture.format, max(picture.size)) == ("WEBP", side)
            assert not picture.getexif()
            reference = np.asarray(upright.resize(picture.size), np.float64)
            assert np.abs(np.asarray(picture) - reference).mean() < 8
    etag = small.headers["etag"]
    again = place.get(f"/thumbs/{photo}", If_None_Match=f'"other", W/{etag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    kept = place.library / "thumbnails" / digest[:2]
    assert {path.name for path in kept.glob(f"{digest}*")} == {
        f"{digest}-480.webp",
        f"{digest}-1600.webp",
    }
    assert (kept / f"{digest}-480.webp").read_bytes() == small.body


def test_all_kinds_have_thumbnails_and_one_that_is_gone_keeps_its(place: Place) -> None:
    for name in ("deep.tiff", "phone.heic", "raw.dng", SCRIPT, "short.webp", STRANGE):
        assert shown(place.get(f"/thumbs/{place.id(name)}")).format == "WEBP"
    file, aside = place.file("deep.tiff"), place.folder / "deep aside"
    photo = place.id("deep.tiff")
    file.rename(aside)
    try:
        assert shown(place.get(f"/thumbs/{photo}")).format == "WEBP"
        missing = place.get(f"/thumbs/{photo}?size=large")
        assert missing.status == 404
        assert missing.error == "no such file: it may have been moved or deleted"
    finally:
        aside.rename(file)
    assert shown(place.get(f"/thumbs/{photo}?size=large")).format == "WEBP"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/thumbs/1?size=huge", 400, "size is small or large"),
        ("/thumbs/1?sizes=small", 400, "there is no parameter sizes"),
        ("/photos/1?path=/etc/passwd", 400, "there is no parameter path"),
        ("/thumbs/123456", 404, "123456"),
        ("/photos/0", 404, "0"),
        (f"/photos/{2**63}", 404, str(2**63)),
        (f"/thumbs/{10**40}", 404, str(10**40)),
    ],
)
def test_what_is_not_there_is_said_in_a_line(
    place: Place, path: str, status: int, said: str
) -> None:
    answer = place.get(path)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert said in answer.error


def test_asked_for_by_many_at_once_it_is_made_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = place.id(example_files()[4].name)
    read: list[int] = []

    def slowly(photo: PhotoRecord) -> bytes:
        read.append(photo.id)
        time.sleep(0.5)
        return as_indexed.read_as_indexed(photo)

    monkeypatch.setattr(picture_maker, "read_as_indexed", slowly)
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(place.get(f"/thumbs/{photo}?size=large")))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert read == [photo]


def test_too_many_at_once_are_asked_to_come_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_maker, "MOST_WAITING", 0)
    refused = place.get(f"/photos/{place.id('deep.tiff')}")
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert refused.json["error"]["kind"] == "ServerBusy"


# Whole photos


def test_a_photo_comes_as_it_is_and_in_parts(place: Place) -> None:
    file = place.file("turned.jpg")
    photo, whole = place.id("turned.jpg"), file.read_bytes()
    answer = place.get(f"/photos/{photo}")
    assert (answer.status, answer.body) == (200, whole)
    assert answer.headers["content-type"] == "image/jpeg"
    etag = answer.headers["etag"]
    assert etag == f'"{hash_of(file)}"'
    size = len(whole)
    for asked, span in {
        "bytes=0-99": (0, 100),
        "bytes=100-": (100, size),
        "bytes=-7": (size - 7, size),
        f"bytes=5-{size + 100}": (5, size),
        f"bytes=-{size * 2}": (0, size),
    }.items():
        part = place.get(f"/photos/{photo}", Range=asked)
        assert (part.status, part.body) == (206, whole[slice(*span)])
        assert part.headers["content-range"] == f"bytes {span[0]}-{span[1] - 1}/{size}"
    for ignored in ("bytes=0-9,20-29", "bytes=9-5", "bytes=-", "lines=0-9", "bytes=a-b"):
        assert place.get(f"/photos/{photo}", Range=ignored).body == whole
    beyond = place.get(f"/photos/{photo}", Range=f"bytes={size}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    assert place.get(f"/photos/{photo}", Range="bytes=0-9", If_Range=etag).status == 206
    assert place.get(f"/photos/{photo}", Range="bytes=0-9", If_Range='"old"').body == whole
    assert place.get(f"/photos/{photo}", If_None_Match=etag).status == 304
    head = place.door.ask("HEAD", f"/photos/{photo}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(size))


@pytest.mark.parametrize("name", ["deep.tiff", "phone.heic", "raw.dng"])
def test_what_browsers_do_not_show_comes_as_jpeg_and_is_saved_as_it_is(
    place: Place, name: str
) -> None:
    photo = place.id(name)
    answer = place.get(f"/photos/{photo}")
    assert answer.headers["content-type"] == "image/jpeg"
    with Library(place.library, read_only=True) as library:
        known = library.photo(photo).metadata
    picture = shown(answer)
    assert picture.format == "JPEG" and not picture.getexif()
    assert max(picture.size) >= max(known.width, known.height) // 2
    assert place.get(f"/photos/{photo}", If_None_Match=answer.headers["etag"]).status == 304
    saved = place.get(f"/photos/{photo}?download=true")
    assert saved.body == place.file(name).read_bytes()
    assert saved.headers["content-type"] == "application/octet-stream"
    assert saved.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize("name", [STRANGE, SCRIPT, "turned.jpg"])
def test_it_is_saved_under_its_name_whatever_that_holds(place: Place, name: str | bytes) -> None:
    saved = place.get(f"/photos/{place.id(name)}?download=true")
    assert saved.body == place.file(name).read_bytes()
    said = saved.headers["content-disposition"]
    assert said.isascii() and said.isprintable()
    assert said.count('"') == 2
    whole = unquote_to_bytes(said.partition("filename*=UTF-8''")[2]).decode()
    assert whole == os.fsencode(name).decode("utf-8", "replace")


def test_a_name_can_not_leave_its_place() -> None:
    assert attachment("a b.jpg") == "attachment; filename=\"a b.jpg\"; filename*=UTF-8''a%20b.jpg"
    assert attachment("größe\r\nSet-Cookie: a=b").isprintable()
    assert attachment("größe.jpg").endswith("UTF-8''gr%C3%B6%C3%9Fe.jpg")


# Nothing else


def padded_photo(size: int) -> bytes:
    """Return a picture of so many bytes: a JPEG with comments in it."""
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(stream, "JPEG")
    data = stream.getvalue()
    while (left := size - len(data)) > 0:
        comment = bytes(min(left, 60_000 if left > 60_004 else left) - 4)
        data = data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    assert len(data) == size
    return data


@pytest.mark.parametrize(
    "path",
    [
        "/photos/1/../../../../../etc/passwd",
        "/photos/..%2f..%2f..%2fetc%2fpasswd",
        "/photos/%2e%2e/%2e%2e/etc/passwd",
        "/photos//etc/passwd",
        "/photos/1%00",
        "/photos/-1",
        "/photos/1.0",
        "/photos/1;2",
        "/thumbs/..%2f1",
        "/page/..%2f..%2f..%2fpyproject.toml",
        "/page/../app.py",
        "/page/%2fetc%2fpasswd",
        "/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_another_file(place: Place, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(place.door.address).netloc, timeout=20)
    connection.putrequest("GET", path)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in (400, 404), body
    assert b"root:" not in body and b"[project]" not in body


def test_what_took_the_place_of_a_photo_is_not_given_out(
    place: Place, spoiled: tuple[int, Path]
) -> None:
    photo, file = spoiled
    secret = place.folder / "secret"
    same_size = (place.folder / "aside").stat().st_size
    secret.write_bytes(b"secret\n" * same_size)
    os.truncate(secret, same_size)
    state = (place.folder / "aside").stat()
    os.utime(secret, ns=(state.st_atime_ns, state.st_mtime_ns))
    ways = {
        "another photo of this size": lambda: file.write_bytes(padded_photo(same_size)),
        "a link to another file of this size and time": lambda: file.symlink_to(secret),
        "a hard link": lambda: file.hardlink_to(secret),
        "a link to nothing": lambda: file.symlink_to(place.folder / "nothing"),
        "a link to a device": lambda: file.symlink_to("/dev/zero"),
        "a pipe": lambda: os.mkfifo(file),
        "a folder": file.mkdir,
        "another photo": lambda: shutil.copy(place.file("turned.jpg"), file),
    }
    for way, do in ways.items():
        do()
        for path in ("photos", "thumbs"):
            answer = place.get(f"/{path}/{photo}")
            assert answer.status == 404, way
            assert b"secret\n" not in answer.body
            assert answer.headers["content-type"] == "application/json"
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()


def test_a_link_that_was_indexed_as_a_photo_is_given_out(
    place: Place, spoiled: tuple[int, Path]
) -> None:
    photo, file = spoiled
    file.symlink_to(place.folder / "aside")
    assert place.get(f"/photos/{photo}").body == (place.folder / "aside").read_bytes()


def test_a_slow_client_holds_up_nobody(place: Place) -> None:
    """Sixty clients ask for a whole photo and read none of it."""
    photo = place.id("turned.jpg")
    where = urlsplit(place.door.address)
    slow = []
    for _ in range(60):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((where.hostname, where.port))
        client.sendall(f"GET /photos/{photo} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        slow.append(client)
    time.sleep(0.2)
    try:
        assert place.get(f"/photos/{photo}").body == place.file("turned.jpg").read_bytes()
        assert shown(place.get(f"/thumbs/{photo}")).format == "WEBP"
    finally:
        for client in slow:
            client.close()


# Coming and going with the photo


def test_a_photo_that_is_removed_takes_its_pictures_along(place: Place) -> None:
    file = place.file("short lived.jpg")
    shutil.copy(example_files()[9], file)
    copy = place.file("its copy.jpg")
    shutil.copy(file, copy)
    digest = hash_of(file)
    kept = place.library / "thumbnails" / digest[:2]

    def index() -> None:
        with Library(place.library, device="cpu") as library:
            library.index()

    index()
    photo, other = place.id(file.name), place.id(copy.name)
    assert place.get(f"/thumbs/{photo}?size=large").status == 200
    assert place.get(f"/thumbs/{photo}").status == 200
    assert len(list(kept.glob(f"{digest}*"))) == 2
    file.unlink()
    index()
    assert place.get(f"/thumbs/{photo}").status == place.get(f"/photos/{photo}").status == 404
    assert len(list(kept.glob(f"{digest}*"))) == 2  # the copy's, too
    with Library(place.library, device="cpu") as library:
        library.remove(copy, forget=True)
    assert not list(kept.glob(f"{digest}*"))
    assert place.get(f"/thumbs/{other}").status == 404
    copy.unlink()


def test_of_a_photo_that_changes_the_pictures_of_before_go(place: Place) -> None:
    file = place.file("changing.jpg")
    shutil.copy(example_files()[10], file)
    with Library(place.library, device="cpu") as library:
        library.index()
        photo = place.id(file.name)
        before = place.get(f"/thumbs/{photo}").body
        digest = hash_of(file)
        shutil.copy(example_files()[11], file)
        assert place.get(f"/photos/{photo}").error.startswith("the file was changed")
        library.index()
    assert not list((place.library / "thumbnails").rglob(f"{digest}*"))
    assert place.get(f"/thumbs/{photo}").body != before
    assert place.get(f"/photos/{photo}").body == file.read_bytes()
    file.unlink()
