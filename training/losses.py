"""The objectives, as pure functions of vectors: contrast, and agreement with a teacher."""

import torch
from torch import Tensor
from torch.nn import functional


def same_meaning(*keys: Tensor) -> Tensor:
    """Return which pairs of a batch share a key, bool [n, n]; negative keys match nothing.

    Two samples with one photo, one caption or one class are no negatives of each other.
    """
    same = [(key[:, None] == key[None, :]) & (key >= 0)[:, None] for key in keys]
    return torch.stack(same).any(dim=0)


def contrastive_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    *,
    same: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the symmetric cross-entropy of matching row i of `images` with row i of `texts`.

    `images` and `texts` are unit vectors [n, d], `scale` the inverse temperature. Off the
    diagonal, pairs marked in `same` [n, n] are left out: they are neither right nor wrong.
    """
    logits = scale * images @ texts.T
    kept = torch.ones_like(logits, dtype=torch.bool)
    if same is not None:
        kept = ~same | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    by_image = _diagonal_cross_entropy(logits, kept, label_smoothing)
    by_text = _diagonal_cross_entropy(logits.T, kept.T, label_smoothing)
    return (by_image + by_text) / 2


def _diagonal_cross_entropy(logits: Tensor, kept: Tensor, smoothing: float) -> Tensor:
    log_p = functional.log_softmax(logits.masked_fill(~kept, -torch.inf), dim=1)
    right = log_p.diagonal()
    # Smoothing spreads its share evenly over the pairs that take part, the right one included.
    spread = log_p.masked_fill(~kept, 0).sum(dim=1) / kept.sum(dim=1)
    return -((1 - smoothing) * right + smoothing * spread).mean()


def class_distillation_loss(
    images: Tensor, classes: Tensor, scale: Tensor, *, teacher: Tensor
) -> Tensor:
    """Return KL(teacher || student) of the classes that the images' vectors choose among.

    `images` [n, d] and `classes` [c, d] (the class names' text vectors) are unit vectors;
    `teacher` holds the classifier's probabilities [n, c].
    """
    student = functional.log_softmax(scale * images @ classes.T, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean")


def cosine_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the student's vectors and the teacher's, [n, d]."""
    return (1 - functional.cosine_similarity(student, teacher, dim=1)).mean()


def neighbour_distillation_loss(student: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """Return how far the student's view of who is near whom in the batch is from the teacher's.

    Each row's softmax over the teacher's vectors of the batch, seen from the student's vector,
    should match the same softmax seen from the teacher's own. Unit vectors [n, d].
    """
    wanted = functional.softmax(scale * teacher @ teacher.T, dim=1)
    given = functional.log_softmax(scale * student @ teacher.T, dim=1)
    return functional.kl_div(given, wanted, reduction="batchmean")
