"""Heads stage: layers that bring the two frozen teachers into one space."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.training.builtin.captioned_photos import CaptionedPhotos, PhotoBatch
from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.train import train
from clipsearch.training.learning.losses import (
    class_distillation_loss,
    contrastive_loss,
    same_meaning,
)


class SentenceHead(nn.Module):
    """Sentence vectors (n, 384) to vectors of the common space: a line plus a bend."""

    def __init__(self, sentence_width: int, width: int) -> None:
        super().__init__()
        self.line = nn.Linear(sentence_width, width)
        self.bend = nn.Sequential(
            nn.Linear(sentence_width, 1024), nn.GELU(), nn.Dropout(0.3), nn.Linear(1024, width)
        )

    def forward(self, sentences: Tensor) -> Tensor:
        """Return unit vectors, float32 (n, width)."""
        return functional.normalize(self.line(sentences) + self.bend(sentences), dim=-1)


@dataclass(frozen=True)
class TeacherClasses:
    """What the classifier knows: its last layer, and its class names as sentence vectors."""

    layer: nn.Module  # 1280 features -> 1000 logits
    sentences: Tensor  # float32 (prompts, classes, 384)

    @torch.no_grad()
    def probabilities(self, features: Tensor) -> Tensor:
        """Return the classifier's probabilities, float32 (n, classes), of cached features."""
        return functional.softmax(self.layer(features), dim=1)


class PhotoHead(nn.Module):
    """The image tower's last layer, with the temperatures of the two losses it learns from."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.drop = nn.Dropout(0.4)
        self.log_scale = nn.Parameter(torch.tensor(20.0).log())
        self.log_class_scale = nn.Parameter(torch.tensor(20.0).log())

    def forward(self, features: Tensor) -> Tensor:
        """Return unit vectors, float32 (n, width), of cached features, float32 (n, 1280)."""
        return functional.normalize(self.layer(self.drop(features)), dim=-1)


def train_heads(
    photo_head: PhotoHead,
    sentence_head: SentenceHead,
    photos: CaptionedPhotos,
    *,
    sentences: Tensor,
    classes: TeacherClasses,
    config: StageConfig,
) -> list[float]:
    """Train both heads on photos and captions; `sentences`, (texts, 384), are the captions'."""
    chance = torch.Generator().manual_seed(config.seed)

    def loss_of(batch: PhotoBatch) -> Tensor:
        images = photo_head(batch.features)
        prompt = torch.randint(len(classes.sentences), (), generator=chance)
        return photo_loss(
            images,
            sentence_head(sentences[batch.captions]),
            batch,
            head=photo_head,
            class_names=sentence_head(classes.sentences[prompt]),
            opinions=classes.probabilities(batch.features),
            config=config,
        )

    batches = photos.batches(config.batch_size, config.seed)
    return train(nn.ModuleList([photo_head, sentence_head]), batches, loss_of, config=config)


def photo_loss(
    images: Tensor,
    captions: Tensor,
    batch: PhotoBatch,
    *,
    head: PhotoHead,
    class_names: Tensor,
    opinions: Tensor,
    config: StageConfig,
) -> Tensor:
    """Return the contrast of photos with captions plus the agreement with the classifier.

    `images` and `captions`, (n, width), and `class_names`, (classes, width), are unit vectors,
    `opinions`, (n, classes), the classifier's probabilities; all are float32.
    """
    contrast = contrastive_loss(
        images,
        captions,
        head.log_scale.exp().clamp(max=config.max_logit_scale),
        same=same_meaning(batch.captions, batch.labels),
        label_smoothing=config.label_smoothing,
    )
    scale = head.log_class_scale.exp().clamp(max=config.max_logit_scale)
    agreement = class_distillation_loss(images, class_names, scale, teacher=opinions)
    return contrast + config.class_weight * agreement
