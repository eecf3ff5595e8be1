"""Retrieval metrics against numbers worked out by hand, and against a plain recount."""

import doctest

import numpy as np
import pytest

from clipsearch.training import retrieval_metrics
from clipsearch.training.learning import schedule
from clipsearch.training.learning.schedule import warmup_cosine
from clipsearch.training.retrieval_metrics import image_to_text, text_to_image

# Three photos (rows), two texts each (columns): photo 0 owns texts 0 and 1, and so on.
SIMILARITY = np.array(
    [
        [0.9, 0.3, 0.2, 0.8, 0.1, 0.1],
        [0.5, 0.6, 0.7, 0.4, 0.3, 0.2],
        [0.1, 0.5, 0.1, 0.6, 0.2, 0.9],
    ]
)
OWNER = [0, 0, 1, 1, 2, 2]


def test_the_examples_in_the_docstrings_are_true():
    for module in (retrieval_metrics, schedule):
        result = doctest.testmod(module, extraglobs={"np": np})
        assert result.attempted > 0
        assert result.failed == 0


def test_text_to_image_recall_is_that_counted_by_hand():
    metrics = text_to_image(SIMILARITY, OWNER, ks=(1, 2, 3))
    # Ranks of the right photo by text: 1, 3, 1, 3, 2, 1.
    assert metrics.recall_at == pytest.approx({1: 3 / 6, 2: 4 / 6, 3: 1.0})
    assert metrics.median_rank == 1.5


def test_image_to_text_counts_the_best_of_a_photos_texts():
    metrics = image_to_text(SIMILARITY, OWNER, ks=(1, 2))
    # Photo 0: 0.9 is first. Photo 1: 0.7 is first. Photo 2: 0.9 is first.
    assert metrics.recall_at == {1: 1.0, 2: 1.0}
    swapped = image_to_text(SIMILARITY, [1, 1, 0, 0, 2, 2], ks=(1, 2))
    # Photo 0: 0.8 behind 0.9. Photo 1: 0.6 behind 0.7. Photo 2 as before.
    assert swapped.recall_at == pytest.approx({1: 1 / 3, 2: 1.0})
    assert swapped.median_rank == 2.0


def test_a_model_that_gives_all_pairs_the_same_score_earns_nothing():
    flat = np.zeros((4, 8))
    owner = np.repeat(np.arange(4), 2)
    assert text_to_image(flat, owner, ks=(1, 3)).recall_at == {1: 0.0, 3: 0.0}
    assert image_to_text(flat, owner, ks=(1, 6)).recall_at == {1: 0.0, 6: 0.0}


def test_recall_equals_a_plain_recount_by_sorting():
    chance = np.random.default_rng(0)
    similarity = chance.normal(size=(20, 70))
    owner = np.concatenate([np.arange(20), chance.integers(20, size=50)])
    first_ten = np.argsort(-similarity, axis=0)[:10]
    found = np.mean([owner[text] in first_ten[:, text] for text in range(70)])
    assert text_to_image(similarity, owner).recall_at[10] == pytest.approx(found)
    first_texts = np.argsort(-similarity, axis=1)[:, :5]
    found = np.mean([photo in owner[first_texts[photo]] for photo in range(20)])
    assert image_to_text(similarity, owner).recall_at[5] == pytest.approx(found)


@pytest.mark.parametrize(
    ("step", "share"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (8, 0.5), (10, 0.14644661), (12, 0.0), (99, 0.0)],
)
def test_the_learning_rate_warms_up_and_falls_along_a_cosine(step, share):
    assert warmup_cosine(step, steps=12, warmup=4) == pytest.approx(share)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert warmup_cosine(0, steps=10, warmup=0) == 1.0
