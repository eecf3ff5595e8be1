"""Search with a model of your own: an open_clip model, written as a folder that clipsearch reads.

    python examples/own_model.py FOLDER PHOTOS...

Any two-tower model that open_clip can build will do: here one of a few layers with random weights,
which you would have trained. The folder holds open_clip's configuration and the weights as
safetensors; open_clip itself loads it, too, as `local-dir:FOLDER`. The library takes note of the
weights' hash, so vectors of two models are never compared.
"""

import json
import sys
from pathlib import Path
from typing import Any

from clipsearch import Library

MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
PREPROCESSING = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}


def write_model(folder: Path) -> None:
    """Write a model as `--model` takes it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)  # here: load the state that you trained
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1))


def main() -> None:
    """Read the command line."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    write_model(folder / "model")
    with Library(folder / "library") as library:
        report = library.index(sys.argv[2:], model=folder / "model")
        print(f"{report.embedded} photos embedded with {report.model}")
        print(library.query("a dog on a beach", k=3))


if __name__ == "__main__":
    main()
