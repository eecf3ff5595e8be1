"""What a run leaves behind: a folder that open_clip and clipsearch load."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from clipsearch.errors import InvalidInput
from clipsearch.index.durable import in_words
from clipsearch.training.learning.divergence import TrainingDiverged
from clipsearch.training.learning.learner import Learner
from clipsearch.training.towers.averaging import MixResult, choose_mix
from clipsearch.training.towers.model_folder import ModelFolderConfig, save_weights, write_config
from clipsearch.training.towers.models import Design, resized_positions
from clipsearch.training.validation import Validation


def write_model_folder(design: Design, state: Mapping[str, Tensor], folder: Path) -> str:
    """Write the model as open_clip loads it; return the dtype in which its weights are written.

    That is float16, unless a weight is beyond its range: then all are float32. Raises InvalidInput
    where the folder can't be written.
    """
    try:
        dtype = _write_weights(state, folder)
        for file in design.tokenizer_files():
            if file.parent != folder:
                shutil.copyfile(file, folder / file.name)
        write_config(folder, ModelFolderConfig(design.config, design.preprocessing))
    except OSError as error:
        raise InvalidInput(f"can't write the model into {folder}: {in_words(error)}") from error
    return str(dtype).removeprefix("torch.")


def _write_weights(state: Mapping[str, Tensor], folder: Path) -> torch.dtype:
    for dtype in (torch.float16, torch.float32):
        try:
            save_weights(state, folder, dtype=dtype)
        except ValueError:  # a weight is beyond float16
            continue
        return dtype
    raise TrainingDiverged("the trained weights are not finite; the checkpoints are kept")


def mix_with_start(
    learner: Learner,
    start: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    *,
    measure: Callable[[], float],
    kept: Validation | None,
    most_loss: float,
) -> MixResult:
    """Choose the mixture of tuned weights and those at the start (WiSE-FT).

    `start` and `tuned` are weights by name. `measure` scores what the learner's network holds; on
    `kept` the mixture may lose at most `most_loss` of recall@10 either way.
    """
    # What the start had not (a bias, a bag of words) is taken as it was tuned.
    whole_start = {**tuned, **resized_positions(dict(start), learner.network)}

    def score(state: Mapping[str, Tensor]) -> float:
        learner.network.load_state_dict(state)
        return measure()

    def recalls(state: Mapping[str, Tensor]) -> tuple[float, ...]:
        assert kept is not None
        learner.network.load_state_dict(state)
        found = kept.measure(
            learner.network,
            learner.objective,
            batch_size=learner.config.optimization.batch_size,
            device=learner.processes.device,
        )
        return found["text_to_image_R@10"], found["image_to_text_R@10"]

    keeps = None if kept is None else recalls
    return choose_mix(whole_start, tuned, score, keeps=keeps, most_loss=most_loss)
