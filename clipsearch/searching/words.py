"""The words of a question beside what it looks like: one ranking of what is seen and written.

A photo's score is the cosine of question and photo. Where its name or its texts hold words of the
question, it is ranked as if the cosine were greater, by as much as these words say:

    lift = LIFT / scale of the model * share of the question * rarity

The share is that of the words it holds in all that the question's words say, the rarity what they
say themselves, 0 to 1 (index/word_search/finding.py). Added to cosines, this finds more and spoils
less than reciprocal rank fusion (Cormack, Clarke, Buettcher 2009): ranks don't tell a name that
holds the whole question from one that holds a word of ten. benchmarks/asking.py measures it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clipsearch.index.paths import to_text
from clipsearch.index.selection import Selection
from clipsearch.index.word_search.splitting import (
    STAR,
    asked_words,
    words_of,
    words_of_name,
)
from clipsearch.index.word_search.word_index import roots_of
from clipsearch.results import Hit

if TYPE_CHECKING:
    from clipsearch.index.interface import SearchableStore

# In the model's own unit, by which it learned to tell how well text and picture go together
# (TextEncoderSettings): two to three times as much as cosines of a question differ between photos.
LIFT = 7.0
USUAL_SCALE = 100.0  # of a model that does not say its own
FOUND = 0.5  # the share of a question from which a photo counts as found by its words
MOST = 300  # photos that are lifted, those with the greatest lifts: each needs its cosine
_LONGEST = 80  # letters shown of a text


@dataclass(frozen=True)
class Written:
    """The photos that hold words of a question, in the state that a block of `reading` shows."""

    words: tuple[str, ...]  # of the question, that say something
    cosines: Mapping[int, float]  # by photo
    lifts: Mapping[int, float]
    shares: Mapping[int, float]
    missing: int  # photos whose words can't be found yet

    @classmethod
    def of(
        cls,
        store: SearchableStore,
        model_id: int,
        vector: NDArray[np.float32],
        question: str,
        *,
        scale: float | None,
        selected: Selection | None,
        least: float = -np.inf,
        most: int | None = None,
    ) -> Written:
        """Find them among what is selected, with a cosine of at least `least`; up to `most`.

        `vector` (width,) is the question's, `scale` that of the model's logits.
        """
        words = asked_words(question)
        found = store.find_words(words, selected)
        says = found.weights.astype(np.float64)
        sums = found.has @ says
        shares = sums / max(says.sum(), 1e-9)
        lifts = np.round(shares * np.minimum(1, sums), 6)  # the same for the same words
        near = _nearest(store, model_id, vector, found.photo_ids, lifts, most or MOST)
        near = {id_: cosine for id_, cosine in near.items() if cosine >= least}
        place = np.searchsorted(found.photo_ids, list(near))
        unit = LIFT / (scale or USUAL_SCALE)
        return cls(
            words=tuple(word for word, say in zip(words, says, strict=True) if say > 0),
            cosines=near,
            lifts=dict(zip(near, (lifts[place] * unit).tolist(), strict=True)),
            shares=dict(zip(near, shares[place].tolist(), strict=True)),
            missing=found.missing,
        )

    def ranked(self, seen: Mapping[int, float]) -> list[int]:
        """Return the ids of all that was `seen`, with cosines, or written, best first.

        It is right as far as as many were seen. Where nothing was, lifts alone count; among those
        with the same words, cosines.
        """
        lifts, cosines = self.lifts, {**seen, **self.cosines}
        if not seen:
            return sorted(lifts, key=lambda id_: (-lifts[id_], -cosines[id_], id_))
        return sorted(cosines, key=lambda id_: (-cosines[id_] - lifts.get(id_, 0.0), id_))

    def finds(self, photo_id: int) -> bool:
        """Tell whether a photo counts as found by its words."""
        return self.shares[photo_id] >= FOUND if photo_id in self.lifts else False

    def but(self, photo_ids: Iterable[int]) -> Written:
        """Return the same without some photos."""
        gone = set(photo_ids)
        kept = {id_: cosine for id_, cosine in self.cosines.items() if id_ not in gone}
        lifts = {id_: self.lifts[id_] for id_ in kept}
        return replace(self, cosines=kept, lifts=lifts)

    def explained(
        self, store: SearchableStore, hits: Sequence[Hit], by_sight: set[int]
    ) -> list[Hit]:
        """Return the hits with why they were found, and the text that holds words.

        `by_sight` would have been among them without words.
        """
        held = [hit.id for hit in hits if hit.id in self.lifts]
        if not held:
            return list(hits)
        texts = store.words(held)
        folders = store.places().folders
        roots = roots_of(to_text(folder.path) for folder in folders if folder.kind == "folder")
        explained = []
        for hit in hits:
            if hit.id in self.lifts:
                by_words = self.finds(hit.id)
                seen = hit.id in by_sight or not by_words
                said: list[tuple[str, str]] = [*texts.get(hit.id, ())]
                said += [("place", hit.place)] if hit.place else []
                hit = replace(
                    hit,
                    why=("visual",) * seen + ("words",) * by_words,
                    matched=matching_text(self.words, hit.source, said, roots),
                )
            explained.append(hit)
        return explained


def not_covered(missing: int, incomplete: int) -> list[str]:
    """Return what is to be said where words of some photos can't be found yet, if anything."""
    if not (missing or incomplete):
        return []
    of = "1 photo" if max(missing, incomplete) == 1 else f"{max(missing, incomplete):,} photos"
    what = "names and texts" if missing else "titles, captions, keywords and people"
    return [f"{what} of {of} are not searched yet: `clipsearch index` reads them"]


def _nearest(
    store: SearchableStore,
    model_id: int,
    vector: NDArray[np.float32],
    photo_ids: NDArray[np.int64],
    lifts: NDArray[np.float64],
    most: int,
) -> dict[int, float]:
    """Return the cosines of the photos with the greatest lifts; where these tie, of the nearest.

    Photos that the model has not embedded are none.
    """
    parts = [photo_ids]
    if len(photo_ids) > most:
        last = np.partition(lifts, -most)[-most]
        parts = [photo_ids[lifts > last], photo_ids[lifts == last]]
    near: dict[int, float] = {}
    for part in parts:
        count = min(len(part), most - len(near))
        if count:
            only = Selection.only_these(part)
            scores, ids = store.search(model_id, vector[None], count, selected=only, exact=True)
            near |= {
                id_: score
                for id_, score in zip(ids[0].tolist(), scores[0].tolist(), strict=True)
                if id_ >= 0
            }
    return near


def matching_text(
    words: Sequence[str], source: str, said: Sequence[tuple[str, str]], roots: Sequence[str]
) -> str | None:
    """Return the fewest texts of a photo that hold all of the words that it holds, in short.

    `said` are its titles, captions, keywords and people: field, text.
    """
    texts = [*_of_path(source, roots)]
    texts += [(set(words_of(text)), f"{field}: {text}") for field, text in said]
    forms = {word: _forms(word, texts) for word in words}
    left = {word for word, some in forms.items() if some}
    shown: list[str] = []
    while left:
        held = [{word for word in left if forms[word] & plain} for plain, _ in texts]
        most = max(range(len(texts)), key=lambda place: len(held[place]))
        shown.append(_short(texts[most][1]))
        left -= held[most]
    return "; ".join(shown) or None


def _forms(word: str, texts: Sequence[tuple[set[str], str]]) -> set[str]:
    """Return the word as some of the texts hold it: itself, else what begins with it."""
    every = set[str]().union(*(plain for plain, _ in texts))
    return {word} & every or {one for one in every if one.startswith(word.rstrip(STAR))}


def _of_path(source: str, roots: Sequence[str]) -> Iterator[tuple[set[str], str]]:
    """Yield the words of a file's name, and of each folder from the nearest on, with the name."""
    root = next((root for root in roots if source.startswith(root)), None)
    folders, _, name = source[len(root) if root else source.rfind(os.sep) + 1 :].rpartition(os.sep)
    yield set(words_of_name(name.rpartition(".")[0] or name)), name
    for folder in reversed(Path(folders).parts):
        yield set(words_of_name(folder)), folder + os.sep


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
