"""A bag of words as a text tower that open_clip builds and loads: the baseline of the CLIP paper.

A text's vector is the mean of its words' vectors, projected. open_clip has no such tower and pools
no mean, but a Transformer of one layer is one exactly when most of its weights are set and kept:

- the position embeddings are 0;
- query and key are 0, so the end token, where the vector is read, attends to all tokens up to
  itself alike: attention is the mean over the words (value and output projection are the identity);
- the hidden layer is 0;
- each layer norm has an enormous epsilon and its square root as gain, so it only takes the mean of
  the vector's own numbers away, which is linear.

What is trained: the word vectors and the projection.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_EPSILON = 1e8  # beside it the variance of a word vector is nothing, even in float64
_GAIN = _EPSILON**0.5
_TRAINED = ("token_embedding.weight", "text_projection")
_DEFAULT_WIDTH = 512


def bag_of_words_config(text: dict[str, Any]) -> dict[str, Any]:
    """Return the `text_cfg` of a bag of words, as wide and for texts as long as the given tower.

    Its tokenizer is CLIP's, whose end token is the highest id.
    """
    width = int(text.get("width") or _DEFAULT_WIDTH)
    return {
        "context_length": int(text.get("context_length") or 77),
        "vocab_size": 49408,
        "width": width,
        "heads": 1,
        "layers": 1,
        "mlp_ratio": 1.5 / width,  # a hidden layer of 1, which stays 0
        "norm_kwargs": {"eps": _EPSILON},
    }


def is_bag_of_words(text: dict[str, Any]) -> bool:
    """Say whether a `text_cfg` is one of `bag_of_words_config`."""
    return (text.get("norm_kwargs") or {}).get("eps") == _EPSILON


def start_bag_of_words(network: nn.Module) -> None:
    """Set and freeze all weights of the text tower but word vectors and projection."""
    model: Any = network
    tower: Any = getattr(model, "text", model)
    (block,) = tower.transformer.resblocks
    width = tower.token_embedding.embedding_dim
    with torch.no_grad():
        # So that a text starts as the mean of its words alone, without its first and last token.
        tower.token_embedding.weight[-2:] = 0
        for name, parameter in _text_parameters(network):
            if name not in _TRAINED:
                parameter.zero_()
                parameter.requires_grad_(False)
        block.attn.in_proj_weight[2 * width :] = torch.eye(width)
        block.attn.out_proj.weight.copy_(torch.eye(width))
        for norm in (block.ln_1, block.ln_2, tower.ln_final):
            norm.weight.fill_(_GAIN)


def _text_parameters(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    if hasattr(network, "text"):
        return list(network.text.named_parameters())  # type: ignore[union-attr]
    outside = ("visual.", "logit_")
    return [(n, p) for n, p in network.named_parameters() if not n.startswith(outside)]
