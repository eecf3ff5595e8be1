"""How well a hit's relevance tells what is there from what is not, through the library itself.

python -m benchmarks.relevance PHOTOS [--library DIR] [--subjects TSV]...
python -m benchmarks.relevance --kin PHOTOS
python -m benchmarks.relevance PHOTOS --learn

PHOTOS is a folder of NAME.jpg with NAME.json, which has a list of captions; DIR a library of just
these photos, else one is made for the time, with the built-in model. A TSV has a subject and
`there` or `not` on each line. The photos of --kin have a `label` each: half of the labels are left
out of a library made for the time, and pictures of both halves are asked for. --learn prints the
constants of clipsearch/searching/relevance.py, learned from PHOTOS: not those that are measured on.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch import Hits, Library
from clipsearch.index.layout import Layout
from clipsearch.models.text.competing import read_competing
from clipsearch.results import LIKELY, STRONG
from clipsearch.searching.relevance import evidence
from clipsearch.words.lists import plain_words

OWN = Path(__file__).with_name("subjects.tsv")
NOUNS = (
    *("dog", "man", "woman", "girl", "boy", "beach", "snow", "water", "grass", "ball", "bike"),
    *("car", "mountain", "street", "horse", "guitar", "skateboard", "pool", "red", "football"),
    *("rock", "bench", "hat", "jacket", "motorcycle"),
)
CAPTIONS = 500
ALBUM = 1_000  # photos of a library that is learned from
ALBUMS = 6
PAIRS = 60  # of each question, the nearest


class Album:
    """A library of photos with captions."""

    def __init__(self, photos: Path, library: Library) -> None:
        self.library = library
        said = {path.stem: json.loads(path.read_text()) for path in sorted(photos.glob("*.json"))}
        self.hits = [hit for hit in library.list(k=10**6) if hit.path.stem in said]
        self.captions = {hit.id: said[hit.path.stem]["captions"] for hit in self.hits}
        self._named: dict[str, Counter[int]] = defaultdict(Counter)  # word -> photo -> captions
        for photo, captions in self.captions.items():
            for caption in captions:
                for word in {*_words(caption)}:
                    self._named[word][photo] += 1

    def naming(self, subject: str) -> Counter[int]:
        """Return how many captions of each photo name a subject of one word, in some form."""
        named: Counter[int] = Counter()
        for form in _forms(subject):
            named |= self._named[form]
        return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--subjects", type=Path, action="append", default=[])
    parser.add_argument("--kin", type=Path)
    parser.add_argument("--learn", action="store_true")
    asked = parser.parse_args()
    if asked.kin:
        measure_kin(asked.kin)
    if not asked.photos:
        return
    with _library(asked.photos, asked.library) as library:
        album = Album(asked.photos, library)
        if asked.learn:
            learn(album)
            return
        for subjects in (OWN, *asked.subjects):
            measure_subjects(library, subjects)
        measure_pairs(album)
        measure_captions(album)


def measure_subjects(library: Library, subjects: Path) -> None:
    """Print how well the best relevance tells subjects that are there from those that are not."""
    lines = [line for line in subjects.read_text().splitlines() if not line.startswith("#")]
    best: dict[str, list[tuple[float, float, str]]] = {"there": [], "not": []}
    for subject, kind in (line.split("\t") for line in lines):
        hits = library.query(subject, k=10)
        best[kind].append((_best(hits), hits[0].score, subject))
    relevance, cosine = ([[row[n] for row in best[kind]] for kind in best] for n in (0, 1))
    shown, silent = (
        np.mean([row[0] >= LIKELY for row in best["there"]]),
        np.mean([row[0] < LIKELY for row in best["not"]]),
    )
    print(f"{subjects.name}: {len(best['there'])} there, {len(best['not'])} not")
    print(f"  AUC {_auc(*relevance):.3f} (best cosine {_auc(*cosine):.3f})")
    print(f"  shown, of those there: {shown:.1%}; nothing shown, of those not: {silent:.1%}")
    strong = [np.mean([row[0] >= STRONG for row in best[kind]]) for kind in best]
    print(f"  strong: {strong[0]:.1%} of those there, {strong[1]:.1%} of those not")
    hidden = ", ".join(row[2] for row in sorted(best["there"]) if row[0] < LIKELY)
    mistaken = ", ".join(row[2] for row in sorted(best["not"])[::-1] if row[0] >= LIKELY)
    print(f"  there, not shown: {hidden}\n  not there, shown: {mistaken}")


def measure_pairs(album: Album) -> None:
    """Print F1 over pairs of photo and noun; at least one caption that names it is the truth."""
    number = len(album.hits)
    relevance, cosine, truth = (np.zeros((number, len(NOUNS))) for _ in range(3))
    place = {hit.id: row for row, hit in enumerate(album.hits)}
    for column, noun in enumerate(NOUNS):
        for photo, times in album.naming(noun).items():
            truth[place[photo], column] = times >= 1
        for hit in album.library.query(noun, k=number):
            relevance[place[hit.id], column] = hit.relevance
            cosine[place[hit.id], column] = hit.score
    true = truth > 0
    cuts = np.quantile(cosine, np.linspace(0.5, 0.999, 300))
    by_cut = np.array([_f1(cosine >= cut, true) for cut in cuts])
    kinder = np.quantile(relevance, np.linspace(0.5, 0.999, 300))
    best = max(_f1(relevance >= cut, true).mean() for cut in kinder)
    print(f"pairs of {number:,} photos and {len(NOUNS)} nouns: F1, the mean over nouns")
    print(f"  likely {_f1(relevance >= LIKELY, true).mean():.3f}; best cut of relevance {best:.3f}")
    print(f"  best single cosine {by_cut.mean(axis=1).max():.3f}", end="; ")
    print(f"the best cosine of each noun {by_cut.max(axis=0).mean():.3f}")
    for name, least in (("likely", LIKELY), ("strong", STRONG)):
        taken = relevance >= least
        print(f"  {name}: precision {true[taken].mean():.2f}, recall {taken[true].mean():.2f}")


def measure_captions(album: Album) -> None:
    """Print how many captions lose the photo that they describe from their first ten hits."""
    chance = np.random.default_rng(16)
    photos = chance.permutation([hit.id for hit in album.hits])[:CAPTIONS]
    kept: list[float] = []
    for photo in photos.tolist():
        caption = str(chance.choice(album.captions[photo]))
        found = [hit for hit in album.library.query(caption, k=10) if hit.id == photo]
        kept += [hit.relevance or 0.0 for hit in found]
    likely, strong = (np.mean(np.array(kept) >= least) for least in (LIKELY, STRONG))
    print(f"captions of {len(photos)} photos: {len(kept)} have it among the first ten hits")
    print(f"  of these, shown {likely:.1%}; strong {strong:.1%}")


def measure_kin(photos: Path) -> None:
    """Print how pictures are judged that have kin in the library, and that have none."""
    said = {path: json.loads(path.read_text()) for path in sorted(photos.glob("*.json"))}
    labels = {path: one["label"] for path, one in said.items() if one.get("label")}
    chance = np.random.default_rng(16)
    kinds = chance.permutation(sorted(set(labels.values())))
    absent = set(kinds[: len(kinds) // 2].tolist())
    kept, kin, alien = [], [], []
    for path, label in labels.items():
        if label in absent:
            alien.append(path)
        elif chance.random() < 0.3:
            kin.append(path)
        else:
            kept.append(path)
    known = {labels[path] for path in kept}
    kin = [path for path in kin if labels[path] in known]
    with tempfile.TemporaryDirectory() as folder, Library(folder, device="cpu") as library:
        library.index([path.with_suffix(".jpg") for path in kept])
        relevance, cosine = [], []
        for paths in (kin, alien):
            found = [library.similar(path.with_suffix(".jpg"), k=10) for path in paths]
            relevance.append([_best(hits) for hits in found])
            cosine.append([hits[0].score for hits in found])
    print(f"pictures: {len(kin)} whose label is among {len(kept)} photos, {len(alien)} not")
    print(f"  AUC {_auc(*relevance):.3f} (best cosine {_auc(*cosine):.3f})")
    rates = [[np.mean(np.array(of) >= least) for of in relevance] for least in (LIKELY, STRONG)]
    for name, (there, alone) in zip(("likely", "strong"), rates, strict=True):
        print(f"  {name}: {there:.1%} of those with kin, {alone:.1%} of those without")


def learn(album: Album) -> None:
    """Print the weights of a logistic model of whether any caption names the subject."""
    from sklearn.linear_model import LogisticRegression

    nouns = [word for word in plain_words() if re.fullmatch("[a-z]{3,}", word)]
    naming = {noun: album.naming(noun) for noun in nouns}
    nouns = [noun for noun in nouns if any(times >= 3 for times in naming[noun].values())]
    questions = album.library.encode_text(nouns)
    model = album.library.info().model
    assert model is not None
    fingerprint = model.identity.fingerprint
    names = read_competing(Layout(album.library.folder).model(fingerprint), fingerprint)
    assert names is not None
    ids = np.array([hit.id for hit in album.hits if len(album.captions[hit.id]) >= 4])
    vectors = album.library.vectors(ids)
    chance = np.random.default_rng(16)
    rows, true = [], []
    for _ in range(ALBUMS):
        some = chance.choice(len(ids), ALBUM, replace=False)
        for noun, question in zip(nouns, questions, strict=True):
            times = np.array([naming[noun][photo] for photo in ids[some].tolist()])
            if 0 < times.max() < 3:
                continue  # there or not: nobody can say
            nearest = np.argsort(-(vectors[some] @ question))[:PAIRS]
            rows.append(evidence(question, vectors[some][nearest], names).features())
            true.append(times[nearest] >= 1)
    learned = LogisticRegression(C=10).fit(np.concatenate(rows), np.concatenate(true))
    print(f"{len(nouns)} nouns, {sum(map(len, true)):,} pairs of {len(ids):,} photos")
    print(f"share, fit, nearest: {learned.coef_[0].round(2)}; all: {learned.intercept_[0]:.2f}")


@contextmanager
def _library(photos: Path, folder: Path | None) -> Iterator[Library]:
    if folder is not None:
        with Library(folder, device="cpu") as library:
            yield library
        return
    with tempfile.TemporaryDirectory() as made, Library(made, device="cpu") as library:
        library.index([photos])
        yield library


def _best(hits: Hits) -> float:
    return max((hit.relevance or 0.0 for hit in hits), default=0.0)


def _auc(there: Sequence[float], absent: Sequence[float]) -> float:
    """Return how often one of the first is above one of the second, ties half."""
    one, other = np.array(there)[:, None], np.array(absent)[None]
    return float((one > other).mean() + (one == other).mean() / 2)


def _f1(taken: NDArray[np.bool_], true: NDArray[np.bool_]) -> NDArray[np.float64]:
    both = (taken & true).sum(axis=0)
    found: NDArray[np.float64] = 2 * both / np.maximum(1, taken.sum(axis=0) + true.sum(axis=0))
    return found


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z-]+", text.lower())


def _forms(noun: str) -> set[str]:
    irregular = {"man": "men", "woman": "women", "child": "children"}
    forms = {noun, f"{noun}s", irregular.get(noun, noun)}
    if noun.endswith(("s", "x", "ch", "sh")):
        forms.add(f"{noun}es")
    return forms | ({f"{noun[:-1]}ies"} if noun.endswith("y") else set())


if __name__ == "__main__":
    main()
