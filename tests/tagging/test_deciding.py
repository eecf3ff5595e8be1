"""How probable words are for photos."""

import numpy as np

from clipsearch.tagging.deciding import LEAST_FIT, fits, shares, with_kinds


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


def test_a_word_fits_a_photo_that_it_is_nearer_to_than_names_are() -> None:
    names = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1]], np.float32)
    photo = np.array([[1, 0]], np.float32)
    assert LEAST_FIT == 2.0
    # cosines 1, 0.8, 0.6 and 0: their mean is 0.6, their standard deviation 0.374
    angles = np.arccos(np.float32([1.0, 0.6 + 0.374 * 0.9, 0.6]))
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert fits(photo, texts, names).tolist() == [[False, False, False]]  # 1.35 stands above 1
    names = np.array([[0.6, 0.8], [0.4, 0.9165], [0.5, 0.866]], np.float32)
    # 0.6, 0.4 and 0.5: 0.5 and 0.0816
    angles = np.arccos(np.float32([0.67, 0.66]))
    texts = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert fits(photo, texts, names).tolist() == [[True, False]]
    assert fits(-photo, -texts[::-1], -names).tolist() == [[False, True]]
