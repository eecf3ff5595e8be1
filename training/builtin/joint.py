"""Last stage: image head and text tower are tuned together on photos and captions."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from clipsearch.training.builtin.captioned_photos import CaptionedPhotos, PhotoBatch
from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.teacher_heads import PhotoHead, TeacherClasses, photo_loss
from clipsearch.training.builtin.text_student import (
    TextBatch,
    TokenizedTexts,
    encode_short,
    rows,
)
from clipsearch.training.builtin.train import print_progress, train
from clipsearch.training.learning.losses import cosine_distillation_loss

_TOKENS = 2048  # of any texts in each step: they keep the tower from forgetting the teacher


@dataclass(frozen=True)
class JointMaterial:
    """Photos, all texts (the photos' captions first), and the sentence head's vectors of them."""

    photos: CaptionedPhotos
    texts: TokenizedTexts
    targets: NDArray[np.float16]  # (texts, width)
    classes: TeacherClasses
    class_names: Tensor  # float32 (classes, width)


def train_jointly(
    tower: TextTransformer,
    photo_head: PhotoHead,
    material: JointMaterial,
    *,
    config: StageConfig,
) -> list[float]:
    """Train the image head and the text tower on each other; the sentence head stays behind."""

    def loss_of(batch: tuple[PhotoBatch, TextBatch]) -> Tensor:
        pairs, others = batch
        captions = material.texts.tokens(pairs.captions.numpy())
        loss = photo_loss(
            photo_head(pairs.features),
            encode_short(tower, captions),
            pairs,
            head=photo_head,
            class_names=material.class_names,
            opinions=material.classes.probabilities(pairs.features),
            config=config,
        )
        wanted = rows(material.targets, others.numbers)
        return loss + cosine_distillation_loss(encode_short(tower, others.tokens), wanted)

    joint = nn.ModuleList([tower, photo_head])
    return train(joint, _batches(material, config), loss_of, config=config, report=print_progress)


def _batches(
    material: JointMaterial, config: StageConfig
) -> Iterator[tuple[PhotoBatch, TextBatch]]:
    pairs = material.photos.batches(config.batch_size, config.seed)
    return zip(pairs, material.texts.batches(_TOKENS, config.seed), strict=False)  # neither ends
