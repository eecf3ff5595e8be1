"""`clipsearch watch` as a process, on real files: what happens to them shows in the library."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cli_process import PROGRAM, clean_environment, clipsearch
from places import ROOT
from sidecars import xmp

from clipsearch import Library
from clipsearch.index.store import Store
from clipsearch.photos.exclusions import IGNORE_FILE
from clipsearch.watching.being_written import is_held_open
from clipsearch.watching.file_events import Events, KnownFolders, NoEvents, Polling
from clipsearch.watching.pending_paths import (
    HOLD,
    LONGEST_HOLD,
    LONGEST_WAIT,
    PATIENCE,
    QUIET,
    QUIET_UNSEEN,
    FileLook,
    Look,
    PendingPaths,
    Place,
    outermost,
)

pytestmark = pytest.mark.usefixtures("tiny_model_used")

DOCS = ROOT / "docs" / "watching.md"
LIMIT = 90.0  # seconds until a test gives up waiting

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


def eventually(what: Callable[[], Any], limit: float = LIMIT) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return answer


class Watch:
    """A running `clipsearch watch`."""

    def __init__(
        self, library: Path, photos: Path, *arguments: str | Path, before: tuple[str, ...] = ()
    ) -> None:
        self.library = library
        self.photos = photos
        self.process = subprocess.Popen(
            [*before, *PROGRAM, "watch", *arguments, "--json", "--library", library],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=lines.extend, args=(pipe,), daemon=True)
            for lines, pipe in ((self.out, self.process.stdout), (self.err, self.process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()
        sys.stdout.write("\n".join([*self.out, *self.err]))  # pytest shows it of a failed test

    def started(self) -> Watch:
        eventually(lambda: self.said("watching ") or self.process.poll() is not None)
        assert self.process.poll() is None, self.err
        return self

    def said(self, text: str) -> bool:
        return any(text in line for line in list(self.err))

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        for reader in self._readers:
            reader.join()
        return code

    @property
    def updates(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(self.out)]

    def total(self, name: str) -> int:
        """Add up a count over the updates after the first run."""
        return sum(update[name] for update in self.updates[1:])

    def ids(self) -> dict[Path, int]:
        """Return the photos of the library that lie in the folder of the test."""
        with Store.open(self.library, read_only=True) as store:
            known = store.catalog.known_files(None, [self.photos])
            return {path: file.photo_id for path, file in known.items()}

    def names(self) -> set[str]:
        return {path.name for path in self.ids()}

    def found(self) -> set[str]:
        """Return the names of the photos in the folder of the test that a query finds."""
        with Library(self.library, read_only=True) as library:
            hits = library.query("a dog", k=100)
        return {hit.path.name for hit in hits if self.photos in hit.path.parents}

    def failures(self) -> int:
        with Store.open(self.library, read_only=True) as store:
            return len(store.catalog.failures())


@pytest.fixture(scope="module")
def full_library(
    tmp_path_factory: pytest.TempPathFactory, sample_photos: list[Path], tiny_model_folder: Path
) -> Path:
    """Return a library that knows the content of all sample photos: copies need no model."""
    folder = tmp_path_factory.mktemp("watch") / "library"
    index = ("index", *sample_photos, "--model", tiny_model_folder, "--library", folder)
    assert clipsearch(*index).code == 0
    return folder


@pytest.fixture
def library(full_library: Path, tmp_path: Path) -> Path:
    """Return a copy of that library."""
    return Path(shutil.copytree(full_library, tmp_path / "library"))


@pytest.fixture
def photos(tmp_path: Path, sample_photos: list[Path]) -> Path:
    """Return a folder with two photos, a.jpg and b.jpg."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copyfile(sample_photos[0], folder / "a.jpg")
    shutil.copyfile(sample_photos[1], folder / "b.jpg")
    return folder


@pytest.fixture
def watch(photos: Path, library: Path) -> Iterator[Watch]:
    """Watch that folder."""
    with Watch(library, photos, photos) as running:
        yield running.started()


@pytest.fixture
def mounted(photos: Path) -> Iterator[Path]:
    """Return an empty folder beside the photos with a file system of its own mounted on it."""
    place = photos.parent / "disk"
    place.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting needs root on Linux")
    made = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"can't mount here: {made.stderr.decode().strip()}")
    yield place
    while subprocess.run(["umount", "-l", place], capture_output=True, check=False).returncode == 0:
        pass


# the program


def test_changes_moves_and_removals_are_followed(watch, photos, sample_photos):
    ids = watch.ids()
    assert watch.updates[0]["added"] == 2
    (photos / "new.jpg").write_bytes(sample_photos[2].read_bytes() + b"never seen")
    eventually(lambda: "new.jpg" in watch.names())
    (photos / "a.jpg").rename(photos / "moved.jpg")
    eventually(lambda: watch.names() == {"moved.jpg", "b.jpg", "new.jpg"})
    assert watch.ids()[photos / "moved.jpg"] == ids[photos / "a.jpg"]
    (photos / ".new").write_bytes(sample_photos[3].read_bytes())
    (photos / ".new").replace(photos / "b.jpg")  # as editors save
    eventually(lambda: watch.total("changed") == 1)
    (photos / "new.jpg").unlink()
    eventually(lambda: "new.jpg" not in watch.names())
    assert watch.stop() == 0
    totals = {
        name: watch.total(name) for name in ("added", "changed", "moved", "removed", "failed")
    }
    assert totals == {"added": 1, "changed": 1, "moved": 1, "removed": 1, "failed": 0}


def test_folders_moved_about_keep_their_embeddings(watch, photos, sample_photos, tmp_path):
    outside = tmp_path / "outside"
    (outside / "below").mkdir(parents=True)
    for number in range(3):
        shutil.copyfile(sample_photos[3 + number], outside / "below" / f"{number}.jpg")
    outside.rename(photos / "in")
    eventually(lambda: len(watch.names()) == 5)
    (photos / "in").rename(photos / "elsewhere")
    eventually(lambda: watch.total("moved") == 3)
    assert {p.name for p in watch.ids() if "elsewhere" in p.parts} == {"0.jpg", "1.jpg", "2.jpg"}
    shutil.copyfile(sample_photos[6], photos / "elsewhere" / "below" / "late.jpg")
    eventually(lambda: "late.jpg" in watch.names())
    (photos / "elsewhere").rename(tmp_path / "out")
    eventually(lambda: watch.names() == {"a.jpg", "b.jpg"})
    eventually(lambda: watch.total("removed") == 4)


def test_a_thousand_files_copied_in_are_few_updates(watch, photos, sample_photos):
    (photos / "many").mkdir()
    data = sample_photos[4].read_bytes()
    for number in range(1000):
        (photos / "many" / f"{number}.jpg").write_bytes(data)
    eventually(lambda: watch.total("added") == 1000)  # said once all are in the library
    assert len(watch.ids()) == 1002
    assert len(watch.updates) <= 1 + 12


@linux_only
def test_a_half_written_file_waits_until_it_is_closed_and_is_never_a_failure(
    watch, photos, sample_photos
):
    data = sample_photos[2].read_bytes()
    with (photos / "slow.jpg").open("wb") as download:
        download.write(data[: len(data) // 2])
        download.flush()
        time.sleep(3)  # longer than any wait for quiet
        shutil.copyfile(sample_photos[3], photos / "other.jpg")
        eventually(lambda: "other.jpg" in watch.names())
        assert "slow.jpg" not in watch.names()
        download.write(data[len(data) // 2 :])
    eventually(lambda: "slow.jpg" in watch.names())
    assert (watch.failures(), watch.total("failed")) == (0, 0)
    assert not watch.said("failed")


@linux_only
def test_a_file_that_is_being_written_at_the_start_waits_as_well(photos, library, sample_photos):
    data = sample_photos[2].read_bytes()
    with (photos / "slow.jpg").open("wb") as download:
        download.write(data[:1000])
        download.flush()
        with Watch(library, photos, photos) as watch:
            watch.started()
            assert watch.names() == {"a.jpg", "b.jpg"}
            download.write(data[1000:])
            download.close()
            eventually(lambda: "slow.jpg" in watch.names())
            assert watch.failures() == 0


def test_what_a_scan_skips_makes_no_update(watch, photos, sample_photos):
    for name in (".hidden", "@eaDir", "node_modules", "Trash"):
        (photos / name).mkdir()
        shutil.copyfile(sample_photos[5], photos / name / "skipped.jpg")
    shutil.copyfile(sample_photos[5], photos / ".hidden.jpg")
    (photos / "notes.txt").write_text("no photo")
    (photos / "notes.txt").unlink()
    (photos / "@eaDir").rename(photos / ".away")
    time.sleep(2)
    shutil.copyfile(sample_photos[6], photos / "last.jpg")
    eventually(lambda: "last.jpg" in watch.names())
    assert watch.names() == {"a.jpg", "b.jpg", "last.jpg"}
    eventually(lambda: len(watch.updates) >= 2)
    assert len(watch.updates) == 2


def test_what_is_left_out_stays_out_and_a_changed_ignore_file_is_followed(
    watch, photos, library, sample_photos
):
    (photos / "trip").mkdir()
    shutil.copyfile(sample_photos[2], photos / "trip" / "new.jpg")
    eventually(lambda: "new.jpg" in watch.names())
    ignore = photos / "trip" / IGNORE_FILE
    ignore.write_text("*")
    eventually(lambda: watch.names() == {"a.jpg", "b.jpg"})
    eventually(lambda: watch.total("left_out") == 1)  # the line comes after the commit
    assert clipsearch("remove", photos / "a.jpg", "--library", library).code == 0
    shutil.copyfile(sample_photos[3], photos / "a.jpg")
    shutil.copyfile(sample_photos[4], photos / "trip" / "late.jpg")
    shutil.copyfile(sample_photos[5], photos / "last.jpg")
    eventually(lambda: watch.names() == {"b.jpg", "last.jpg"})
    ignore.unlink()
    eventually(lambda: watch.names() == {"b.jpg", "last.jpg", "new.jpg", "late.jpg"})


def test_sidecars_are_followed_and_their_photos_not_embedded_again(watch, photos, library):
    def words() -> set[str]:
        with Store.open(library, read_only=True) as store:
            found = store.words(store.photos_below(None).tolist()).values()
        return {word.text for said in found for word in said}

    ids = watch.ids()
    (photos / "a.xmp").write_text(xmp("<dc:title>Harbour</dc:title>"))
    eventually(lambda: words() == {"Harbour"})
    (photos / "a.xmp").write_text(xmp("<dc:title>Mole</dc:title>"))
    eventually(lambda: words() == {"Mole"})
    (photos / "a.xmp").unlink()
    eventually(lambda: words() == set())
    assert watch.ids() == ids
    assert watch.total("sidecars") >= 3
    assert watch.total("added") == watch.total("changed") == watch.total("failed") == 0
    assert not any(update["photos_per_second"] for update in watch.updates[1:])


def test_a_folder_that_vanishes_is_away_and_back_without_embedding_again(
    watch, photos, sample_photos, tmp_path
):
    ids = watch.ids()
    photos.rename(tmp_path / "elsewhere")
    eventually(lambda: watch.said("away"))
    assert watch.found() == set()
    assert watch.ids() == ids
    (tmp_path / "elsewhere").rename(photos)
    eventually(lambda: watch.said("back"))
    shutil.copyfile(sample_photos[2], photos / "new.jpg")
    eventually(lambda: "new.jpg" in watch.names())
    assert watch.ids().items() >= ids.items()
    assert watch.found() == {"a.jpg", "b.jpg", "new.jpg"}
    shutil.rmtree(photos)
    eventually(lambda: sum("away" in line for line in watch.err) == 2)
    photos.mkdir()
    shutil.copyfile(sample_photos[0], photos / "again.jpg")
    eventually(lambda: "again.jpg" in watch.names())
    assert watch.stop(signal.SIGINT) == 0
    assert watch.total("added") == 1  # new.jpg; again.jpg is a.jpg, moved


def test_a_folder_that_became_a_file_is_away_and_a_terabyte_is_one_failure(
    watch, photos, sample_photos, tmp_path
):
    with (photos / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    shutil.copyfile(sample_photos[2], photos / "new.jpg")
    eventually(lambda: "new.jpg" in watch.names() and watch.failures() == 1)
    ids = watch.ids()
    photos.rename(tmp_path / "elsewhere")
    photos.write_text("../disk/photos")
    eventually(lambda: watch.said("away"))
    assert (watch.found(), watch.ids()) == (set(), ids)
    photos.unlink()
    (tmp_path / "elsewhere").rename(photos)
    eventually(lambda: watch.said("back"))
    shutil.copyfile(sample_photos[3], photos / "newer.jpg")
    eventually(lambda: "newer.jpg" in watch.names())
    assert watch.ids().items() >= ids.items()
    assert sum("too large" in line for line in watch.err) == 1
    assert not watch.said("trying again")


def test_a_disk_unmounted_and_mounted_again_and_one_mounted_below(
    mounted, photos, library, tmp_path, sample_photos
):
    shutil.copyfile(sample_photos[2], mounted / "on-disk.jpg")
    kept = tmp_path / "kept"
    kept.mkdir()
    subprocess.run(["mount", "--bind", mounted, kept], check=True)
    try:
        with Watch(library, tmp_path, photos, mounted) as watch:
            ids = watch.started().ids()
            subprocess.run(["umount", mounted], check=True)
            eventually(lambda: watch.said("is empty now") or watch.said("another folder"))
            shutil.copyfile(sample_photos[3], kept / "meanwhile.jpg")
            subprocess.run(["mount", "--bind", kept, mounted], check=True)
            eventually(lambda: "meanwhile.jpg" in watch.names())
            assert watch.ids().items() >= ids.items()
            (photos / "sub").mkdir()
            subprocess.run(["mount", "--bind", kept, photos / "sub"], check=True)
            eventually(lambda: photos / "sub" / "on-disk.jpg" in watch.ids())
            before = watch.ids()
            time.sleep(2)  # a mount that comes and goes within a second is not noticed
            subprocess.run(["umount", photos / "sub"], check=True)
            eventually(lambda: watch.said("is not mounted now"))
            assert watch.ids() == before
    finally:
        subprocess.run(["umount", "-l", photos / "sub"], capture_output=True, check=False)
        subprocess.run(["umount", "-l", kept], check=False)


def test_links_to_folders_are_followed(watch, photos, tmp_path, sample_photos):
    outside = tmp_path / "outside"
    outside.mkdir()
    (photos / "real").mkdir()
    (photos / "link-out").symlink_to(outside)
    (photos / "link-in").symlink_to("real")
    time.sleep(1)
    shutil.copyfile(sample_photos[2], outside / "out.jpg")
    shutil.copyfile(sample_photos[3], photos / "real" / "in.jpg")
    eventually(lambda: {"out.jpg", "in.jpg"} <= watch.names())
    (photos / "link-in").unlink()
    time.sleep(1)
    shutil.copyfile(sample_photos[4], photos / "real" / "later.jpg")
    eventually(lambda: "later.jpg" in watch.names())
    shown = {path.relative_to(photos).as_posix() for path in watch.ids()}
    assert shown == {"a.jpg", "b.jpg", "link-out/out.jpg", "real/in.jpg", "real/later.jpg"}


@linux_only
def test_at_the_limit_of_watches_it_says_so_and_polls(photos, library, sample_photos):
    few = 'echo 3 >/proc/sys/user/max_inotify_watches && exec "$@"'
    limited = ("unshare", "-Ur", "sh", "-c", few, "sh")
    if not shutil.which("unshare") or subprocess.run([*limited, "true"], check=False).returncode:
        pytest.skip("a user namespace with few watches can't be made here")
    with Watch(library, photos, photos, before=limited) as watch:
        watch.started()
        for number in range(4):
            (photos / f"{number}").mkdir()
            shutil.copyfile(sample_photos[2 + number], photos / f"{number}" / f"{number}.jpg")
        eventually(lambda: watch.said("fs.inotify.max_user_watches"))
        eventually(lambda: len(watch.names()) == 6)
        (photos / "3" / "3.jpg").rename(photos / "3" / "renamed.jpg")
        eventually(lambda: "renamed.jpg" in watch.names())
        eventually(lambda: watch.total("moved") == 1)
        assert sum("limit" in line for line in watch.err) == 1


def test_without_events_it_says_so_and_polls(photos, library, sample_photos, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "watchfiles.py").write_text('raise ImportError("not for this processor")')
    with Watch(library, photos, photos, before=("env", f"PYTHONPATH={broken}")) as watch:
        watch.started()
        assert sum("not for this processor; until" in line for line in watch.err) == 1
        shutil.copyfile(sample_photos[2], photos / "new.jpg")
        eventually(lambda: "new.jpg" in watch.names())
        (photos / "new.jpg").unlink()
        eventually(lambda: "new.jpg" not in watch.names())
        assert sum("not for this processor" in line for line in watch.err) == 1


def test_it_waits_for_another_writer_and_stops_while_waiting(watch, photos, sample_photos):
    with Store.open(watch.library) as store, store.writing():
        shutil.copyfile(sample_photos[2], photos / "new.jpg")
        eventually(lambda: watch.said(str(os.getpid())))
        assert "new.jpg" not in watch.names()
    eventually(lambda: "new.jpg" in watch.names())
    with Store.open(watch.library) as store, store.writing(wait=True):
        shutil.copyfile(sample_photos[3], photos / "newer.jpg")
        time.sleep(2)
        assert watch.stop() == 0


def test_a_folder_that_another_process_adds_or_removes_is_watched_or_not(
    photos, tmp_path, library, sample_photos
):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(sample_photos[2], other / "c.jpg")
    index = ("index", "--library", library)
    assert clipsearch(*index, photos).code == 0
    with Watch(library, tmp_path) as watch:
        watch.started()
        assert clipsearch(*index, other).code == 0
        eventually(lambda: watch.said("watched from now on"))
        shutil.copyfile(sample_photos[3], other / "d.jpg")
        eventually(lambda: "d.jpg" in watch.names())
        assert clipsearch("remove", other, "--library", library).code == 0
        eventually(lambda: watch.said("no longer watched"))
        shutil.copyfile(sample_photos[4], other / "e.jpg")
        shutil.copyfile(sample_photos[4], photos / "e.jpg")
        eventually(lambda: photos / "e.jpg" in watch.ids())
        assert {path for path in watch.ids() if path.parent == other} == set()


def test_an_error_is_one_line_and_tried_again_and_a_deleted_library_ends_with_3(
    watch, photos, sample_photos, tmp_path
):
    watch.library.rename(tmp_path / "hidden-library")
    eventually(lambda: watch.said("trying again in"))
    shutil.copyfile(sample_photos[2], photos / "new.jpg")
    (tmp_path / "hidden-library").rename(watch.library)
    eventually(lambda: "new.jpg" in watch.names())
    while watch.library.exists():  # an update may still be writing
        shutil.rmtree(watch.library, ignore_errors=True)
    assert watch.process.wait(LIMIT) == 3
    eventually(lambda: watch.err[-1].startswith("clipsearch: "))
    assert not watch.said("Traceback")


@pytest.mark.skipif(sys.platform == "win32", reason="no fork of signals there")
def test_a_stop_in_the_first_run_keeps_what_was_finished(
    photos, tmp_path, tiny_model_folder, sample_photos
):
    for number in range(600):
        data = sample_photos[number % 20].read_bytes() + number.to_bytes(2, "big")
        (photos / f"{number}.jpg").write_bytes(data)
    arguments = (photos, "--model", tiny_model_folder)
    with Watch(tmp_path / "library", photos, *arguments) as watch:
        eventually(lambda: (watch.library / "catalog.sqlite").exists())
        with suppress(AssertionError):
            eventually(lambda: len(watch.ids()) > 0, 60)
        assert watch.stop() == 0
        (first,) = watch.updates
        assert first["interrupted"] is (first["added"] < 602)
        assert len(watch.ids()) == first["added"]


def test_nothing_to_watch_is_bad_usage(tmp_path, photos):
    missing = clipsearch("watch", tmp_path / "none", "--library", tmp_path / "library")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert not (tmp_path / "library").exists()
    assert clipsearch("watch", "--library", tmp_path / "library").code == 3


# the rules, without a disk


class Clock:
    """Pending paths, with a clock and files that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.files: dict[Path, Look] = {}
        self.pending = PendingPaths(lambda path: self.files.get(path, Place.NOTHING))

    def put(self, name: str, *, size: int = 9, held: bool | None = False) -> None:
        self.files[Path(name)] = FileLook(size, int(self.now * 1e9), held)
        self.pending.notice(Path(name), self.now)

    def remove(self, name: str) -> None:
        self.files.pop(Path(name), None)
        self.pending.notice(Path(name), self.now)

    def due_after(self, seconds: float) -> list[str]:
        """Return the first paths that are due, and leave the clock there; none is []."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            if due := self.pending.take_due(self.now):
                return [str(path) for path in due]
        return []


def test_a_closed_file_is_due_soon_and_once():
    clock = Clock()
    clock.put("/p/a.jpg")
    assert clock.pending.take_due(clock.now) == []
    assert clock.due_after(QUIET + 0.3) == ["/p/a.jpg"]
    assert clock.due_after(60) == []


@pytest.mark.parametrize(("size", "held"), [(9, True), (0, False)], ids=["open", "empty"])
def test_an_open_or_empty_file_waits_for_minutes(size, held):
    clock = Clock()
    clock.put("/p/a.jpg", size=size, held=held)
    assert clock.due_after(PATIENCE - 5) == []
    assert clock.due_after(10) == ["/p/a.jpg"]


def test_where_the_system_can_not_say_a_file_waits_for_quiet():
    clock = Clock()
    for _ in range(5):
        clock.put("/p/a.jpg", held=None)
        assert clock.due_after(QUIET_UNSEEN - 0.5) == []
    assert clock.due_after(1.5) == ["/p/a.jpg"]


def test_a_change_of_size_counts_as_news_without_any_event():
    clock = Clock()
    clock.put("/p/a.jpg", held=None)
    for size in range(10, 20):
        assert clock.due_after(QUIET_UNSEEN - 0.5) == []
        clock.files[Path("/p/a.jpg")] = FileLook(size, 0, None)
    assert clock.due_after(QUIET_UNSEEN + 0.5) == ["/p/a.jpg"]


def test_both_halves_of_a_move_are_due_together():
    for held in (False, None):
        clock = Clock()
        clock.remove("/p/old.jpg")
        clock.put("/q/new.jpg", held=held)
        assert clock.due_after(10) == ["/p/old.jpg", "/q/new.jpg"]


def test_a_lone_removal_is_due_within_its_hold():
    clock = Clock()
    clock.remove("/p/a.jpg")
    assert clock.due_after(HOLD - 0.2) == []
    assert clock.due_after(0.5) == ["/p/a.jpg"]


def test_a_removal_never_goes_before_the_files_that_are_not_yet_complete():
    clock = Clock()
    clock.remove("/p/old.jpg")
    for number in range(int(LONGEST_HOLD / 0.2) - 1):
        clock.put(f"/p/{number}.jpg")
        assert "/p/old.jpg" not in clock.due_after(0.2)
    assert "/p/old.jpg" in [path for _ in range(3) for path in clock.due_after(1.0)]


def test_a_burst_without_end_does_not_starve():
    clock = Clock()
    started, batches = clock.now, []
    for number in range(200):
        clock.put(f"/p/{number}.jpg")
        if due := clock.due_after(0.1):
            batches.append(due)
    assert clock.now - started < 25
    assert 20 / (LONGEST_WAIT + 1) < len(batches) < 20
    assert len({path for batch in batches for path in batch}) > 150


def test_a_removed_file_that_is_back_is_no_removal():
    clock = Clock()
    clock.remove("/p/a.jpg")
    clock.now += HOLD / 2
    clock.put("/p/a.jpg", held=True)
    assert clock.due_after(20) == []


def test_what_lies_below_a_due_folder_goes_with_it():
    assert outermost([Path("/p/a/b.jpg"), Path("/p/a"), Path("/p/ab.jpg")]) == [
        Path("/p/a"),
        Path("/p/ab.jpg"),
    ]


# where changes come from


@linux_only
@pytest.mark.parametrize("place", ["disk", "memory"])
def test_a_file_open_for_writing_is_known_by_its_lease(place, tmp_path):
    memory = Path("/dev/shm")
    if place == "memory" and not os.access(memory, os.W_OK):
        pytest.skip("no /dev/shm")
    file = (tmp_path if place == "disk" else memory) / f"lease-{os.getpid()}.jpg"
    try:
        with file.open("wb") as stream:
            stream.write(b"half")
            stream.flush()
            if (held := is_held_open(file)) is None:
                pytest.skip("no leases on this file system")
            assert held is True
        assert is_held_open(file) is False
        with file.open("rb"):
            assert is_held_open(file) is False
    finally:
        file.unlink()


@linux_only
def test_a_file_of_another_user_can_not_be_asked_about():
    if os.geteuid() == 0:
        pytest.skip("root may ask about every file")
    assert is_held_open(Path("/etc/passwd")) is None


def test_a_folder_removed_is_told_from_another_file(tmp_path):
    (tmp_path / "a.b").mkdir()
    known = KnownFolders([tmp_path], include_hidden=False)
    (tmp_path / "a.b").rmdir()
    assert known.names_of(str(tmp_path / "a.b")) == [tmp_path / "a.b"]
    assert known.names_of(str(tmp_path / "a.c")) == []
    assert known.names_of(str(tmp_path / "gone.jpg")) == [tmp_path / "gone.jpg"]
    assert known.names_of(str(tmp_path / ".x" / "gone.jpg")) == []
    assert known.names_of(str(tmp_path / IGNORE_FILE)) == [tmp_path]
    assert known.names_of(str(tmp_path / "a" / IGNORE_FILE)) == []  # there is no such folder
    assert known.names_of(str(tmp_path / ".x" / IGNORE_FILE)) == []


def test_polling_sees_what_came_went_and_changed(photos):
    source = Polling([photos], include_hidden=False)
    assert source.last_changes(lambda: False) == set()
    (photos / "a.jpg").rename(photos / "c.jpg")
    (photos / "b.jpg").write_bytes(b"shorter")
    seen = source.last_changes(lambda: False)
    assert {path.name for path in seen} == {"a.jpg", "b.jpg", "c.jpg"}
    (photos / IGNORE_FILE).write_text("# nothing yet")
    assert source.last_changes(lambda: False) == {photos}
    (photos / IGNORE_FILE).write_text("b.jpg")
    assert source.last_changes(lambda: False) == {photos, photos / "b.jpg"}
    (photos / "c.xmp").write_text("<a/>")
    assert source.last_changes(lambda: False) == {photos / "c.xmp"}
    (photos / "c.xmp").unlink()
    assert source.last_changes(lambda: False) == {photos / "c.xmp"}


def test_watchfiles_of_another_version_is_no_events(photos, monkeypatch):
    import watchfiles

    def watch(*paths: Path, filtered: bool = False) -> Iterator[set[tuple[int, str]]]:
        yield from ()

    monkeypatch.setattr(watchfiles, "watch", watch)
    with pytest.raises(NoEvents, match="watchfiles gives no events"):
        Events([photos], include_hidden=False)


def test_events_that_end_by_themselves_are_outdated_but_not_those_that_were_to_stop(photos):
    source = Events([photos], include_hidden=False)
    assert source.changes(lambda: True) == set()
    assert not source.outdated
    assert source.changes(lambda: False) == set()
    assert source.outdated
    source.close()


def test_nothing_to_follow_gives_no_events():
    source = Events([], include_hidden=False)
    assert source.changes(lambda: False) == set()
    source.close()


# the documentation


def test_the_unit_in_the_documentation_runs_the_real_program(tmp_path):
    text = re.search(r"```ini\n(.*?)```", DOCS.read_text(), re.DOTALL).group(1)
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    assert unit["Service"]["Restart"] == "on-failure"
    command = shlex.split(unit["Service"]["ExecStart"])
    assert Path(command[0]).name == "clipsearch"
    assert clipsearch(*command[1:], "--help").code == 0
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze to verify the unit with")
    file = tmp_path / "clipsearch-watch.service"
    file.write_text(text.replace(unit["Service"]["ExecStart"], "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", file], capture_output=True, text=True, check=False
    )
    assert "clipsearch-watch" not in done.stderr, done.stderr
