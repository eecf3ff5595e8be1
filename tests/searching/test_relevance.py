"""Relevance: against the same in plain loops, and whether plain subjects are told from others."""

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, pstdev

import numpy as np
import pytest
from example_photos import example_files
from numpy.typing import NDArray

from clipsearch import Library, term
from clipsearch.models.text.competing import NAME, read_competing, write_competing
from clipsearch.models.text.encoder import TextEncoder
from clipsearch.results import LIKELY
from clipsearch.searching import relevance

THERE = ("a cat", "mountains", "a beach", "a bridge", "a horse", "flowers")
BROAD = ("people", "animals", "a building", "flowers")
ABSENT = ("an x-ray of a hand", "dice", "broccoli", "a washing machine", "pizza", "sushi")


def units(chance: np.random.Generator, rows: int) -> NDArray[np.float32]:
    vectors = chance.normal(size=(rows, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def share_of(question: NDArray[np.float32], photo: NDArray[np.float32], names: list) -> float:
    """Return the log of the question's softmax share for one photo, by its definition."""
    cosines = [float(name @ photo) for name in names]
    average, spread = mean(cosines), pstdev(cosines)
    near = [float(name @ question) for name in names]
    middle = mean(near)
    near = [(one - middle) / (1 - middle) for one in near]
    least = min(0.625, 0.65 * max(near))
    others = [
        6 * (one - average) / spread for one, by in zip(cosines, near, strict=True) if by < least
    ]
    own = 6 * (float(question @ photo) - average) / spread
    return own - math.log(math.exp(own) + math.fsum(map(math.exp, others)))


def test_the_evidence_is_what_plain_loops_say() -> None:
    chance = np.random.default_rng(1)
    question, photos, names = units(chance, 1)[0], units(chance, 12), units(chance, 40)
    found = relevance.evidence(question, photos, names)
    fits = []
    for photo in photos:
        cosines = [float(name @ photo) for name in names]
        fits.append((float(question @ photo) - mean(cosines)) / pstdev(cosines))
    assert found.fit == pytest.approx(fits, abs=1e-4)
    nearest = np.argsort(-(photos @ question))[: relevance.JUDGED].tolist()
    shares = [share_of(question, photos[place], list(names)) for place in nearest]
    assert found.best == pytest.approx(max(shares), abs=1e-4)
    best = sorted(fits[place] for place in nearest)[-3:]
    assert found.best_fit == pytest.approx(mean(best), abs=1e-4)


def test_what_is_not_there_is_shown_by_no_photo() -> None:
    """That a photo is relevant takes both: the subject is there, and this photo shows it."""
    chance = np.random.default_rng(6)
    question, names = units(chance, 1)[0], units(chance, 300)
    strangers = units(chance, 30)
    strangers -= np.outer(strangers @ question + 0.1, question)  # each a bit the contrary
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    close = np.vstack([question + 0.3 * units(chance, 1)[0] for _ in range(3)])
    close /= np.linalg.norm(close, axis=1, keepdims=True)
    alone = relevance.of_words(question, strangers, names)
    among = relevance.of_words(question, np.vstack([close, strangers]), names)
    assert (alone < LIKELY).all()
    assert (among[:3] >= LIKELY).all()
    assert (among[3:] < LIKELY).all()
    middling = question + 3 * units(chance, 20)
    middling /= np.linalg.norm(middling, axis=1, keepdims=True)
    without, beside = (
        relevance.of_words(question, np.vstack(parts), names)[:20]
        for parts in ((middling, strangers), (middling, close, strangers))
    )
    assert (beside >= without).all() and (beside > without).any()


def test_relevance_depends_on_neither_order_nor_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(2)
    question, photos, names = units(chance, 1)[0], units(chance, 50), units(chance, 30)
    whole = relevance.of_words(question, photos, names)
    assert ((whole >= 0) & (whole <= 1)).all()
    monkeypatch.setattr(relevance, "_AT_ONCE", 7)
    order = chance.permutation(50)
    again = relevance.of_words(question, photos[order], names)
    assert again == pytest.approx(whole[order], abs=1e-5)


def test_a_model_whose_vectors_lie_close_together_is_judged_the_same() -> None:
    chance = np.random.default_rng(3)
    question, photos, names = units(chance, 1)[0], units(chance, 50), units(chance, 30)
    apart = relevance.of_words(question, photos, names)
    # One more number, the same for all texts and, with the other sign, for all photos: the gap
    # between pictures and texts that many models have.
    texts, pictures = (
        np.hstack([0.6 * vectors, np.full((len(vectors), 1), last, np.float32)])
        for vectors, last in ((np.vstack([question, names]), 0.8), (photos, -0.8))
    )
    close = relevance.of_words(texts[0], pictures, texts[1:])
    assert np.argsort(close).tolist() == np.argsort(apart).tolist()
    assert close == pytest.approx(apart, abs=0.05)


def test_a_sum_is_judged_by_the_parts_that_are_wanted() -> None:
    assert relevance.kinds_of("a dog") == {"text"}
    assert relevance.kinds_of(Path("a.jpg")) == {"picture"}
    assert relevance.kinds_of(term("a dog") - Path("a.jpg")) == {"text"}
    assert relevance.kinds_of(term("a dog") + Path("a.jpg")) == {"text", "picture"}
    chance = np.random.default_rng(4)
    asked = units(chance, 1)[0], units(chance, 9), units(chance, 30)
    both = relevance.relevance(asked[0], {"text", "picture"}, *asked[1:])
    one, other = (relevance.relevance(asked[0], {kind}, *asked[1:]) for kind in ("text", "picture"))
    assert (both == np.maximum(one, other)).all()


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    with Library(tmp_path_factory.mktemp("library"), device="cpu") as library:
        library.index([Path(example_files()[0]).parents[1]], model="builtin")
        yield library


def test_plain_subjects_are_shown_and_what_is_missing_is_not(examples: Library) -> None:
    shown = {text: examples.query(text, relevant=True, only="visual") for text in THERE + ABSENT}
    assert [text for text in THERE if not shown[text]] == []
    assert sum(not shown[text] for text in ABSENT) >= len(ABSENT) - 1
    everything = examples.query(ABSENT[0], only="visual")
    assert len(everything) == 10  # nothing is cut unless that is asked for
    assert shown[ABSENT[0]].weak >= 10
    assert {hit.strength for hit in everything} == {"weak"}


def test_of_broad_subjects_all_that_come_first_are_shown(examples: Library) -> None:
    for subject in BROAD:
        shown = examples.query(subject, relevant=True, only="visual", k=5)
        assert len(shown) == 5, subject


def test_the_same_picture_is_strong_and_sums_are_judged(examples: Library) -> None:
    photo = examples.query("a cat", only="visual")[0]
    assert examples.query(photo.path, k=1)[0].relevance == pytest.approx(1, abs=0.1)
    together = examples.query(term("a cat") + term("sofa"), only="visual")
    assert all(hit.relevance is not None for hit in together)


def test_how_many_are_asked_for_changes_no_relevance(examples: Library) -> None:
    some, more = (examples.query("mountains", k=k, only="visual") for k in (1, 30))
    assert some[0].relevance == more[0].relevance


def test_a_library_without_competing_words_cuts_nothing_and_says_so(
    examples: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(examples._searcher._models), "competing_words", lambda *_: None)
    found = examples.query(ABSENT[0], relevant=True, only="visual")
    assert len(found) == 10
    assert found[0].relevance is None and found[0].strength is None
    assert any("clipsearch index" in note for note in found.notes)


def test_the_words_that_ship_are_those_of_the_model(examples: Library) -> None:
    from clipsearch.models.names import BUILTIN_FOLDER
    from clipsearch.words.lists import class_names

    tower = TextEncoder.open(BUILTIN_FOLDER)
    shipped = read_competing(examples.folder, tower.fingerprint)
    assert shipped is not None
    some = slice(None, None, 50)
    expected = tower.encode_text(class_names()[some])
    assert len(shipped) == len(class_names())
    assert (shipped[some] * expected).sum(axis=1) == pytest.approx(1, abs=1e-3)


class _Tower:
    fingerprint = "0123456789abcdef"
    logit_scale: float | None = 100.0

    def encode_text(self, texts: tuple[str, ...]) -> NDArray[np.float32]:
        return units(np.random.default_rng(5), len(texts))


def test_a_damaged_file_or_that_of_another_model_is_none(tmp_path: Path) -> None:
    tower = _Tower()
    write_competing(tmp_path, tower)  # type: ignore[arg-type]
    kept = read_competing(tmp_path, tower.fingerprint)
    assert kept is not None and kept.shape == (998, 16)
    assert read_competing(tmp_path, "f" * 16) is None
    whole = (tmp_path / NAME).read_bytes()
    for damaged in (whole[:-1], b"", b"\xff" * 200, whole[:-1] + bytes([whole[-1] ^ 1])):
        (tmp_path / NAME).write_bytes(damaged)
        assert read_competing(tmp_path, tower.fingerprint) is None
    tower.logit_scale = 1 / 0.07  # what nobody trained: nothing competes
    write_competing(tmp_path, tower)  # type: ignore[arg-type]
    kept = read_competing(tmp_path, tower.fingerprint)
    assert kept is not None and len(kept) == 0
