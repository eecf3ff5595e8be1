"""The model that a run trains: open_clip networks, from weights or from scratch."""

from __future__ import annotations

import json
import math
import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP, CustomTextCLIP, resize_pos_embed
from torch import Tensor, nn

from clipsearch.errors import InvalidInput, ModelError, UnknownModel, one_line
from clipsearch.models.config import check_config
from clipsearch.models.faster_layers import BATCH_NORMS
from clipsearch.models.files import CONFIG_NAME, TOKENIZER_NAME, read_json
from clipsearch.models.loading import (
    BUILDING_ERRORS,
    DEFAULT_CONTEXT_LENGTH,
    load_model,
    locate_model,
)
from clipsearch.models.names import resolve_model
from clipsearch.models.text.settings import TextTokenizer
from clipsearch.models.text.tokenizer import clip_tokenizer, folder_tokenizer
from clipsearch.settings import expanded
from clipsearch.training.run_config import ModelConfig, ObjectiveConfig
from clipsearch.training.towers.bag_of_words import (
    bag_of_words_config,
    is_bag_of_words,
    start_bag_of_words,
)
from clipsearch.training.towers.low_rank import add_low_rank

CONFIGS = Path(__file__).resolve().parents[1] / "configs"  # of small models, by name
SCALES = ("logit_scale", "logit_bias")
_CLIP_SCALE = 1 / 0.07  # inverse temperature at the start, as in the paper
_SIGLIP_SCALE, _SIGLIP_BIAS = 10.0, -10.0
_POOL_POSITIONS = "visual.attnpool.positional_embedding"
_POSITIONS = "visual.positional_embedding"
_TOKENIZER_FILES = (TOKENIZER_NAME, "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Design:
    """What a model is, without its weights: all that its folder says."""

    config: dict[str, Any]  # open_clip's model_cfg
    preprocessing: dict[str, Any]  # open_clip's preprocess_cfg
    tokenizer_folder: Path | None = None  # None: CLIP's own tokenizer

    @property
    def image_size(self) -> int:
        """Return the longer side, in pixels, of the pictures that the model takes."""
        size = self.config["vision_cfg"].get("image_size") or 224
        return max(size) if isinstance(size, (list, tuple)) else int(size)

    def resized(self, image_size: int) -> Design:
        """Return the same for pictures of another size."""
        config = deepcopy(self.config)
        config["vision_cfg"]["image_size"] = image_size
        return replace(
            self, config=config, preprocessing={**self.preprocessing, "size": image_size}
        )

    def network(self) -> nn.Module:
        """Return a network of random weights, in float32 on the CPU; raise ModelError."""
        parts = deepcopy(self.config)
        kind = CustomTextCLIP if parts.pop("custom_text", False) else CLIP
        try:
            network: nn.Module = kind(**parts)
        except BUILDING_ERRORS as error:
            raise ModelError(f"open_clip can't build the model: {one_line(error)}") from error
        return network

    def tokenizer(self) -> TextTokenizer:
        """Return what cuts texts into token ids."""
        text = self.config["text_cfg"]
        length = int(text.get("context_length") or DEFAULT_CONTEXT_LENGTH)
        options = text.get("tokenizer_kwargs") or {}
        if self.tokenizer_folder is None:
            return clip_tokenizer(length, options)
        return folder_tokenizer(self.tokenizer_folder, length, options)

    def tokenizer_files(self) -> list[Path]:
        """Return the files that a model folder needs for its tokenizer."""
        if self.tokenizer_folder is None:
            return []
        files = [self.tokenizer_folder / name for name in _TOKENIZER_FILES]
        return [file for file in files if file.is_file()]


@dataclass(frozen=True)
class TrainedModel:
    """A network that is being trained, and its design."""

    network: nn.Module
    design: Design
    notes: tuple[str, ...] = ()  # what the user should know, a line each
    lacks_bias: bool = False  # the sigmoid loss's bias is new and has still to be chosen


def build_model(config: ModelConfig, objective: ObjectiveConfig) -> TrainedModel:
    """Build the network that `config` describes, ready to be trained, on the CPU in float32.

    Random weights come from torch's generator: seed it before. Raises InvalidInput,
    UnknownModel, WeightsUnavailable or ModelError in one line.
    """
    design, start = start_of(config, objective)
    network = design.network()
    if is_bag_of_words(design.config["text_cfg"]):
        start_bag_of_words(network)
    if start is not None:
        load_start(network, start)
    lacks_bias = objective.loss == "sigmoid" and start is not None and "logit_bias" not in start
    model = TrainedModel(network, design, lacks_bias=lacks_bias)
    notes = _set_scale(model, config, objective, from_weights=start is not None)
    _try_out(model)
    notes += _choose_what_is_trained(network, config, design)
    return replace(model, notes=tuple(notes))


def start_of(
    config: ModelConfig, objective: ObjectiveConfig
) -> tuple[Design, dict[str, Tensor] | None]:
    """Return the model's design and, by name, the weights at its start; None for random ones."""
    if config.scratch:
        design, weights = read_design(config.name), None
    else:
        design, weights = _with_weights(config.name)
    if config.text_tower == "cbow" and not is_bag_of_words(design.config["text_cfg"]):
        text = bag_of_words_config(design.config["text_cfg"])
        design = Design({**design.config, "text_cfg": text}, design.preprocessing)
        if weights is not None:
            weights = {n: w for n, w in weights.items() if n.startswith("visual.") or n in SCALES}
    if config.image_size is not None:
        design = design.resized(config.image_size)
    if objective.loss == "sigmoid" and "init_logit_bias" not in design.config:
        design = replace(design, config={**design.config, "init_logit_bias": _SIGLIP_BIAS})
    check_config(design.config, design.preprocessing, Path(config.name), remote=False)
    if "multimodal_cfg" in design.config:
        raise ModelError(f"{config.name} also writes captions (CoCa), which is not trained here")
    return design, weights


def _with_weights(name: str) -> tuple[Design, dict[str, Tensor]]:
    source = resolve_model(name)
    located, loaded = locate_model(source), load_model(source)
    design = Design(deepcopy(located.config), loaded.preprocessing, located.tokenizer_folder)
    # open_clip writes pairs as tuples; the file has lists.
    design = replace(design, preprocessing=json.loads(json.dumps(design.preprocessing)))
    return design, loaded.network.state_dict()


def read_design(name: str) -> Design:
    """Return the design of an open_clip architecture, one of ours, a file or a folder.

    A file holds open_clip's model configuration, by itself or as `model_cfg` beside a
    `preprocess_cfg`. Raises UnknownModel or ModelError.
    """
    path = expanded(name)
    if (CONFIGS / f"{name}.json").is_file():
        path = CONFIGS / f"{name}.json"
    elif path.is_dir():
        path = path / CONFIG_NAME
    elif path.suffix != ".json":
        return _architecture(name)
    if not path.is_file():
        raise UnknownModel(f"there is no model configuration {path}")
    content = read_json(path)
    config = content.get("model_cfg", content)
    if not isinstance(config, dict) or not all(
        isinstance(config.get(part), dict) for part in ("text_cfg", "vision_cfg")
    ):
        raise ModelError(f"{path} is no open_clip configuration: text_cfg or vision_cfg is missing")
    folder = path.parent if config["text_cfg"].get("hf_tokenizer_name") else None
    preprocessing = _plain_preprocessing() | (content.get("preprocess_cfg") or {})
    return _without_pretrained_parts(Design(config, preprocessing, folder))


def _architecture(name: str) -> Design:
    config = open_clip.get_model_config(name) if "/" not in name and ":" not in name else None
    if config is None:
        ours = ", ".join(sorted(path.stem for path in CONFIGS.glob("*.json")))
        raise UnknownModel(
            f"no architecture is called {name!r}; name one of open_clip's (ViT-B-32, RN50, "
            f"convnext_base, ...), {ours}, or a configuration file"
        )
    if config["text_cfg"].get("hf_tokenizer_name"):
        raise ModelError(
            f"{name} has a tokenizer of another repository; start from its weights "
            f"(scratch = false), or from a folder with its {TOKENIZER_NAME}"
        )
    return _without_pretrained_parts(Design(config, _plain_preprocessing()))


def _plain_preprocessing() -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    preprocessing: dict[str, Any] = json.loads(json.dumps(vars(PreprocessCfg())))
    return preprocessing


def _without_pretrained_parts(design: Design) -> Design:
    config = deepcopy(design.config)
    if "timm_model_name" in config["vision_cfg"]:
        config["vision_cfg"]["timm_model_pretrained"] = False
    size = Design(config, {}).image_size
    return replace(design, config=config, preprocessing={**design.preprocessing, "size": size})


def load_start(network: nn.Module, start: dict[str, Tensor]) -> None:
    """Put weights into a network; what they lack keeps its value, positions are interpolated.

    Raises ModelError where they don't fit.
    """
    start = resized_positions(start, network)
    try:
        network.load_state_dict({**network.state_dict(), **start})
    except RuntimeError as error:
        reason = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
        raise ModelError(f"the weights don't fit the model: {reason:.200}") from error


def resized_positions(state: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return the weights with the position embeddings of the image tower as `network` has them.

    They are interpolated as open_clip does it (bicubic), also those of the modified ResNet's
    attention pooling, which open_clip leaves alone: (1 + side * side, width) to the network's side.
    All others keep shape and dtype.
    """
    state = dict(state)
    resize_pos_embed(state, network)
    wanted = network.state_dict().get(_POOL_POSITIONS)
    if wanted is not None and _POOL_POSITIONS in state:
        side = math.isqrt(len(wanted) - 1)
        like_a_vit = SimpleNamespace(visual=SimpleNamespace(grid_size=(side, side)))
        renamed = {_POSITIONS: state[_POOL_POSITIONS]}
        resize_pos_embed(renamed, like_a_vit)
        state[_POOL_POSITIONS] = renamed[_POSITIONS]
    return state


def _set_scale(
    model: TrainedModel, config: ModelConfig, objective: ObjectiveConfig, *, from_weights: bool
) -> list[str]:
    """Set the logit scale at the start; return what the user should know."""
    network: Any = model.network
    scale = config.initial_logit_scale
    if scale is None and not from_weights:
        scale = _SIGLIP_SCALE if objective.loss == "sigmoid" else _CLIP_SCALE
    if scale is not None:
        if not 1 <= scale <= objective.max_logit_scale:
            raise InvalidInput(
                f"model.initial_logit_scale must be from 1 to objective.max_logit_scale "
                f"({objective.max_logit_scale:g}), not {scale:g}"
            )
        with torch.no_grad():
            network.logit_scale.fill_(math.log(scale))
    own = float(network.logit_scale.detach().exp())
    if own <= objective.max_logit_scale * 1.001:
        return []
    return [f"the model's logit scale, {own:.4g}, is cut to objective.max_logit_scale"]


def _try_out(model: TrainedModel) -> None:
    """Raise ModelError unless the network gives vectors at its size."""
    network: Any = model.network.eval()
    size = model.design.preprocessing["size"]
    height, width = (size, size) if isinstance(size, int) else size
    tokens = torch.from_numpy(model.design.tokenizer()(["a photo"]))
    try:
        with torch.no_grad():
            picture = network.encode_image(torch.zeros(1, 3, height, width))
            text = network.encode_text(tokens)
    except BUILDING_ERRORS as error:
        raise ModelError(
            f"the model does not work with pictures of {height} x {width} pixels: {one_line(error)}"
        ) from error
    if picture.shape != text.shape:
        raise ModelError(
            f"the towers give vectors of {picture.shape[1]} and {text.shape[1]} numbers"
        )


def _choose_what_is_trained(network: nn.Module, config: ModelConfig, design: Design) -> list[str]:
    """Freeze what is not trained; return what the user should know."""
    model: Any = network
    notes = []
    if config.freeze_image:
        _freeze_image(model, config.unlocked_image_groups)
    if config.freeze_text:
        for name, parameter in network.named_parameters():
            if is_text(name):
                parameter.requires_grad_(False)
    elif is_bag_of_words(design.config["text_cfg"]):
        notes.append("the text tower is a bag of words: word vectors and projection are trained")
    if config.lora_rank:
        chosen = add_low_rank(
            network, rank=config.lora_rank, alpha=config.lora_alpha, layers=config.lora_layers
        )
        notes.append(f"low-rank changes of {len(chosen)} weights are trained, all else is frozen")
    if config.gradient_checkpointing:
        model.set_grad_checkpointing(True)
        if isinstance(model.visual, open_clip.modified_resnet.ModifiedResNet):
            notes.append("gradient checkpointing: open_clip has it for the text tower only here")
    if not any(is_trained(network, text=text) for text in (False, True)):
        raise InvalidInput("nothing is left to be trained: both towers are frozen")
    return notes


def _freeze_image(model: Any, unlocked_groups: int) -> None:
    try:
        # open_clip's own freezing of batch norm drops the activations of timm's (it takes their
        # BatchNormAct2d for a bare norm): set_training_mode does that part here.
        with warnings.catch_warnings():  # that open_clip imports from an old place in timm
            warnings.simplefilter("ignore", FutureWarning)
            model.lock_image_tower(unlocked_groups=unlocked_groups, freeze_bn_stats=False)
    except (AssertionError, AttributeError, ImportError, RuntimeError, IndexError) as error:
        raise InvalidInput(
            "model.unlocked_image_groups: open_clip can't unlock groups of this image tower: "
            f"{one_line(error)}"
        ) from error
    if not unlocked_groups:
        for parameter in model.visual.parameters():  # open_clip leaves the head of timm's towers
            parameter.requires_grad_(False)


def is_text(name: str) -> bool:
    """Say whether a parameter of this name belongs to the text tower."""
    return not name.startswith("visual.") and name not in SCALES


def is_trained(network: nn.Module, *, text: bool) -> bool:
    """Say whether any weight of the text tower, else of the image tower, is trained."""
    return any(
        p.requires_grad
        for name, p in network.named_parameters()
        if name not in SCALES and is_text(name) == text
    )


def set_training_mode(network: nn.Module) -> None:
    """Put the network into training mode, except what is frozen: norms and whole towers.

    A frozen batch norm would otherwise follow the batches, and no longer be frozen.
    """
    network.train()
    model: Any = network
    if not is_trained(network, text=False):
        model.visual.eval()
    for module in network.modules():
        if isinstance(module, BATCH_NORMS) and not any(
            parameter.requires_grad for parameter in module.parameters()
        ):
            module.eval()
    if not is_trained(network, text=True):
        for name, child in network.named_children():
            if name != "visual":
                child.eval()
