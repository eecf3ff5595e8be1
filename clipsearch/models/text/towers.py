"""open_clip's text towers as modules that export well. Imports torch: import it where needed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class WholeTower(nn.Module):
    """Any model's text tower, for ids of the full context length."""

    def __init__(self, network: nn.Module) -> None:
        """Take an open_clip model."""
        super().__init__()
        self.network: Any = network

    def forward(self, ids: Tensor) -> Tensor:
        """Return the features (n, width) of ids (n, context length), not yet unit length."""
        features: Tensor = self.network.encode_text(ids)
        return features


class ShortTower(nn.Module):
    """A causal text tower for ids of any length up to the context's.

    No token sees what follows it, so a text may be cut behind its end token, where the vector is
    read. Most queries have ten tokens, not CLIP's 77: that is seven times less work.
    """

    def __init__(self, network: nn.Module) -> None:
        """Take an open_clip model for which `fits` holds."""
        super().__init__()
        self.tower: Any = getattr(network, "text", network)

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Say whether the model's text tower is causal, plain, and read at its highest id."""
        tower: Any = getattr(network, "text", network)
        pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        blocks = getattr(getattr(tower, "transformer", None), "resblocks", ())
        return (
            pooling == "argmax"
            and getattr(tower, "attn_mask", None) is not None
            and getattr(tower, "cls_emb", None) is None
            and len(blocks) > 0
            and all(type(block.attn) is nn.MultiheadAttention for block in blocks)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Return the features (n, width) of ids (n, length), not yet unit length."""
        tower, (texts, length) = self.tower, ids.shape
        x = tower.token_embedding(ids) + tower.positional_embedding[:length]  # (n, length, w)
        mask = tower.attn_mask[:length, :length]
        for block in tower.transformer.resblocks:
            x = x + block.ls_1(_attend(block.attn, block.ln_1(x), mask, texts, length))
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        x = tower.ln_final(x)[torch.arange(texts), ids.argmax(dim=-1)]  # at the end token
        projection = tower.text_projection
        if projection is not None:
            x = projection(x) if isinstance(projection, nn.Module) else x @ projection
        features: Tensor = x
        return features


def _attend(
    attention: nn.MultiheadAttention, x: Tensor, mask: Tensor, texts: int, length: int
) -> Tensor:
    """Do what the attention does; traced, torch's own would be bound to one length.

    The shape of x (texts, length, width) is given, for asking for it is traced again and again.
    """
    width, number = attention.embed_dim, attention.num_heads
    depth = width // number
    joined = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    heads = joined.reshape(texts, length, 3 * number, depth).transpose(1, 2)
    query, key, value = torch.split(heads, number, dim=1)  # (n, heads, length, depth) each
    scores = (query * depth**-0.5) @ key.transpose(-2, -1) + mask
    seen = scores.softmax(dim=-1) @ value
    mixed: Tensor = attention.out_proj(seen.transpose(1, 2).reshape(texts, length, width))
    return mixed
