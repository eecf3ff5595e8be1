"""Keeping the tags of a library: which there are, and which photos have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.errors import InvalidInput, ModelError
from clipsearch.index.filters import fold
from clipsearch.index.tags import Example, Tagged, TagRow, TagTables, TagVector
from clipsearch.tagging.deciding import FEW_WORDS, LEAST_SHARE, fits, shares, with_kinds
from clipsearch.tagging.learning import Background, learn

if TYPE_CHECKING:
    from clipsearch.index.records import ModelRow
    from clipsearch.models.loaded import LoadedModels
    from clipsearch.words.lists import WordList

LIKELY = 0.5  # the least score of a tag that was taught
_SAMPLE = 20_000  # photos that tell what a library is like
_AT_ONCE = 4096  # photos whose shares of all words are held together: some 30 MB
_GROWN = 1.25  # times as many photos as when a tag was learned: it is learned again

Report = Callable[[int, int], None]  # how many are done, and of how many


class Tagger:
    """The tags of one library. Whoever calls what changes them must be the one writer."""

    def __init__(self, tables: TagTables, models: LoadedModels) -> None:
        self.tables = tables
        self._models = models

    def find(self, name: str) -> TagRow | None:
        """Return the tag of a name, whatever its case."""
        return next((tag for tag in self.tables.rows() if fold(tag.name) == fold(name)), None)

    def use_words(self, words: WordList) -> None:
        """Tag photos with these words from now on, in place of others; what is taught stays."""
        taught = {fold(tag.name) for tag in self.tables.rows() if tag.kind == "taught"}
        kept = [word for word in words.words if fold(word) not in taught]
        self.tables.set_words(kept, words.broader)

    def say(self, name: str, said: Sequence[Example], model: ModelRow) -> None:
        """Record what a person says of photos; the tag is made if it is new.

        Raises InvalidInput if nothing that has the tag is known then.
        """
        tag = self.find(name)
        known = self.tables.examples(tag.id, model.id) if tag else []
        now = {one.content_hash: one.is_one for one in [*known, *said]}
        if not any(now.values()):
            raise InvalidInput(f"{name!r} has no example left: name a photo that shows it")
        with self.tables.together():
            tag_id = self.tables.taught(tag.name if tag else name)
            for one in said:
                self.tables.say(tag_id, one, model.id)
            self.tables.drop_vector(tag_id)
            self.tables.put_said(tag_id)

    def refresh(self, model: ModelRow, report: Report | None = None) -> None:
        """Bring the tags of all photos up to date, as far as the model has embedded them.

        What is up to date is not looked at again; each batch is committed. Raises ModelError if
        the model can't tell words, or can't be loaded.
        """
        tags = self.tables.rows()
        if not tags:
            return
        if self.tables.model_tagged() != model.id:
            self.tables.start_anew(model.id)
        learned = self._make_vectors(tags, model)
        after = self.tables.tagged_up_to(model.id)
        if learned and after:
            self._tag_with_taught(learned, model, after)
        self._tag_with_all(tags, model, after, report)

    def _make_vectors(self, tags: Sequence[TagRow], model: ModelRow) -> set[int]:
        """Make what tells tags where it is missing; return the taught tags that it was made for."""
        known = self.tables.vectors(model.id)
        words = [tag for tag in tags if tag.kind == "word" and tag.id not in known]
        if words:
            texts = self._models.text_encoder_of(model).encode_text([tag.name for tag in words])
            self.tables.keep_vectors(
                model.id,
                [TagVector(tag.id, text, 0.0, 0) for tag, text in zip(words, texts, strict=True)],
            )
        photos = model.photos
        due = [
            tag
            for tag in tags
            if tag.kind == "taught"
            and not (tag.id in known and photos / _GROWN <= known[tag.id].photos <= photos * _GROWN)
        ]
        return self._learn(due, model)

    def _learn(self, tags: Sequence[TagRow], model: ModelRow) -> set[int]:
        if not tags or not model.photos:
            return set()
        background = Background(self.tables.some_embeddings(model.id, _SAMPLE))
        vectors = []
        for tag in tags:
            usable = [
                one for one in self.tables.examples(tag.id, model.id) if one.vector is not None
            ]
            if any(one.is_one for one in usable):
                found = learn(
                    np.stack([one.vector for one in usable if one.vector is not None]),
                    np.array([one.is_one for one in usable]),
                    background,
                )
                vectors.append(TagVector(tag.id, found.weights, found.added, model.photos))
        self.tables.keep_vectors(model.id, vectors)
        return {one.tag_id for one in vectors}

    def _tag_with_taught(self, tag_ids: set[int], model: ModelRow, up_to: int) -> None:
        """Tag what is tagged already with tags that were learned since, each in place of before."""
        vectors = [one for one in self.tables.vectors(model.id).values() if one.tag_id in tag_ids]
        with self.tables.together():
            for one in vectors:
                self.tables.take_from_all(one.tag_id)
            for photos, ids in self.tables.embeddings_after(model.id, 0):
                done = ids[:, 0] <= up_to
                self.tables.put(_taught(vectors, photos[done], ids[done, 1]))
            for one in vectors:
                self.tables.put_said(one.tag_id)

    def _tag_with_all(
        self, tags: Sequence[TagRow], model: ModelRow, after: int, report: Report | None
    ) -> None:
        """Tag the embeddings that came after the last that is tagged."""
        vectors = self.tables.vectors(model.id)
        words = [vectors[tag.id] for tag in tags if tag.kind == "word"]
        taught = [vectors[tag.id] for tag in tags if tag.kind == "taught" and tag.id in vectors]
        told = self._words(words, model) if words else None
        done = 0
        for photos, ids in self.tables.embeddings_after(model.id, after):
            with self.tables.together():
                for start in range(0, len(ids), _AT_ONCE):
                    part = slice(start, start + _AT_ONCE)
                    self.tables.put(_taught(taught, photos[part], ids[part, 1]))
                    if told is not None:
                        self.tables.put(told.of(photos[part], ids[part, 1]))
                self.tables.put_said()
                self.tables.tagged_to(model.id, int(ids[-1, 0]))
            done += len(ids)
            if report is not None:
                report(done, model.photos)

    def _words(self, words: Sequence[TagVector], model: ModelRow) -> _Words:
        names = None
        if len(words) < FEW_WORDS:
            self._models.keep_competing_words(model)
            names = self._models.competing_words(model)
        return _Words(words, self.tables.broader(), scale_of(self._models, model), names)


class _Words:
    """Words as vectors, and which of them are kinds of others."""

    def __init__(
        self,
        words: Sequence[TagVector],
        broader: dict[int, int],
        scale: float,
        names: NDArray[np.float32] | None,
    ) -> None:
        self._ids = [one.tag_id for one in words]
        self._texts = np.stack([one.vector for one in words])
        place = {tag_id: number for number, tag_id in enumerate(self._ids)}
        self._broader = {
            place[one]: place[wider]
            for one, wider in broader.items()
            if one in place and wider in place
        }
        self._scale = scale
        # Of things, that few words must fit better than; none of a model that was never trained.
        self._names = names if names is not None and len(names) else None

    def of(self, photos: NDArray[np.float32], photo_ids: NDArray[np.int64]) -> list[Tagged]:
        """Return the words that hold for photos."""
        alone = shares(photos, self._texts, self._scale)
        if self._names is not None:
            alone *= fits(photos, self._texts, self._names)
        found = with_kinds(alone, self._broader)
        rows, columns = np.nonzero(found >= LEAST_SHARE)
        return [
            Tagged(self._ids[column], int(photo_ids[row]), min(1.0, float(found[row, column])))
            for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
        ]


def _taught(
    vectors: Sequence[TagVector], photos: NDArray[np.float32], photo_ids: NDArray[np.int64]
) -> list[Tagged]:
    """Return which of the taught tags photos have."""
    found = []
    for one in vectors:
        scores = np.clip(photos @ one.vector + np.float32(one.added), 0, 1)
        found += [
            Tagged(one.tag_id, int(photo_ids[row]), float(scores[row]))
            for row in np.flatnonzero(scores >= LIKELY).tolist()
        ]
    return found


def scale_of(models: LoadedModels, model: ModelRow) -> float:
    """Return what a model multiplies cosines by; ModelError if it is not known."""
    scale = models.text_encoder_of(model).logit_scale
    if scale is None:
        raise ModelError(
            f"the model {model.identity.name!r} does not say how it weighs words against each other"
        )
    return scale
