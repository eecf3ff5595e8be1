"""Losses against plain formulas written another way, and the masking of false negatives."""

import math

import pytest
import torch
from torch.nn import functional

from clipsearch.training.learning.losses import (
    class_distillation_loss,
    contrastive_loss,
    cosine_distillation_loss,
    neighbour_distillation_loss,
    same_meaning,
)

SCALE = torch.tensor(10.0)


def unit(rows: int, *, seed: int, width: int = 8) -> torch.Tensor:
    values = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return functional.normalize(values, dim=1)


def one_way_by_hand(questions, answers, allowed, smoothing=0.0) -> float:
    """Mean over rows of the smoothed cross-entropy, one scalar at a time."""
    total = 0.0
    for i, question in enumerate(questions):
        takes_part = [j for j in range(len(answers)) if allowed(i, j)]
        logits = {j: 10.0 * float(question @ answers[j]) for j in takes_part}
        log_sum = math.log(sum(math.exp(value) for value in logits.values()))
        spread = sum(log_sum - value for value in logits.values()) / len(logits)
        total += (1 - smoothing) * (log_sum - logits[i]) + smoothing * spread
    return total / len(questions)


def test_the_contrast_equals_pytorchs_cross_entropy_both_ways():
    images, texts = unit(6, seed=1), unit(6, seed=2)
    right = torch.arange(6)
    logits = 10 * images @ texts.T
    for smoothing in (0.0, 0.1):
        expected = functional.cross_entropy(logits, right, label_smoothing=smoothing)
        expected = expected + functional.cross_entropy(logits.T, right, label_smoothing=smoothing)
        given = contrastive_loss(images, texts, SCALE, label_smoothing=smoothing)
        assert given.item() == pytest.approx(expected.item() / 2, rel=1e-5)


def test_false_negatives_are_left_out_as_if_they_were_not_in_the_batch():
    images, texts = unit(5, seed=3), unit(5, seed=4)
    same = same_meaning(torch.tensor([0, 1, 0, 2, 1]))

    def allowed(i: int, j: int) -> bool:
        return i == j or not bool(same[i, j])

    expected = one_way_by_hand(images, texts, allowed, 0.05)
    expected += one_way_by_hand(texts, images, allowed, 0.05)
    given = contrastive_loss(images, texts, SCALE, same=same, label_smoothing=0.05)
    assert given.item() == pytest.approx(expected / 2, rel=1e-5)


def test_a_masked_pair_neither_pulls_nor_pushes():
    images = unit(4, seed=5).requires_grad_()
    texts = unit(4, seed=6)
    same = same_meaning(torch.tensor([7, 7, 7, 7]))
    # Everything but the diagonal is masked: there is nothing left to learn.
    loss = contrastive_loss(images, texts, SCALE, same=same)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert images.grad.abs().max().item() == pytest.approx(0.0, abs=1e-6)
    assert contrastive_loss(images, texts, SCALE).item() > 0.1


def test_pairs_share_a_meaning_by_any_key_and_never_by_a_missing_one():
    captions = torch.tensor([1, 2, 1, 3])
    labels = torch.tensor([-1, 5, -1, 5])
    same = same_meaning(captions, labels)
    off_diagonal = {(i, j) for i in range(4) for j in range(4) if i != j and same[i, j]}
    assert off_diagonal == {(0, 2), (2, 0), (1, 3), (3, 1)}


def test_the_class_term_is_zero_only_where_the_image_agrees_with_the_teacher():
    images, classes = unit(3, seed=7), unit(5, seed=8)
    own = functional.softmax(10 * images @ classes.T, dim=1)
    agreed = class_distillation_loss(images, classes, SCALE, teacher=own)
    assert agreed.item() == pytest.approx(0.0, abs=1e-6)
    other = functional.softmax(unit(3, seed=9, width=5) * 3, dim=1)
    expected = (other * (other.log() - own.log())).sum(dim=1).mean()
    given = class_distillation_loss(images, classes, SCALE, teacher=other)
    assert given.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_cosine_term_measures_the_angle_alone():
    teacher = unit(4, seed=10)
    assert cosine_distillation_loss(3 * teacher, teacher).item() == pytest.approx(0.0, abs=1e-6)
    assert cosine_distillation_loss(-teacher, teacher).item() == pytest.approx(2.0, rel=1e-6)


def test_the_neighbour_term_is_zero_for_the_teachers_own_vectors_only():
    teacher = unit(6, seed=11)
    assert neighbour_distillation_loss(teacher, teacher, 20.0).item() == pytest.approx(0, abs=1e-5)
    assert neighbour_distillation_loss(teacher.roll(1, 0), teacher, 20.0).item() > 0.1
