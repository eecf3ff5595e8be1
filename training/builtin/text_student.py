"""Text stage: open_clip's own text transformer learns to say what the sentence teacher says."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import SimpleTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor
from torch.nn import functional

from clipsearch.training.builtin.config import StageConfig
from clipsearch.training.builtin.train import print_progress, train
from clipsearch.training.learning.losses import (
    cosine_distillation_loss,
    neighbour_distillation_loss,
)


@dataclass(frozen=True)
class TextBatch:
    """Texts of about one length, cut to the longest of them."""

    numbers: Tensor  # int64 (n,), which texts
    tokens: Tensor  # int64 (n, longest)


class TokenizedTexts:
    """Texts as token rows, and batches of them with little padding."""

    def __init__(self, texts: Sequence[str], tokenizer: SimpleTokenizer) -> None:
        rows = [_token_row(text, tokenizer) for text in texts]
        self.lengths = np.array([len(row) for row in rows])
        self._rows = [torch.tensor(row) for row in rows]

    def tokens(self, numbers: Sequence[int] | NDArray[np.int64]) -> Tensor:
        """Return the rows of some texts, int64 (n, longest of them), padded with zeros.

        The transformer is causal and reads a text at its end token, so padding changes nothing.
        """
        return torch.nn.utils.rnn.pad_sequence([self._rows[i] for i in numbers], batch_first=True)

    def batches(self, tokens_a_batch: int, seed: int) -> Iterator[TextBatch]:
        """Yield batches without end: each pass takes every text once, like lengths together."""
        chance = np.random.default_rng(seed)
        while True:
            # Noise on the length mixes the company that a text keeps from pass to pass.
            order = np.argsort(self.lengths + chance.uniform(0, 2, len(self.lengths)))
            groups = _split_by_tokens(order, self.lengths, tokens_a_batch)
            for i in chance.permutation(len(groups)):
                yield TextBatch(torch.from_numpy(groups[i]), self.tokens(groups[i]))


def distil_text_tower(
    tower: TextTransformer,
    texts: TokenizedTexts,
    targets: NDArray[np.float16],
    *,
    config: StageConfig,
    neighbour_scale: float = 20.0,
) -> list[float]:
    """Teach the tower the teacher's unit vectors `targets`, float16 (texts, width).

    `config.batch_size` counts tokens here.
    """

    def loss_of(batch: TextBatch) -> Tensor:
        wanted = rows(targets, batch.numbers)
        given = encode_short(tower, batch.tokens)
        near = neighbour_distillation_loss(given, wanted, neighbour_scale)
        return cosine_distillation_loss(given, wanted) + 0.2 * near

    batches = texts.batches(config.batch_size, config.seed)
    return train(tower, batches, loss_of, config=config, report=print_progress)


def rows(vectors: NDArray[np.float16], numbers: Tensor) -> Tensor:
    """Return the rows of these numbers, int64 (n,), in single precision, float32 (n, width)."""
    return torch.from_numpy(vectors[numbers.numpy()].astype(np.float32))


def encode_short(tower: TextTransformer, tokens: Tensor) -> Tensor:
    """Return unit vectors, float32 (n, width), of token rows, int64 (n, length).

    They may be shorter than the context. open_clip itself always runs the whole context; its causal
    mask fits no other length.
    """
    whole, length = tower.attn_mask, tokens.shape[1]
    tower.attn_mask = whole[:length, :length]
    try:
        return functional.normalize(tower(tokens), dim=-1)
    finally:
        tower.attn_mask = whole


@torch.no_grad()
def start_tokens_from_teacher(tower: TextTransformer, words: NDArray[np.float16]) -> None:
    """Set the token embeddings to the teacher's vectors of the tokens, float16 (tokens, 384).

    Their main axes fill the tower's width, so that a word which no text of the training holds
    still lies near words of like meaning.
    """
    centred = torch.from_numpy(words.astype(np.float32))
    centred = centred - centred.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred.T @ centred)
    start = centred @ axes[: tower.width].T
    tower.token_embedding.weight.copy_(start / start.std() * 0.05)


def token_strings(tokenizer: SimpleTokenizer) -> list[str]:
    """Return the readable string of each token of the vocabulary."""
    return [tokenizer.decode([token]).strip() or "?" for token in range(tokenizer.vocab_size)]


def _token_row(text: str, tokenizer: SimpleTokenizer) -> list[int]:
    room = tokenizer.context_length - 2
    return [tokenizer.sot_token_id, *tokenizer.encode(text)[:room], tokenizer.eot_token_id]


def _split_by_tokens(
    order: NDArray[np.int64], lengths: NDArray[np.int64], tokens_a_batch: int
) -> list[NDArray[np.int64]]:
    groups, start = [], 0
    while start < len(order):
        # Lengths only grow along the order (up to the noise): the last one sets the width.
        size = max(2, int(tokens_a_batch // (lengths[order[start]] + 1)))
        groups.append(order[start : start + size])
        start += size
    return groups
