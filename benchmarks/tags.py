"""How good tags are: those that are taught, and those of words.

Subjects are hidden among the photos of a library, and taught by a few photos of each; FOLDER has a
folder a subject. Words are compared with captions: photos with a JSON file beside them that has
`captions`, written by people. Nothing is written into the library.

    python -m benchmarks.tags --library LIB --subjects FOLDER
    python -m benchmarks.tags --library LIB --captions
    python -m benchmarks.tags --library LIB --few
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipsearch import Library
from clipsearch.tagging.deciding import LEAST_SHARE, fits, shares, with_kinds
from clipsearch.tagging.learning import Background, learn
from clipsearch.tagging.tagger import scale_of
from clipsearch.words.lists import shipped_list

CUTS = (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--subjects", type=Path, help="a folder with a folder of photos for each")
    parser.add_argument("--captions", action="store_true", help="compare words with captions")
    parser.add_argument("--few", action="store_true", help="compare short lists with captions")
    parser.add_argument("--draws", type=int, default=3, help="of the examples of each subject")
    given = parser.parse_args()
    with Library(given.library, read_only=True) as library:
        ids = [hit.id for hit in library.list(k=10**9)]
        vectors = library.vectors(ids)
        if given.subjects:
            teach(library, vectors, given.subjects, given.draws)
        paths = [photo.file.path for photo in library.photos(ids)]
        if given.captions:
            words(library, vectors, paths)
        if given.few:
            few_words(library, vectors, paths)


def teach(library: Library, others: NDArray[np.float32], folder: Path, draws: int) -> None:
    """Print how well each number of examples finds what else there is of a subject."""
    files = sorted(folder.glob("*/*.jpg"))
    subjects = np.array([""] * len(others) + [file.parent.name for file in files])
    photos = np.concatenate([others, library.encode_images(files).astype(np.float16)])
    photos = photos.astype(np.float32)
    background = Background(photos)
    print(f"{len({*subjects}) - 1} subjects, {len(files)} photos among {len(others):,}")
    print("examples  recall@10  precision  recall  precision, all together")
    for count in (1, 2, 3):
        found, precise, recalled, shown, right = [], [], [], 0, 0
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            for subject in sorted({*subjects} - {""}):
                all_of_it = np.flatnonzero(subjects == subject)
                some = rng.choice(all_of_it, count, replace=False)
                rest = np.setdiff1d(all_of_it, some)
                taught = learn(photos[some], np.ones(count, bool), background)
                scores = photos @ taught.weights + taught.added
                scores[some] = -np.inf
                first = np.argsort(-scores, kind="stable")[:10]
                found.append(np.isin(rest, first).mean())
                likely = np.flatnonzero(scores >= 0.5)
                hits = np.isin(likely, rest).sum()
                precise.append(hits / len(likely) if len(likely) else 1.0)
                recalled.append(hits / len(rest))
                shown, right = shown + len(likely), right + hits
        means = [np.mean(one) for one in (found, precise, recalled)]
        print(f"{count:8}  {means[0]:9.3f}  {means[1]:9.3f}  {means[2]:6.3f}  {right / shown:9.3f}")


def words(library: Library, vectors: NDArray[np.float32], paths: list[Path]) -> None:
    """Print how many of the words of photos are named in a caption, by where the cut lies."""
    captions = [_captions(path.with_suffix(".json")) for path in paths]
    told = [number for number, text in enumerate(captions) if text]
    listed = shipped_list()
    place = {word: number for number, word in enumerate(listed.words)}
    broader = {place[one]: place[wider] for one, wider in listed.broader.items()}
    texts = library.encode_text(listed.words)
    scale = scale_of(library._models, library._current_model())
    found = with_kinds(shares(vectors[told], texts, scale), broader)
    said = np.array([[_says(captions[row], word) for word in listed.words] for row in told])
    said = with_kinds(said.astype(np.float32), broader) > 0
    print(f"{len(told):,} photos with captions, {len(listed.words):,} words")
    print("cut   named in a caption   tags a photo   photos with a tag")
    for cut in CUTS:
        shown = found >= cut
        print(
            f"{cut:4}  {(shown & said).sum() / max(1, shown.sum()):18.3f}   "
            f"{shown.sum() / len(told):12.2f}   {shown.any(axis=1).mean():17.3f}"
        )


def few_words(library: Library, vectors: NDArray[np.float32], paths: list[Path]) -> None:
    """Print how good tags of short lists are, by share alone and where words must fit, too.

    The lists are drawn from the words that ten photos or more have in their captions.
    """
    captions = [_captions(path.with_suffix(".json")) for path in paths]
    told = [number for number, text in enumerate(captions) if text]
    listed = shipped_list()
    said = np.array([[_says(captions[row], word) for word in listed.words] for row in told])
    usual = np.flatnonzero(said.sum(axis=0) >= 10)
    texts = library.encode_text(listed.words)
    scale = scale_of(library._models, library._current_model())
    names = library._models.competing_words(library._current_model())
    print(f"{len(told):,} photos with captions, {len(usual)} words that ten have")
    print("words   by share alone: named, found, tags a photo   where they fit: the same")
    for count in (1, 2, 3, 6, 12, 25):
        of_both = []
        for draw in range(20):
            chosen = np.random.default_rng(draw).choice(usual, count, replace=False)
            alone = shares(vectors[told], texts[chosen], scale)
            for shown in (alone, alone * fits(vectors[told], texts[chosen], names)):
                tags = shown >= LEAST_SHARE
                right = (tags & said[:, chosen]).sum()
                of_both.append((right, tags.sum(), said[:, chosen].sum()))
        sums = np.array(of_both).reshape(20, 2, 3).sum(axis=0)
        parts = (
            f"{right / max(1, shown):.2f}, {right / of:.2f}, {shown / 20 / len(told):.2f}"
            for right, shown, of in sums
        )
        print(f"{count:5}   " + "   ".join(parts))


def _captions(file: Path) -> frozenset[str]:
    """Return the stems of the words in a photo's captions, by people."""
    if not file.is_file():
        return frozenset()
    read = json.loads(file.read_text())
    if read.get("caption_type", "human") != "human":
        return frozenset()
    return frozenset(_stem(one) for one in re.findall("[a-z]+", " ".join(read["captions"]).lower()))


def _says(stems: frozenset[str], word: str) -> bool:
    return all(_stem(part) in stems for part in re.findall("[a-z]+", word))


def _stem(word: str) -> str:
    """Return a word without what makes it plural or a participle, and without a last e."""
    for end, instead in (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss")):
        if word.endswith(end) and len(word) > 4:
            return word[: -len(end)] + instead
    if word.endswith("ing") and len(word) > 5:
        word = word[:-3]
        word = word[:-1] if word[-1] == word[-2] and word[-1] not in "sl" else word
    elif word.endswith("s") and not word.endswith("ss") and len(word) > 3:
        word = word[:-1]
    return word.removesuffix("e")


if __name__ == "__main__":
    main()
