"""How well a hit's relevance tells what is there from what is not, through the library itself.

python -m benchmarks.relevance PHOTOS [--library DIR] [--subjects TSV]...
python -m benchmarks.relevance PHOTOS --broad [--library DIR]
python -m benchmarks.relevance --kin PHOTOS
python -m benchmarks.relevance PHOTOS --learn [--library DIR] [--subjects TSV]...

PHOTOS is a folder of NAME.jpg with NAME.json, which has a list of captions; DIR a library of just
these photos, else one is made for the time, with the built-in model. A TSV has a subject and
`there` or `not` on each line. The photos of --kin have a `label` each: half of the labels are left
out of a library made for the time, and pictures of both halves are asked for. --broad asks for
broad subjects alone. --learn prints the constants of clipsearch/searching/relevance.py, learned
from PHOTOS, not those that are measured on; whether it is there, without subjects of the lists.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch import Hits, Library, QuerySum, term
from clipsearch.index.layout import Layout
from clipsearch.models.text.competing import read_competing
from clipsearch.results import LIKELY, STRONG
from clipsearch.searching.relevance import JUDGED, evidence, of_words
from clipsearch.words.lists import plain_words, shipped_list

OWN = Path(__file__).with_name("subjects.tsv")
EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
NOUNS = (
    *("dog", "man", "woman", "girl", "boy", "beach", "snow", "water", "grass", "ball", "bike"),
    *("car", "mountain", "street", "horse", "guitar", "skateboard", "pool", "red", "football"),
    *("rock", "bench", "hat", "jacket", "motorcycle"),
)
# What people ask, and words of captions that say it is there, beside its own.
BROAD = {
    "a man": ("man", "guy"),
    "people": (
        *("people", "person", "man", "woman", "boy", "girl", "child", "kid", "baby", "toddler"),
        *("guy", "lady", "crowd", "group", "player", "adult"),
    ),
    "children": ("child", "kid", "boy", "girl", "baby", "toddler"),
    "a woman": ("woman", "lady"),
    "a girl": ("girl",),
    "a boy": ("boy",),
    "a dog": ("dog", "puppy"),
    "an animal": ("animal", "dog", "cat", "horse", "cow", "bird", "puppy", "sheep"),
    "a street": ("street", "sidewalk", "road"),
    "food": ("food", "cake", "sandwich", "meal", "eat", "eating"),
    "water": (
        *("water", "ocean", "lake", "river", "pool", "sea", "wave", "pond", "stream", "surf"),
        *("swimming", "swim"),
    ),
    "a building": ("building", "house"),
    "trees": ("tree", "wood", "forest"),
    "grass": ("grass", "lawn", "grassy", "field"),
    "a car": ("car", "vehicle", "truck"),
    "a field": ("field", "grass"),
    "a road": ("road", "street", "highway", "path", "track"),
    "a ball": ("ball",),
    "a bicycle": ("bicycle", "bike", "cyclist", "biker"),
    "a crowd": ("crowd", "people", "audience"),
    "a hat": ("hat", "cap"),
    "a beach": ("beach", "sand", "shore", "ocean"),
}
NEAREST = 40  # photos that are judged
PARTS = ((300, 3), (40, 10))  # photos that a filter leaves, and how often
CAPTIONS = 500
ALBUMS = (30, 60, 150, 400, 1_000, 3_000)  # photos of libraries that are learned from
# Part of the photos that name a word, above which the others show it too; where narrower words
# are known, more.
OFTEN = {False: 0.12, True: 0.5}
LARGE = 1_000  # photos, of which the first ten show most subjects that are there
KEPT = 0.95  # of these that show it, so many are not to be called weak


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

    def naming(self, *subjects: str) -> Counter[int]:
        """Return how many captions of each photo name one of these words, in some form."""
        named: Counter[int] = Counter()
        for subject in subjects:
            for form in _forms(subject):
                named |= self._named[form]
        return named

    def names(self) -> NDArray[np.float32]:
        """Return the competing words of the library's model."""
        model = self.library.info().model
        assert model is not None
        fingerprint = model.identity.fingerprint
        found = read_competing(Layout(self.library.folder).model(fingerprint), fingerprint)
        assert found is not None
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?")
    parser.add_argument("--library", type=Path)
    parser.add_argument("--subjects", type=Path, action="append", default=[])
    parser.add_argument("--kin", type=Path)
    parser.add_argument("--broad", action="store_true")
    parser.add_argument("--learn", action="store_true")
    asked = parser.parse_args()
    if asked.kin:
        measure_kin(asked.kin)
    if not asked.photos:
        return
    with _library(asked.photos, asked.library) as library:
        album = Album(asked.photos, library)
        if asked.learn:
            learn(album, {subject for one in (OWN, *asked.subjects) for subject, _ in _listed(one)})
            return
        measure_broad(album)
        if asked.broad:
            return
        for subjects in (OWN, *asked.subjects):
            measure_subjects(library, subjects)
        measure_sums(library)
        measure_pairs(album)
        measure_captions(album)


def measure_subjects(library: Library, subjects: Path) -> None:
    """Print how well the best relevance tells subjects that are there from those that are not."""
    best: dict[str, list[tuple[float, float, str]]] = {"there": [], "not": []}
    for subject, kind in _listed(subjects):
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


def measure_broad(album: Album) -> None:
    """Print how many of the first ten are shown for broad subjects, and how many of them show it.

    Of all photos, and of some chosen by chance, as a filter leaves them.
    """
    chance = np.random.default_rng(16)
    ids = np.array([hit.id for hit in album.hits])
    vectors, names = album.library.vectors(ids), album.names()
    questions = album.library.encode_text([*BROAD])
    print("broad subjects, of the first ten: right, shown, right and shown")
    sums = {size: np.zeros(4) for size in (len(ids), *(size for size, _ in PARTS))}
    for (subject, words), question in zip(BROAD.items(), questions, strict=True):
        named = album.naming(*words)
        right = np.array([photo in named for photo in ids.tolist()])
        parts = [
            chance.choice(len(ids), size, replace=False)
            for size, times in PARTS
            for _ in range(times)
        ]
        for part in (np.arange(len(ids)), *parts):
            nearest = part[np.argsort(-(vectors[part] @ question))[:NEAREST]]
            shown = of_words(question, vectors[nearest], names)[:10] >= LIKELY
            here = right[nearest[:10]]
            found = here.sum(), shown.sum(), (shown & here).sum(), len(here)
            if len(part) == len(ids):
                print(f"  {subject}: {right.sum()} photos; {found[0]}, {found[1]}, {found[2]}")
            sums[len(part)] += found
    for size, (of, seen, both, all_) in sums.items():
        print(
            f"  {size:,} photos: shown of the right {both / of:.1%}; right of those shown", end=" "
        )
        print(f"{both / seen:.1%}, of the first ten {of / all_:.1%}")


def measure_sums(library: Library) -> None:
    """Print how sums are judged: what is shown of subjects there and not, with something added."""
    pictures = sorted(EXAMPLES.rglob("*.jpg"))
    listed = _listed(OWN)
    there, absent = ([one for one, kind in listed if kind == of] for of in ("there", "not"))
    sums: dict[str, Callable[[str, int], QuerySum]] = {
        "a subject - people": lambda one, place: term(one) - "people",
        "a subject + outdoors": lambda one, place: term(one) + "outdoors",
        "a subject + the next one": lambda one, place: (
            term(one) + (there if one in there else absent)[(place + 1) % len(there)]
        ),
        "a subject + a picture of other things": lambda one, place: (
            term(one) + pictures[place % len(pictures)]
        ),
    }
    print("sums: shown, of those there; nothing shown, of those not; AUC")
    for name, made in sums.items():
        best = [
            [_best(library.query(made(one, place), k=10)) for place, one in enumerate(of)]
            for of in (there, absent)
        ]
        shown, silent = np.mean(np.array(best[0]) >= LIKELY), np.mean(np.array(best[1]) < LIKELY)
        print(f"  {name}: {shown:.1%}, {silent:.1%}, {_auc(*best):.3f}")


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


def learn(album: Album, measured: set[str]) -> None:
    """Print the weights of two logistic models: is the subject there, and does a photo show it.

    Libraries of several sizes are made up of the photos: some by chance, and some of those that do
    not name the subject. Both, since what is there and what is not should not differ by the word.
    """
    from sklearn.linear_model import LogisticRegression

    chance = np.random.default_rng(16)
    names = album.names()
    ids = np.array([hit.id for hit in album.hits if len(album.captions[hit.id]) >= 4])
    vectors = album.library.vectors(ids)
    nouns = [word for word in plain_words() if re.fullmatch("[a-z]{3,}", word)]
    all_there, is_there, each_shows, shows, first = [], [], [], [], []
    for noun, question in zip(nouns, album.library.encode_text(nouns), strict=True):
        narrower = _narrower(noun)
        named = album.naming(noun, *narrower)
        times = np.array([named[photo] for photo in ids.tolist()])
        for some in _albums(times, OFTEN[bool(narrower)], chance):
            there = bool((times[some] >= 3).any())
            nearest = some[np.argsort(-(vectors[some] @ question))]
            found = evidence(question, vectors[nearest if there else nearest[:JUDGED]], names)
            if noun not in measured:
                all_there.append(found.of_all())
                is_there.append(there)
            if there:
                each_shows.append(found.of_each())
                shows.append(times[nearest] >= 1)
                if len(some) >= LARGE:
                    first.append(found.of_each()[:JUDGED][shows[-1][:JUDGED]])
    one = LogisticRegression(C=10).fit(np.stack(all_there), is_there)
    other = LogisticRegression(C=10).fit(np.concatenate(each_shows), np.concatenate(shows))
    print(f"{len(nouns)} nouns, {len(is_there):,} libraries of {len(ids):,} photos", end=": ")
    print(f"it is there in {sum(is_there):,}")
    print(f"share, best fit, nearest: {one.coef_[0].round(3)}; there: {one.intercept_[0]:.3f}")
    print(f"{len(shows):,} libraries, {sum(map(len, shows)):,} pairs")
    print(f"fit, nearest: {other.coef_[0].round(2)}; shows: {other.intercept_[0]:.2f}")
    cut = np.quantile(other.decision_function(np.concatenate(first)), 1 - KEPT)
    print(f"of those among the first ten that show it, {KEPT:.0%} are above {cut:.2f}")


def _albums(
    times: NDArray[np.int64], often: float, chance: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return places of photos where a noun is there, by three captions of one, or not at all."""
    without = np.flatnonzero(times == 0)
    by_chance = [chance.choice(len(times), size, replace=False) for size in ALBUMS]
    found = [some for some in by_chance if times[some].max() >= 3]
    if len(without) > (1 - often) * len(times):
        found += [
            chance.choice(without, size, replace=False)
            for size in chance.choice(ALBUMS, 2, replace=False)
        ]
    return found


def _narrower(noun: str) -> list[str]:
    words = shipped_list()
    return [word for word in words.words if noun in words.broader_than(word)]


def _listed(subjects: Path) -> list[tuple[str, str]]:
    """Return subjects with "there" or "not"."""
    lines = [line for line in subjects.read_text().splitlines() if not line.startswith("#")]
    return [(subject, kind) for subject, kind in (line.split("\t") for line in lines)]


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
