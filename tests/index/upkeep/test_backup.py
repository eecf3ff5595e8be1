"""A library in one file: consistent while in use, whole or not at all, the same when restored."""

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from cli_process import clipsearch
from places import DATA
from test_checking import WRITER
from well_library import all_rows, make_well_library, run_sql, table_pages

from clipsearch import (
    InvalidInput,
    Library,
    LibraryDamaged,
    LibraryError,
    LibraryIncompatible,
    LibraryNotFound,
    backup_library,
    check_library,
    restore_library,
)
from clipsearch.index.photo_columns import SINCE_5
from clipsearch.index.store import Store
from clipsearch.index.upkeep.backup import MANIFEST


@pytest.fixture(scope="module")
def well(tmp_path_factory, sample_photos, tiny_model_folder) -> Path:
    place = tmp_path_factory.mktemp("well")
    return make_well_library(place, sample_photos[:4], tiny_model_folder)


@pytest.fixture
def library(tmp_path: Path, well: Path) -> Path:
    return shutil.copytree(well, tmp_path / "library")


@pytest.fixture(scope="module")
def well_backed_up(tmp_path_factory, well: Path) -> Path:
    file = tmp_path_factory.mktemp("backup") / "photos.tar"
    backup_library(well, file)
    return file


@pytest.fixture
def backup(tmp_path: Path, well_backed_up: Path) -> Path:
    """Return a backup of the library, to be changed."""
    return Path(shutil.copy(well_backed_up, tmp_path))


def hits(folder: Path) -> list[tuple[str, float]]:
    with Library(folder, read_only=True) as library:
        found = library.query_batch(["a dog", "two people", "red"], k=20)
    return [(str(hit.path), hit.score) for some in found for hit in some]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_restored_library_has_the_same_rows_and_gives_the_same_hits(tmp_path, library, backup):
    rows = all_rows(library)
    report = restore_library(backup, tmp_path / "again")
    assert (report.photos, report.embeddings) == (len(rows["photos"]), len(rows["embeddings"]))
    assert all_rows(tmp_path / "again") == rows
    assert hits(tmp_path / "again") == hits(library)
    checked = check_library(tmp_path / "again")
    assert checked.ok
    assert {part.part: part.looked_at for part in checked.parts}["text models"] == 1
    with Library(tmp_path / "again", read_only=True) as restored:
        assert restored.info().index.vectors == len(rows["embeddings"])


def test_a_restored_library_embeds_nothing_again(tmp_path, library, backup):
    restore_library(backup, tmp_path / "again")
    with Library(tmp_path / "again", device="cpu") as restored:
        report = restored.index()
    assert (report.embedded, report.added, report.unchanged) == (0, 0, 4)
    assert check_library(tmp_path / "again").ok


def test_a_restored_library_gives_no_id_again(tmp_path, library, backup):
    restore_library(backup, tmp_path / "again")
    sequences = "SELECT name, seq FROM sqlite_sequence WHERE name <> 'removed_embeddings'"
    there = [
        dict(sqlite3.connect(folder / "catalog.sqlite").execute(sequences))
        for folder in (library, tmp_path / "again")
    ]
    assert there[0] == there[1]


def test_a_backup_is_a_plain_tar_that_says_what_it_holds(library, backup):
    with tarfile.open(backup) as tar:
        members = tar.getnames()
        manifest = json.load(tar.extractfile(MANIFEST))
    assert members[0] == "catalog.sqlite"
    assert members[-1] == MANIFEST
    assert all(name.startswith("models/") for name in members[1:-1])
    assert len(members) > 4
    assert set(manifest["sha256"]) == set(members[:-1])
    assert manifest["photos"] == len(all_rows(library)["photos"])
    assert names(backup.parent) == ["library", "photos.tar"]


def test_making_a_backup_changes_nothing(tmp_path, library):
    def content() -> dict[Path, bytes]:  # without what SQLite needs beside a catalog to read it
        files = [p for p in library.rglob("*") if p.is_file() and p.suffix[-4:] != "-shm"]
        return {p: p.read_bytes() for p in files if p.stat().st_size or p.name == "lock"}

    before = content()
    backup_library(library, tmp_path / "photos.tar")
    assert content() == before


def test_backups_made_beside_a_writer_are_each_one_committed_state(tmp_path, library):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(library), "5"], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "writing\n"
    made = []
    while writer.poll() is None:
        made.append(tmp_path / f"{len(made)}.tar")
        backup_library(library, made[-1])
    writer.communicate()
    assert writer.returncode == 0
    assert len(made) >= 2
    for number in (0, len(made) // 2, len(made) - 1):
        folder = tmp_path / f"restored {number}"
        restore_library(made[number], folder)
        assert check_library(folder).ok
        paths = [row[2] for row in all_rows(folder)["photos"].values()]
        batches = {}
        for path in paths:
            if path.startswith("/w/"):
                batches.setdefault(int(path.split("/")[2]), []).append(path)
        counts = [len(batches[batch]) for batch in sorted(batches)]
        # batches are whole: 20 photos, of which the next batch's removal takes every second
        assert set(counts[:-2]) <= {10}
        assert counts[-1] == 20
        assert counts[-2:-1] in ([], [10], [20])


# Where a backup may lie


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path, library):
    (tmp_path / "mine.tar").write_text("mine")
    with pytest.raises(InvalidInput, match="already there; --force replaces it"):
        backup_library(library, tmp_path / "mine.tar")
    assert (tmp_path / "mine.tar").read_text() == "mine"
    backup_library(library, tmp_path / "mine.tar", replace=True)
    restore_library(tmp_path / "mine.tar", tmp_path / "again")


def test_a_place_where_no_backup_can_be_is_refused(tmp_path, library):
    with pytest.raises(InvalidInput, match="is a folder: name a file"):
        backup_library(library, tmp_path)
    for inside in (library / "b.tar", library / "vectors" / "b.tar"):
        with pytest.raises(InvalidInput, match="inside the library"):
            backup_library(library, inside)
    (tmp_path / "link").symlink_to(library)
    with pytest.raises(InvalidInput, match="inside the library"):
        backup_library(library, tmp_path / "link" / "b.tar")
    with pytest.raises(InvalidInput, match="does not exist"):
        backup_library(library, tmp_path / "none" / "b.tar")
    with pytest.raises(LibraryNotFound):
        backup_library(tmp_path / "none", tmp_path / "b.tar")
    assert names(tmp_path) == ["library", "link"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_is_no_place_for_a_backup(library):
    with pytest.raises(InvalidInput, match="no plain file"):
        backup_library(library, "/dev/full", replace=True)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
@pytest.mark.parametrize("room", [20_000, 400_000])
def test_a_copy_that_fails_leaves_the_former_file_whole_and_no_litter(tmp_path, library, room):
    """A limit on the size of files stands for a disk that is full."""
    place = tmp_path / "place"
    place.mkdir()
    (place / "b.tar").write_text("the former")
    program = (
        "import resource, signal, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from clipsearch.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [
            *(sys.executable, "-c", program, "backup", "--force"),
            *(place / "b.tar", "--library", library),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"clipsearch: {place / 'b.tar'}: can't be written")
    assert names(place) == ["b.tar"]
    assert (place / "b.tar").read_text() == "the former"


def test_a_damaged_library_is_not_backed_up_as_if_it_were_whole(tmp_path, library):
    page = table_pages(library, "photos")[1]
    with (library / "catalog.sqlite").open("r+b") as file:
        file.seek(page)
        file.write(b"\xff" * 8192)
    with pytest.raises(LibraryDamaged, match="check --repair"):
        backup_library(library, tmp_path / "b.tar")
    assert names(tmp_path) == ["library"]


# Where a backup may be restored


@pytest.mark.parametrize("there", ["a file", "a library", "a folder with a file"])
def test_nothing_that_is_there_is_restored_over(tmp_path, library, backup, there):
    target = tmp_path / "target"
    if there == "a file":
        target.write_text("mine")
    elif there == "a library":
        shutil.copytree(library, target)
    else:
        target.mkdir()
        (target / "mine").touch()
    before = sorted(target.rglob("*")), sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput, match="empty or missing"):
        restore_library(backup, target)
    assert (sorted(target.rglob("*")), sorted(tmp_path.iterdir())) == before


def test_an_empty_folder_and_what_a_killed_restore_left_are_restored_into(tmp_path, backup):
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / ".restoring" / "models").mkdir(parents=True)
    (tmp_path / "b" / "lock").touch()
    for name in ("a", "b"):
        restore_library(backup, tmp_path / name)
        assert names(tmp_path / name) == ["catalog.sqlite", "lock", "models", "vectors"]


# Files that are no backup


def damaged(backup: Path, change) -> Path:
    """Write a backup with other members: change takes and returns the list of (info, bytes)."""
    with tarfile.open(backup) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar.getmembers()]
    target = backup.with_name("damaged.tar")
    with tarfile.open(target, "w") as tar:
        for member, data in change(members):
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def extra(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x"):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    data = data if kind == tarfile.REGTYPE else b""
    return lambda members: [(member, data), *members]


def flipped(members):
    info, data = members[1]
    return [members[0], (info, bytes([data[0] ^ 1]) + data[1:]), *members[2:]]


def other_catalog(data: bytes):
    def change(members):
        import hashlib

        manifest = json.loads(members[-1][1])
        manifest["sha256"]["catalog.sqlite"] = hashlib.sha256(data).hexdigest()
        return [
            (members[0][0], data),
            *members[1:-1],
            (members[-1][0], json.dumps(manifest).encode()),
        ]

    return change


def planted_catalog(folder: Path) -> bytes:
    """Return a catalog in which reading a table would never end."""
    path = folder / "planted.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 0x636C7073")
    connection.execute("PRAGMA user_version = 2")
    endless = "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id FROM n) SELECT id FROM n"
    connection.execute(f"CREATE VIEW photos AS {endless}")
    connection.close()
    data = path.read_bytes()
    path.unlink()
    return data


HOSTILE = {
    "a path upwards": extra("../evil"),
    "a path upwards below models": extra("models/0123456789abcdef/../../../evil"),
    "an absolute path": extra("/tmp/evil-clipsearch"),
    "a link": extra("models", tarfile.SYMTYPE, "/tmp"),
    "a link in place of the catalog": extra("catalog.sqlite", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": extra("models/0123456789abcdef/a", tarfile.LNKTYPE, "catalog.sqlite"),
    "a device": extra("models/0123456789abcdef/a", tarfile.CHRTYPE),
    "a pipe": extra("catalog.sqlite", tarfile.FIFOTYPE),
    "a sparse file": extra("catalog.sqlite", tarfile.GNUTYPE_SPARSE),
    "a hidden file": extra("models/0123456789abcdef/.evil"),
    "a file of another name": extra("setup.py"),
    "a member twice": lambda members: [members[0], *members],
    "a flipped bit": flipped,
    "no manifest": lambda members: members[:-1],
    "no catalog": lambda members: members[1:],
    "a file more": lambda m: [*m[:-1], *extra("models/0123456789abcdef/a")([])[:1], m[-1]],
    "a list that is no JSON": lambda m: [*m[:-1], (m[-1][0], b"\xff{")],
    "a list of something else": lambda m: [*m[:-1], (m[-1][0], b"[1]")],
    "a list nested without end": lambda m: [*m[:-1], (m[-1][0], b"[" * 100_000)],
    "a catalog that is none": other_catalog(b"my notes" * 1000),
    "an empty catalog": other_catalog(b""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_or_damaged_backup_is_refused_and_leaves_nothing(tmp_path, backup, case):
    file = damaged(backup, HOSTILE[case])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InvalidInput) as caught:
        restore_library(file, tmp_path / "new" / "again")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{file} can't be restored: ")
    assert [p for p in sorted(tmp_path.iterdir()) if p.name != "new"] == before
    assert not (tmp_path / "new" / "again").exists()
    assert not Path("/tmp/evil-clipsearch").exists()


def test_a_catalog_with_a_view_in_place_of_a_table_is_refused(tmp_path, backup):
    file = damaged(backup, other_catalog(planted_catalog(tmp_path)))
    with pytest.raises(InvalidInput, match="its catalog is damaged"):
        restore_library(file, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("keep", [0, 100, 512, 20_000, -1024 * 40])
def test_a_backup_that_is_cut_off_is_refused(tmp_path, backup, keep):
    file = tmp_path / "cut.tar"
    file.write_bytes(backup.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match="can't be restored"):
        restore_library(file, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_backup_of_a_newer_clipsearch_is_refused(tmp_path, library):
    run_sql(library, "PRAGMA user_version = 99")
    backup_library(library, tmp_path / "newer.tar")
    with pytest.raises(LibraryIncompatible, match="newer clipsearch"):
        restore_library(tmp_path / "newer.tar", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_what_is_no_file_is_no_backup(tmp_path):
    for file, why in ((tmp_path, "is no file"), (tmp_path / "none", "does not exist")):
        with pytest.raises(InvalidInput, match=why):
            restore_library(file, tmp_path / "again")


# The commands


def test_the_commands_say_what_they_did_and_what_comes_next(tmp_path, library):
    made = clipsearch("backup", tmp_path / "b.tar", "--library", library)
    assert made.code == 0
    assert made.text.startswith(f"{tmp_path / 'b.tar'}: 373 photos, ")
    again = clipsearch("backup", tmp_path / "b.tar", "--library", library)
    assert (again.code, again.out) == (2, b"")
    file = damaged(tmp_path / "b.tar", flipped)
    refused = clipsearch("restore", file, "--library", tmp_path / "none")
    assert (refused.code, refused.out) == (2, b"")
    assert refused.err.startswith(f"clipsearch: {file} can't be restored: ")
    assert refused.err.count("\n") == 1
    restored = clipsearch("restore", tmp_path / "b.tar", "--library", tmp_path / "again")
    assert restored.code == 0
    assert "`clipsearch index` brings it up to date" in restored.text
    as_json = clipsearch("backup", tmp_path / "b.tar", "--force", "--json", "--library", library)
    assert json.loads(as_json.text)["photos"] == 373


def test_a_backup_of_a_library_of_the_former_schema_is_restored_as_the_present_one(tmp_path):
    from gzip import decompress

    data = DATA / "schema-1"
    (tmp_path / "old" / "vectors").mkdir(parents=True)
    for packed in data.rglob("*.gz"):
        target = tmp_path / "old" / packed.relative_to(data).with_suffix("")
        target.write_bytes(decompress(packed.read_bytes()))
    rows = all_rows(tmp_path / "old")
    backup_library(tmp_path / "old", tmp_path / "b.tar")
    restore_library(tmp_path / "b.tar", tmp_path / "again")
    restored = all_rows(tmp_path / "again")
    added = len(SINCE_5)
    restored["photos"] = {id_: row[:-added] for id_, row in restored["photos"].items()}
    assert restored == rows
    with Store.open(tmp_path / "again", read_only=True) as store:
        scores, _ = store.search(1, np.eye(24, dtype=np.float32)[:1], 3)
    assert np.isfinite(scores).all()


def test_an_error_of_the_disk_is_the_librarys(tmp_path, library):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    place = tmp_path / "locked"
    place.mkdir(mode=0o500)
    with pytest.raises(LibraryError, match="can't be written"):
        backup_library(library, place / "b.tar")
