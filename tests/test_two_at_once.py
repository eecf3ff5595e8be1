"""One writer and any number of readers, as processes: who waits, who is told, what readers see."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from changing_album import ChangingAlbum, source_pictures
from forked_program import ForkedProgram, Running, forked_program
from library_snapshot import not_in_step, snapshot

BATCH = 32
# A writer that takes its time and writes down the counts that readers may see.
SLOW_WRITER = """
import time
from pathlib import Path
from clipsearch.index.changes import Embedded
from clipsearch.index.store import Store
apply = Store.apply

def slow_apply(store, changes, model_id=None):
    if not any(isinstance(change, Embedded) for change in changes):  # folders, the model in use
        return apply(store, changes, model_id)
    time.sleep({seconds})
    apply(store, changes, model_id)
    with Path({counts!r}).open("a") as file:
        file.write(f"{{store.catalog.counts(model_id).embedded}}\\n")

Store.apply = slow_apply
"""
# Queries without a pause until a file says to stop; then writes down what it saw.
READER = """
import json, sys
from pathlib import Path
import numpy as np
from clipsearch import Library

place, number = Path({place!r}), {number}
words = ["a dog on a beach", "two people", "red", "a mountain at night"][number]
seen, scores, wrong, queries = [], {{}}, [], 0
with Library(place / "library", read_only=True) as library:
    vector = library.encode_text([words])[0]
    while not (place / "stop").exists():
        settled = (place / "edits").exists()
        hits = library.query(words, k=1000)
        queries += 1
        if len({{hit.path for hit in hits}}) < len(hits):
            wrong.append("a photo came twice")
        if [hit.score for hit in hits] != sorted((hit.score for hit in hits), reverse=True):
            wrong.append("not in the order of scores")
        for hit in hits:
            if abs(scores.setdefault(hit.content_hash, hit.score) - hit.score) > 1e-5:
                wrong.append(f"another score for {{hit.path}}")
        if not seen or seen[-1] != [settled, len(hits)]:
            seen.append([settled, len(hits)])
        if queries == 1:
            (place / f"ready-{{number}}").touch()
found = {{"vector": vector.tolist(), "seen": seen, "scores": scores, "queries": queries}}
print(json.dumps({{**found, "wrong": wrong[:5]}}))
sys.exit(0)
"""


@pytest.fixture(scope="module")
def program() -> ForkedProgram:
    return forked_program()


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> ChangingAlbum:
    """Return photos for four batches; don't change them."""
    album = ChangingAlbum(tmp_path_factory.mktemp("album") / "photos", source_pictures(), seed=7)
    album.add(4 * BATCH)
    return album


@pytest.fixture
def arguments(tmp_path: Path, album: ChangingAlbum, tiny_model_folder: Path) -> list[str | Path]:
    library = tmp_path / "library"
    return ["index", album.folder, "--library", library, "--model", tiny_model_folder]


@pytest.fixture
def writer(
    tmp_path: Path, program: ForkedProgram, arguments: list[str | Path]
) -> Iterator[Running]:
    """Start a run that takes some seconds; it has committed a batch."""
    counts = tmp_path / "counts"
    slow = SLOW_WRITER.format(seconds=0.5, counts=str(counts))
    writer = program.start(*arguments, prepare=slow)
    writer.until(counts.exists)
    yield writer
    if not writer.ended:
        writer.kill()
        writer.wait()


def test_a_second_run_is_told_who_holds_the_lock(
    writer: Running, program: ForkedProgram, arguments: list[str | Path]
) -> None:
    second = program.run(*arguments)
    assert second.code == 3
    assert second.text == ""
    assert len(second.err.splitlines()) == 1
    assert f"process {writer.pid} is writing to this library" in second.err
    assert writer.wait().code == 0


def test_with_wait_a_second_run_goes_on_when_the_first_is_done(
    writer: Running, program: ForkedProgram, arguments: list[str | Path], album: ChangingAlbum
) -> None:
    second = program.start(*arguments, "--wait")
    second.until(lambda: f"process {writer.pid} is writing to this library" in second.err())
    assert writer.wait().code == 0
    ended = second.wait()
    assert ended.code == 0, ended.err
    assert f"up to date: {len(album.hashes)} photos" in ended.text
    assert not_in_step(snapshot(Path(str(arguments[3]))), album.hashes) == []


def test_the_lock_of_a_killed_writer_is_free_at_once(
    writer: Running, program: ForkedProgram, arguments: list[str | Path], album: ChangingAlbum
) -> None:
    writer.kill()
    assert writer.wait().code == -signal.SIGKILL
    second = program.run(*arguments)  # no --wait
    assert second.code == 0, second.err
    assert not_in_step(snapshot(Path(str(arguments[3]))), album.hashes) == []


def test_four_readers_query_without_a_pause_while_a_writer_indexes(
    tmp_path: Path, program: ForkedProgram, tiny_model_folder: Path
) -> None:
    """First photos are only added; then there are edits, moves, copies and deletes."""
    album = ChangingAlbum(tmp_path / "photos", source_pictures(), seed=8)
    album.add(BATCH)
    library, counts = tmp_path / "library", tmp_path / "counts"
    model = ["--model", tiny_model_folder]
    slow = SLOW_WRITER.format(seconds=0.1, counts=str(counts))
    index = ["index", album.folder, "--library", library, *model]
    assert program.run(*index, prepare=slow).code == 0
    vectors = snapshot(library).by_content
    readers = [
        program.start(prepare=READER.format(place=str(tmp_path), number=number))
        for number in range(4)
    ]
    for number, reader in enumerate(readers):
        reader.until((tmp_path / f"ready-{number}").exists)
    for edits in (False, True):
        if edits:
            (tmp_path / "edits").touch()
            album.change(40)
        else:
            album.add(4 * BATCH)
        writer = program.start(*index, prepare=slow)
        while writer.running():  # and the command line, too
            asked = program.run("query", "a dog on a beach", "--library", library, "--json")
            assert (asked.code, len(asked.lines)) == (0, 10), asked.err
        ended = writer.wait()
        assert ended.code == 0, ended.err
        vectors |= snapshot(library).by_content
    (tmp_path / "stop").touch()
    ended_readers = [reader.wait() for reader in readers]
    assert not_in_step(snapshot(library), album.hashes) == []
    allowed = {int(line) for line in counts.read_text().split()}
    for ended in ended_readers:
        assert (ended.code, ended.err) == (0, "")
        assert_nothing_torn(json.loads(ended.text), vectors, allowed)


def assert_nothing_torn(found: dict, vectors: dict[str, bytes], allowed: set[int]) -> None:
    import numpy as np

    assert found["wrong"] == []
    assert found["queries"] > len(found["seen"]) > 5  # many queries, many states
    assert {count for _, count in found["seen"]} <= allowed  # finished batches only
    adding = [count for settled, count in found["seen"] if not settled]
    assert adding == sorted(adding)  # nothing that was there went away
    known = found["scores"].keys() & vectors.keys()
    assert len(known) > 4 * BATCH
    for content in known:  # each hit's embedding is that of its content
        expected = np.dot(found["vector"], np.frombuffer(vectors[content], "<f2").astype(float))
        assert found["scores"][content] == pytest.approx(expected, abs=1e-5)
