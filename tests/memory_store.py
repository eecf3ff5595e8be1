"""A second store beside the library's own: dictionaries and numpy, nothing on the disk.

It shows that the contract in clipsearch/index/interface.py is enough for all that is above it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from plain_facets import facets_of
from plain_filters import passes

from clipsearch.errors import InvalidInput, LibraryClosed, LibraryError, LibraryLocked
from clipsearch.index.changes import (
    Change,
    Completed,
    Copied,
    Embedded,
    Exclude,
    Failed,
    ForgetFailure,
    ForgetFolder,
    ForgetMount,
    Gone,
    Include,
    KeepFolder,
    KnownFile,
    KnownState,
    Moved,
    Named,
    Scanned,
    SeenMount,
    SeenSidecar,
    SidecarsRead,
    Touched,
    UseModel,
)
from clipsearch.index.facets import Facets
from clipsearch.index.filters import EVERYTHING, Filter, full_moment
from clipsearch.index.moments_in_names import moment_of
from clipsearch.index.paths import to_text
from clipsearch.index.records import (
    FACTS,
    RAW,
    Exclusion,
    Failure,
    FileState,
    Folder,
    IndexInfo,
    KnownPhoto,
    ModelIdentity,
    ModelRow,
    PhotoMetadata,
    PhotoRecord,
    Places,
    StoreState,
    Word,
    utc_now,
)
from clipsearch.index.selection import Selection
from clipsearch.index.word_search.finding import WordsFound, found_of, readings_of, weight
from clipsearch.index.word_search.splitting import STAR, words_of
from clipsearch.index.word_search.word_index import roots_of, words_of_path, words_of_place


@dataclass(frozen=True)
class State:
    """What is committed; the next commit puts another in its place."""

    photos: dict[int, PhotoRecord] = field(default_factory=dict)
    vectors: dict[int, dict[int, NDArray[np.float16]]] = field(default_factory=dict)  # by model
    models: dict[int, ModelIdentity] = field(default_factory=dict)
    folders: dict[Path, Folder] = field(default_factory=dict)
    mounts: frozenset[Path] = frozenset()
    exclusions: dict[Exclusion, None] = field(default_factory=dict)
    failures: dict[Path, Failure] = field(default_factory=dict)
    current: int | None = None
    last_id: int = 0
    words: dict[int, tuple[Word, ...]] = field(default_factory=dict)  # in the photos
    sidecars: dict[int, tuple[FileState, ...]] = field(default_factory=dict)
    sidecar_words: dict[int, tuple[Word, ...]] = field(default_factory=dict)


class Shared:
    """What all who have one store open share."""

    def __init__(self) -> None:
        self.state = State()
        self.writer = threading.Lock()


class FilledElsewhere:
    """A store that is only searched: a `SearchableStore`, and no more."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._mine = threading.local()
        self._closed = False

    def close(self) -> None:
        self._closed = True

    @contextmanager
    def reading(self) -> Iterator[None]:
        before, self._mine.state = getattr(self._mine, "state", None), self._now()
        try:
            yield
        finally:
            self._mine.state = before

    def _now(self) -> State:
        if self._closed:
            raise LibraryClosed("the store was closed")
        return getattr(self._mine, "state", None) or self._shared.state

    def search(
        self,
        model_id: int,
        queries: NDArray[np.float32],
        k: int,
        *,
        selected: Selection | None = None,
        exact: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        state = self._now()
        width = self._model(state, model_id).width
        if queries.ndim != 2 or queries.shape[1] != width or not np.isfinite(queries).all():
            raise InvalidInput(f"query vectors must be finite numbers of shape [n, {width}]")
        of_model = state.vectors.get(model_id, {})
        ids = np.array(sorted(of_model), dtype=np.int64)
        ids = ids if selected is None else ids[selected.holds(ids)]
        scores = np.full((len(queries), k), -np.inf, np.float32)
        found = np.full((len(queries), k), -1, np.int64)
        if len(ids):
            vectors = np.array([of_model[id_] for id_ in ids.tolist()], np.float32)
            for row, query in enumerate(queries):
                cosines = np.einsum("ij,j->i", vectors, query)
                best = np.lexsort((ids, -cosines))[:k]
                scores[row, : len(best)], found[row, : len(best)] = cosines[best], ids[best]
        return scores, found

    def find_words(self, words: Sequence[str], selected: Selection | None = None) -> WordsFound:
        state = self._now()
        folders = [to_text(one.path) for one in state.folders.values() if one.kind == "folder"]
        held = {id_: self._words_of(id_, roots_of(folders)) for id_ in state.photos}
        found = []
        for word in words:
            for one, share in readings_of(word):
                some = [id_ for id_, has in held.items() if any(_is(one, word) for word in has)]
                says = share * weight(len(some), len(held)) if some else 1.0
                if some:
                    break
            found.append((np.array(some if says else [], np.int64), says))
        return found_of(found, selected)

    def _words_of(self, photo_id: int, roots: Sequence[str]) -> set[str]:
        path = to_text(self._now().photos[photo_id].file.path)
        texts = [word.text for word in self.words([photo_id]).get(photo_id, ())]
        place = words_of_place(self._now().photos[photo_id].metadata.place or "")
        said = (word for text in texts for word in words_of(text))
        return {*words_of_path(path, roots), *place, *said}

    def select(
        self, filters: Filter, without: Sequence[Path], where: str | None = None
    ) -> Selection | None:
        if where is not None:
            raise InvalidInput("this store knows no SQL")
        if filters == EVERYTHING:
            return Selection.all_but_these(self.photos_below(without)) if without else None
        photos = self._now().photos.values()
        kept = [photo.id for photo in photos if passes(filters, photo)]
        left_out = set(self.photos_below(without).tolist())
        return Selection.only_these([id_ for id_ in kept if id_ not in left_out])

    def facets(self, selected: Selection | None) -> Facets:
        state = self._now()
        photos = [
            photo
            for id_, photo in state.photos.items()
            if selected is None or selected.holds(np.array([id_]))[0]
        ]
        return facets_of(
            photos, [one.path for one in state.folders.values() if one.kind == "folder"]
        )

    def listed(
        self, selected: Selection | None, order: str, *, offset: int = 0, limit: int
    ) -> NDArray[np.int64]:
        photos = sorted(self._now().photos.values(), key=lambda one: to_text(one.file.path))
        if order == "date":
            photos.sort(key=lambda one: full_moment(one.moment or ""), reverse=True)
            # A sort in reverse keeps the order of what is alike.
        ids = np.array([one.id for one in photos], np.int64)
        ids = ids if selected is None else ids[selected.holds(ids)]
        return ids[offset : offset + limit]

    def vectors(self, model_id: int, photo_ids: Sequence[int]) -> NDArray[np.float32]:
        state = self._now()
        width, of_model = self._model(state, model_id).width, state.vectors.get(model_id, {})
        if not of_model.keys() >= set(photo_ids):
            raise LibraryError("a photo has no embedding of this model")
        rows = [of_model[id_] for id_ in photo_ids]
        return np.array(rows, np.float32).reshape(len(rows), width)

    def photos(self, photo_ids: Sequence[int]) -> dict[int, PhotoRecord]:
        photos = self._now().photos
        return {id_: photos[id_] for id_ in photo_ids if id_ in photos}

    def raw_photos(self, photo_ids: Sequence[int]) -> list[PhotoRecord]:
        found = self.photos(sorted(set(photo_ids))).values()
        return [photo for photo in found if photo.metadata.format == RAW]

    def photos_with_content(self, content_hash: str) -> list[KnownPhoto]:
        return [known for known in self._all() if known.photo.content_hash == content_hash]

    def known_content(self, hashes: Sequence[str]) -> set[str]:
        return {photo.content_hash for photo in self._now().photos.values()} & set(hashes)

    def photos_at(self, paths: Iterable[Path]) -> list[KnownPhoto]:
        wanted = set(paths)
        return [known for known in self._all() if known.photo.file.path in wanted]

    def _all(self) -> list[KnownPhoto]:
        state = self._now()
        return [
            KnownPhoto(photo, frozenset(m for m, rows in state.vectors.items() if id_ in rows))
            for id_, photo in sorted(state.photos.items())
        ]

    def photos_below(self, paths: Sequence[Path] | None) -> NDArray[np.int64]:
        photos = self._now().photos.values()
        ids = sorted(photo.id for photo in photos if is_below(photo.file.path, paths))
        return np.array(ids, dtype=np.int64)

    def models(self, *, count_to: int | None = None) -> list[ModelRow]:
        state = self._now()
        rows = []
        for id_, identity in sorted(state.models.items()):
            photos = len(state.vectors.get(id_, {}))
            photos = photos if count_to is None else min(photos, count_to)
            rows.append(ModelRow(id_, identity, photos, id_ == state.current))
        return rows

    def places(self) -> Places:
        state = self._now()
        folders = sorted(state.folders.values(), key=lambda folder: to_text(folder.path))
        mounts = sorted(state.mounts, key=to_text)
        return Places(tuple(folders), tuple(mounts), tuple(state.exclusions))

    def words(self, photo_ids: Sequence[int]) -> dict[int, tuple[Word, ...]]:
        state = self._now()
        found = {
            id_: (*state.sidecar_words.get(id_, ()), *state.words.get(id_, ()))
            for id_ in sorted(set(photo_ids))
        }
        return {id_: tuple(dict.fromkeys(words)) for id_, words in found.items() if words}

    def incomplete(self) -> int:
        return sum(photo.metadata.facts < FACTS for photo in self._now().photos.values())

    def failures(self, roots: Sequence[Path] | None = None) -> list[Failure]:
        failures = self._now().failures
        return [failures[path] for path in sorted(failures, key=to_text) if is_below(path, roots)]

    def describe(self, model_id: int | None) -> StoreState:
        state = self._now()
        vectors = len(state.vectors.get(model_id, {})) if model_id is not None else 0
        info = IndexInfo("in memory", 0, vectors, 0, 0, None) if model_id is not None else None
        return StoreState(len(state.photos), info, {})

    def _model(self, state: State, model_id: int) -> ModelIdentity:
        if model_id not in state.models:
            raise LibraryError(f"there is no model {model_id}")
        return state.models[model_id]


class MemoryStore(FilledElsewhere):
    """The same with its second part: a `WritableStore`."""

    def __init__(self) -> None:
        super().__init__(Shared())
        self._writer: int | None = None

    def reader(self) -> FilledElsewhere:
        return FilledElsewhere(self._shared)

    @contextmanager
    def writing(
        self,
        *,
        wait: bool = False,
        stop: Callable[[], bool] | None = None,
        waiting: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        self._now()
        while not self._shared.writer.acquire(blocking=False):
            if not wait or (stop is not None and stop()):
                raise LibraryLocked("another thread is writing")
            if waiting is not None:
                waiting("another thread is writing; waiting until it is done")
                waiting = None
            time.sleep(0.01)
        self._writer = threading.get_ident()
        try:
            yield
        finally:
            self._writer = None
            self._shared.writer.release()

    def apply(self, changes: Sequence[Change], model_id: int | None = None) -> None:
        self._check_writing()
        batch = _Batch(self._shared.state, model_id)
        contents = [batch.content_of(change) for change in changes]
        for change in changes:
            if isinstance(change, Moved):
                batch.step_aside(change.photo_id)
        for change, content in zip(changes, contents, strict=True):
            batch.take(change, content)
        self._shared.state = batch.committed()

    def add_model(self, identity: ModelIdentity) -> int:
        self._check_writing()
        state = self._shared.state
        ids = {known.fingerprint: id_ for id_, known in state.models.items()}
        id_ = ids.get(identity.fingerprint, len(ids) + 1)
        self._shared.state = replace(state, models={**state.models, id_: identity})
        return id_

    def known_states(self, model_id: int | None, roots: Sequence[Path]) -> set[KnownState]:
        return {
            (
                to_text(known.file.path),
                known.file.size,
                known.file.mtime_ns if known.embedded else None,
            )
            for known in self._known(model_id).values()
            if is_below(known.file.path, roots)
        }

    def known_of(self, model_id: int | None, states: Iterable[KnownState]) -> dict[Path, KnownFile]:
        texts = {state[0] for state in states}
        known = self._known(model_id)
        return {path: file for path, file in known.items() if to_text(path) in texts}

    def unnamed_positions(self, limit: int) -> list[tuple[float, float]]:
        known = (photo.metadata for photo in self._now().photos.values())
        return list(
            {_position(one) for one in known if one.place is None and None not in _position(one)}
        )[:limit]

    def known_sidecars(self, roots: Sequence[Path]) -> set[SeenSidecar]:
        state = self._now()
        return {
            SeenSidecar(to_text(photo.file.path), to_text(one.path), one.size, one.mtime_ns)
            for id_, photo in state.photos.items()
            for one in state.sidecars.get(id_, ())
            if is_below(photo.file.path, roots)
        }

    def to_complete(self, roots: Sequence[Path]) -> list[KnownFile]:
        photos = self._now().photos
        known = sorted(self._known(None).values(), key=lambda one: to_text(one.file.path))
        return [
            one
            for one in known
            if photos[one.photo_id].metadata.facts < FACTS and is_below(one.file.path, roots)
        ]

    def refresh_vectors(self, model_id: int) -> None:
        self._check_writing()

    def _known(self, model_id: int | None) -> dict[Path, KnownFile]:
        state = self._now()
        of_model = state.vectors.get(model_id, {}) if model_id is not None else {}
        return {
            photo.file.path: KnownFile(id_, photo.file, photo.content_hash, id_ in of_model)
            for id_, photo in state.photos.items()
        }

    def _check_writing(self) -> None:
        self._now()
        if self._writer != threading.get_ident():
            raise RuntimeError("changed only inside `with store.writing():`")


# A photo like it, its words, vectors by model
_Content = tuple[PhotoRecord, tuple[Word, ...], dict[int, NDArray[np.float16]]]


class _Batch:
    """The state that a batch of changes makes of another, which stays as it is."""

    def __init__(self, before: State, model_id: int | None) -> None:
        self.before = before
        self.model_id = model_id
        self.photos = dict(before.photos)
        self.vectors = {model: dict(rows) for model, rows in before.vectors.items()}
        self.folders = dict(before.folders)
        self.mounts = set(before.mounts)
        self.exclusions = dict(before.exclusions)
        self.failures = dict(before.failures)
        self.current = before.current
        self.last_id = before.last_id
        self.words = dict(before.words)
        self.sidecars = dict(before.sidecars)
        self.sidecar_words = dict(before.sidecar_words)
        self.at = {photo.file.path: id_ for id_, photo in self.photos.items()}

    def content_of(self, change: Change) -> _Content | None:
        """Return the content that a change gives to its path, as it was before the batch."""
        if isinstance(change, Embedded):
            model = self.before.models.get(self.model_id or 0)
            vector = change.embedding
            if model is None or vector.shape != (model.width,) or not np.isfinite(vector).all():
                raise ValueError(f"not an embedding of model {self.model_id}")
            assert self.model_id is not None
            photo = PhotoRecord(0, change.file, change.content_hash, change.metadata, utc_now())
            return photo, change.words, {self.model_id: vector.astype(np.float16)}
        if isinstance(change, Copied) and change.source_id in self.before.photos:
            id_ = change.source_id
            rows = {m: v[id_] for m, v in self.before.vectors.items() if id_ in v}
            return self.before.photos[id_], self.before.words.get(id_, ()), rows
        return None

    def step_aside(self, photo_id: int) -> None:
        if photo_id in self.photos:
            self.at.pop(self.photos[photo_id].file.path, None)

    def take(self, change: Change, content: _Content | None) -> None:
        match change:
            case Embedded() | Copied():
                if content is not None:
                    self._put(change.file, *content)
            case Moved() | Touched():
                if change.photo_id in self.photos:
                    self._point(change.photo_id, change.file)
            case Failed():
                failure = Failure(change.file, change.reason, utc_now())
                self.failures[change.file.path] = failure
            case Gone():
                self._drop(change.photo_id)
            case ForgetFailure():
                self.failures.pop(change.path, None)
            case UseModel():
                if change.model_id not in self.before.models:
                    raise LibraryError(f"there is no model {change.model_id}")
                self.current = change.model_id
            case _:
                self._take_rest(change)

    def _take_words(self, change: Completed | SidecarsRead) -> None:
        match change:
            case Completed():
                self._complete(change)
            case SidecarsRead() if change.photo_id in self.photos:
                self.sidecars[change.photo_id] = change.sidecars
                self.sidecar_words[change.photo_id] = change.words

    def _take_rest(self, change: Change) -> None:
        match change:
            case Named():
                self._name(change)
            case Completed() | SidecarsRead():
                self._take_words(change)
            case KeepFolder():
                known = self.folders.get(change.path, Folder(change.path, change.kind, utc_now()))
                self.folders[change.path] = replace(known, kind=change.kind)
            case Scanned():
                if change.path in self.folders:
                    folder = replace(self.folders[change.path], scanned_at=utc_now())
                    self.folders[change.path] = folder
            case ForgetFolder():
                self.folders.pop(change.path, None)
            case SeenMount():
                self.mounts.add(change.path)
            case ForgetMount():
                self.mounts.discard(change.path)
            case Exclude() | Include():
                self._change_exclusions(change)

    def _change_exclusions(self, change: Exclude | Include) -> None:
        if isinstance(change, Exclude):
            self.exclusions.setdefault(change.exclusion)
        else:
            self.exclusions.pop(change.exclusion, None)

    def committed(self) -> State:
        return State(
            *(self.photos, self.vectors, self.before.models, self.folders, frozenset(self.mounts)),
            *(self.exclusions, self.failures, self.current, self.last_id),
            *(self.words, self.sidecars, self.sidecar_words),
        )

    def _name(self, change: Named) -> None:
        for id_, photo in self.photos.items():
            known = photo.metadata
            if (known.latitude, known.longitude, known.place) == (*_position(change), None):
                named = replace(known, place=change.place or "")
                self.photos[id_] = replace(photo, metadata=named)

    def _complete(self, change: Completed) -> None:
        for id_, photo in self.photos.items():
            if photo.content_hash == change.content_hash:
                place = change.metadata.place or photo.metadata.place
                metadata = replace(change.metadata, place=place)
                self.photos[id_] = with_moment(replace(photo, metadata=metadata))
                self.words[id_] = change.words

    def _put(
        self,
        file: FileState,
        like: PhotoRecord,
        words: tuple[Word, ...],
        vectors: dict[int, NDArray[np.float16]],
    ) -> None:
        id_ = self.at.get(file.path)
        if id_ is None:
            self.last_id += 1
            id_ = self.last_id
        elif self.photos[id_].content_hash != like.content_hash:
            for rows in self.vectors.values():
                rows.pop(id_, None)
        self.at[file.path] = id_
        self.photos[id_] = with_moment(replace(like, id=id_, file=file, indexed_at=utc_now()))
        self.words[id_] = words
        for model, vector in vectors.items():
            self.vectors.setdefault(model, {})[id_] = vector
        self.failures.pop(file.path, None)

    def _point(self, photo_id: int, file: FileState) -> None:
        other = self.at.get(file.path)
        if other is not None and other != photo_id:
            self._drop(other)
        if self.at.get(self.photos[photo_id].file.path) == photo_id:
            del self.at[self.photos[photo_id].file.path]
        self.at[file.path] = photo_id
        self.photos[photo_id] = with_moment(replace(self.photos[photo_id], file=file))
        self.failures.pop(file.path, None)

    def _drop(self, photo_id: int) -> None:
        photo = self.photos.pop(photo_id, None)
        if photo is not None and self.at.get(photo.file.path) == photo_id:
            del self.at[photo.file.path]
        for rows in (*self.vectors.values(), self.words, self.sidecars, self.sidecar_words):
            rows.pop(photo_id, None)  # type: ignore[attr-defined]


def _is(asked: str, word: str) -> bool:
    return word.startswith(asked[:-1]) if asked.endswith(STAR) else word == asked


def with_moment(photo: PhotoRecord) -> PhotoRecord:
    moment, source = moment_of(photo.metadata.taken_at, str(photo.file.path))
    return replace(photo, moment=moment, moment_from=source)


def _position(of: Named | PhotoMetadata) -> tuple:
    return of.latitude, of.longitude


def is_below(path: Path, roots: Sequence[Path] | None) -> bool:
    return roots is None or any(path == root or root in path.parents for root in roots)
