"""The settings of one training run, as `config.toml` spells them: one class a table.

A number's type says in which range it must be; `config_file` reads it there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple


class Range(NamedTuple):
    """What a number may be, ends included."""

    least: float
    most: float = math.inf


ABOVE_0 = 1e-12  # the least of what may be as small as one likes, but not 0
Count = Annotated[int, Range(1)]
Pixels = Annotated[int, Range(8, 4096)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Positive = Annotated[float, Range(ABOVE_0)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 0.999999)]
Rate = Annotated[float, Range(ABOVE_0, 10)]


@dataclass(frozen=True)
class ModelConfig:
    """What is trained, and from where it starts."""

    # Whatever `clipsearch index --model` takes, to start from its weights; or, with `scratch`, the
    # name of an open_clip architecture, a file or a folder with its configuration.
    name: str = "builtin"
    scratch: bool = False
    # "own" is the text tower of `name`; "cbow" a bag of words, the baseline of the CLIP paper.
    text_tower: Literal["own", "cbow"] = "own"
    image_size: Pixels | None = None  # None is the model's own
    freeze_image: bool = False  # locked-image tuning (LiT)
    freeze_text: bool = False
    # With freeze_image: so many last ones are trained all the same.
    unlocked_image_groups: Annotated[int, Range(0)] = 0
    lora_rank: Annotated[int, Range(0, 4096)] = 0  # 0 trains the weights themselves
    lora_alpha: Positive = 16.0
    lora_layers: str = "attn|attention|mlp|fc|proj"  # a regular expression on names of weights
    gradient_checkpointing: bool = False
    # None: the model's own, or 1 / 0.07 from scratch.
    initial_logit_scale: Annotated[float, Range(ABOVE_0, 1000)] | None = None


@dataclass(frozen=True)
class DataConfig:
    """Where photos and captions come from."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    # Held back from `train` where there is no `validation`; chosen by key, the same every time.
    held_out: Annotated[float, Range(0, 0.9)] = 0.05
    image_column: str = "image"
    caption_column: str = "caption"
    # Only samples with these labels, "" being those without one; () takes all.
    labels: tuple[str, ...] = ()
    # 1: a thread beside the model; more: processes; 0: neither.
    workers: Annotated[int, Range(0, 512)] = 1
    seed: Seed = 0


@dataclass(frozen=True)
class AugmentationConfig:
    """What a photo goes through before each look; the default is a random crop of nearly all of it.

    The random square crop of the CLIP paper is scale (1, 1) and ratio (1, 1).
    """

    # Share of the area of the largest crop of its shape that fits into the photo.
    crop_scale: Annotated[tuple[float, float], Range(0.01, 1)] = (0.9, 1.0)
    # Width by height, over that of the model.
    crop_ratio: Annotated[tuple[float, float], Range(0.1, 10)] = (0.75, 1.3333)
    flip: Share = 0.0  # probability; captions that say left or right become wrong
    color_jitter: Share = 0.0  # brightness, contrast and saturation by so much, hue by a quarter
    grayscale: Share = 0.0  # probability
    blur: Share = 0.0  # probability
    erase: Share = 0.0  # probability


@dataclass(frozen=True)
class ObjectiveConfig:
    """What the towers learn from."""

    loss: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.0
    max_logit_scale: Annotated[float, Range(1, 1e6)] = 100.0  # CLIP's clamp
    same_label_is_no_negative: bool = True


@dataclass(frozen=True)
class OptimizationConfig:
    """How the weights move."""

    epochs: Positive = 5.0
    steps: Count | None = None  # instead of epochs
    batch_size: Annotated[int, Range(2)] = 256  # photos a step over all processes and micro-batches
    # Photos in memory at once: gradient caching; None is the batch.
    micro_batch: Count | None = None
    learning_rate: Rate = 5e-4
    text_learning_rate: Rate | None = None  # None is that of the image tower
    weight_decay: Annotated[float, Range(0, 10)] = 0.2
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    epsilon: Annotated[float, Range(ABOVE_0, 1)] = 1e-6
    warmup_steps: Annotated[int, Range(0)] = 100
    max_gradient_norm: Annotated[float, Range(0)] = 1.0  # 0 does not clip
    layer_decay: Annotated[float, Range(ABOVE_0, 1)] = 1.0  # each layer below learns so much slower
    ema: Decay = 0.0  # decay of a running mean of the weights; 0 keeps none
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    # A last part of the run at a higher resolution, as CLIP's 336-pixel model was made.
    final_image_size: Pixels | None = None
    final_epochs: Positive = 1.0


@dataclass(frozen=True)
class OutputConfig:
    """What is measured and kept."""

    evaluate_every: Count | None = None  # steps; None is once an epoch
    checkpoint_every: Count | None = None  # steps; None is once an epoch
    log_every: Count = 10  # steps
    metric: str = "mean_recall"  # on validation; the best checkpoint has the highest
    tensorboard: bool = False
    # Mix the weights with those at the start (WiSE-FT), by what is best on validation.
    wise_ft: bool = False
    wise_ft_keep: tuple[str, ...] = ()  # data on which the mix may lose at most `wise_ft_loss`
    wise_ft_loss: Share = 0.01  # of recall@10


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    device: str = "auto"
    seed: Seed = 0
