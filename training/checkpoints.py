"""Files from which a run goes on as if it had never stopped: bit for bit, on a processor."""

from __future__ import annotations

import json
import os
import pickle
import random
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clipsearch.errors import InvalidInput
from clipsearch.index.durable import in_words, put_in_place
from clipsearch.training.run_config import RunConfig
from clipsearch.training.run_folder import FREE_TO_CHANGE

LAST, BEST = "last.pt", "best.pt"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """All that a run is after `step` steps."""

    step: int
    settings: str  # of the run, as JSON
    batches_an_epoch: int
    best: float | None  # the highest score on validation so far
    best_step: int | None
    losses: list[float]  # since the last line of the log
    state: dict[str, Any]  # the learner's, and the random numbers of each process


def settings_of(config: RunConfig) -> str:
    """Return all settings as JSON."""
    return json.dumps(asdict(config))


def random_state() -> dict[str, Any]:
    """Return where all sources of random numbers of this process stand."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, numbers, spare = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position],
        "numpy_gauss": [int(has_gauss), float(gauss)],
        "python": [version, list(numbers), spare],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Let random numbers go on from there."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    kind, keys, position = state["numpy"]
    keys = keys.numpy().astype(np.uint32)
    np.random.set_state((kind, keys, position, *state["numpy_gauss"]))
    version, numbers, spare = state["python"]
    random.setstate((version, tuple(numbers), spare))


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; whatever happens meanwhile, the file is the old one or the new one.

    Raises InvalidInput where it can't be written.
    """
    # asdict would copy every tensor.
    content = {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)}
    aside = path.with_suffix(".part")
    try:
        with aside.open("wb") as file:
            torch.save({"format": _FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(aside, path)
    except OSError as error:
        raise InvalidInput(f"can't write the checkpoint {path}: {in_words(error)}") from error


def load(path: Path) -> Checkpoint:
    """Read a checkpoint onto the processor; no code in it is run. Raises InvalidInput."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InvalidInput(f"there is no checkpoint {path}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InvalidInput(
            f"the checkpoint {path} is damaged or none of ours; begin anew in another folder"
        ) from error
    if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
        raise InvalidInput(f"the checkpoint {path} was made by another version of clipsearch")
    return Checkpoint(**content)


def check_fits(
    saved: Checkpoint, path: Path, config: RunConfig, batches_an_epoch: int, processes: int
) -> None:
    """Raise InvalidInput unless a run with these settings can go on from the checkpoint."""
    before, now = _flat(json.loads(saved.settings)), _flat(json.loads(settings_of(config)))
    changed = [key for key in now if key not in FREE_TO_CHANGE and before.get(key) != now[key]]
    if changed:
        key = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise InvalidInput(
            f"{path} was made with {key} = {before.get(key)!r}, this run has {now[key]!r}{more}; "
            "take the same settings, or begin anew in another folder"
        )
    if saved.batches_an_epoch != batches_an_epoch:
        raise InvalidInput(
            f"the training data has changed: {path} was made with {saved.batches_an_epoch} "
            f"batches an epoch, now there are {batches_an_epoch}"
        )
    if (count := len(saved.state["random"])) != processes:
        raise InvalidInput(f"{path} was made by {count} processes; go on with as many")


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        parts = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name}.{key}".rstrip("."): inner for key, inner in parts.items()}
    return flat
