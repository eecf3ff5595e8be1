"""Libraries that older versions made open, answer as they did then, and are not embedded again.

Each archive in tests/data was made by tests/make_library.py, which says what is in it. A test that
fails here is a library of a user that would fail: mend the program, never the archive.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_process import clipsearch
from make_library import BY_PATH, DATA, LEFT_OUT, two_pixels, write_photos
from safetensors.torch import load_file

from clipsearch import Hit, Library, backup_library, restore_library
from clipsearch.index.vectors import lists
from clipsearch.options import IndexOptions
from clipsearch.upkeep import check_library

ARCHIVES = sorted(DATA.glob("made-by-*.tar.xz"))
# What bf16 changes in the score of a picture; the vectors of texts and of the library are the same.
PICTURES_WITHIN, TEXTS_WITHIN = 0.02, 0.001
# Of photos, what older versions have; the rest is read out of the files by the next run.
OLD_COLUMNS = (
    "id, path, content_hash, size, mtime_ns, width, height, format, orientation, taken_at, camera, "
    "lens, latitude, longitude, indexed_at"
)
KEPT = ("photos", "embeddings", "failures", "models", "folders", "mounts")


@dataclass(frozen=True)
class Made:
    """An archive, unpacked."""

    folder: Path  # library/, model/, camera/
    said: dict[str, Any]  # answers.json

    @property
    def place(self) -> Path:
        """Where it was made, and its photos lay."""
        return Path(self.said["place"])


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.split(".")[0])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with tarfile.open(request.param) as tar:
        for member in tar:
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())
    return Made(folder, json.loads((folder / "answers.json").read_text()))


@pytest.fixture(scope="module")
def home(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photos again, with their times, in a folder of the test; those that were away still are.

    Of the disk that is not mounted, the folder is there and empty.
    """
    home = tmp_path_factory.mktemp("home")
    catalog = sqlite3.connect(made.folder / "library" / "catalog.sqlite")
    for table in ("photos", "failures"):
        for path, mtime_ns in catalog.execute(f"SELECT path, mtime_ns FROM {table}").fetchall():
            below = Path(path).relative_to(made.place)
            if any(Path(away) in below.parents for away in made.said["away"]):
                continue
            photo = home / below
            photo.parent.mkdir(parents=True, exist_ok=True)
            kept = made.folder / "camera" / photo.name
            photo.write_bytes(kept.read_bytes() if kept.exists() else two_pixels(photo.name))
            os.utime(photo, ns=(mtime_ns, mtime_ns))
    for sidecar in (made.folder / "camera").glob("*.xmp"):
        shutil.copyfile(sidecar, home / "photos" / "camera" / sidecar.name)
    for (mount,) in catalog.execute("SELECT path FROM mounts"):
        (home / Path(mount).relative_to(made.place)).mkdir(parents=True)
    catalog.close()
    return home


@pytest.fixture
def away(made: Made, tmp_path: Path) -> Path:
    """The library just as it was packed: no photo lies where it was."""
    return Path(shutil.copytree(made.folder / "library", tmp_path / "library"))


@pytest.fixture
def library(made: Made, home: Path, away: Path) -> Path:
    """The library, moved to where its photos and its model are here."""
    catalog = sqlite3.connect(away / "catalog.sqlite")
    for table in ("photos", "failures", "folders", "mounts"):
        sql = f"UPDATE {table} SET path = replace(path, ?, ?)"
        catalog.execute(sql, (f"{made.place}/", f"{home}/"))
    if "exclusions" in made.said:
        sql = "UPDATE exclusions SET what = replace(what, ?, ?)"
        catalog.execute(sql, (f"{made.place}/", f"{home}/"))
    catalog.execute("UPDATE models SET name = ?", (f"local-dir:{made.folder / 'model'}",))
    catalog.commit()
    catalog.close()
    return away


@pytest.fixture(params=["float32", "bf16"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has none of the instructions for less than float32, or all of them."""
    features = {"avx512_bf16": True, "avx512_vnni": True} if request.param == "bf16" else {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)


def rows(folder: Path, tables: Sequence[str] = KEPT) -> dict[str, list[Any]]:
    catalog = sqlite3.connect(folder / "catalog.sqlite")
    try:
        columns = dict.fromkeys(tables, "*") | {"photos": OLD_COLUMNS}
        found = {
            name: catalog.execute(f"SELECT {columns[name]} FROM {name}").fetchall()
            for name in tables
        }
    finally:
        catalog.close()
    # When a folder was last looked at is all that a run may change.
    return found | {"folders": [row[:3] for row in found["folders"]]}


def index_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "vectors").iterdir()}


def assert_as_then(found: list[Hit], then: list[Any], place: Path, within: float) -> None:
    """The same scores, and no photo that did not have that score, at that place or near it."""
    scores = {str(place / path): score for path, score in then}
    assert [hit.score for hit in found] == pytest.approx(
        [score for _, score in then[: len(found)]], abs=within
    )
    for hit in found:
        assert hit.score == pytest.approx(scores[str(hit.path)], abs=within)
        assert hit.path.suffix in (".ppm", ".jpg", ".dng")
        assert hit.path.name != "pair.dng"  # found as its picture


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Counts the searches of lists."""
    searches: list[int] = []
    real = lists.Lists.candidates

    def candidates(self: lists.Lists, *arguments: Any, **more: Any) -> Any:
        searches.append(1)
        return real(self, *arguments, **more)

    monkeypatch.setattr(lists.Lists, "candidates", candidates)
    yield searches


def test_there_is_a_library_of_an_older_version() -> None:
    assert ARCHIVES


# As it was packed: another machine, or all disks away


def test_it_answers_without_its_photos_and_its_model(made: Made, away: Path) -> None:
    Library(away).close()  # which brings it up to date, if it must
    (text, *_) = made.said["texts"]
    with Library(away, read_only=True) as library:
        found = library.query(text, k=10, include_away=True)
        assert_as_then(found, made.said["everywhere"], made.place, TEXTS_WITHIN)
        none = library.query(text)
        assert none == []
        folders = {folder.path for folder in library.folders()}
        assert folders <= {left.path for left in none.left_out}
        assert sum(left.photos for left in none.left_out) >= made.said["photos"]


def test_it_is_searched_as_it_is_where_it_can_only_be_read(made: Made, away: Path) -> None:
    before = (away / "catalog.sqlite").read_bytes()
    (text, *_) = made.said["texts"]
    with Library(away, read_only=True) as library:
        found = library.query(text, k=10, include_away=True)
        assert_as_then(found, made.said["everywhere"], made.place, TEXTS_WITHIN)
        assert library.info().photos == made.said["photos"]
    assert (away / "catalog.sqlite").read_bytes() == before


def test_words_tags_and_moments_find_what_they_found(made: Made, away: Path) -> None:
    if "tags" not in made.said:
        pytest.skip("this version knew no tags")
    Library(away).close()

    def paths(found: list[Hit]) -> list[str]:
        return [str(hit.path.relative_to(made.place)) for hit in found]

    with Library(away, read_only=True) as library:
        for word, then in made.said["words"].items():
            assert paths(library.query(word, k=20, only="words", include_away=True)) == then
        for tag in library.tags():
            then = [tag.kind, tag.photos, paths(library.list(tag=tag.name, **BY_PATH))]
            assert then == made.said["tags"][tag.name]
        for year, then in made.said["dated"].items():
            assert paths(library.list(after=year, **BY_PATH)) == then


def test_a_check_finds_nothing_wrong(away: Path) -> None:
    Library(away).close()
    report = check_library(away)
    assert report.ok, [part for part in report.parts if part.problems]


def test_a_run_while_all_is_away_forgets_nothing(made: Made, away: Path) -> None:
    Library(away).close()
    catalog = sqlite3.connect(away / "catalog.sqlite")
    catalog.execute("UPDATE models SET name = ?", (f"local-dir:{made.folder / 'model'}",))
    catalog.commit()
    catalog.close()
    before = rows(away)
    with Library(away) as library:
        report = library.index()
        assert (report.embedded, report.removed, report.failed) == (0, 0, 0)
        assert len(report.problems) >= len(library.folders())
        assert library.info().photos == made.said["photos"]
    assert rows(away) == before


# Where its photos are


def test_texts_find_what_they_found(made: Made, home: Path, library: Path, asked: list) -> None:
    Library(library).close()
    with Library(library, read_only=True) as reader:
        for text, then in made.said["texts"].items():
            for exact in (False, True):
                found = reader.query(text, k=5, exact=exact, only="visual")
                assert_as_then(found, then, home, TEXTS_WITHIN)
                # Among all but those away, which are few, all are looked at in any case.
                before = len(asked)
                assert len(reader.query(text, k=5, exact=exact, include_away=True)) == 5
                assert (len(asked) == before) == exact


@pytest.mark.usefixtures("processor")
def test_pictures_find_what_they_found(made: Made, home: Path, library: Path) -> None:
    with Library(library, device="cpu") as opened:
        for picture, then in made.said["similar"].items():
            found = opened.similar(home / picture, k=5)
            assert_as_then(found, then, home, PICTURES_WITHIN)


def test_what_is_in_it_is_said_as_it_was(made: Made, home: Path, library: Path) -> None:
    with Library(library) as opened:
        about = opened.info()
    said = made.said
    assert about.photos == said["photos"]
    assert {str(f.file.path.relative_to(home)): f.reason for f in about.failures} == said[
        "failures"
    ]
    assert {str(a.path.relative_to(home)): [a.reason, a.photos] for a in about.away} == said["away"]
    assert about.index is not None
    assert [about.index.kind, about.index.vectors, about.index.delta] == said["index"]
    assert about.index.recall is not None
    assert about.index.note is None


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize(
    ("how", "processor"),
    [
        ("all folders", "bf16"),
        ("a folder", "float32"),
        ("model named", "bf16"),
        ("retry failed", "float32"),
    ],
    indirect=["processor"],
)
def test_nothing_is_embedded_again(made: Made, home: Path, library: Path, how: str) -> None:
    Library(library).close()
    before, files = rows(library), index_files(library)
    said = made.said
    model = str(made.folder / "model") if how == "model named" else None
    paths = [home / "photos" / "colours"] if how == "a folder" else None
    with Library(library, device="cpu") as opened:
        options = IndexOptions(retry_failed=how == "retry failed")
        report = opened.index(paths, model=model, options=options)
        assert (report.embedded, report.added, report.changed, report.removed) == (0, 0, 0, 0)
        gone = sum(photos for _, photos in said["away"].values())
        if how != "a folder":
            assert report.unchanged == said["photos"] - gone
            assert {str(p.path.relative_to(home)) for p in report.problems} == set(said["away"])
            assert report.failed + report.known_failures == len(said["failures"])
        assert len(opened.info().models) == 1
    after = rows(library)
    if how == "retry failed":  # which is written down again
        before["failures"] = [row[:4] for row in before["failures"]]
        after["failures"] = [row[:4] for row in after["failures"]]
    assert after == before
    assert index_files(library) == files


def test_what_it_leaves_out_stays_left_out(made: Made, home: Path, library: Path) -> None:
    if "exclusions" not in made.said:
        pytest.skip("this version knew no exclusions")
    (home / "photos/colours/drafts").mkdir()
    colours = [home / LEFT_OUT[kind] for kind in ("path", "pattern")]
    left_out = {path: two_pixels(path.name) for path in colours}
    for name in (".clipsearchignore", "red-draft.jpg"):
        left_out[home / "photos/camera" / name] = (made.folder / "camera" / name).read_bytes()
    try:
        for path, content in left_out.items():
            path.write_bytes(content)
        with Library(library, device="cpu") as opened:
            report = opened.index()
            assert (report.added, report.removed) == (0, 0)
            now = [[kind, what.replace(f"{home}/", "")] for kind, what in opened.info().exclusions]
            assert now == made.said["exclusions"]
            report = opened.index([home / LEFT_OUT["path"]])
            assert report.added == 1
    finally:
        for path in left_out:
            path.unlink()
        (home / "photos/colours/drafts").rmdir()


@pytest.mark.parametrize("processor", ["bf16"], indirect=True)
@pytest.mark.usefixtures("processor")
def test_a_new_photo_is_added_to_it_and_lists_are_searched_still(
    library: Path, tmp_path: Path, asked: list
) -> None:
    files = index_files(library)
    new = write_photos(tmp_path / "new", ["cd2020-2040c8.ppm"])
    with Library(library, device="cpu") as opened:
        report = opened.index([new])
        assert (report.added, report.embedded, report.copied) == (1, 1, 0)
        photo = new / "cd2020-2040c8.ppm"
        assert opened.query(photo, k=5, include_away=True)[0].path == photo
    assert asked
    assert index_files(library) == files
    report = check_library(library)
    assert report.ok


def tower_files(library: Path) -> dict[str, tuple[bytes, int]]:
    (folder,) = (library / "models").iterdir()
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.name != "competing_words.bin"  # which newer versions add
    }


def without_torch(program: str) -> str:
    """Return what a program writes in a Python where every import of torch fails."""
    program = f"import sys; sys.modules['torch'] = None; from clipsearch import Library; {program}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_its_text_tower_serves_and_stays_as_it_is_without_torch_and_weights(
    made: Made, away: Path
) -> None:
    Library(away).close()
    before = tower_files(away)
    (text, *_) = made.said["texts"]
    program = f"found = Library({str(away)!r}).query({text!r}, k=10, include_away=True); "
    scores = without_torch(program + "print(*(hit.score for hit in found))")
    assert list(map(float, scores.split())) == pytest.approx(
        [score for _, score in made.said["everywhere"][:10]], abs=TEXTS_WITHIN
    )
    assert tower_files(away) == before


def test_a_run_with_nothing_to_embed_needs_no_torch_and_leaves_the_text_tower(
    made: Made, library: Path
) -> None:
    before = tower_files(library)
    program = f"report = Library({str(library)!r}).index(); "
    run = without_torch(program + "print(report.embedded, report.unchanged > 2000)")
    assert run.split() == ["0", "True"]
    assert tower_files(library) == before


def test_its_text_tower_has_its_logit_scale_after_a_run_that_loads_the_model(
    made: Made, home: Path, library: Path, tmp_path: Path
) -> None:
    with Library(library, device="cpu") as opened:
        opened.index()
        before = tower_files(library)
        opened.index([write_photos(tmp_path / "new", ["cd2020-2040c8.ppm"])])
    after = tower_files(library)
    # The model's identity is written anew for another reason: the model lies elsewhere here.
    changed = {name for name in after if after[name] != before.get(name)} - {"identity.json"}
    older = json.loads(before["text_encoder.json"][0])["format"] == 1
    assert changed == ({"text_encoder.json"} if older else set())
    said = json.loads(after["text_encoder.json"][0])
    weights = load_file(made.folder / "model" / "open_clip_model.safetensors")
    assert said["logit_scale"] == pytest.approx(float(weights["logit_scale"].exp()))
    backup_library(library, tmp_path / "backup.tar")
    restore_library(tmp_path / "backup.tar", tmp_path / "again")
    restored = tower_files(tmp_path / "again")
    assert restored["text_encoder.json"][0] == after["text_encoder.json"][0]
    for text, then in made.said["texts"].items():
        with Library(library, read_only=True) as opened:
            assert_as_then(opened.query(text, k=5), then, home, TEXTS_WITHIN)


def test_copies_of_its_photos_take_over_their_embeddings(
    home: Path, library: Path, tmp_path: Path
) -> None:
    names = sorted(path.name for path in (home / "photos" / "colours").iterdir())[:50]
    copies = write_photos(tmp_path / "copies", names)
    with Library(library, device="cpu") as opened:
        report = opened.index([copies, shutil.copytree(home / "photos/camera", tmp_path / "again")])
        camera = [*(home / "photos/camera").glob("*.jpg"), *(home / "photos/camera").glob("*.dng")]
        count = len(camera) - 1 + 50
        assert (report.added, report.copied, report.embedded) == (count, count, 0)
        assert [failure.path.name for failure in report.failures] == ["broken.jpg"]


def test_the_program_answers_as_it_did(made: Made, home: Path, library: Path) -> None:
    indexed = clipsearch("index", "--library", library)
    assert indexed.code == 0, indexed.err
    (text, *_), (away, *_) = made.said["texts"], made.said["away"]
    shown = ("--top", "5", "--json", "--all", "--only", "visual")
    asked = clipsearch("query", text, *shown, "--library", library)
    paths = [str(home / path) for path, _ in made.said["texts"][text]]
    assert [json.loads(line)["path"] for line in asked.lines] == paths[:5]
    assert str(home / away) in asked.err
    about = json.loads(clipsearch("info", "--json", "--library", library).text)
    assert {entry["path"] for entry in about["away"]} == {str(home / p) for p in made.said["away"]}
    checked = clipsearch("check", "--files", "--library", library)
    assert checked.code == 0, checked.text
