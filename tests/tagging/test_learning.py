"""Tags that are learned from a few vectors."""

import numpy as np
import pytest

from clipsearch.tagging.learning import _DOUBT, Background, learn

WIDTH = 256


def cloud(rng, count: int, centre: np.ndarray | None = None, apart: float = 1.0) -> np.ndarray:
    """Return unit vectors (count, WIDTH), around a centre if there is one."""
    vectors = apart * rng.standard_normal((count, WIDTH)) * np.linspace(0.3, 2, WIDTH)
    if centre is not None:
        vectors += centre
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_one_example_gives_the_linear_discriminant(rng) -> None:
    library = cloud(rng, 3000)
    (example,) = cloud(rng, 1)
    found = learn(example[np.newaxis], np.array([True]), Background(library))
    spread = np.cov(library.T, bias=True)
    ridge = 0.3 * WIDTH / 3000 * np.trace(spread) / WIDTH * np.eye(WIDTH)
    direction = np.linalg.solve(spread + ridge, example - library.mean(axis=0))
    cosine = found.weights @ direction / np.linalg.norm(found.weights) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1, abs=1e-5)


def test_photos_of_a_subject_are_told_from_a_library(rng) -> None:
    centre = 2 * rng.standard_normal(WIDTH) * np.linspace(0.3, 2, WIDTH)
    subject, library = cloud(rng, 30, centre), cloud(rng, 2000)
    for count in (1, 2, 3, 8):
        taught = learn(subject[:count], np.ones(count, bool), Background(library))
        scores = taught.scores(np.concatenate([subject[count:], library]))
        ones, others = scores[: 30 - count] >= 0.5, scores[30 - count :] >= 0.5
        assert ones.mean() > 0.8 and others.sum() <= 2, count
        assert scores.min() >= 0 and scores.max() <= 1


def test_a_subject_that_is_a_tenth_of_a_library_is_told(rng) -> None:
    centre = 2 * rng.standard_normal(WIDTH) * np.linspace(0.3, 2, WIDTH)
    subject, others = cloud(rng, 60, centre), cloud(rng, 540)
    taught = learn(subject[:3], np.ones(3, bool), Background(np.concatenate([subject, others])))
    assert (taught.scores(subject[3:]) >= 0.5).mean() > 0.7
    assert (taught.scores(others) >= 0.5).sum() <= 2


def test_what_it_is_not_draws_the_line(rng) -> None:
    reach = np.linspace(0.3, 2, WIDTH)
    centre = 2 * rng.standard_normal(WIDTH) * reach
    near = centre + 0.5 * rng.standard_normal(WIDTH) * reach
    subject, like_it = cloud(rng, 20, centre, 0.8), cloud(rng, 20, near, 0.8)
    background = Background(np.concatenate([cloud(rng, 2000), subject, like_it]))
    alone = learn(subject[:3], np.ones(3, bool), background)
    assert (alone.scores(like_it[3:]) >= 0.5).sum() > 12  # else there is nothing to learn
    examples = np.concatenate([subject[:3], like_it[:3]])
    taught = learn(examples, np.arange(6) < 3, background)
    assert (taught.scores(like_it[3:]) >= 0.5).sum() < 3
    assert (taught.scores(subject[3:]) >= 0.5).mean() > 0.9


def test_scores_of_examples_left_out_are_those_of_solving_without_them(rng) -> None:
    """The formula that stands in `learn`, against what it stands for."""
    background = Background(cloud(rng, 500))
    examples = cloud(rng, 4) - background.mean
    solved = np.linalg.solve(background.spread, examples.T)
    alike = examples @ solved
    ridge = _DOUBT * np.trace(alike) / 4

    def shares(kept: np.ndarray) -> np.ndarray:
        return np.linalg.solve(
            alike[np.ix_(kept, kept)] + ridge * np.eye(len(kept)), np.ones(len(kept))
        )

    inverse = np.linalg.inv(alike + ridge * np.eye(4))
    at_once = 1 - shares(np.arange(4)) / np.diag(inverse)
    for one in range(4):
        kept = np.delete(np.arange(4), one)
        assert alike[one, kept] @ shares(kept) == pytest.approx(at_once[one], rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_tiny_library_is_no_obstacle(rng, count: int) -> None:
    library = cloud(rng, count)
    taught = learn(library[:1], np.array([True]), Background(library))
    assert np.isfinite(taught.weights).all() and np.isfinite(taught.added)
    same = np.repeat(library[:1], 4, axis=0)  # photos that are all the same
    assert np.isfinite(learn(library[:1], np.array([True]), Background(same)).scores(library)).all()
