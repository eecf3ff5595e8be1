"""Which files are new, changed, the same, gone or back: decided without a disk."""

from pathlib import Path

import pytest

from clipsearch.index.changes import (
    Comparison,
    Copied,
    KnownFile,
    Moved,
    ToOpen,
    Touched,
    compare,
    recognise,
)
from clipsearch.index.records import FileState, PhotoMetadata, PhotoRecord


def state(name: str, size: int = 10, mtime_ns: int = 100) -> FileState:
    return FileState(Path("/photos") / name, size, mtime_ns)


def known(photo_id: int, file: FileState, *, embedded: bool = True) -> KnownFile:
    return KnownFile(photo_id, file, f"hash {photo_id}", embedded)


def record(photo_id: int, name: str) -> PhotoRecord:
    return PhotoRecord(photo_id, state(name), "same", PhotoMetadata(4, 3, "JPEG"), "2024-01-01")


def compared(
    seen: list[FileState], rows: list[KnownFile], failed: list[FileState], **options: bool
) -> Comparison:
    return compare(
        seen,
        {row.file.path: row for row in rows},
        {file.path: file for file in failed},
        **options,
    )


def test_a_file_without_a_row_is_opened() -> None:
    assert compared([state("a")], [], []) == Comparison(to_open=[ToOpen(state("a"), None)])


def test_an_unchanged_file_is_not_opened() -> None:
    row = known(1, state("a"))
    assert compared([state("a")], [row], []) == Comparison(same=[row])


@pytest.mark.parametrize("seen", [state("a", size=11), state("a", mtime_ns=99)])
def test_a_file_of_another_size_or_time_is_opened(seen: FileState) -> None:
    row = known(1, state("a"))
    assert compared([seen], [row], []) == Comparison(to_open=[ToOpen(seen, row)])


def test_an_unchanged_file_that_this_model_has_not_embedded_is_opened() -> None:
    row = known(1, state("a"), embedded=False)
    assert compared([state("a")], [row], []) == Comparison(to_open=[ToOpen(state("a"), row)])


def test_a_row_whose_file_is_not_seen_is_gone() -> None:
    here, gone = known(1, state("a")), known(2, state("b"))
    assert compared([state("a")], [here, gone], []) == Comparison(same=[here], gone=[gone])


def test_a_known_failure_is_not_tried_again_until_the_file_changes() -> None:
    failed = [state("a"), state("b")]
    seen = [state("a"), state("b", size=11)]
    assert compared(seen, [], failed) == Comparison(
        to_open=[ToOpen(seen[1], None)], failed_still=[seen[0]]
    )


def test_a_known_failure_is_tried_again_on_request() -> None:
    found = compared([state("a")], [], [state("a")], retry_failed=True)
    assert found == Comparison(to_open=[ToOpen(state("a"), None)])


def test_a_photo_that_broke_is_not_tried_again_and_not_gone() -> None:
    broken = state("a", mtime_ns=200)
    found = compared([broken], [known(1, state("a"))], [broken])
    assert found == Comparison(failed_still=[broken])


def test_a_broken_photo_that_was_put_back_forgets_its_failure() -> None:
    row = known(1, state("a"))
    found = compared([state("a")], [row], [state("a", mtime_ns=200)])
    assert found == Comparison(same=[row], failures_gone=[state("a").path])


def test_a_failure_whose_file_is_gone_is_forgotten() -> None:
    assert compared([], [], [state("a")]) == Comparison(failures_gone=[state("a").path])


def test_files_keep_their_order_and_one_seen_twice_counts_once() -> None:
    found = compared([state("b"), state("a"), state("b")], [], [])
    assert [item.file for item in found.to_open] == [state("b"), state("a")]


def test_nothing_is_changed_when_nothing_is_there() -> None:
    assert compared([], [], []) == Comparison()


def test_a_touched_file_is_recognised_by_its_content() -> None:
    touched = ToOpen(state("a", mtime_ns=200), known(1, state("a")))
    assert recognise(touched, "hash 1", [], set()) == Touched(1, touched.file)


def test_content_embedded_by_another_model_only_is_not_recognised() -> None:
    item = ToOpen(state("a"), known(1, state("a"), embedded=False))
    assert recognise(item, "hash 1", [], set()) is None


def test_content_whose_file_is_gone_has_moved() -> None:
    twins = [record(1, "still here"), record(2, "gone")]
    assert recognise(ToOpen(state("new"), None), "same", twins, {2}) == Moved(2, state("new"))


def test_content_whose_file_is_still_there_was_copied() -> None:
    twins = [record(1, "a"), record(2, "b")]
    assert recognise(ToOpen(state("new"), None), "same", twins, {3}) == Copied(1, state("new"))


def test_content_that_no_photo_has_is_not_recognised() -> None:
    assert recognise(ToOpen(state("a"), known(1, state("a"))), "other", [], {1}) is None
