"""From a model's name to an open_clip model, with the preprocessing and tokenizer it needs."""

from __future__ import annotations

import difflib
import json
import logging
import math
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipsearch.errors import (
    ModelError,
    UnfitMachine,
    UnknownModel,
    WeightsUnavailable,
    one_line,
    shortened,
)
from clipsearch.index.records import ModelIdentity
from clipsearch.models import files
from clipsearch.models.config import check_config
from clipsearch.models.names import LOCAL_PREFIX, ModelSource, local_weights
from clipsearch.models.text.settings import TextTokenizer
from clipsearch.models.text.tokenizer import clip_tokenizer, folder_tokenizer

if TYPE_CHECKING:
    import torch

# What open_clip, timm, torch and safetensors raise for a configuration they can't build or
# weights that don't fit it. Nothing broader: a fault of ours must not look like a bad model.
BUILDING_ERRORS = (
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    RuntimeError,
    AssertionError,
    ArithmeticError,
    IndexError,
)
_LOADING_ERRORS = (*BUILDING_ERRORS, MemoryError, ImportError)
_READING_ERRORS = (
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    IndexError,
    MemoryError,
    StopIteration,
    OSError,
    EOFError,
    pickle.UnpicklingError,
)
DEFAULT_CONTEXT_LENGTH = 77  # as in open_clip
_LEAST_LOG_SCALE = -700.0  # beyond it, or its opposite, the scale itself would be no float
_PREPROCESSING_KEYS = ("mode", "mean", "std", "interpolation", "resize_mode", "fill_color")


@dataclass(frozen=True)
class LocatedModel:
    """Where a model's parts lie on this machine."""

    architecture: str  # as open_clip.create_model takes it
    config: dict[str, Any]  # open_clip's model configuration
    preprocessing: dict[str, Any]  # mean, std, interpolation, resize mode
    weights: Path
    tokenizer_folder: Path | None  # with a tokenizer.json; None: CLIP's own tokenizer
    config_file: Path | None  # None: open_clip's own

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that decide what the model is."""
        tokenizer = self.tokenizer_folder and self.tokenizer_folder / files.TOKENIZER_NAME
        return tuple(path for path in (self.weights, self.config_file, tokenizer) if path)


@dataclass(frozen=True)
class LoadedModel:
    """An open_clip model in eval mode, in float32 on the CPU, and what belongs to it."""

    network: torch.nn.Module
    preprocessing: dict[str, Any]  # complete, with the size
    tokenizer: TextTokenizer
    identity: ModelIdentity
    files: tuple[Path, ...]  # all that was read for it


def pull(source: ModelSource) -> Path:
    """Fetch a model's weights, configuration and tokenizer ahead of use; return the weights' path.

    Shows the hub's own progress bars. Raises WeightsUnavailable, or UnknownModel for an
    architecture or tag that open_clip does not know.
    """
    if source.folder is not None:
        return local_weights(source)
    return locate_model(source).weights


def locate_model(source: ModelSource) -> LocatedModel:
    """Find a model's files, fetching from the hub what is not on this machine.

    Raises UnknownModel, WeightsUnavailable or ModelError, each in one line.
    """
    if source.folder is not None:
        return _in_folder(source, source.folder, local_weights(source))
    if source.hub_repository is not None:
        return _in_repository(source, source.hub_repository)
    return _tagged(source)


def _in_repository(source: ModelSource, repository: str) -> LocatedModel:
    config = files.fetch_file(repository, files.CONFIG_NAME)
    weights = files.fetch_file(repository, *files.hub_weights_names())
    return _in_folder(source, config.parent, weights)  # a snapshot is laid out as a model folder


def _in_folder(source: ModelSource, folder: Path, weights: Path) -> LocatedModel:
    content = files.read_config(folder)
    config, preprocessing = content.get("model_cfg"), content.get("preprocess_cfg")
    where = folder / files.CONFIG_NAME
    if not isinstance(config, dict) or not isinstance(config.get("text_cfg"), dict):
        raise ModelError(f"{where} has no model_cfg with a text_cfg")
    if not isinstance(preprocessing, dict) or not {"mean", "std"} <= preprocessing.keys():
        # open_clip would silently take OpenAI's values, which find wrong photos for other models
        raise ModelError(f"{where} does not say how pictures are prepared (preprocess_cfg)")
    local = source.folder is not None
    check_config(config, preprocessing, where, remote=not local)
    tokenizer_folder = None
    if repository := config["text_cfg"].get("hf_tokenizer_name"):
        tokenizer_folder = folder if local else _tokenizer_snapshot(repository)
    name = f"{LOCAL_PREFIX}{folder}"
    return LocatedModel(name, config, preprocessing, weights, tokenizer_folder, where)


def _tagged(source: ModelSource) -> LocatedModel:
    import open_clip

    architecture, tag = source.open_clip_name, source.pretrained or ""
    config = open_clip.get_model_config(architecture)
    known = open_clip.get_pretrained_cfg(architecture, tag)
    if config is None or not known:
        raise UnknownModel(_unknown_tag(architecture, tag))
    if known.get("quick_gelu"):
        config["quick_gelu"] = True  # open_clip only warns that the activation is the wrong one
    repository, _, file_name = known["hf_hub"].rpartition("/")
    weights = files.fetch_file(repository, *files.hub_weights_names(file_name))
    preprocessing = {key: known[key] for key in _PREPROCESSING_KEYS if key in known}
    tokenizer = config["text_cfg"].get("hf_tokenizer_name")
    folder = _tokenizer_snapshot(tokenizer) if tokenizer else None
    return LocatedModel(architecture, config, preprocessing, weights, folder, None)


def _unknown_tag(architecture: str, tag: str) -> str:
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tags:
        close = difflib.get_close_matches(tag, tags, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"{architecture} has no weights called {tag!r}; {hint}It has {', '.join(tags)}"
    names = sorted({name for name, _ in open_clip.list_pretrained()})
    close = difflib.get_close_matches(architecture, names, n=3, cutoff=0.4)
    hint = f"; close names: {', '.join(close)}" if close else ""
    return f"open_clip knows no model {architecture}/{tag}{hint} (see: clipsearch models)"


def _tokenizer_snapshot(repository: str) -> Path:
    """Return the folder of a hub tokenizer's files."""
    folder = files.fetch_file(repository, files.TOKENIZER_NAME).parent
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        with suppress(WeightsUnavailable):  # not every repository has both
            files.fetch_file(repository, name)
    return folder


def load_model(source: ModelSource) -> LoadedModel:
    """Load a model with its weights, on the CPU and in float32.

    Raises UnknownModel, WeightsUnavailable or ModelError, each in one line.
    """
    located = locate_model(source)
    tokenizer = _tokenizer(located)
    _check_memory(located)
    network = _build(located)
    _load_weights(network, located.weights)
    _try_out(network.eval(), located, tokenizer)
    preprocessing = _complete_preprocessing(network)
    identity = ModelIdentity(
        name=source.name,
        architecture=_architecture_text(located),
        weights_sha256=files.file_sha256(located.weights),
        preprocessing=_canonical_json(preprocessing),
        width=int(located.config["embed_dim"]),
    )
    return LoadedModel(network, preprocessing, tokenizer, identity, located.files)


def _tokenizer(located: LocatedModel) -> TextTokenizer:
    text = located.config["text_cfg"]
    if text.get("tokenizer_mode"):
        raise ModelError(f"the tokenizer mode {text['tokenizer_mode']!r} is not supported")
    length = int(text.get("context_length") or DEFAULT_CONTEXT_LENGTH)
    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, dict):
        raise ModelError(f"tokenizer_kwargs must be an object, not {options!r:.60}")
    if located.tokenizer_folder is None:
        return clip_tokenizer(length, options)
    return folder_tokenizer(located.tokenizer_folder, length, options)


def _check_memory(located: LocatedModel) -> None:
    """Raise ModelError where the weights can't fill the network, before it takes any memory.

    The configuration of a folder may ask for any size; its weights are as large as they are.
    """
    if not located.architecture.startswith(LOCAL_PREFIX):
        return
    values = sum(tensor.numel() for tensor in _build(located, "meta").state_dict().values())
    held = located.weights.stat().st_size  # a value takes at least a byte
    if values > held:
        raise ModelError(
            f"the weights {located.weights} don't fit the configuration: it asks for "
            f"{values:,} numbers, and they are {held:,} bytes"
        )


def _build(located: LocatedModel, device: str = "cpu") -> torch.nn.Module:
    """Make the network, its weights still random; on the device meta without any memory."""
    import open_clip
    import torch

    try:
        with _quiet(), torch.device(device):
            network: torch.nn.Module = open_clip.create_model(
                located.architecture,
                device=device,
                load_weights=False,  # _load_weights does it, from the very file that is hashed
                pretrained_text=False,
                force_quick_gelu=bool(located.config.get("quick_gelu")),
                force_preprocess_cfg=located.preprocessing,
            )
    except _LOADING_ERRORS as error:
        raise ModelError(
            f"open_clip can't build {located.architecture}: {one_line(error)}"
        ) from error
    return network


def _load_weights(network: torch.nn.Module, path: Path) -> None:
    import open_clip
    from safetensors import SafetensorError

    try:
        with _quiet():
            if path.suffix == ".safetensors":
                if _copy_weights(network, path):
                    return
            else:
                _refuse_code(path)
            open_clip.load_checkpoint(network, path, strict=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} is refused: it holds more than weights (code to run)") from error
    except MemoryError as error:
        raise UnfitMachine(f"there is not enough memory for the weights {path}") from error
    except (SafetensorError, *_READING_ERRORS) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ModelError(f"can't read {path}: {error.strerror}") from error
        raise ModelError(
            f"the weights {path} are damaged or don't fit the configuration: {_reason(error)}"
        ) from error


def _copy_weights(network: torch.nn.Module, path: Path) -> bool:
    """Read weights one by one into the network's own; False if they are not exactly its own.

    A second copy of all of them would be the most memory that indexing ever takes.
    """
    import torch
    from safetensors import safe_open

    dtypes = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    dtypes |= {"I64": torch.int64}  # a batch norm's count
    with safe_open(path, framework="pt") as weights:  # it refuses a file that lies about its size
        own = network.state_dict()
        if set(weights.keys()) != own.keys():
            return False
        slices = {name: weights.get_slice(name) for name in own}
        if any(slices[name].get_shape() != [*own[name].shape] for name in own):
            return False
        if any(part.get_dtype() not in dtypes for part in slices.values()):
            return False
    with path.open("rb") as file, torch.no_grad():
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
        for name, tensor in own.items():
            first, end = header[name]["data_offsets"]
            content = torch.empty(end - first, dtype=torch.uint8)
            file.seek(start + first)
            if file.readinto(content.numpy()) != end - first:  # type: ignore[arg-type]
                raise OSError(f"{path} ends too early")
            tensor.copy_(content.view(dtypes[header[name]["dtype"]]).reshape(tensor.shape))
    return True


def _try_out(network: torch.nn.Module, located: LocatedModel, tokenizer: TextTokenizer) -> None:
    """Raise ModelError unless the network gives vectors; much is only found out by running it."""
    import torch

    model: Any = network
    size = model.visual.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    expected = (1, located.config["embed_dim"])
    try:
        with _quiet(), torch.inference_mode():
            picture = model.encode_image(torch.zeros(1, 3, height, width))
            text = model.encode_text(torch.from_numpy(tokenizer(["a photo"])))
            shapes = tuple(picture.shape), tuple(text.shape)
    except _LOADING_ERRORS as error:
        raise ModelError(
            f"the model {located.weights.parent} does not work: {one_line(error)}"
        ) from error
    if shapes != (expected, expected):
        raise ModelError(
            f"the model {located.weights.parent} gives {shapes[0]} for a picture and {shapes[1]} "
            f"for a text where {expected} is expected"
        )


def logit_scale(network: torch.nn.Module) -> float | None:
    """Return what cosines are multiplied by, as `TextEncoderSettings` says."""
    logarithm = _one_number(network, "logit_scale")
    if logarithm is None or not _LEAST_LOG_SCALE < logarithm < -_LEAST_LOG_SCALE:
        return None
    return math.exp(logarithm)


def logit_bias(network: torch.nn.Module) -> float | None:
    """Return what is added to them then, as `TextEncoderSettings` says."""
    return _one_number(network, "logit_bias")


def _one_number(network: torch.nn.Module, name: str) -> float | None:
    """Return the weight of this name, if the network has it and it is one finite number."""
    weight = getattr(network, name, None)
    if weight is None or weight.numel() != 1:
        return None
    number = float(weight.detach())
    return number if math.isfinite(number) else None


def _refuse_code(path: Path) -> None:
    """Raise UnpicklingError unless the file holds nothing but tensors.

    open_clip asks for weights_only too, but tries again without it on a TypeError.
    """
    import torch

    torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _reason(error: BaseException) -> str:
    """Return the telling line of torch's long list of keys that don't fit."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[1] if len(lines) > 1 else one_line(error), 160)


def _complete_preprocessing(network: torch.nn.Module) -> dict[str, Any]:
    return dict(network.visual.preprocess_cfg)  # type: ignore[union-attr, arg-type]


def _architecture_text(located: LocatedModel) -> str:
    """Return all that decides what the weights compute, as canonical JSON."""
    config = json.loads(json.dumps(located.config))
    config["vision_cfg"].pop("timm_model_pretrained", None)
    config["text_cfg"].pop("hf_model_pretrained", None)
    if located.tokenizer_folder is not None:
        tokenizer = located.tokenizer_folder / files.TOKENIZER_NAME
        config["tokenizer_sha256"] = files.file_sha256(tokenizer)
    return _canonical_json(config)


def _canonical_json(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep open_clip's warnings about missing weights away: it logs to the root logger.

    The handler keeps `logging` from installing its own on the first such message.
    """
    root, handler, before = logging.getLogger(), logging.NullHandler(), logging.root.manager.disable
    root.addHandler(handler)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
