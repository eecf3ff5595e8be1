"""A library made by an older clipsearch is brought up to date in place, whatever goes wrong."""

import gzip
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_raws import dng
from older_schema import back_to_schema_4
from PIL import Image
from places import DATA, TESTS

from clipsearch.errors import LibraryDamaged, LibraryError, LibraryIncompatible, LibraryLocked
from clipsearch.index import lock
from clipsearch.index.changes import Exclude, KeepFolder, SeenMount
from clipsearch.index.lock import writer_lock
from clipsearch.index.migrations import SCHEMA_VERSION
from clipsearch.index.records import Exclusion, ModelIdentity
from clipsearch.index.store import Store
from clipsearch.library import Library
from clipsearch.upkeep import check_library

DATA = DATA / "schema-1"
OLD_PLACE = "/home/someone"
OLD_COLUMNS = (
    "id, path, content_hash, size, mtime_ns, width, height, format, orientation, taken_at, camera, "
    "lens, latitude, longitude, indexed_at"
)


def unpack(folder: Path) -> Path:
    """Unpack the library that the release with schema 1 made."""
    for packed in DATA.rglob("*.gz"):
        path = folder / packed.relative_to(DATA).with_suffix("")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return unpack(tmp_path / "library")


def version(folder: Path) -> int:
    connection = sqlite3.connect(folder / "catalog.sqlite")
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


def content(catalog: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table that schema 1 has."""
    connection = sqlite3.connect(catalog)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = (
            *("photos", "failures", "folders", "models", "library", "embeddings"),
            *("removed_embeddings", "vector_indexes", "sqlite_sequence"),
        )
        columns = dict.fromkeys(tables, "*")
        columns["photos"] = OLD_COLUMNS
        columns["vector_indexes"] = "model_id, file, watermark, vectors, kind, bytes, checksum"
        return {
            table: connection.execute(f"SELECT {names} FROM {table} ORDER BY 1").fetchall()
            for table, names in columns.items()
        }
    finally:
        connection.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_opening_for_writing_upgrades_and_keeps_every_row(old: Path) -> None:
    before = content(old / "catalog.sqlite")
    file = next((old / "vectors").iterdir())
    vectors = file.read_bytes()
    with Store.open(old) as store:
        assert store.catalog.schema_version() == SCHEMA_VERSION
        assert store.catalog.mounts() == []
        info = store.index_info(1)
        assert (info.path, info.vectors, info.delta, info.note) == (file, 5, 0, None)
    after = content(old / "catalog.sqlite")
    assert {**after, "sqlite_sequence": 0} == {**before, "sqlite_sequence": 0}
    assert set(before["sqlite_sequence"]) <= set(after["sqlite_sequence"])
    assert file.read_bytes() == vectors
    assert names(old) == ["catalog.sqlite", "lock", "vectors"]


def test_opening_for_reading_says_what_to_do_and_changes_nothing(old: Path) -> None:
    before = (old / "catalog.sqlite").read_bytes()
    with pytest.raises(LibraryIncompatible, match="run `clipsearch index` once"):
        Store.open(old, read_only=True)
    assert (old / "catalog.sqlite").read_bytes() == before
    assert version(old) == 1


def test_the_last_schema_is_read_as_it_is_until_something_is_written(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store, store.writing():
        store.apply([KeepFolder(Path("/photos"), "folder")])
    connection = sqlite3.connect(tmp_path / "catalog.sqlite", isolation_level=None)
    back_to_schema_4(connection)
    connection.executescript(
        "DROP TABLE exclusions; PRAGMA user_version = 2;"
        "DELETE FROM _sqlite_migrations WHERE name > 'm003'"
    )
    connection.close()
    with Store.open(tmp_path, read_only=True) as store:
        (folder,), _, exclusions = store.places()
        assert (folder.path, exclusions) == (Path("/photos"), ())
    assert version(tmp_path) == 2
    assert check_library(tmp_path).ok
    exclusion = Exclusion("pattern", "*.png")
    with Store.open(tmp_path) as store, store.writing():
        store.apply([Exclude(exclusion)])
        assert store.places().exclusions == (exclusion,)
    assert version(tmp_path) == SCHEMA_VERSION


def test_raw_files_that_were_refused_or_taken_for_their_thumbnails_are_opened_again(
    small_library: Path,
) -> None:
    """By the next run, and once; a TIFF of many small pages stays what it is."""
    scene = np.random.default_rng(0).integers(0, 255, (320, 480, 3)).astype(np.uint8)
    photos, place = small_library / "photos", small_library / "library"
    (photos / "b.dng").write_bytes(dng(scene, orientation=3))
    small = [Image.fromarray(scene[:20, left : left + 20]) for left in range(0, 400, 20)]
    small[0].save(photos / "c.tif", save_all=True, append_images=small[1:])
    with Library(place, device="cpu") as library:
        report = library.index([photos])
        assert (report.embedded, report.failures) == (2, ())
    (photos / "a.NEF").write_bytes(dng(scene))
    _as_recorded_in_schema_3(place / "catalog.sqlite", photos / "b.dng", photos / "a.NEF")
    with Library(place, device="cpu") as library:
        assert library.failures() == []
        report = library.index()
        assert (report.added, report.changed, report.embedded) == (1, 1, 2)
        found = {hit.path.name: hit.format for hit in library.query("anything", k=9)}
        assert {name: found.pop(name) for name in ("a.NEF", "b.dng", "c.tif")} == {
            **dict.fromkeys(("a.NEF", "b.dng"), "RAW"),
            "c.tif": "TIFF",
        }
        assert library.index().embedded == 0
    assert check_library(place).ok


def _as_recorded_in_schema_3(catalog: Path, thumbnail: Path, refused: Path) -> None:
    connection = sqlite3.connect(catalog, isolation_level=None)
    connection.execute(
        "UPDATE photos SET format = 'TIFF', width = 160, height = 107 WHERE path = ?",
        (str(thumbnail),),
    )
    state = refused.stat()
    reason = "unsupported format: raw camera file (NEF, ARW or the like)"
    connection.execute(
        "INSERT INTO failures VALUES (?, ?, ?, ?, '')",
        (str(refused), state.st_size, state.st_mtime_ns, reason),
    )
    back_to_schema_4(connection)
    connection.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm004%'")
    connection.execute("PRAGMA user_version = 3")
    connection.close()


# Nothing is embedded again


def at_home(library: Path, home: Path, model: Path, repository: Path) -> None:
    """Let the old library's photos and its model lie in the folder of a test."""
    (home / "photos").mkdir(parents=True)
    connection = sqlite3.connect(library / "catalog.sqlite")
    for table in ("photos", "failures"):
        rows = connection.execute(f"SELECT path, size, mtime_ns FROM {table}").fetchall()
        for old_path, size, mtime_ns in rows:
            path = home / "photos" / Path(old_path).name
            example = repository / "examples" / "photos" / "animals" / path.name
            path.write_bytes(example.read_bytes() if table == "photos" else b"x" * size)
            os.utime(path, ns=(mtime_ns, mtime_ns))
            connection.execute(f"UPDATE {table} SET path = ? WHERE path = ?", (str(path), old_path))
    connection.execute("UPDATE folders SET path = ?", (str(home / "photos"),))
    connection.execute("UPDATE models SET name = ?", (f"local-dir:{model}",))
    connection.commit()
    connection.close()


def same_weights(library: Path, model: Path) -> None:
    """Let the model of the old library have the weights that torch makes for the tiny one here."""
    from clipsearch.models.files import file_sha256

    connection = sqlite3.connect(library / "catalog.sqlite")
    row = connection.execute("SELECT architecture, preprocessing, width FROM models").fetchone()
    weights = file_sha256(model / "open_clip_model.safetensors")
    identity = ModelIdentity("", row[0], weights, row[1], row[2])
    connection.execute(
        "UPDATE models SET weights_sha256 = ?, fingerprint = ?", (weights, identity.fingerprint)
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("how", ["folder", "model named", "retry failed"])
def test_indexing_after_an_upgrade_embeds_nothing_again(
    old: Path, tmp_path: Path, tiny_model_folder: Path, repository: Path, how: str
) -> None:
    at_home(old, tmp_path / "home", tiny_model_folder, repository)
    same_weights(old, tiny_model_folder)
    before = content(old / "catalog.sqlite")
    file = next((old / "vectors").iterdir())
    vectors = file.read_bytes()
    model = f"local-dir:{tiny_model_folder}" if how == "model named" else None
    with Library(old) as library:
        report = library.index(None if how == "folder" else [tmp_path / "home"], model=model)
        assert (report.embedded, report.unchanged, report.added, report.changed) == (0, 5, 0, 0)
        photo = tmp_path / "home" / "photos" / "giraffes.jpg"
        assert library.query(photo, k=1)[0].path == photo
        assert len(library.info().models) == 1
    after = content(old / "catalog.sqlite")
    assert after["embeddings"] == before["embeddings"]  # ids, photos and vectors, byte for byte
    assert after["photos"] == before["photos"]
    assert after["failures"] == before["failures"]
    assert file.read_bytes() == vectors


# A crash at any step

DIE_AT_EACH_STEP = """
import os, shutil, signal, sys
from pathlib import Path
from doomed_program import content
from clipsearch.index import database
from clipsearch.index.store import Store

start, place, create, every = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "create", sys.argv[4]
at, steps = None, []

def step(what):
    if at is None:
        return
    steps.append((content(folder), " ".join(what.split())[:60]))
    if len(steps) == at:
        os.kill(os.getpid(), signal.SIGKILL)

def on_file(event, arguments):
    if event in ("os.rename", "os.remove", "os.mkdir"):
        step(f"{event} {os.path.basename(arguments[0])}")
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        step(f"open {os.path.basename(arguments[0])}")

def on_statement(sql):
    if not sql.startswith(("select", "SELECT")):
        step(sql)

def connect(path, mode, connect=database._connect):
    step(f"connect {path.name}")
    connection = connect(path, mode)
    connection.set_trace_callback(on_statement)
    return connection

def fsync(descriptor, fsync=os.fsync):
    step("fsync")
    fsync(descriptor)
    step("synced")

def steps_until(number):
    global at, folder
    folder = Path(place) / str(number)
    if start.is_dir():
        shutil.copytree(start, folder)
    at = number
    Store.open(folder, create=create).close()
    at = None

sys.addaudithook(on_file)
database._connect, os.fsync = connect, fsync
steps_until(0)
all_steps, before = steps.copy(), ""
for number, (now, name) in enumerate(all_steps, 1):
    if every == "each" or now != before:
        child = os.fork()
        if child == 0:
            steps.clear()
            steps_until(number)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL, name
    before = now
    print(name)
"""


@pytest.fixture(params=["changes", pytest.param("each", marks=pytest.mark.slow)])
def which(request: pytest.FixtureRequest) -> str:
    """Say whether to die at steps at which all lies on the disk as at the one before, too."""
    return request.param


def die_at_each_step(start: Path, place: Path, what: str, which: str) -> list[str]:
    """Upgrade or create a library once for each step of it, killed just before that.

    Return the names of all steps; the library of which the making died at item N - 1 is `place/N`.
    """
    command = [sys.executable, "-c", DIE_AT_EACH_STEP, str(start), str(place), what, which]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return done.stdout.splitlines()


def died_at(place: Path) -> list[int]:
    """Return the numbers of the steps at which a library was left."""
    return sorted(int(folder.name) for folder in place.iterdir() if folder.name != "0")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_step_of_an_upgrade_leaves_the_old_or_the_new(
    old: Path, tmp_path: Path, which: str
) -> None:
    before = content(old / "catalog.sqlite")
    place = tmp_path / "died"
    steps = die_at_each_step(old, place, "upgrade", which)
    for expected in ("connect catalog.sqlite.schema-1.new", "fsync", "CREATE TABLE mounts"):
        assert any(step.startswith(expected) for step in steps)
    committed = steps.index("COMMIT") + 1
    began = steps.index("BEGIN IMMEDIATE") + 1
    numbers = died_at(place)
    assert min(numbers) <= began < committed < max(numbers)
    for number, later in zip(numbers, [*numbers[1:], len(steps) + 1], strict=True):
        folder = place / str(number)
        assert (version(folder) > 1) == (number > committed), steps[number - 1]
        copy = folder / "catalog.sqlite.schema-1"
        if number <= committed and began < later:  # as it lies there in between
            assert content(copy) == before
        assert content(folder / "catalog.sqlite")["embeddings"] == before["embeddings"]
        with Store.open(folder) as store:
            assert store.catalog.mounts() == []
        after = content(folder / "catalog.sqlite")
        assert {**after, "sqlite_sequence": 0} == {**before, "sqlite_sequence": 0}
        assert names(folder) == ["catalog.sqlite", "lock", "vectors"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_step_of_making_a_library_leaves_none_or_a_whole_one(
    tmp_path: Path, which: str
) -> None:
    place = tmp_path / "died"
    place.mkdir()
    steps = die_at_each_step(tmp_path / "nothing", place, "create", which)
    renamed = steps.index("os.rename catalog.sqlite.new") + 1
    there = {number: (place / str(number) / "catalog.sqlite").exists() for number in died_at(place)}
    assert there == {number: number > renamed for number in there}
    assert set(there.values()) == {False, True}
    for number in there:
        with Store.open(place / str(number), create=True) as store, store.writing():
            assert store.catalog.schema_version() == SCHEMA_VERSION
            store.apply([SeenMount(Path("/photos/disk"))])
        assert names(place / str(number)) == ["catalog.sqlite", "lock"]


# Other processes


def test_readers_of_the_old_library_read_on_while_it_is_upgraded(old: Path) -> None:
    reader = sqlite3.connect(f"{(old / 'catalog.sqlite').as_uri()}?mode=ro", uri=True)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM photos").fetchone() == (5,)
    with Store.open(old) as store:
        assert store.catalog.schema_version() == SCHEMA_VERSION
        assert reader.execute("PRAGMA user_version").fetchone() == (1,)
        assert reader.execute("SELECT count(*) FROM embeddings").fetchone() == (5,)
        reader.execute("COMMIT")
        assert reader.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    reader.close()


def test_a_library_that_another_process_writes_to_is_not_upgraded(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SECONDS_TO_DO_ONCE", 0.3)
    with writer_lock(old / "lock"):
        with pytest.raises(LibraryLocked, match=f"process {os.getpid()} is writing"):
            Store.open(old)
        assert version(old) == 1
    Store.open(old).close()
    assert version(old) == SCHEMA_VERSION


OPEN = """
import sys
from pathlib import Path
from clipsearch.index.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(Path(sys.argv[1]), create=True) as store:
    print(store.catalog.schema_version(), len(store.catalog.mounts()))
"""


@pytest.mark.parametrize("library", ["old", "missing"])
def test_many_processes_that_open_it_at_once_all_get_it(
    old: Path, tmp_path: Path, library: str
) -> None:
    folder = old if library == "old" else tmp_path / "new" / "library"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", OPEN, str(folder)]
    processes = [subprocess.Popen(command, **pipes) for _ in range(6)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == [
        f"{SCHEMA_VERSION} 0\n"
    ] * 6


# Faults


def test_an_old_catalog_that_is_damaged_is_not_upgraded(old: Path) -> None:
    catalog = old / "catalog.sqlite"
    data = bytearray(catalog.read_bytes())
    page = 8192
    connection = sqlite3.connect(catalog)
    sql = "SELECT rootpage FROM sqlite_master WHERE name = 'embeddings'"
    root = connection.execute(sql).fetchone()[0]
    connection.close()
    data[page * (root - 1) : page * root] = b"\xa5" * page
    catalog.write_bytes(data)
    with pytest.raises(LibraryDamaged, match="the catalog is damaged"):
        Store.open(old)
    assert version(old) == 1
    assert names(old) == ["catalog.sqlite", "lock", "vectors"]


def test_a_catalog_that_only_calls_itself_old_is_not_believed(tmp_path: Path) -> None:
    Store.open(tmp_path, create=True).close()
    connection = sqlite3.connect(tmp_path / "catalog.sqlite")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(LibraryDamaged, match="calls itself schema 1 after the step to 5"):
        Store.open(tmp_path)


def test_a_folder_in_place_of_the_copy_is_an_error_of_one_line(old: Path) -> None:
    (old / "catalog.sqlite.schema-1").mkdir()
    with pytest.raises(LibraryError, match=r"catalog\.sqlite\.schema-1: ") as caught:
        Store.open(old)
    assert "\n" not in str(caught.value)
    assert version(old) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
def test_a_limit_on_file_sizes_leaves_the_old_library(old: Path) -> None:
    before = content(old / "catalog.sqlite")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(LibraryError):
            Store.open(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(old / "catalog.sqlite") == before
    assert version(old) == 1
