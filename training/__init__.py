"""Training contrastive models, and measuring them."""

from clipsearch.light import need_torch

need_torch("clipsearch.training (train and eval)")
