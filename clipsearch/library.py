"""The library of photos: index, query, similar, remove, info. The program is a client of this."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from clipsearch.arguments import as_list, model_name, shown, texts_given, yes_or_no
from clipsearch.errors import (
    InvalidInput,
    LibraryError,
    LibraryNotFound,
    LibraryReadOnly,
    ModelError,
)
from clipsearch.index.changes import Change, ForgetFailure, ForgetFolder, Gone
from clipsearch.index.records import Failure, Folder, ModelRow
from clipsearch.index.store import Store
from clipsearch.models.devices import check_device
from clipsearch.models.loaded import LoadedModels
from clipsearch.models.names import ModelSource, default_model, resolve_model
from clipsearch.options import SearchOptions
from clipsearch.photos.away import away_folders, lies_below
from clipsearch.results import (
    AwayFolder,
    Hit,
    IndexOptions,
    IndexProgress,
    IndexReport,
    LibraryInfo,
)
from clipsearch.searching.query import (
    Picture,
    Query,
    content_hash,
    encode_queries,
    picture_bytes,
    pictures_given,
)
from clipsearch.settings import absolute_paths, given_path, library_folder

if TYPE_CHECKING:
    from clipsearch.indexing.run import Decoders, IndexRun
    from clipsearch.models.encoder import Encoder

# Scores of `search_vectors` that may stand for nothing found; more are rather a slip in k.
_MOST_PADDED = 10_000_000


class Library:
    """A folder with a catalog of photos, their embeddings and what is needed to search them.

    Any thread may use it, and many at the same time: searches go on while one thread indexes. A
    second that wants to write gets LibraryLocked, or waits where it says so. `close` waits for
    nobody: what other threads have begun ends with its answer or LibraryClosed, as does everything
    that is asked later. It is of one process: LibraryClosed in a fork, and it can't be pickled.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        device: str = "auto",
    ) -> None:
        """Open a library, by default the user's own; it is made if missing and `create` is true.

        Args:
            folder: where it lies; None for CLIPSEARCH_LIBRARY or the platform's user data folder.
            create: make it if it is missing (never when `read_only`).
            read_only: never write; safe beside a process that indexes.
            device: where photos are encoded: auto, cpu, cuda or mps.

        Raises:
            InvalidInput: no library can have this name, or there is no such device.
            LibraryError: it is missing, damaged, no library, or made by a newer clipsearch.
        """
        self.folder = library_folder(folder)
        self.device = check_device(device)
        create, read_only = yes_or_no(create, "create"), yes_or_no(read_only, "read_only")
        self._of_thread = threading.local()  # .left_out
        self._process = os.getpid()
        self._read_only = read_only
        self._store = Store.open(self.folder, create=create and not read_only, read_only=read_only)
        self._models = LoadedModels(self.folder / "models", device)
        self._decoders: Decoders | None = None

    @classmethod
    def for_indexing(
        cls,
        folder: str | Path | None,
        paths: Sequence[str | Path],
        *,
        model: str | None = None,
        device: str = "auto",
    ) -> Library:
        """Open a library to index paths into; a new one is made when all of them can be.

        So a run that is refused leaves nothing behind. Raises as the constructor and `index` do.
        """
        place = library_folder(folder)
        models = LoadedModels(place / "models", device)
        if paths and not (place / "catalog.sqlite").exists():
            for path in absolute_paths(paths):
                _check_root(path, place)
            if model and model != "auto":
                models.load_ahead(resolve_model(model))
            elif device != "auto":
                from clipsearch.models.devices import choose_device

                choose_device(device)
        library = cls(place, create=bool(paths), device=device)
        library._models = models
        return library

    def close(self) -> None:
        """Close the catalog and let go of the models; a second time does nothing."""
        if os.getpid() != self._process:
            return  # in a fork: the threads of its models are not here, and would be waited for
        self._store.close()
        self._end_decoders()
        self._models.clear()

    def __enter__(self) -> Library:
        self._store.check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied, or sent to another process."""
        raise LibraryError(
            f"an open library can't be copied or pickled: open it where it is needed, with "
            f"Library({str(self.folder)!r})"
        )

    @property
    def left_out(self) -> list[AwayFolder]:
        """What was away in the last search of this thread, and so left out."""
        return list(getattr(self._of_thread, "left_out", ()))

    # indexing

    def index(
        self,
        paths: str | Path | Iterable[str | Path] | None = None,
        *,
        model: str | Path | None = None,
        options: IndexOptions | None = None,
        progress: Callable[[IndexProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        wait: bool = False,
    ) -> IndexReport:
        """Add folders and files, or bring them up to date; None updates every folder known.

        Takes several paths, or one. A `model` other than the library's embeds every known photo
        again, beside the old embeddings; queries change over when that is complete. `stop` is
        asked between photos: once it is true, what was begun is saved and the report says that it
        was interrupted. With `wait`, another process or thread that is indexing is waited for.

        Raises:
            InvalidInput: a path is not there.
            ModelError: the model can't be loaded; what was indexed stays.
            LibraryLocked: another process or thread is indexing into this library.
        """
        self._store.check_open()
        given = None
        if paths is not None:
            given = [self._checked_root(path) for path in absolute_paths(paths)]
        model = model_name(model)

        def roots(changes_model: bool) -> list[Path]:
            return self._roots(given or [], everything=changes_model or given is None)

        return self._run(roots, model, options, progress, stop, wait=wait, keep_decoders=False)

    def update(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        options: IndexOptions | None = None,
        progress: Callable[[IndexProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
        wait: bool = True,
    ) -> IndexReport:
        """Bring single files and folders below the known folders up to date; others are ignored.

        Takes several paths, or one. One that is not there any more is forgotten, unless the folder
        it belongs to is away. The paths of one call are seen together, so a photo that moved
        between them keeps its embedding. The processes that decode photos stay for the next
        update, until `close`. Otherwise like `index`.
        """
        given = absolute_paths(paths)
        return self._run(
            lambda _: self._known(given),
            None,
            options,
            progress,
            stop,
            wait=wait,
            keep_decoders=True,
        )

    @contextmanager
    def _decoding(self, *, keep: bool) -> Iterator[Decoders]:
        """Lend the one run under way the processes that decode; end them unless all goes well."""
        from clipsearch.indexing.run import Decoders

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
            if self._store.closed:  # meanwhile, by another thread
                self._end_decoders()

    def _end_decoders(self) -> None:
        decoders, self._decoders = self._decoders, None
        if decoders is not None:
            decoders.close()

    def _run(
        self,
        roots_for: Callable[[bool], list[Path]],
        model: str | Path | None,
        options: IndexOptions | None,
        progress: Callable[[IndexProgress], None] | None,
        stop: Callable[[], bool] | None,
        *,
        wait: bool,
        keep_decoders: bool,
    ) -> IndexReport:
        from clipsearch.indexing.run import IndexRun
        from clipsearch.photos.preprocessing import Preprocessing

        self._check_writable()
        options = IndexOptions() if options is None else _index_options(options)
        wait = yes_or_no(wait, "wait")
        tell = progress or (lambda _: None)
        started = time.perf_counter()
        notes: list[str] = []

        def note(line: str) -> None:
            notes.append(line)
            tell(IndexProgress("loading model", 0, 0, line))

        def waiting(line: str) -> None:
            tell(IndexProgress("waiting", 0, 0, line))

        with (
            self._store.writing(wait=wait, stop=stop, waiting=waiting),
            self._decoding(keep=keep_decoders) as decoders,
        ):
            self._store.join_double_slashes()
            current = self._store.catalog.current_model(count_to=0)
            source = self._source_for_indexing(model, current, note)
            # A model asked for by name is loaded at once: only its weights say if it is the same.
            loaded = self._models.load(source) if model is not None else None
            identity = loaded.identity if loaded else current.identity if current else None
            run = IndexRun(
                self._store,
                self._model_id(loaded) if loaded else current.id if current else None,
                lambda: self._load_for_run(loaded, source, current),
                preprocessing=Preprocessing.from_json(identity.preprocessing) if identity else None,
                decoders=decoders,
                options=options,
                progress=tell,
                stop=stop or (lambda: False),
            )
            changes_model = bool(loaded and current and run.model_id != current.id)
            roots = roots_for(changes_model)
            run.run(roots)
            self._finish_run(run, roots, current)
        return _report(run, source.name, notes, time.perf_counter() - started)

    def _check_writable(self) -> None:
        if self._read_only:
            raise LibraryReadOnly(f"the library {self.folder} was opened read-only")

    def _checked_root(self, root: Path) -> Path:
        known = [folder.path for folder in self._store.catalog.folders()]
        return _check_root(root, self.folder, known)

    def _source_for_indexing(
        self, model: str | Path | None, current: ModelRow | None, note: Callable[[str], None]
    ) -> ModelSource:
        if model is not None:
            return resolve_model(model)
        return resolve_model(current.identity.name) if current else default_model(note)

    def _roots(self, given: Sequence[Path], *, everything: bool) -> list[Path]:
        """Record the folders given; return the folders to scan."""
        from clipsearch.photos.scanning import finds

        catalog = self._store.catalog
        for root in given:
            known = catalog.folders()
            folders = [folder.path for folder in known if folder.kind == "folder"]
            if any(root == path or finds(path, root) for path in folders):
                continue
            below = [folder for folder in known if finds(root, folder.path)]
            away = away_folders(below, [])  # kept, or their photos would look deleted
            for folder in below:
                if folder.path not in away:
                    catalog.remove_folder(folder.path)
            catalog.add_folder(root, "folder" if root.is_dir() else "file")
        if everything:
            return [folder.path for folder in catalog.folders()]
        return self._with_known_below(given)

    def _known(self, given: Sequence[Path]) -> list[Path]:
        """Return those of the paths that the library keeps up to date."""
        kinds = {folder.path: folder.kind for folder in self._store.catalog.folders()}
        folders = [path for path, kind in kinds.items() if kind == "folder"]
        ours = [path for path in given if path in kinds or lies_below(path, folders)]
        return self._with_known_below(ours)

    def _with_known_below(self, given: Sequence[Path]) -> list[Path]:
        """Return the paths, sorted, none below another, but with the known folders below them.

        What such a folder holds is not found from above: it is hidden there, or away.
        """
        outer = set(given)
        known = {folder.path for folder in self._store.catalog.folders()}
        inner = {path for path in known if not outer.isdisjoint(path.parents)}
        return sorted({path for path in outer if outer.isdisjoint(path.parents)} | inner)

    def _load_for_run(
        self, loaded: Encoder | None, source: ModelSource, current: ModelRow | None
    ) -> tuple[Encoder, int]:
        if loaded:
            encoder = loaded
        elif current:  # what was loaded for an earlier run serves again
            encoder = self._models.encoder_of(current)
        else:
            encoder = self._models.load(source)
        return encoder, self._model_id(encoder)

    def _model_id(self, encoder: Encoder) -> int:
        """Return the model's row, made if missing, with its text tower beside the library."""
        self._models.keep_text_encoder(encoder)
        model_id = self._store.catalog.add_model(encoder.identity)
        if (
            self._store.catalog.current_model(count_to=0) is None
        ):  # what a killed first run leaves is found
            self._store.catalog.set_current_model(model_id)
        return model_id

    def _finish_run(self, run: IndexRun, roots: Sequence[Path], current: ModelRow | None) -> None:
        if not run.interrupted:
            for root in roots:
                self._store.catalog.mark_scanned(root)
        if run.model_id is None:
            return
        if current is None or not run.interrupted:
            self._store.catalog.set_current_model(run.model_id)
        self._store.refresh_vectors(run.model_id)

    def remove(self, paths: str | Path | Iterable[str | Path]) -> int:
        """Forget photos and folders (the files stay); returns the number of photos forgotten.

        Takes several paths, or one. All are forgotten, or none is.

        Raises:
            InvalidInput: nothing in the library has one of these paths.
        """
        self._store.check_open()
        places = absolute_paths(paths)
        self._check_writable()
        with self._store.writing():
            self._store.join_double_slashes()
            changes = dict.fromkeys(
                change for place in places for change in self._forgetting(place)
            )
            self._store.apply(list(changes), None)
            for row in self._store.catalog.models():
                self._store.refresh_vectors(row.id)
        return sum(isinstance(change, Gone) for change in changes)

    def _forgetting(self, path: Path) -> list[Change]:
        """Return what forgets all that is known at or below a path."""
        catalog = self._store.catalog
        places = [*(folder.path for folder in catalog.folders()), *catalog.mounts()]
        changes: list[Change] = [
            *(Gone(known.photo_id) for known in catalog.known_files(None, [path]).values()),
            *(ForgetFailure(failure.file.path) for failure in catalog.failures([path])),
            *(ForgetFolder(place) for place in places if lies_below(place, [path])),
        ]
        if not changes:
            raise InvalidInput(f"{path} is not in the library; nothing was forgotten")
        return changes

    # searching

    def query(
        self,
        query: Query,
        *,
        k: int = 10,
        model: str | Path | None = None,
        min_score: float | None = None,
        include_away: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the k photos nearest to a text or a picture, best first; all, if k is more.

        A `str` is text; a picture is a `Path`, the bytes of a file, a Pillow image or a uint8
        array (height, width, 3). `min_score` is the least cosine that counts as found. Photos
        whose folder is away (see `away`) are no hits unless `include_away`. With `exact` all
        photos are looked at, also in a library so large that its index is approximate (`info`).

        Raises:
            InvalidInput: the query is empty or can't be read, or an option makes no sense.
            LibraryNotFound: the library holds no photos yet.
        """
        options = SearchOptions(k, min_score, include_away, exact, model)
        return self._search([query], options)[0]

    def query_batch(
        self,
        queries: Query | Iterable[Query],
        *,
        k: int = 10,
        model: str | Path | None = None,
        include_away: bool = False,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """Return the hits of many queries: one encoder pass a kind, one search for all.

        Takes several queries, or one.
        """
        options = SearchOptions(k, None, include_away, exact, model)
        return self._search(as_list(queries), options)

    def similar(
        self,
        image: str | Picture,
        *,
        k: int = 10,
        model: str | Path | None = None,
        min_score: float | None = None,
        include_away: bool = False,
        exact: bool = False,
    ) -> list[Hit]:
        """Return the k photos most like a picture, without the picture itself, wherever it lies.

        A `str` is a path here. The picture itself is known by its content, so only one that comes
        as a file or bytes can be left out.
        """
        options = SearchOptions(k, min_score, include_away, exact, model)
        row = self._searchable_model(options.model)
        picture: Picture = given_path(image) if isinstance(image, str) else image
        data = picture_bytes(picture)
        itself = content_hash(data) if data is not None else None
        copies = len(self._store.catalog.photos_by_hash(itself)) if itself else 0
        vectors = self._encode(row, [data if data is not None else picture])
        found = self._hits(row, vectors, replace(options, k=options.k + copies))[0]
        others = [hit for hit in found if hit.content_hash != itself][: options.k]
        return [replace(hit, rank=rank) for rank, hit in enumerate(others, 1)]

    def search_vectors(
        self,
        queries: NDArray[np.float32],
        *,
        k: int = 10,
        model: str | Path | None = None,
        include_away: bool = False,
        exact: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Search unit vectors, float32 (n, d); return cosines (n, k) and photo ids (n, k).

        Rows with fewer than k photos end in -inf and -1.
        """
        options = SearchOptions(k, None, include_away, exact, model)
        row = self._searchable_model(options.model)
        vectors = _as_vectors(queries)
        photos = self._store.catalog.embedded_by(row.id, count_to=options.k)
        rows = vectors.shape[0] if vectors.ndim == 2 else 0
        if options.k > photos and options.k * max(1, rows) > _MOST_PADDED:
            raise InvalidInput(f"k is {shown(k)}, but there are only {photos} photos")
        without = self._left_out(options)
        return self._store.search(row.id, vectors, options.k, without=without, exact=options.exact)

    def encode_text(self, texts: str | Iterable[str]) -> NDArray[np.float32]:
        """Return the embeddings of texts by the library's model, float32 (n, d), unit length.

        Takes several texts, or one.
        """
        return self._encode(self._model_row(None), texts_given(texts))

    def encode_images(self, images: Picture | Iterable[Picture]) -> NDArray[np.float32]:
        """Return the embeddings of pictures by the library's model, float32 (n, d), unit length.

        Takes several pictures, or one.
        """
        return self._encode(self._model_row(None), pictures_given(images))

    def _encode(self, row: ModelRow, queries: Sequence[Query]) -> NDArray[np.float32]:
        return encode_queries(queries, row, self._models, self._store)

    def _search(self, queries: Sequence[Query], options: SearchOptions) -> list[list[Hit]]:
        row = self._searchable_model(options.model)
        return self._hits(row, self._encode(row, queries), options) if queries else []

    def _hits(
        self, row: ModelRow, vectors: NDArray[np.float32], options: SearchOptions
    ) -> list[list[Hit]]:
        without = self._left_out(options)
        least = -np.inf if options.min_score is None else options.min_score
        # Room is made for k results.
        k = self._store.catalog.embedded_by(row.id, count_to=options.k)
        with self._store.reading():  # one state of the catalog for vectors and rows
            scores, ids = self._store.search(
                row.id, vectors, k, without=without, exact=options.exact
            )
            photos = self._store.catalog.photos(list(set(ids[ids >= 0].tolist())))
        return [
            [
                Hit.from_record(rank, float(score), photos[int(photo_id)])
                for rank, (score, photo_id) in enumerate(zip(*found, strict=True), 1)
                if photo_id >= 0 and score >= least
            ]
            for found in zip(scores, ids, strict=True)
        ]

    def _model_row(self, model: str | Path | None) -> ModelRow:
        """Return the library's model, or another one it holds embeddings of.

        Of the former, `photos` says no more than whether there are any.
        """
        current = self._store.catalog.current_model(count_to=1)
        if current is None:
            raise self._empty()
        if model is None:
            return current
        name = resolve_model(model).name
        rows = [row for row in self._store.catalog.models() if row.identity.name == name]
        if not rows:
            raise ModelError(
                f"this library was not indexed with {name!r} but with "
                f"{current.identity.name!r}; `clipsearch index --model {name}` adds it"
            )
        return current if current in rows else rows[-1]

    def _empty(self) -> LibraryNotFound:
        hint = "`clipsearch index FOLDER` adds some"
        return LibraryNotFound(f"the library {self.folder} holds no photos yet: {hint}")

    def _searchable_model(self, model: str | Path | None) -> ModelRow:
        row = self._model_row(model)
        if row.photos == 0:
            raise self._empty()
        return row

    def _left_out(self, options: SearchOptions) -> list[Path]:
        away = [] if options.include_away else self.away()
        self._of_thread.left_out = away
        return [folder.path for folder in away]

    # looking at the library itself

    def folders(self) -> list[Folder]:
        """Return the folders and single files that the library keeps up to date, by path."""
        return self._store.catalog.folders()

    def away(self) -> list[AwayFolder]:
        """Return the folders that are not there now (a disk not mounted, say) but have photos.

        Their photos stay in the library and come back into results when the folder does;
        `remove`, or `index` with `prune`, forgets them.
        """
        catalog = self._store.catalog
        found = away_folders(catalog.folders(), catalog.mounts())
        counted = ((path, why, catalog.photos_below(path)) for path, why in found.items())
        return [AwayFolder(path, why, photos) for path, why, photos in counted if photos]

    def failures(self) -> list[Failure]:
        """Return the files that could not be indexed, with reasons."""
        return self._store.catalog.failures()

    def info(self) -> LibraryInfo:
        """Return the state of the library."""
        catalog = self._store.catalog
        current = catalog.current_model()
        return LibraryInfo(
            folder=self.folder,
            folders=tuple(catalog.folders()),
            away=tuple(self.away()),
            photos=catalog.counts(current.id if current else None).photos,
            failures=tuple(catalog.failures()),
            model=current,
            models=tuple(catalog.models()),
            index=self._store.index_info(current.id) if current else None,
            disk_bytes=_disk_bytes(self.folder),
        )


def _check_root(root: Path, library: Path, known: Sequence[Path] = ()) -> Path:
    """Return an absolute path that can be indexed; raises InvalidInput for any other.

    What is `known` may be away.
    """
    if root == library or library in root.parents:
        raise InvalidInput(f"{root} lies inside the library itself")
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        if root not in known:
            raise InvalidInput(f"{root} does not exist") from None
    except (OSError, ValueError) as error:
        if root not in known:
            raise InvalidInput(f"can't use {root}: {error}") from error
    else:
        if not (root in known or stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise InvalidInput(f"{root} is neither a folder nor a regular file")
    return root


def _index_options(options: object) -> IndexOptions:
    if not isinstance(options, IndexOptions):
        raise InvalidInput(f"options must be IndexOptions, not {shown(options)}")
    return options


def _as_vectors(queries: object) -> NDArray[np.float32]:
    """Return what is given as an array of float32; whether it is of the right shape shows later."""
    try:
        with np.errstate(all="ignore"):
            vectors = np.asarray(queries)
            if vectors.dtype.kind in "fiu":
                return vectors.astype(np.float32)
    except ValueError:  # rows of several lengths
        pass
    raise InvalidInput(f"query vectors must be an array of numbers, not {shown(queries)}")


def _disk_bytes(folder: Path) -> dict[str, int]:
    """Return bytes on disk: the catalog (with its log), the FAISS files, the text towers."""
    parts = {"catalog": "catalog.sqlite*", "vectors": "vectors/**/*", "models": "models/**/*"}
    return {
        part: sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())
        for part, pattern in parts.items()
    }


def _report(run: IndexRun, model: str, notes: Sequence[str], seconds: float) -> IndexReport:
    counts = run.counts
    return IndexReport(
        model=model,
        added=counts["added"] + counts["copied"],
        changed=counts["changed"],
        moved=counts["moved"],
        copied=counts["copied"],
        removed=counts["removed"],
        unchanged=counts["unchanged"],
        embedded=counts["embedded"],
        failures=tuple(run.failures),
        known_failures=counts["known failures"],
        problems=tuple(run.problems),
        notes=tuple(notes),
        seconds=seconds,
        interrupted=run.interrupted,
    )
