"""Settings of one stage of the recipe."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StageConfig:
    """How long, how fast and how much; what is trained is the caller's business."""

    # horizon
    steps: int
    batch_size: int
    # optimization
    learning_rate: float
    weight_decay: float = 0.0  # on matrices only: never on gains, biases, embeddings or the scale
    warmup_steps: int = 50
    max_gradient_norm: float = 1.0
    # objective
    label_smoothing: float = 0.0
    class_weight: float = 0.0  # of the agreement with a classifier
    max_logit_scale: float = 100.0  # CLIP's clamp on the inverse temperature
    # runtime
    device: str = "cpu"
    seed: int = 0
    # logging
    report_every: int = 100
