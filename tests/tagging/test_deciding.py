"""How probable words are for photos."""

import numpy as np

from clipsearch.tagging.deciding import shares, with_kinds


def unit(rng, *shape):
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def test_shares_are_the_softmax_of_scaled_cosines() -> None:
    rng = np.random.default_rng(0)
    photos, texts = unit(rng, 5, 16), unit(rng, 7, 16)
    weights = np.exp(100.0 * photos.astype(np.float64) @ texts.T.astype(np.float64))
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares(photos, texts, 100.0), expected, rtol=1e-3, atol=1e-6)


def test_a_word_has_the_shares_of_all_its_kinds() -> None:
    alone = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32)
    # 0 is a kind of 1, which is a kind of 2; 3 stands alone
    np.testing.assert_allclose(with_kinds(alone, {0: 1, 1: 2}), [[0.1, 0.3, 0.6, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(alone, [[0.1, 0.2, 0.3, 0.4]])
    # what goes in a circle is not counted twice
    np.testing.assert_allclose(with_kinds(alone, {0: 1, 1: 0}), [[0.3, 0.3, 0.3, 0.4]], rtol=1e-6)
