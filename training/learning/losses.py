"""The objectives, as pure functions of vectors: contrast, and agreement with a teacher."""

import torch
from torch import Tensor
from torch.nn import functional


def same_meaning(*keys: Tensor) -> Tensor:
    """Return which pairs of a batch share a key, bool (n, n); negative keys match nothing.

    Each of `keys` is int64 (n,) and numbers the samples by one thing: by photo, caption or class.
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
    rows: range | None = None,
) -> Tensor:
    """Return the symmetric cross-entropy of matching row i of `images` with row i of `texts`.

    `images` and `texts` are unit vectors, float (n, width); `scale`, (), the inverse temperature.
    Off the diagonal, pairs marked in `same`, bool (n, n), are left out: they are neither right nor
    wrong. `rows` gives the part of the loss that these samples cause: the parts of ranges that
    cover all samples add up to the whole, so that each process of several can work out its own.
    """
    own = rows or range(len(images))
    here = slice(own.start, own.stop)
    wrong = None if same is None else (same[here], same[:, here].T)
    by_image = scale * images[here] @ texts.T
    by_text = scale * texts[here] @ images.T
    total = _cross_entropy(by_image, wrong and wrong[0], own.start, label_smoothing)
    total = total + _cross_entropy(by_text, wrong and wrong[1], own.start, label_smoothing)
    return total / (2 * len(images))


def _cross_entropy(logits: Tensor, same: Tensor | None, first: int, smoothing: float) -> Tensor:
    """Return the sum over the rows of `logits` (m, n), where row i is right in column first + i."""
    kept = _taking_part(logits, same, first)
    log_p = functional.log_softmax(logits.masked_fill(~kept, -torch.inf), dim=1)
    right = log_p.diagonal(first)
    # Smoothing spreads its share evenly over the pairs that take part, the right one included.
    spread = log_p.masked_fill(~kept, 0).sum(dim=1) / kept.sum(dim=1)
    return -((1 - smoothing) * right + smoothing * spread).sum()


def _taking_part(logits: Tensor, same: Tensor | None, first: int) -> Tensor:
    """Return which pairs (m, n) count: those that differ in meaning, and the right ones."""
    kept = torch.ones_like(logits, dtype=torch.bool) if same is None else ~same
    if same is not None:
        kept.diagonal(first).fill_(True)
    return kept


def sigmoid_loss(
    images: Tensor,
    texts: Tensor,
    scale: Tensor,
    bias: Tensor,
    *,
    same: Tensor | None = None,
    rows: range | None = None,
) -> Tensor:
    """Return SigLIP's loss: for each pair by itself, whether image and text belong together.

    Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023 (arXiv 2303.15343): the sum
    over all pairs, divided by the number of images. Arguments as in `contrastive_loss`, and
    `bias`, (), is added to each logit.
    """
    own = rows or range(len(images))
    here = slice(own.start, own.stop)
    logits = scale * images[here] @ texts.T + bias
    signs = torch.full_like(logits, -1.0)
    signs.diagonal(own.start).fill_(1.0)
    kept = _taking_part(logits, None if same is None else same[here], own.start)
    return -functional.logsigmoid(signs * logits).masked_fill(~kept, 0).sum() / len(images)


def class_distillation_loss(
    images: Tensor, classes: Tensor, scale: Tensor, *, teacher: Tensor
) -> Tensor:
    """Return KL(teacher || student) of the classes that the images' vectors choose among.

    `images`, float (n, width), and `classes`, float (classes, width), the text vectors of the class
    names, are unit vectors; `teacher` holds the classifier's probabilities, float (n, classes).
    """
    student = functional.log_softmax(scale * images @ classes.T, dim=1)
    return functional.kl_div(student, teacher, reduction="batchmean")


def cosine_distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between the student's vectors and the teacher's, (n, width)."""
    return (1 - functional.cosine_similarity(student, teacher, dim=1)).mean()


def neighbour_distillation_loss(student: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """Return how far the student's view of who is near whom in the batch is from the teacher's.

    Each row's softmax over the teacher's vectors of the batch, seen from the student's vector,
    should match the same softmax seen from the teacher's own. Both are unit vectors,
    float (n, width).
    """
    wanted = functional.softmax(scale * teacher @ teacher.T, dim=1)
    given = functional.log_softmax(scale * student @ teacher.T, dim=1)
    return functional.kl_div(given, wanted, reduction="batchmean")
