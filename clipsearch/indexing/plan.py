"""What an index run has to do: which files must be opened, and which photos are gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from clipsearch.index.changes import (
    Change,
    Comparison,
    Exclude,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    Include,
    KnownFile,
    SeenFile,
    SeenMount,
    SeenSidecar,
    ToOpen,
    compare,
    take_out_unchanged,
)
from clipsearch.index.interface import WritableStore
from clipsearch.index.paths import to_path, to_text
from clipsearch.index.records import Exclusion
from clipsearch.indexing.more_facts import changed_sidecars, sidecars_read
from clipsearch.options import IndexOptions, IndexProgress
from clipsearch.photos.away import (
    A_FOLDER,
    EMPTY,
    SURELY_NOT_THERE,
    away_folders,
    lies_below,
    replaced_folders,
)
from clipsearch.photos.exclusions import Exclusions
from clipsearch.photos.scanning import IgnoreFile, MountPoint, ScanProblem, scan_photos

_FILES_A_LOOK = 500  # between looks at whether to stop


class Plan:
    """The files at or below some folders, compared with the catalog."""

    def __init__(
        self,
        store: WritableStore,
        roots: Sequence[Path],
        options: IndexOptions,
        progress: Callable[[IndexProgress], None],
        check_stop: Callable[[], None],
    ) -> None:
        """Take what to compare; `check_stop` is called now and then, and may raise."""
        self._store = store
        self._roots = roots
        self._options = options
        self._progress = progress
        self._check_stop = check_stop
        self.problems: list[ScanProblem] = []  # what can't be seen now
        self.gone: dict[int, Path] = {}  # photos whose files are no longer there
        self.replaced: set[Path] = set()  # folders whose photos are gone, yet not forgotten
        self.left_out = 0  # photos to be forgotten for an exclusion, of those that `photos_gone`
        self.unchanged = 0
        self.known_failures = 0
        self.changes: list[Change] = []  # for which no file must be opened
        self._sidecars: list[SeenSidecar] = []

    def files_to_open(self, model_id: int | None) -> list[ToOpen]:
        """Settle what needs no look inside a file; return the files that do."""
        found = self._compared(model_id)
        self.known_failures = len(found.failed_still)
        unseen = {problem.path for problem in self.problems}
        self.gone = {
            known.photo_id: known.file.path
            for known in found.gone
            if not lies_below(known.file.path, unseen)
        }
        self._note_replaced(self.gone.values())
        forgotten = (path for path in found.failures_gone if not lies_below(path, unseen))
        self.changes += map(ForgetFailure, forgotten)
        postpone = self._options.postpone or (lambda _: False)
        return [item for item in found.to_open if not postpone(item.file.path)]

    def sidecars_changed(self) -> Iterator[Change]:
        """Yield what the sidecars say that are not as they were; for when photos have their rows.

        They are read here: they are small, and parsed with care.
        """
        known = self._store.known_sidecars(self._roots)
        unseen = self._unseen()
        for photo, beside in changed_sidecars(self._sidecars, known).items():
            path = to_path(photo)
            if beside or (path.is_file() and not lies_below(path, unseen)):
                yield from sidecars_read(self._store, path, beside)

    def photos_to_complete(self) -> list[KnownFile]:
        """Return the photos of which less was read than is today, but for those that are away."""
        if not self._store.incomplete():
            return []
        unseen = self._unseen()
        photos = self._store.to_complete(self._roots)
        return [known for known in photos if not lies_below(known.file.path, unseen)]

    def _unseen(self) -> set[Path]:
        return {*self._away(), *(problem.path for problem in self.problems)}

    def photos_gone(self) -> list[Change]:
        """Return what forgets the photos whose files are not there, at the end of the run.

        Looks again at what is away: a disk may have vanished during the run.
        """
        if not self.gone:
            return []
        away = self.replaced | self._note_away()
        gone = {id_: path for id_, path in self.gone.items() if not lies_below(path, away)}
        exclusions = self._exclusions()
        self.left_out = sum(map(exclusions.leaves_out, gone.values()))
        return [Gone(id_) for id_ in sorted(gone)]

    def places_gone(self) -> list[Change]:
        """Return what forgets folders and mount points that are not there and hold no photos."""
        changes: list[Change] = []
        for path, reason in self._away().items():
            if reason in SURELY_NOT_THERE and not len(self._store.photos_below([path])):
                changes.append(ForgetMount(path))
                if reason != EMPTY:
                    changes.append(ForgetFolder(path))
        return changes

    def _compared(self, model_id: int | None) -> Comparison:
        seen = self._scan()
        failures = self._store.failures(self._roots)
        failed = {failure.file.path: failure.file for failure in failures}
        known = self._store.known_states(model_id, self._roots)
        files, rows = take_out_unchanged(seen, known, set(map(to_text, failed)))
        found = compare(
            map(SeenFile.state, files),
            self._store.known_of(model_id, rows),
            failed,
            retry_failed=self._options.retry_failed,
        )
        self.unchanged = len(known) - len(rows) + len(found.same)
        return found

    def _scan(self) -> list[SeenFile]:
        """Return the photos found; what can't be seen now goes to the problems."""
        away = self._note_away()
        kinds = {folder.path: folder.kind for folder in self._store.places().folders}
        seen: list[SeenFile] = []
        ignore_files: set[Path] = set()
        hidden, exclusions = self._options.include_hidden, self._exclusions()
        for root in self._roots:
            if lies_below(root, away) or self._became_another(root, kinds.get(root)):
                continue
            for entry in scan_photos(root, include_hidden=hidden, exclusions=exclusions):
                if isinstance(entry, SeenFile):
                    seen.append(entry)
                elif isinstance(entry, SeenSidecar):
                    self._sidecars.append(entry)
                elif isinstance(entry, MountPoint):
                    self.changes.append(SeenMount(entry.path))
                elif isinstance(entry, IgnoreFile):
                    ignore_files.add(entry.file.path)
                elif entry.path != root or not _is_deleted(root):
                    self.problems.append(entry)
                if not len(seen) % _FILES_A_LOOK:
                    self._check_stop()
                    self._progress(IndexProgress("scanning", len(seen), 0))
        self._note_ignore_files(ignore_files, away)
        return seen

    def _exclusions(self) -> Exclusions:
        places = self._store.places()
        return Exclusions(places.exclusions, (folder.path for folder in places.folders))

    def _note_ignore_files(self, met: set[Path], away: set[Path]) -> None:
        """Record those that are in force below the roots now; those that can't be seen stay."""
        made = self._store.places().exclusions
        known = {Path(one.what) for one in made if one.kind == "ignore file"}
        unseen = {*away, *(problem.path for problem in self.problems)}
        gone = {
            path
            for path in known - met
            if lies_below(path, self._roots) and not lies_below(path, unseen)
        }
        for change, paths in ((Exclude, met - known), (Include, gone)):
            found = (Exclusion("ignore file", str(path)) for path in sorted(paths))
            self.changes += map(change, found)

    def _became_another(self, root: Path, kind: str | None) -> bool:
        """Tell whether a folder is a file now, or a file a folder: then its photo is kept."""
        if kind == "file" and os.path.isdir(root):  # noqa: PTH112 - never raises
            self.problems.append(ScanProblem(root, f"{A_FOLDER}: its photo is kept"))
            return True
        return kind == "folder" and os.path.isfile(root)  # noqa: PTH113

    def _note_replaced(self, gone: Iterable[Path]) -> None:
        """Note folders below the roots in whose place is a file now: nobody deleted the photos."""
        if not self._options.prune:
            for folder, why in replaced_folders(gone).items():
                self.replaced.add(folder)
                self.problems.append(ScanProblem(folder, f"{why}: its photos are kept"))

    def _note_away(self) -> set[Path]:
        """Return what is away and not to be forgotten; note it where it has photos."""
        away = self._away()
        if self._options.prune:
            away = {path: why for path, why in away.items() if why not in SURELY_NOT_THERE}
        noted = {problem.path for problem in self.problems}
        for path, reason in away.items():
            concerned = lies_below(path, self._roots) or any(
                path in root.parents for root in self._roots
            )
            if concerned and path not in noted and len(self._store.photos_below([path])):
                self.problems.append(ScanProblem(path, f"{reason}: its photos are kept"))
        return set(away)

    def _away(self) -> dict[Path, str]:
        places = self._store.places()
        return away_folders(places.folders, places.mounts)


def _is_deleted(path: Path) -> bool:
    """Tell whether nothing is there, which is not known of what may not be looked at."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False
