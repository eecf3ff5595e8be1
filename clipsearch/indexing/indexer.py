"""Indexing into a library: which folders, which model, then one run."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.errors import InvalidInput, ModelError
from clipsearch.index.changes import (
    Change,
    Exclude,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    Include,
    KeepFolder,
    Scanned,
)
from clipsearch.index.interface import TaggedStore, WritableStore
from clipsearch.index.layout import Layout
from clipsearch.index.records import Exclusion, Folder, utc_now
from clipsearch.indexing.model_choice import ModelChoice, loading
from clipsearch.indexing.places import name_places
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import resolve_model
from clipsearch.options import IndexOptions, IndexProgress
from clipsearch.photos.away import away_folders, lies_below
from clipsearch.photos.decoders import Decoders
from clipsearch.photos.exclusions import Exclusions
from clipsearch.photos.scanning import finds, is_picture
from clipsearch.photos.sidecars import photos_in_place_of_sidecars
from clipsearch.progress.published import published
from clipsearch.results import IndexReport

if TYPE_CHECKING:
    from clipsearch.indexing.thumbnails_ahead import ThumbnailsAhead

Progress = Callable[[IndexProgress], None]
Note = Callable[[str], None]  # takes a line for the user


class Indexer:
    """Brings a store in step with the files, and forgets what is to be forgotten.

    One run at a time, from any thread: a second gets LibraryLocked, or waits where it says so.
    """

    def __init__(self, folder: Path, store: WritableStore, models: LoadedModels) -> None:
        self._folder = folder
        self._store = store
        self._models = models
        self._decoders: Decoders | None = None  # kept from the last update
        self._closed = False

    def close(self) -> None:
        """End the processes that were kept for the next update; none are kept from then on."""
        self._closed = True
        decoders, self._decoders = self._decoders, None
        if decoders is not None:
            decoders.close()

    def index(
        self,
        paths: Sequence[Path] | None,
        model: str | Path | None,
        options: IndexOptions,
        progress: Progress,
        stop: Callable[[], bool],
        *,
        wait: bool,
    ) -> IndexReport:
        """Add folders and files (absolute paths), or bring them up to date; None: all known.

        Raises as `Library.index` does.
        """
        given = None
        if paths is not None:
            known = {folder.path for folder in self._store.places().folders}
            known -= set(self._no_pictures())
            given = [check_root(path, self._folder, known) for path in paths]
        self._check_taken_back(options)

        def roots(choice: ModelChoice, note: Note) -> list[Path]:
            self._let_go_of_no_pictures(note)
            everything = self._change_exclusions(given or [], options)
            return self._roots(
                given or [], everything=everything or choice.is_another or given is None
            )

        return self._run(roots, model, options, progress, stop, wait=wait, keep_decoders=False)

    def update(
        self,
        paths: Sequence[Path],
        options: IndexOptions,
        progress: Progress,
        stop: Callable[[], bool],
        *,
        wait: bool,
    ) -> IndexReport:
        """Bring single files and folders below the known folders up to date."""
        return self._run(
            lambda *_: self._known(photos_in_place_of_sidecars(paths)),
            None,
            options,
            progress,
            stop,
            wait=wait,
            keep_decoders=True,
        )

    def remove(self, places: Sequence[Path], *, forget: bool = False) -> int:
        """Forget all that is at or below some paths, or nothing; return how many photos that was.

        Runs leave the paths out from then on, unless they are only to `forget` them, with all that
        was said of them. Raises InvalidInput if nothing in the library has one of these paths.
        """
        with self._store.writing():
            changes = dict.fromkeys(
                change for place in places for change in self._forgetting(place, forget=forget)
            )
            if not forget:
                outer = (place for place in places if set(places).isdisjoint(place.parents))
                changes |= dict.fromkeys(
                    change for place in outer for change in self._leaving_out(place)
                )
            self._store.apply(list(changes))
            self._forget_thumbnails()
            for row in self._store.models(count_to=0):
                self._store.refresh_vectors(row.id)
        return sum(isinstance(change, Gone) for change in changes)

    def _run(
        self,
        roots_for: Callable[[ModelChoice, Note], list[Path]],
        model: str | Path | None,
        options: IndexOptions,
        progress: Progress,
        stop: Callable[[], bool],
        *,
        wait: bool,
        keep_decoders: bool,
    ) -> IndexReport:
        """Choose the model and the folders, run, and let queries use what was embedded."""
        from clipsearch.indexing.run import IndexRun

        started = time.perf_counter()
        notes: list[str] = []

        def note(line: str) -> None:
            notes.append(line)
            progress(IndexProgress("loading model", 0, 0, line))

        def waiting(line: str) -> None:
            progress(IndexProgress("waiting", 0, 0, line))

        with (
            self._store.writing(wait=wait, stop=stop, waiting=waiting),
            published(self._folder, progress) as progress,
            self._decoding(keep=keep_decoders) as decoders,
        ):
            if model is not None:
                progress(loading(resolve_model(model).name))
            choice = ModelChoice(self._store, self._models, model, note)
            roots = roots_for(choice, note)
            run = IndexRun(
                self._store,
                choice,
                roots,
                decoders=decoders,
                options=options,
                progress=progress,
                stop=stop,
                thumbnails=self._thumbnails(options),
            )
            run.run()
            if not run.interrupted:
                name_places(self._store, stop)
            scanned = [] if run.interrupted else [Scanned(root) for root in roots]
            self._store.apply([*scanned, *choice.settled(complete=not run.interrupted)])
            if run.let_go:
                self._forget_thumbnails()
            if choice.id is not None:
                self._store.refresh_vectors(choice.id)
            if not run.interrupted:
                self._refresh_tags(note)
                self._keep_competing_words(choice.id)
        return run.report(choice.name, notes, time.perf_counter() - started)

    def _thumbnails(self, options: IndexOptions) -> ThumbnailsAhead | None:
        if not options.thumbnails:
            return None
        from clipsearch.indexing.thumbnails_ahead import ThumbnailsAhead
        from clipsearch.showing.kept_thumbnails import KeptThumbnails

        return ThumbnailsAhead(KeptThumbnails(self._folder))

    def _forget_thumbnails(self) -> None:
        """Leave no picture of a photo that is not in the library any more."""
        if not Layout(self._folder).thumbnails.is_dir():
            return
        from clipsearch.showing.kept_thumbnails import KeptThumbnails

        KeptThumbnails(self._folder).forget_all_but(self._store.known_content)

    def _refresh_tags(self, note: Note) -> None:
        """Tag what is new, where photos are tagged; what stands in the way is said."""
        if not isinstance(self._store, TaggedStore) or not self._store.tag_tables().rows():
            return
        from clipsearch.tagging.tagger import Tagger

        current = next((row for row in self._store.models() if row.is_current), None)
        if current is not None:
            try:
                Tagger(self._store.tag_tables(), self._models).refresh(current)
            except ModelError as error:
                note(f"no photo was tagged: {error}")

    def _keep_competing_words(self, model_id: int | None) -> None:
        """See to it that searches can tell weak matches, which no query prepares."""
        for row in self._store.models(count_to=0):
            if row.id == model_id:
                self._models.keep_competing_words(row)

    @contextmanager
    def _decoding(self, *, keep: bool) -> Iterator[Decoders]:
        """Lend the one run under way the processes that decode; end them unless all goes well."""
        decoders, self._decoders = self._decoders or Decoders(), None
        kept = False
        try:
            yield decoders
            kept = keep
        finally:
            if kept:
                self._decoders = decoders
            else:
                decoders.close()
            if self._closed:  # meanwhile, by another thread
                self.close()

    def _check_taken_back(self, options: IndexOptions) -> None:
        made = self._store.places().exclusions
        for pattern in options.no_exclude:
            if Exclusion("pattern", pattern) not in made:
                from clipsearch.near_names import did_you_mean, near_name

                near = near_name(pattern, [one.what for one in made if one.kind == "pattern"])
                hint = did_you_mean(near) or ": `clipsearch info` shows those that are"
                raise InvalidInput(f"no pattern {pattern} is in force{hint}")

    def _change_exclusions(self, given: Sequence[Path], options: IndexOptions) -> bool:
        """Do what the options say, and no longer leave out what is named.

        Tells whether anything was said for all folders.
        """
        made = self._store.places().exclusions
        back = [Exclusion("pattern", pattern) for pattern in options.no_exclude]
        new = [Exclusion("pattern", pattern) for pattern in options.exclude]
        named = [one for path in given if (one := Exclusion("path", str(path))) in made]
        self._store.apply([*map(Include, [*back, *named]), *map(Exclude, new)])
        return bool(back) or not set(new) <= set(made)

    def _let_go_of_no_pictures(self, note: Note) -> None:
        """No longer look at files that an earlier version took in though they are no pictures."""
        for path in self._no_pictures():
            self._store.apply([ForgetFolder(path), ForgetFailure(path)])
            note(f"{path} is no picture: it is no longer looked at")

    def _no_pictures(self) -> list[Path]:
        files = [one.path for one in self._store.places().folders if one.kind == "file"]
        return [
            path
            for path in files
            if not is_picture(path) and not len(self._store.photos_below([path]))
        ]

    def _roots(self, given: Sequence[Path], *, everything: bool) -> list[Path]:
        """Record the folders given; return the folders to scan."""
        places = self._store.places()
        known = {folder.path: folder for folder in places.folders}

        def found_from(folder: Path, path: Path) -> bool:
            excluded = Exclusions(places.exclusions, [folder])
            return finds(folder, path) and not excluded.leaves_out(path)

        changes: list[Change] = []
        for root in given:
            folders = [path for path, folder in known.items() if folder.kind == "folder"]
            from_above = (path for path in folders if root == path or found_from(path, root))
            top = next(from_above, root)
            below = [
                folder
                for folder in known.values()
                if lies_below(folder.path, [root]) and found_from(top, folder.path)
            ]
            away = away_folders(below, [])  # kept, or their photos would look deleted
            for folder in below:
                if folder.path not in away:
                    changes.append(ForgetFolder(folder.path))
                    del known[folder.path]
            if top == root and root not in folders:
                kept = KeepFolder(root, "folder" if root.is_dir() else "file")
                changes.append(kept)
                known[root] = Folder(root, kept.kind, utc_now())
        self._store.apply(changes)
        if everything:
            return [folder.path for folder in self._store.places().folders]
        return self._with_known_below(given)

    def _known(self, given: Sequence[Path]) -> list[Path]:
        """Return those of the paths that the library keeps up to date."""
        kinds = {folder.path: folder.kind for folder in self._store.places().folders}
        folders = [path for path, kind in kinds.items() if kind == "folder"]
        ours = [path for path in given if path in kinds or lies_below(path, folders)]
        return self._with_known_below(ours)

    def _with_known_below(self, given: Sequence[Path]) -> list[Path]:
        """Return the paths, sorted, none below another, but with the known folders below them.

        What such a folder holds is not found from above: it is hidden there, or away.
        """
        outer = set(given)
        known = {folder.path for folder in self._store.places().folders}
        inner = {path for path in known if not outer.isdisjoint(path.parents)}
        return sorted({path for path in outer if outer.isdisjoint(path.parents)} | inner)

    def _forgetting(self, path: Path, *, forget: bool) -> list[Change]:
        """Return what forgets all that is known at or below a path; to be left out is known, too.

        Where runs are to leave it out from now on, that alone is nothing that could be taken out.
        """
        places = self._store.places()
        folders = [folder.path for folder in places.folders]
        changes: list[Change] = [
            *map(Gone, self._store.photos_below([path]).tolist()),
            *(ForgetFailure(failure.file.path) for failure in self._store.failures([path])),
            *(ForgetFolder(folder) for folder in folders if lies_below(folder, [path])),
            *(ForgetMount(mount) for mount in places.mounts if lies_below(mount, [path])),
        ]
        left_out = [Include(one) for one in places.exclusions if _is_path_below(one, path)]
        if not changes and left_out and not forget:
            raise InvalidInput(f"{path} is left out already; `clipsearch index PATH` takes it in")
        if not changes and not left_out:
            from clipsearch.near_names import did_you_mean, near_path

            near = did_you_mean(None if path.exists() else near_path(path))
            raise InvalidInput(f"{path} is not in the library; nothing was forgotten{near}")
        return [*changes, *left_out]

    def _leaving_out(self, path: Path) -> Iterator[Change]:
        """Yield what leaves out a path, unless it lies in what is left out already."""
        made = self._store.places().exclusions
        if not any(Exclusion("path", str(folder)) in made for folder in path.parents):
            yield Exclude(Exclusion("path", str(path)))


def _is_path_below(exclusion: Exclusion, path: Path) -> bool:
    return exclusion.kind == "path" and lies_below(Path(exclusion.what), [path])


def check_new_library(
    folder: Path,
    models: LoadedModels,
    paths: Sequence[Path],
    *,
    model: str | Path | None,
    progress: Progress,
) -> None:
    """Raise what `Indexer.index` would for the first paths of a library that is not made yet.

    So a run that is refused leaves no library behind. The model is then loaded, for that run.
    """
    for path in paths:
        check_root(path, folder)
    if model is not None:
        source = resolve_model(model)
        progress(loading(source.name))
        models.load_ahead(source)
    elif models.device != "auto":
        from clipsearch.models.devices import choose_device

        choose_device(models.device)


def check_root(root: Path, library: Path, known: Collection[Path] = ()) -> Path:
    """Return an absolute path that can be indexed; raises InvalidInput for any other.

    What is `known` may be away, or be something else now. A file must be a picture, as far as its
    name and its first bytes tell.
    """
    if root == library or library in root.parents:
        raise InvalidInput(f"{root} lies inside the library itself")
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        if root not in known:
            from clipsearch.near_names import did_you_mean, near_path

            near = did_you_mean(near_path(root))
            raise InvalidInput(f"{root} does not exist{near}") from None
    except (OSError, ValueError) as error:
        if root not in known:
            raise InvalidInput(f"can't use {root}: {error}") from error
    else:
        if root in known or stat.S_ISDIR(mode):
            return root
        if not stat.S_ISREG(mode):
            raise InvalidInput(f"{root} is neither a folder nor a regular file")
        if not is_picture(root):
            raise InvalidInput(f"{root} is no picture: name photos, or folders of photos")
    return root
