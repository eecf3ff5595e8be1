"""Last stage: the upper layers of the image tower learn too, with its head and the text tower.

The layers below stay as they are, so what they make of each photo, and of a cropped copy of it, is
computed once and kept. A mirrored photo costs nothing: its maps are mirrored.
"""

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip import CustomTextCLIP
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from clipsearch.photos.opening import open_image
from clipsearch.training.builtin.captioned_photos import CaptionedPhotos
from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.teacher_heads import TeacherClasses
from clipsearch.training.builtin.text_student import TextBatch, TokenizedTexts, encode_short
from clipsearch.training.builtin.train import print_progress, train
from clipsearch.training.data.samples import Sample
from clipsearch.training.learning.losses import (
    class_distillation_loss,
    contrastive_loss,
    cosine_distillation_loss,
    same_meaning,
)

LOWER_BLOCKS = 5  # of the seven of EfficientNet: what comes after makes 14 x 14 maps into 7 x 7
VIEWS = 2  # of each photo: whole, and cropped

_MAP = (14, 14, 112)
_SIZE = 224
_AT_ONCE = 8
_HUMAN = 0.65  # of a batch: photos whose captions people wrote; templates teach less
_TEXT_TOKENS = 1024  # a step, of other texts: they keep the tower from forgetting words
_LIKELY_CLASSES, _OTHER_CLASSES = 160, 120  # whose names a step compares photos with
_NAMES_AT_ONCE = 128


@dataclass(frozen=True)
class UpperMaterial:
    """What this stage learns from."""

    photos: CaptionedPhotos
    maps: Sequence[NDArray[np.float16]]  # of each view, (photos, 14, 14, 112)
    captions: TokenizedTexts  # of the photos, by their numbers
    others: TokenizedTexts  # any texts
    class_names: Sequence[TokenizedTexts]  # of each prompt
    classes: TeacherClasses


@dataclass(frozen=True)
class UpperBatch:
    """n photos, one view of each, with a caption each, and other things to agree on."""

    maps: Tensor  # float32 (n, 112, 14, 14)
    features: Tensor  # float32 (n, 1280), what the classifier sees in the whole photo
    captions: Tensor  # int64 (n,), numbers of texts
    labels: Tensor  # int64 (n,), -1 where there is no class
    prompt: int
    other_classes: NDArray[np.int64]
    others: TextBatch


class UpperLayers(nn.Module):
    """The part of the trunk that learns; its batch norms keep their statistics."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        blocks = list(trunk.blocks)[LOWER_BLOCKS:]  # type: ignore[arg-type]
        self.layers = nn.Sequential(*blocks, trunk.conv_head, trunk.bn2)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        """Return features, float32 (n, 1280), of maps, float32 (n, 112, 14, 14)."""
        features: Tensor = self.layers(maps).mean(dim=(2, 3))
        return features

    def train(self, mode: bool = True) -> "UpperLayers":
        """Leave the batch norms in evaluation mode: few photos would spoil their statistics."""
        return super().train(False)


class _Together(nn.Module):
    """All that learns in this stage."""

    def __init__(self, model: CustomTextCLIP, logit_scale: float) -> None:
        super().__init__()
        self.upper = UpperLayers(model.visual.trunk)
        self.head = model.visual.head
        self.text = model.text
        self.drop = nn.Dropout(0.4)
        self.log_scale = nn.Parameter(torch.tensor(logit_scale).log())
        self.log_class_scale = nn.Parameter(torch.tensor(20.0).log())

    def images(self, maps: Tensor) -> Tensor:
        return functional.normalize(self.head(self.drop(self.upper(maps))), dim=-1)


def tune_upper_layers(
    model: CustomTextCLIP, material: UpperMaterial, *, config: StageConfig
) -> list[float]:
    """Train the model's upper image layers, image head and text tower; return the losses.

    The names of the classes go through the text tower itself, so that it, too, learns what the
    classifier knows. The tower's own view of other texts, as it was before, holds it in place.
    """
    together = _Together(model, float(model.logit_scale.detach().exp()))
    for parameter in together.parameters():
        parameter.requires_grad_(True)
    before = copy.deepcopy(model.text).eval().requires_grad_(False)

    def loss_of(batch: UpperBatch) -> Tensor:
        images = together.images(batch.maps)
        contrast = contrastive_loss(
            images,
            encode_short(model.text, material.captions.tokens(batch.captions.numpy())),
            together.log_scale.exp().clamp(max=config.max_logit_scale),
            same=same_meaning(batch.captions, batch.labels),
            label_smoothing=config.label_smoothing,
        )
        with torch.no_grad():
            wanted = encode_short(before, batch.others.tokens)
        held = cosine_distillation_loss(encode_short(model.text, batch.others.tokens), wanted)
        agreement = _agreement(together, images, batch, material, config)
        return contrast + config.class_weight * agreement + held

    losses = train(
        together, _batches(material, config), loss_of, config=config, report=print_progress
    )
    model.logit_scale.data.copy_(together.log_scale.detach())
    return losses


def _agreement(
    together: _Together,
    images: Tensor,
    batch: UpperBatch,
    material: UpperMaterial,
    config: StageConfig,
) -> Tensor:
    """Return how far the photos' likeness to class names is from the classifier's opinion.

    The classes are those that it finds likely in this batch, and some others.
    """
    opinions = material.classes.probabilities(batch.features)
    likely = opinions.sum(dim=0).topk(_LIKELY_CLASSES).indices.numpy()
    classes = np.unique(np.concatenate([likely, batch.other_classes]))
    names = material.class_names[batch.prompt]
    classes = classes[np.argsort(names.lengths[classes], kind="stable")]  # little padding
    vectors = [
        encode_short(together.text, names.tokens(classes[i : i + _NAMES_AT_ONCE]))
        for i in range(0, len(classes), _NAMES_AT_ONCE)
    ]
    teacher = opinions[:, torch.from_numpy(classes)]
    return class_distillation_loss(
        images,
        torch.cat(vectors),
        together.log_class_scale.exp().clamp(max=config.max_logit_scale),
        teacher=teacher / teacher.sum(dim=1, keepdim=True).clamp(min=1e-6),
    )


def _batches(material: UpperMaterial, config: StageConfig) -> Iterator[UpperBatch]:
    """Yield batches without end, each with the same share of photos that people described."""
    chance = np.random.default_rng(config.seed)
    photos = material.photos
    human = round(_HUMAN * config.batch_size)
    described = _endless(np.flatnonzero(photos.labels < 0), human, chance)
    labelled = _endless(np.flatnonzero(photos.labels >= 0), config.batch_size - human, chance)
    others = material.others.batches(_TEXT_TOKENS, config.seed)
    classes = len(material.class_names[0].lengths)
    for some, more, texts in zip(described, labelled, others, strict=False):  # none of them ends
        chosen = np.concatenate([some, more])
        views = chance.integers(len(material.maps), size=len(chosen))
        maps = np.stack([material.maps[v][i] for v, i in zip(views, chosen, strict=True)])
        mirrored = chance.random(len(chosen)) < 0.5
        maps[mirrored] = maps[mirrored][:, :, ::-1]
        captions = [int(chance.choice(photos.captions[photo])) for photo in chosen]
        yield UpperBatch(
            maps=torch.from_numpy(maps).float().permute(0, 3, 1, 2),
            features=torch.from_numpy(photos.features[chosen].astype(np.float32)),
            captions=torch.tensor(captions),
            labels=torch.from_numpy(photos.labels[chosen]),
            prompt=int(chance.integers(len(material.class_names))),
            other_classes=chance.choice(classes, _OTHER_CLASSES, replace=False),
            others=texts,
        )


def _endless(
    pool: NDArray[np.int64], size: int, chance: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield so many of the pool at a time, without end; each pass takes all in a new order."""
    ahead = np.empty(0, np.int64)
    while True:
        while len(ahead) < size:
            ahead = np.concatenate([ahead, chance.permutation(pool)])
        yield ahead[:size]
        ahead = ahead[size:]


def cached_lower_maps(
    samples: Sequence[Sample], trunk: nn.Module, cache: Path, name: str
) -> list[NDArray[np.float16]]:
    """Return what the lower layers make of each view, mapped: float16 (photos, 14, 14, 112) each.

    `name` tells these photos from others in the cache.
    """
    paths = [cache / f"maps-{name}-{view}.npy" for view in range(VIEWS)]
    for view, path in enumerate(paths):
        if not path.exists():
            aside = path.with_suffix(".part.npy")
            _write_maps(samples, trunk, view, aside)
            aside.replace(path)
    return [np.load(path, mmap_mode="r") for path in paths]


@torch.no_grad()
def _write_maps(samples: Sequence[Sample], trunk: nn.Module, view: int, path: Path) -> None:
    trunk = trunk.eval().to(memory_format=torch.channels_last)
    lower = nn.Sequential(trunk.conv_stem, trunk.bn1, *list(trunk.blocks)[:LOWER_BLOCKS])  # type: ignore[arg-type]
    shape = (len(samples), *_MAP)
    maps = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    for start in range(0, len(samples), _AT_ONCE):
        some = enumerate(samples[start : start + _AT_ONCE], start)
        pixels = np.stack([_view(sample, view, number) for number, sample in some])
        pictures = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        found = lower(pictures).permute(0, 2, 3, 1).half().numpy()
        maps[start : start + len(found)] = found
    maps.flush()


def _view(sample: Sample, view: int, number: int) -> NDArray[np.uint8]:
    """Return a photo squashed to the tower's size, or a part of it, the same every time."""
    image = open_image(sample.image).image
    box = None
    if view:
        chance = random.Random(view * 1_000_003 + number)
        area, ratio = chance.uniform(0.45, 1), chance.uniform(0.8, 1.25)
        width, height = min(1, (area * ratio) ** 0.5), min(1, (area / ratio) ** 0.5)
        left = chance.uniform(0, 1 - width) * image.width
        top = chance.uniform(0, 1 - height) * image.height
        box = (left, top, left + width * image.width, top + height * image.height)
    return np.asarray(image.resize((_SIZE, _SIZE), Image.Resampling.BICUBIC, box=box))
