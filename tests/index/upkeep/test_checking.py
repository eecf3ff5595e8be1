"""What breaks is found, named and mended; what was whole stays as it was."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli_process import clean_environment, clipsearch
from places import DATA
from well_library import all_rows, make_well_library, run_sql, table_pages

from clipsearch import (
    CheckReport,
    Library,
    LibraryIncompatible,
    LibraryLocked,
    LibraryNotFound,
    check_library,
)
from clipsearch.index import photo_columns
from clipsearch.index.lock import writer_lock
from clipsearch.index.store import Store

PAGE = 8192


@pytest.fixture(scope="module")
def well(tmp_path_factory, sample_photos, tiny_model_folder) -> Path:
    """Return a library in which all is well; don't change it."""
    place = tmp_path_factory.mktemp("well")
    return make_well_library(place, sample_photos[:4], tiny_model_folder)


@pytest.fixture
def library(tmp_path: Path, well: Path) -> Path:
    return shutil.copytree(well, tmp_path / "library")


def problems(report: CheckReport) -> list[str]:
    return [f"{part.part}: {p.what}" for part in report.parts for p in part.problems]


def remedies(report: CheckReport) -> list[str]:
    return [p.remedy for part in report.parts for p in part.problems]


def told(report: CheckReport) -> str:
    """Return all that a report says is wrong."""
    found = [p for part in report.parts for p in part.problems]
    return "\n".join([*problems(report), *(e for p in found for e in p.examples)])


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def index_file(folder: Path) -> Path:
    (file,) = (folder / "vectors").iterdir()
    return file


def hits(folder: Path) -> list[tuple[int, float]]:
    with Library(folder, read_only=True) as library:
        queries = np.eye(24, dtype=np.float32)[:5]
        scores, ids = library.search_vectors(queries, k=50)
    return list(zip(ids.ravel().tolist(), scores.ravel().tolist(), strict=True))


def test_a_library_in_which_all_is_well_is_called_so_and_left_untouched(library):
    before = {p: p.read_bytes() for p in library.rglob("*") if p.is_file()}
    report = check_library(library)
    assert (report.ok, problems(report)) == (True, [])
    looked = {part.part: part.looked_at for part in report.parts}
    assert looked["embeddings"] == len(all_rows(library)["embeddings"]) > 300
    assert looked["vector index"] > looked["embeddings"]  # some were removed since it was made
    assert looked["text models"] == 1
    assert {p: p.read_bytes() for p in library.rglob("*") if p.is_file()} == before
    assert check_library(library, repair=True).repaired == ()


# Damage that is mended without loss

NAN = np.full(24, np.nan, "<f2").tobytes()
LONG = np.full(24, 0.5, "<f2").tobytes()


def set_vector(folder: Path, photo_id: int, blob: bytes) -> None:
    """Change an embedding behind the back of the trigger that forbids it."""
    connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    name = "embedding_kept_as_it_is"
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
    connection.execute(f"DROP TRIGGER {name}")
    connection.execute("UPDATE embeddings SET vector = ? WHERE photo_id = ?", (blob, photo_id))
    connection.execute(sql)
    connection.close()


def without_trigger(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    triggers = triggers.fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


def flip(path: Path, at: int) -> None:
    data = path.read_bytes()
    overwrite(path, at % len(data), bytes([data[at] ^ 0x40]))


def clear_index_entry(folder: Path) -> None:
    """Change a path in the index of paths, so that a row is missing from it."""
    page = table_pages(folder, "sqlite_autoindex_photos_1")[0]
    data = (folder / "catalog.sqlite").read_bytes()
    overwrite(folder / "catalog.sqlite", data.index(b"/made/up", page, page + PAGE) + 1, b"M")


def older_index_file(folder: Path) -> None:
    """Put the index file of an earlier time in place of the one recorded."""
    file = index_file(folder)
    with Store.open(folder) as store, store.writing():
        store._db.write("DELETE FROM photos WHERE path LIKE '/made/up/trip 5/%'")
        old = file.read_bytes()
        store.refresh_vectors(1)
        index_file(folder).write_bytes(old)


MENDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a header that is overwritten": (
        lambda f: overwrite(f / "catalog.sqlite", 0, b"\xa5" * 100),
        "the catalog's header is overwritten",
    ),
    "a header with another mark": (
        lambda f: run_sql(f, "PRAGMA application_id = 7"),
        "does not bear clipsearch's mark",
    ),
    "a header with another version": (
        lambda f: run_sql(f, "PRAGMA user_version = 77"),
        "the catalog calls itself schema 77",
    ),
    "an index that does not match": (clear_index_entry, "missing from index"),
    "an index page of zeros": (
        lambda f: overwrite(
            f / "catalog.sqlite", table_pages(f, "embeddings_model_id")[0], bytes(PAGE)
        ),
        "SQLite finds the catalog damaged",
    ),
    "NaN in an embedding": (lambda f: set_vector(f, 9, NAN), "embeddings: not finite"),
    "an embedding too long": (lambda f: set_vector(f, 9, LONG), "embeddings: not unit length"),
    "an embedding cut off": (lambda f: set_vector(f, 9, NAN[:7]), "embeddings: wrong size"),
    "an embedding of another photo": (
        lambda f: set_vector(f, 9, all_rows(f)["embeddings"][20][4]),
        "embeddings differ from their copies",
    ),
    "embeddings removed behind the trigger's back": (
        lambda f: without_trigger(f, "DELETE FROM embeddings WHERE id BETWEEN 20 AND 25"),
        "photos have no embedding",
    ),
    "a trigger dropped": (lambda f: run_sql(f, "DROP TRIGGER embedding_removed"), "definitions"),
    "an index dropped": (lambda f: run_sql(f, "DROP INDEX photos_content_hash"), "definitions"),
    "a view dropped": (lambda f: run_sql(f, "DROP VIEW embedded_photos"), "definitions"),
    "an empty table dropped": (lambda f: run_sql(f, "DROP TABLE mounts"), "definitions"),
    "ids given anew": (
        lambda f: run_sql(f, "UPDATE sqlite_sequence SET seq = 1 WHERE name = 'embeddings'"),
        "would give an id for the second time",
    ),
    "no index file": (lambda f: index_file(f).unlink(), "is missing"),
    "an empty index file": (lambda f: index_file(f).write_bytes(b""), "another length"),
    "an index file cut off": (lambda f: os.truncate(index_file(f), 900), "another length"),
    "an index file with a flipped bit": (lambda f: flip(index_file(f), 3000), "checksum"),
    "an index file named elsewhere": (
        lambda f: run_sql(f, "UPDATE vector_indexes SET file = '../catalog.sqlite'"),
        "a name that is no file name",
    ),
    "an index file with another stamp": (
        lambda f: run_sql(f, "UPDATE vector_indexes SET vectors = 100000000"),
        "vectors/",
    ),
    "a text model gone": (lambda f: shutil.rmtree(f / "models"), "text models: missing"),
    "a text model cut off": (
        lambda f: [os.truncate(p, 10) for p in f.glob("models/*/text.onnx*")],
        "text models: incomplete or damaged",
    ),
    "a text model of zeros": (
        lambda f: [p.write_bytes(bytes(p.stat().st_size)) for p in f.glob("models/*/*.data")],
        "text models: damaged",
    ),
}


@pytest.mark.parametrize("case", MENDED)
def test_damage_is_found_named_and_mended_without_loss(library, case):
    rows, found = all_rows(library), hits(library)
    do_damage, name = MENDED[case]
    do_damage(library)
    report = check_library(library)
    assert not report.ok
    assert name in told(report)
    repaired = check_library(library, repair=True)
    assert repaired.repaired
    assert (problems(repaired), repaired.lost, repaired.ok) == ([], (), True)
    assert all_rows(library) == rows
    assert hits(library) == found
    assert check_library(library).ok


def test_an_index_file_exchanged_for_an_older_one_is_made_anew(library):
    older_index_file(library)
    found = hits(library)
    assert "vectors/" in told(check_library(library))
    assert check_library(library, repair=True).ok
    assert hits(library) == found


def test_rows_removed_behind_the_triggers_back_leave_the_results(library):
    without_trigger(library, "DELETE FROM photos WHERE path LIKE '/made/up/trip 5/%'")
    report = check_library(library)
    assert "rows belong to rows that are not there" in told(report)
    assert check_library(library, repair=True).ok
    rows = all_rows(library)
    assert {id_ for id_, _ in hits(library)} <= set(rows["photos"])
    assert len(rows["photos"]) == len(rows["embeddings"])


def test_a_bad_embedding_without_a_copy_is_made_anew_by_the_next_run(library):
    photo = next(r[0] for r in all_rows(library)["photos"].values() if "/made/up/" not in r[2])
    vector = next(r[4] for r in all_rows(library)["embeddings"].values() if r[2] == photo)
    rows = all_rows(library, ["photos"])
    set_vector(library, photo, NAN)
    index_file(library).unlink()
    repaired = check_library(library, repair=True)
    assert "`clipsearch index` makes them anew" in "\n".join(repaired.repaired)
    assert problems(repaired) == ["rows: photos have no embedding, so that no query finds them"]
    assert all_rows(library, ["photos"]) == rows
    with Library(library, device="cpu") as lib:
        assert lib.index().embedded == 1
    assert check_library(library).ok
    anew = next(r[4] for r in all_rows(library)["embeddings"].values() if r[2] == photo)
    cosine = np.frombuffer(vector, "<f2").astype(float) @ np.frombuffer(anew, "<f2").astype(float)
    assert cosine > 0.999


def test_an_embedding_newer_than_the_index_file_is_checked_too(library):
    with Store.open(library) as store, store.writing():
        store._db.write(
            f"INSERT INTO photos ({', '.join(photo_columns.ALL)}) SELECT 9999, '/new', "
            f"{', '.join(photo_columns.ALL[2:])} FROM photos WHERE id = 9"
        )
        store._db.write(
            "INSERT INTO embeddings (photo_id, model_id, vector) VALUES (9999, 1, ?)", (LONG,)
        )
    report = check_library(library)
    assert problems(report) == ["embeddings: embeddings: not unit length"]
    assert "/new" in told(report)


# Damaged pages


def leaf_rows(folder: Path, table: str, page: int) -> set[int]:
    """Return the row ids in a leaf page, as the page itself says."""
    data = (folder / "catalog.sqlite").read_bytes()[page : page + PAGE]
    ids = set()
    for i in range(int.from_bytes(data[3:5], "big")):
        at = int.from_bytes(data[8 + 2 * i : 10 + 2 * i], "big")
        _, at = varint(data, at)
        rowid, _ = varint(data, at)
        ids.add(rowid)
    return ids


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        value = value << 7 | data[at] & 0x7F
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


@pytest.mark.parametrize("garbage", [bytes(PAGE), b"\xff" * PAGE, b"\x0d" + b"\x01" * (PAGE - 1)])
def test_a_damaged_page_of_photos_costs_its_own_photos_only(library, garbage):
    rows = all_rows(library)
    page = table_pages(library, "photos")[2]
    on_page = leaf_rows(library, "photos", page)
    overwrite(library / "catalog.sqlite", page, garbage)
    damaged = (library / "catalog.sqlite").read_bytes()
    assert "SQLite finds the catalog damaged" in told(check_library(library))
    repaired = check_library(library, repair=True)
    assert not repaired.ok  # photos were lost, and it says how many
    assert f"{len(on_page)} rows of photos could not be saved: /made/up/" in repaired.lost[0]
    assert problems(repaired) == []
    after = all_rows(library)
    assert after["photos"] == {i: r for i, r in rows["photos"].items() if i not in on_page}
    assert after["embeddings"] == {
        i: r for i, r in rows["embeddings"].items() if r[2] not in on_page
    }
    assert {id_ for id_, _ in hits(library)} <= set(after["photos"])
    assert (library / "catalog-damaged-1.sqlite").read_bytes() == damaged
    assert check_library(library).ok


def test_a_list_of_free_pages_that_leads_beyond_the_file_is_not_followed(library):
    """Some file systems refuse to seek that far."""
    rows = all_rows(library)
    page = table_pages(library, "photos")[2]
    on_page = leaf_rows(library, "photos", page)
    overwrite(library / "catalog.sqlite", page, bytes(PAGE))
    overwrite(library / "catalog.sqlite", 32, b"\xff" * 4)  # the first free page, in the header
    check_library(library, repair=True)
    assert set(all_rows(library)["photos"]) == set(rows["photos"]) - on_page
    assert check_library(library).ok


def test_a_damaged_page_of_embeddings_costs_nothing_while_the_index_file_is_whole(library):
    rows, found = all_rows(library), hits(library)
    for page in table_pages(library, "embeddings")[:2]:
        overwrite(library / "catalog.sqlite", page + 8, b"\xee" * 4000)
    assert not check_library(library).ok
    repaired = check_library(library, repair=True)
    assert problems(repaired) == []
    assert all_rows(library) == rows
    assert hits(library) == found


def test_a_damaged_row_of_a_model_is_made_again_from_its_file(library):
    rows, found = all_rows(library), hits(library)
    for table in ("models", "library"):
        overwrite(library / "catalog.sqlite", table_pages(library, table)[0], bytes(PAGE))
    assert not check_library(library).ok
    repaired = check_library(library, repair=True)
    assert problems(repaired) == []
    after = all_rows(library)
    assert after["models"][1][:-1] == rows["models"][1][:-1]  # all but when it was added
    assert after["embeddings"] == rows["embeddings"]
    assert hits(library) == found


def test_a_second_repair_keeps_the_damaged_catalog_of_the_first(library):
    for number in (1, 2):
        page = table_pages(library, "photos")[0]
        overwrite(library / "catalog.sqlite", page, bytes(PAGE))
        check_library(library, repair=True)
        assert (library / f"catalog-damaged-{number}.sqlite").exists()
    notes = [note for part in check_library(library).parts for note in part.notes]
    assert "catalog-damaged-1.sqlite, catalog-damaged-2.sqlite" in "\n".join(notes)


def test_what_stands_only_in_the_log_is_saved_too(library):
    """The log beside the catalog holds what the last writer committed."""
    program = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute(\"INSERT INTO folders VALUES ('/in the log', 'folder', 'now', NULL)\")\n"
        "os._exit(0)"
    )
    catalog = library / "catalog.sqlite"
    subprocess.run([sys.executable, "-c", program, str(catalog)], check=True)
    assert (library / "catalog.sqlite-wal").stat().st_size
    overwrite(catalog, photo_pages_without_opening(library)[0], bytes(PAGE))
    repaired = check_library(library, repair=True)
    assert repaired.lost
    paths = [row[1] for row in all_rows(library)["folders"].values()]
    assert "/in the log" in paths
    assert len(paths) == 2


def photo_pages_without_opening(folder: Path) -> list[int]:
    """Return leaf pages of photos, from a copy: opening the catalog here would empty the log."""
    copy = folder.parent / "copy"
    copy.mkdir()
    shutil.copy(folder / "catalog.sqlite", copy)
    return table_pages(copy, "photos")


def extents(folder: Path, table: str) -> dict[int, range]:
    """Return where in the file each row of a table lies."""
    data = (folder / "catalog.sqlite").read_bytes()
    found = {}
    for page in table_pages(folder, table):
        for i in range(int.from_bytes(data[page + 3 : page + 5], "big")):
            start = page + int.from_bytes(data[page + 8 + 2 * i : page + 10 + 2 * i], "big")
            length, at = varint(data, start)
            rowid, at = varint(data, at)
            found[rowid] = range(start, at + length)
    return found


@pytest.mark.parametrize(
    "seed",
    [seed if seed < 16 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(40)],
)
def test_after_random_damage_every_row_saved_is_what_it_was(library, seed):
    """SQLite has no checksums: only what was damaged inside a row's own bytes may differ."""
    chance = random.Random(seed)
    rows = all_rows(library)
    where = {name: extents(library, name) for name in ("photos", "embeddings")}
    catalog = library / "catalog.sqlite"
    size, hurt = catalog.stat().st_size, set()
    for _ in range(chance.choice([1, 1, 2, 5])):
        length = chance.choice([1, 1, 2, 16, 300, 5000])
        at = chance.randrange(size - length)
        overwrite(catalog, at, chance.randbytes(length))
        hurt.update(range(at, at + length))
    report = check_library(library, repair=True)
    if "restore FILE" in "\n".join([*report.lost, *remedies(report)]):  # nothing could be saved
        assert not report.ok
        assert not report.repaired
        assert hurt & set(range(16 * PAGE))
        return
    with Library(library, read_only=True) as lib:
        lib.info()
    after = all_rows(library)
    for name, extent in where.items():
        for rowid, row in after[name].items():
            untouched = rowid in extent and hurt.isdisjoint(extent[rowid])
            if untouched:
                assert row == rows[name][rowid]
            elif row != rows[name].get(rowid):
                assert rowid in extent, "a row that never was"
    gone = {i for i in rows["photos"] if i not in after["photos"]}
    if gone:
        assert not report.ok
        assert any("photos" in line for line in report.lost)
    assert not problems(report) or problems(report) == [
        "rows: photos have no embedding, so that no query finds them"
    ]
    assert hits(library)


# A catalog that is lost


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (None, "the file is missing"),
        (b"\xa5" * 50_000, "the file is not a SQLite database any more"),
        (b"SQLite format 3\0", "the file is not a SQLite database any more"),
    ],
)
def test_a_lost_catalog_is_said_to_be_lost_and_nothing_is_pretended(library, content, why):
    catalog = library / "catalog.sqlite"
    catalog.unlink() if content is None else catalog.write_bytes(content)
    before = sorted(library.rglob("*"))
    report = check_library(library, repair=True)
    assert not report.ok
    assert (report.repaired, report.lost) == ((), ())
    (problem,) = [p for part in report.parts for p in part.problems]
    assert problem.what == f"the catalog is lost: {why}"
    assert "clipsearch restore FILE" in problem.remedy
    assert [p for p in sorted(library.rglob("*")) if p.name != "lock"] == [
        p for p in before if p.name != "lock"
    ]


def test_a_catalog_of_which_only_the_header_is_left_is_lost(library):
    catalog = library / "catalog.sqlite"
    size = catalog.stat().st_size
    overwrite(catalog, 100, b"\xa5" * (size - 100))
    damaged = catalog.read_bytes()
    report = check_library(library, repair=True)
    assert not report.ok
    assert report.repaired == ()
    assert catalog.read_bytes() == damaged
    assert not list(library.glob("catalog-damaged*"))


# Where there is no library


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "an empty file", "a file"])
def test_where_there_is_no_library_it_says_so_and_makes_nothing(tmp_path, what):
    folder = tmp_path / "library"
    if what == "a file":
        folder.touch()
    elif what != "nothing":
        folder.mkdir()
    if what == "an empty file":
        (folder / "catalog.sqlite").touch()
    before = sorted(tmp_path.rglob("*"))
    for repair in (False, True):
        with pytest.raises(LibraryNotFound, match="no library here"):
            check_library(folder, repair=repair)
    assert sorted(tmp_path.rglob("*")) == before
    ended = clipsearch("check", "--library", folder)
    assert (ended.code, ended.out) == (3, b"")


def test_what_is_not_ours_or_newer_is_left_alone(tmp_path, library):
    (tmp_path / "catalog.sqlite").write_bytes(b"my notes" * 100)
    with pytest.raises(LibraryIncompatible, match="not the catalog"):
        check_library(tmp_path, repair=True)
    run_sql(
        library,
        "PRAGMA user_version = 99",
        "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('clipsearch', 'm099_new')",
    )
    before = (library / "catalog.sqlite").read_bytes()
    with pytest.raises(LibraryIncompatible, match="newer clipsearch"):
        check_library(library, repair=True)
    assert (library / "catalog.sqlite").read_bytes() == before


def test_a_view_in_place_of_a_table_is_not_read(library):
    run_sql(
        library,
        "DROP TABLE failures",
        "CREATE VIEW failures AS WITH RECURSIVE n (path) AS (SELECT 1 UNION ALL SELECT path FROM n)"
        " SELECT path, 1 AS size, 1 AS mtime_ns, '' AS reason, '' AS failed_at FROM n",
    )
    report = check_library(library, repair=True)
    assert "names of tables belong to something else" in told(report)


def test_a_library_of_the_former_schema_is_checked_as_it_is(tmp_path):
    from gzip import decompress

    data = DATA / "schema-1"
    (tmp_path / "vectors").mkdir()
    for packed in data.rglob("*.gz"):
        target = tmp_path / packed.relative_to(data).with_suffix("")
        target.write_bytes(decompress(packed.read_bytes()))
    before = (tmp_path / "catalog.sqlite").read_bytes()
    report = check_library(tmp_path)
    assert problems(report) == ["text models: text models: missing"]
    assert "older clipsearch" in "\n".join(n for part in report.parts for n in part.notes)
    assert (tmp_path / "catalog.sqlite").read_bytes() == before


# Leftovers, and who holds the lock


def test_leftovers_are_named_and_removed_by_a_repair_only(library):
    left = [
        library / "vectors" / "model-1.new",
        library / "vectors" / "model-1-5-0badcafe.faiss",
        library / "catalog.sqlite.new",
        library / "models" / ".0123456789abcdef.77",
    ]
    for path in left[:3]:
        path.write_bytes(b"half")
    left[3].mkdir()
    report = check_library(library)
    assert report.ok  # nothing is wrong with the library
    note = "\n".join(n for part in report.parts for n in part.notes)
    assert all(path.name in note for path in left)
    assert all(path.exists() for path in left)
    assert check_library(library, repair=True).repaired
    assert not any(path.exists() for path in left)
    assert check_library(library, repair=True).repaired == ()


def test_a_repair_waits_for_nobody_and_a_check_asks_nobody(library):
    index_file(library).unlink()
    with writer_lock(library / "lock"):
        assert not check_library(library).ok
        with pytest.raises(LibraryLocked):
            check_library(library, repair=True)


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from clipsearch.index.store import Store
from clipsearch.index.changes import Embedded, Gone
from clipsearch.index.records import FileState, PhotoMetadata
from clipsearch.index.vectors import segments
segments.NEWEST, segments.TAKEN_IN = 0, 10**9

end = time.monotonic() + float(sys.argv[2])
batch = 0
with Store.open(Path(sys.argv[1])) as store, store.writing():
    while time.monotonic() < end:
        vectors = np.random.default_rng(batch).normal(size=(20, 24)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        seen = PhotoMetadata(4, 3, "JPEG")
        store.apply([
            Embedded(FileState(Path(f"/w/{batch}/{i}.jpg"), 1, 1), f"{batch}-{i}", seen, v)
            for i, v in enumerate(vectors)
        ], 1)
        known = store.catalog.known_files(1, [Path(f"/w/{batch - 1}")])
        store.apply([Gone(k.photo_id) for k in list(known.values())[::2]], None)
        store.refresh_vectors(1)
        if not batch:
            print("writing", flush=True)
        batch += 1
print(batch, flush=True)
"""


def test_a_check_beside_a_writer_gives_no_false_alarm(library):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(library), "6"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    checks = 0
    while writer.poll() is None:
        report = check_library(library)
        assert problems(report) == []
        checks += 1
    assert writer.returncode == 0
    assert checks >= 3
    assert int(writer.communicate()[0]) >= 10  # batches
    report = check_library(library)
    assert problems(report) == []


# Photo files


@pytest.fixture
def small(tmp_path, sample_photos, tiny_model_folder) -> tuple[Path, Path]:
    """Return a library of five real photos and their folder, both to be changed."""
    place = tmp_path / "photos"
    place.mkdir()
    for i, photo in enumerate(sample_photos[:5]):
        shutil.copyfile(photo, place / f"{i}.jpg")
    with Library(tmp_path / "library", device="cpu") as library:
        library.index([place], model=str(tiny_model_folder))
    return tmp_path / "library", place


def test_photo_files_are_compared_with_their_rows(small, sample_photos):
    library, place = small
    assert check_library(library, files=True).ok
    assert check_library(library, hashes=True).ok
    (place / "0.jpg").unlink()
    shutil.copyfile(sample_photos[7], place / "1.jpg")
    os.utime(place / "2.jpg", ns=(1, 1))
    assert check_library(library).ok  # which does not look at them
    report = check_library(library, files=True)
    found = {p.what: p.examples for part in report.parts for p in part.problems}
    assert found == {
        "files are missing": (str(place / "0.jpg"),),
        "files have changed since they were indexed": (
            str(place / "1.jpg"),
            str(place / "2.jpg"),
        ),
    }
    with Library(library, device="cpu") as lib:
        lib.index()
    report = check_library(library, hashes=True)
    assert [p.examples for part in report.parts for p in part.problems] == []


def test_a_file_that_decayed_is_found_by_its_hash_only(small):
    library, place = small
    state = (place / "3.jpg").stat()
    flip(place / "3.jpg", 500)
    os.utime(place / "3.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert check_library(library, files=True).ok
    seen = []
    report = check_library(library, hashes=True, progress=seen.append)
    assert "files have other content" in told(report)
    assert str(place / "3.jpg") in told(report)
    assert (seen[-1].done, seen[-1].total) == (5, 5)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file kinds")
def test_a_file_that_can_not_be_read_does_not_end_the_check(small):
    library, place = small
    (place / "1.jpg").unlink()
    (place / "1.jpg").symlink_to("1.jpg")  # a circle: not even root can read it
    flip(place / "4.jpg", 500)
    report = check_library(library, hashes=True)
    assert "files can't be read" in told(report)
    assert str(place / "4.jpg") in told(report)


def test_photos_of_a_folder_that_is_away_are_not_missing(small):
    library, place = small
    place.rename(place.with_name("elsewhere"))
    report = check_library(library, hashes=True)
    assert report.ok
    (note,) = [n for part in report.parts if part.part == "photo files" for n in part.notes]
    assert note.startswith("5 photos are away: ")


# The command


def test_the_command_shows_what_it_looked_at_and_ends_with_0_or_1(library):
    ended = clipsearch("check", "--library", library)
    assert ended.code == 0, ended.text
    assert ended.lines[0].split("\t")[0] == "catalog file"
    assert ended.lines[-1].startswith(f"{library}: all is well")
    index_file(library).unlink()
    ended = clipsearch("check", "--library", library)
    assert ended.code == 1
    assert "is missing" in ended.text
    assert "clipsearch check --repair" in ended.text
    ended = clipsearch("check", "--repair", "--library", library)
    assert ended.code == 0
    assert "repaired: made the index file" in ended.text


def test_the_command_writes_json(library):
    set_vector(library, 9, NAN)
    ended = clipsearch("check", "--json", "--library", library)
    assert ended.code == 1
    (line,) = ended.lines
    report = json.loads(line)
    assert report["ok"] is False
    (part,) = [part for part in report["parts"] if part["problems"]]
    assert part["part"] == "embeddings"
    assert part["problems"][0]["count"] == 1


def test_a_check_loads_no_torch(library):
    code = (
        "import sys; from clipsearch import check_library\n"
        f"assert check_library({str(library)!r}).ok\n"
        "print([name for name in ('torch', 'open_clip') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    assert done.stdout == "[]\n"
