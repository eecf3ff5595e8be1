"""Faults of the system, for real: full and read-only disks, vanished folders, damage, clocks.

Each ends with one clear line and the documented exit code, and loses nothing: with the fault gone
a run ends with the very photos and vectors that an undisturbed one gives.
"""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from changing_album import ChangingAlbum, source_pictures
from cli_process import Ended
from forked_program import ForkedProgram, forked_program
from library_snapshot import alike, not_in_step, snapshot, unanswered

NOBODY = 65534
# Root reads what nobody may read, through two capabilities; without them the modes bind it, too.
BOUND_BY_MODES = """
import ctypes
libc = ctypes.CDLL(None)
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, sets)
for half in (0, 1):  # effective and permitted
    sets[half] &= ~0b110
libc.capset(header, sets)
"""
# Each takes a moment of the run and does something to the disk just before it.
JUST_BEFORE = """
import os, shutil, tempfile
from pathlib import Path
from clipsearch.index.store import Store
from clipsearch.indexing.run import IndexRun
from clipsearch.models.loaded import LoadedModels

def fill(folder, spare=0):
    left = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - spare
    with open(Path(folder) / "filler", "wb") as file:
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))

def forget_towers():
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(dir=os.environ["XDG_CACHE_HOME"])

def just_before(kind, method, action, times=1):
    calls, function = [], getattr(kind, method)
    def both(*arguments, **named):
        calls.append(None)
        if len(calls) == times:
            action()
        return function(*arguments, **named)
    setattr(kind, method, both)
"""


@dataclass(frozen=True)
class Made:
    """An album, the library made of it, and the right vectors of all contents."""

    album: ChangingAlbum
    library: Path
    vectors: dict[str, bytes]


@pytest.fixture(scope="module")
def program() -> ForkedProgram:
    return forked_program()


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that other users may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="clipsearch-faults-") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def place() -> Iterator[Path]:
    with open_folder() as place:
        yield place


@pytest.fixture(scope="module")
def public_model(tiny_model_folder: Path) -> Iterator[Path]:
    """Return the tiny model where other users may read it."""
    with open_folder() as place:
        folder = Path(shutil.copytree(tiny_model_folder, place / "tiny"))
        for file in folder.iterdir():
            file.chmod(0o644)
        yield folder


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, program: ForkedProgram, public_model: Path
) -> Made:
    """Return a library of 40 photos that a test must copy, not change."""
    place = tmp_path_factory.mktemp("made")
    album = ChangingAlbum(place / "photos", source_pictures(), seed=9)
    album.add(40)
    library = place / "library"
    ended = program.run("index", album.folder, "--library", library, "--model", public_model)
    assert ended.code == 0, ended.err
    return Made(album, library, snapshot(library).by_content)


@pytest.fixture
def library(made: Made, place: Path) -> Path:
    """Return a copy of the library that a test may change."""
    return Path(shutil.copytree(made.library, place / "library"))


@pytest.fixture
def small_disk(place: Path) -> Iterator[Callable[[int], Path]]:
    """Give what mounts a disk of so many bytes; skip where that is not allowed."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        folder = place / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount command here")
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def give_away(*paths: Path) -> None:
    """Let files belong to another user."""
    if os.geteuid():
        pytest.skip("giving files to another user needs root")
    for path in paths:
        os.chown(path, NOBODY, NOBODY)


def assert_refused(ended: Ended, code: int, *words: str) -> None:
    """One line that says what is wrong, the exit code, no traceback."""
    assert ended.code == code, ended.err
    assert ended.text == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("clipsearch: ")
    for word in words:
        assert word in line, line


def assert_whole(
    library: Path, made: Made, hashes: dict[Path, str] | None = None, away: Path | None = None
) -> None:
    """The library holds the photos there, all embedded as they were, and answers."""
    now = snapshot(library)
    assert not_in_step(now, made.album.hashes if hashes is None else hashes) == []
    assert now.by_content.keys() >= made.vectors.keys() or hashes is not None
    for content, vector in now.by_content.items():
        assert alike(made.vectors.get(content, vector), vector)
    assert unanswered(library, now, away=away) == []


def more_photos(place: Path, made: Made, count: int) -> ChangingAlbum:
    """Return an album of other photos."""
    more = ChangingAlbum(place / "more", source_pictures(), seed=10)
    more.add(count)
    return more


# A full disk


def test_a_full_disk_while_a_library_is_made(
    small_disk: Callable[[int], Path], program: ForkedProgram, made: Made, tiny_model_folder: Path
) -> None:
    disk = small_disk(64 << 20)
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
    index = ["index", made.album.folder, "--library", disk / "library"]
    index += ["--model", tiny_model_folder]
    assert_refused(program.run(*index), 3, "no space left on the disk")
    filler.unlink()
    assert program.run(*index).code == 0
    assert_whole(disk / "library", made)


@pytest.mark.parametrize(
    ("kind", "method", "spare", "first"),
    [
        ("IndexRun", "_commit", 20_000, ""),
        ("Store", "refresh_vectors", 0, ""),
        ("LoadedModels", "keep_text_encoder", 2_000_000, "forget_towers()"),
        ("LoadedModels", "keep_text_encoder", 9_000_000, "forget_towers()"),
        ("LoadedModels", "keep_text_encoder", 2_000_000, ""),
    ],
    ids=[
        "while a batch is committed",
        "while the FAISS file is made",
        "while text is exported",
        "while the export is optimized",
        "while the text tower is copied from the cache",
    ],
)
def test_a_disk_that_fills_up_during_a_run(
    small_disk: Callable[[int], Path],
    program: ForkedProgram,
    made: Made,
    tiny_model_folder: Path,
    kind: str,
    method: str,
    spare: int,
    first: str,
) -> None:
    disk = small_disk(64 << 20)
    library = disk / "library"
    index = ["index", made.album.folder, "--library", library, "--model", tiny_model_folder]
    full = f"{first}\njust_before({kind}, {method!r}, lambda: fill({str(disk)!r}, {spare}))"
    assert_refused(program.run(*index, prepare=JUST_BEFORE + full), 3, "no space left on the disk")
    held = snapshot(library)
    assert held.problems == []
    for content, vector in held.by_content.items():
        assert alike(made.vectors[content], vector)
    (disk / "filler").unlink()
    assert program.run(*index).code == 0
    assert_whole(library, made)


def test_a_full_disk_leaves_queries_as_they_were(
    small_disk: Callable[[int], Path], program: ForkedProgram, made: Made, place: Path
) -> None:
    disk = small_disk(32 << 20)
    library = Path(shutil.copytree(made.library, disk / "library"))
    more = more_photos(place, made, 60)
    full = JUST_BEFORE + f"just_before(IndexRun, '_commit', lambda: fill({str(disk)!r}))"
    index = ["index", more.folder, "--library", library]
    assert_refused(program.run(*index, prepare=full), 3, "no space left on the disk")
    answer = program.run("query", "a dog", "--library", library, "--paths")
    assert (answer.code, len(answer.lines)) == (0, 10), answer.err
    (disk / "filler").unlink()
    assert program.run(*index).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def test_a_file_size_limit_that_is_reached(
    program: ForkedProgram, made: Made, library: Path, place: Path
) -> None:
    """Another way to run out of room: EFBIG in the place of ENOSPC."""
    more = more_photos(place, made, 100)
    size = (library / "catalog.sqlite").stat().st_size + 8192
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
    index = ["index", more.folder, "--library", library]
    assert_refused(program.run(*index, prepare=limit), 3, str(library))
    assert_whole(library, made, made.album.hashes | _held(library, more))
    assert program.run(*index).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def _held(library: Path, album: ChangingAlbum) -> dict[Path, str]:
    """Return those photos of an album that a library holds."""
    held = snapshot(library).rows
    return {path: content for path, content in album.hashes.items() if str(path) in held}


# Nothing may be written


def test_a_library_on_a_read_only_disk(
    small_disk: Callable[[int], Path], program: ForkedProgram, made: Made, place: Path
) -> None:
    disk = small_disk(32 << 20)
    library = Path(shutil.copytree(made.library, disk / "library"))
    remount = ["mount", "-o", "remount,ro", disk]
    subprocess.run(remount, check=True, capture_output=True)
    more = more_photos(place, made, 3)
    index = ["index", more.folder, "--library", library]
    assert_refused(program.run(*index), 3, "can't be written to")
    assert_refused(program.run("remove", made.album.folder, "--library", library), 3, "written to")
    answer = program.run("query", "a dog", "--library", library, "--paths")
    assert (answer.code, len(answer.lines)) == (0, 10), answer.err
    assert program.run("info", "--library", library).code == 0
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True, capture_output=True)
    assert program.run(*index).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def test_a_library_of_another_user(
    program: ForkedProgram, made: Made, library: Path, place: Path
) -> None:
    foreign = place / "foreign"
    foreign.mkdir()
    give_away(foreign, library, *library.rglob("*"))
    more = more_photos(place, made, 3)
    index = ["index", more.folder, "--library", library]
    assert_refused(program.run(*index, prepare=BOUND_BY_MODES), 3, "can't be written to")
    ask = ["query", "a dog", "--library", library, "--paths"]
    answer = program.run(*ask, prepare=BOUND_BY_MODES)
    assert (answer.code, len(answer.lines)) == (0, 10), answer.err
    new = ["index", more.folder, "--library", foreign / "library"]
    assert_refused(program.run(*new, prepare=BOUND_BY_MODES), 3, "Permission denied")
    library.chmod(0)
    assert_refused(program.run(*ask, prepare=BOUND_BY_MODES), 3, "Permission denied")
    library.chmod(0o755)
    assert_whole(library, made)


def test_photos_on_a_read_only_disk_are_indexed_as_any(
    small_disk: Callable[[int], Path], program: ForkedProgram, made: Made, library: Path
) -> None:
    disk = small_disk(8 << 20)
    more = more_photos(disk, made, 5)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, capture_output=True)
    ended = program.run("index", more.folder, "--library", library)
    assert (ended.code, ended.err) == (0, "")
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


# Photos that can't be looked at


def test_a_photo_folder_that_vanishes_during_a_run(
    program: ForkedProgram, made: Made, library: Path, place: Path
) -> None:
    more = more_photos(place, made, 200)
    aside = place / "aside"
    vanish = (
        f"just_before(IndexRun, '_commit', lambda: os.rename({str(more.folder)!r}, {str(aside)!r}))"
    )
    index = ["index", more.folder, "--library", library]
    ended = program.run(*index, prepare=JUST_BEFORE + vanish)
    assert ended.code == 0
    assert "Traceback" not in ended.err
    held = _held(library, more)
    assert 0 < len(held) < len(more.hashes)
    assert_whole(library, made, made.album.hashes | held, away=more.folder)
    away = program.run(*index)  # and once more while it is away
    assert away.code == 0
    assert "is not there now" in away.err
    aside.rename(more.folder)
    assert program.run(*index).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def test_a_disk_that_is_unmounted_during_a_run(
    small_disk: Callable[[int], Path], program: ForkedProgram, made: Made, library: Path
) -> None:
    disk = small_disk(8 << 20)
    more = more_photos(disk, made, 200)
    kept = Path(shutil.copytree(disk / "more", disk.parent / "kept"))
    unmount = f"just_before(IndexRun, '_commit', lambda: os.system('umount -l {disk}'))"
    index = ["index", disk, "--library", library]
    ended = program.run(*index, prepare=JUST_BEFORE + unmount)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    held = _held(library, more)
    assert 0 < len(held) < len(more.hashes)
    assert_whole(library, made, made.album.hashes | held, away=disk)
    empty = program.run("index", "--library", library)
    assert empty.code == 0
    assert str(disk) in empty.err
    assert_whole(library, made, made.album.hashes | held, away=disk)
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk]
    subprocess.run(mount, check=True, capture_output=True)
    shutil.copytree(kept, disk / "more")
    assert program.run("index", "--library", library).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def test_a_folder_and_a_photo_that_may_not_be_read(
    program: ForkedProgram, made: Made, library: Path, place: Path
) -> None:
    """They keep what was indexed, all else goes on, and they come back by themselves."""
    more = more_photos(place, made, 30)
    index = ["index", more.folder, "--library", library]
    assert program.run(*index).code == 0
    before = dict(more.hashes)
    more.edit(30)
    locked = [more.folder / "1", next(path for path in more.hashes if "/2/" in str(path))]
    for path in locked:
        path.chmod(0)
    ended = program.run(*index, prepare=BOUND_BY_MODES)
    assert ended.code == 0, ended.err
    for path in locked:
        assert f"{path}: " in ended.err
    assert ended.err.lower().count("permission denied") == 2
    hidden = {p for p in more.hashes if p == locked[1] or locked[0] in p.parents}
    hashes = {p: before[p] if p in hidden else content for p, content in more.hashes.items()}
    assert 1 < len(hidden) < 30
    assert_whole(library, made, {**made.album.hashes, **hashes})
    for path in locked:
        path.chmod(0o755)
    assert program.run(*index, prepare=BOUND_BY_MODES).code == 0
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


def test_a_folder_whose_way_is_closed_keeps_its_photos(
    program: ForkedProgram, made: Made, library: Path, place: Path
) -> None:
    """Nothing can be seen of it then, which is not to be taken for a folder that was deleted."""
    above = place / "above"
    above.mkdir()
    photo = Path(shutil.copy(next(iter(made.album.hashes)), above / "photo.jpg"))
    (above / "folder").mkdir()
    shutil.copy(photo, above / "folder")
    index = ["index", "--library", library]
    assert program.run(*index, above / "folder", photo).code == 0
    above.chmod(0)
    ended = program.run(*index, "--json", prepare=BOUND_BY_MODES)
    above.chmod(0o755)
    assert (ended.code, json.loads(ended.out)["removed"]) == (0, 0)
    for path in (above / "folder", photo):
        assert f"{path}: permission denied" in ended.err


# Damaged files


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


CATALOG_DAMAGE: dict[str, Callable[[Path], None]] = {
    "the first page": lambda path: overwrite(path, 0, b"\xff" * 200),
    "the schema": lambda path: overwrite(path, 100, b"\x5a" * 4000),
    "half the file": lambda path: truncate(path, 0.5),
    "but a little": lambda path: truncate(path, 0.01),
    "the middle": lambda path: overwrite(
        path, 16384, os.urandom(max(8192, path.stat().st_size - 16384))
    ),
}


@pytest.mark.parametrize("damage", CATALOG_DAMAGE)
def test_a_damaged_catalog_is_said_and_left_as_it_is(
    program: ForkedProgram, library: Path, made: Made, damage: str
) -> None:
    catalog = library / "catalog.sqlite"
    good = catalog.read_bytes()
    CATALOG_DAMAGE[damage](catalog)
    bad = catalog.read_bytes()
    for command in (["index"], ["query", "a dog"]):
        ended = program.run(*command, "--library", library)
        assert_refused(ended, 3, str(library))
    assert catalog.read_bytes() == bad  # nothing made it worse
    catalog.write_bytes(good)
    assert program.run("index", "--library", library).code == 0
    assert_whole(library, made)


def test_what_a_crash_left_of_the_catalogs_log_is_passed_over(
    program: ForkedProgram, library: Path, made: Made
) -> None:
    """A log that is no log, as of a disk that lost its last writes, costs its batches only."""
    (library / "catalog.sqlite-wal").write_bytes(os.urandom(100_000))
    (library / "catalog.sqlite-shm").unlink(missing_ok=True)
    answer = program.run("query", "a dog", "--library", library, "--paths")
    assert (answer.code, len(answer.lines)) == (0, 10), answer.err
    assert program.run("index", "--library", library).code == 0
    assert_whole(library, made)


VECTORS_DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut short": lambda path: truncate(path, 0.5),
    "emptied": lambda path: truncate(path, 0),
    "garbage": lambda path: path.write_bytes(os.urandom(5000)),
    "other content of the same length": lambda path: path.write_bytes(
        os.urandom(path.stat().st_size)
    ),
    "some bytes": lambda path: overwrite(path, path.stat().st_size // 3, b"\x01\x02\x03"),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", VECTORS_DAMAGE)
def test_a_damaged_faiss_file_changes_no_answer_and_is_made_anew(
    program: ForkedProgram, library: Path, made: Made, damage: str
) -> None:
    (file,) = (library / "vectors").iterdir()
    ask = ["query", "a dog", "--library", library, "--json"]
    expected = program.run(*ask)
    VECTORS_DAMAGE[damage](file)
    answer = program.run(*ask)
    assert (answer.code, answer.out) == (0, expected.out), answer.err
    assert "Traceback" not in answer.err
    ended = program.run("index", "--library", library)
    assert ended.code == 0, ended.err
    assert_whole(library, made)
    assert program.run(*ask).out == expected.out


# Clocks


TIMES = {
    "the beginning": 0,
    "before the beginning": -10_000_000,
    "the end of 32 bits": 2**31 + 5,
    "the year 2100": 4_102_444_800,
    "the year 2400": 13_569_465_600,
}


def test_photos_of_any_time_are_indexed_once(
    program: ForkedProgram, library: Path, made: Made, place: Path
) -> None:
    more = more_photos(place, made, len(TIMES))
    for path, seconds in zip(more.hashes, TIMES.values(), strict=True):
        with contextlib.suppress(OverflowError, OSError):
            os.utime(path, (seconds, seconds))
    index = ["index", more.folder, "--library", library]
    ended = program.run(*index)
    assert ended.code == 0, ended.err
    assert f"{len(TIMES)} added" in ended.text
    assert_whole(library, made, {**made.album.hashes, **more.hashes})
    again = program.run(*index)
    assert f"up to date: {len(TIMES)} photos" in again.text


def test_an_edit_that_sets_the_time_back_is_noticed(
    program: ForkedProgram, library: Path, made: Made, place: Path
) -> None:
    more = more_photos(place, made, 4)
    index = ["index", more.folder, "--library", library]
    assert program.run(*index).code == 0
    more.edit(4)
    for path in more.hashes:
        os.utime(path, (1_000_000_000, 1_000_000_000))  # long before it was indexed
    ended = program.run(*index)
    assert "4 changed" in ended.text
    assert_whole(library, made, {**made.album.hashes, **more.hashes})


CLOCK = """
import datetime, itertools, time
years = itertools.cycle([-40, 60, 0, 200])
now = time.time

class Jumping(datetime.datetime):
    @classmethod
    def now(cls, zone=None):
        return super().now(zone).replace(year=2026 + next(years))

datetime.datetime = Jumping
time.time = lambda: now() + 365 * 86400 * next(years)
from clipsearch.index import records
records.datetime = Jumping
"""


def test_a_clock_that_jumps_during_a_run_changes_nothing(
    program: ForkedProgram, library: Path, made: Made, place: Path
) -> None:
    """The clock as Python shows it: moving the system's would reach every other process."""
    more = more_photos(place, made, 70)
    index = ["index", more.folder, "--library", library]
    ended = program.run(*index, prepare=CLOCK)
    assert (ended.code, ended.err) == (0, "")
    more.change(16)
    ended = program.run(*index, prepare=CLOCK)
    assert (ended.code, ended.err) == (0, "")
    assert_whole(library, made, {**made.album.hashes, **more.hashes})
    assert f"up to date: {len(more.hashes)} photos" in program.run(*index).text
